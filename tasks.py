"""Everything that the course can do, in one command; needs nothing but Python.

    python3 tasks.py lab      set up, get the digits, open JupyterLab on chapter 1
    python3 tasks.py run      execute the whole course without a browser
    python3 tasks.py test     re-execute and check every notebook, then the other tests
    python3 tasks.py bench    measure speed and memory (on MNIST)
    python3 tasks.py render   for maintainers: make all that is computed anew (on MNIST)

Chapters 8 and 9 need PyTorch and TensorFlow: with ``--frameworks``, each command has
these too, in an environment of its own; without it, it leaves the two out.

On Windows, write ``py tasks.py`` instead.  The packages go to the folder .venv beside
this file, with ``--frameworks`` to .venv-frameworks; nothing else on the machine is
touched.  Further arguments of ``lab`` go to JupyterLab (``--no-browser``,
``--port 9000``), those of ``test`` to pytest.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The course needs Python 3.11 or newer, and this is Python %d.%d. Install a "
        "newer one (python.org, or your system's packages) and run this file with it."
        % sys.version_info[:2]
    )

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE / "notebooks"
CORE = ("requirements.txt",)
TESTS = ("requirements.txt", "requirements-test.txt")
EXTRAS = "requirements-frameworks.txt"
WITH_FRAMEWORKS = ("08", "09")  # the chapters that need them
USAGE = "\n\n".join(__doc__.split("\n\n")[1:3])


def say(text):
    """Print at once, whatever the console can show of it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def chapters(without=()):
    """The notebooks in order of their numbers, ``without`` those of some numbers."""
    pages = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [page for page in pages if page.name[:2] not in without]


def taken(flag, arguments):
    """Take a flag out of the list of arguments; return whether it was in it."""
    there = flag in arguments
    arguments[:] = [argument for argument in arguments if argument != flag]
    return there


def left_out(frameworks, numbers=WITH_FRAMEWORKS):
    """Return the numbers of the chapters to leave out, after one line that says so."""
    there = [page for page in chapters() if page.name[:2] in numbers]
    if frameworks or not there:
        return ()
    names = "8 and 9" if numbers == WITH_FRAMEWORKS else "8 to 10"
    say(
        f"Left out: chapters {names}, for which PyTorch and TensorFlow are needed. "
        f"`--frameworks` installs these and includes the chapters."
    )
    return numbers


# ---------------------------------------------------------------- setting up


def pinned_to_the_oldest(text):
    """A requirements file with every lower bound turned into a pin, markers kept."""
    return re.sub(r">=\s*([\w.]+)[^\n;]*", r"==\1", text)


def set_up(files=CORE, oldest=False, frameworks=False):
    """Make the virtual environment and fill it, both once; return its Python.

    What was installed into it by hand stays, if the lists of packages allow it.
    """
    name = ".venv" + "-frameworks" * frameworks + "-oldest" * oldest
    folder = HERE / name
    files = (*files, EXTRAS) if frameworks else files
    windows = os.name == "nt"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    texts = [(HERE / file).read_text("utf-8") for file in files]
    if oldest:  # all but the tools of the tests
        texts = [
            text if file == TESTS[1] else pinned_to_the_oldest(text)
            for file, text in zip(files, texts)
        ]
    wanted = hashlib.sha256(("\n".join(texts) + sys.version).encode()).hexdigest()
    stamp = folder / f"installed-{len(files)}"
    if stamp.exists() and stamp.read_text("utf-8") == wanted and works(python):
        return python
    if not works(python):
        make_environment(folder)
    say(f"Installing the packages into {name} (once; a few minutes) ...")
    with tempfile.TemporaryDirectory() as scratch:
        lists = [Path(scratch) / file for file in files]
        for file, text in zip(lists, texts):
            file.write_text(text, "utf-8")
        install(python, lists)
    stamp.write_text(wanted, "utf-8")
    return python


def works(python):
    """Whether a Python of a virtual environment is there and starts, pip included."""
    try:
        return not subprocess.run(
            [python, "-m", "pip", "-V"], capture_output=True
        ).returncode
    except OSError:
        return False


def make_environment(folder):
    """Create the virtual environment, or say in one sentence why that fails."""
    try:
        import ensurepip
        import venv

        say(
            f"Making the virtual environment {folder.name} "
            f"with Python {sys.version.split()[0]} ..."
        )
        assert ensurepip
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(
            folder
        )
    except ImportError:
        sys.exit(
            "This Python has no venv module. On Debian or Ubuntu, `sudo apt install "
            "python3-venv` adds it; elsewhere, install Python from python.org."
        )
    except (OSError, subprocess.CalledProcessError) as reason:
        sys.exit(f"The folder {folder} could not be made: {reason}")


def install(python, lists):
    """Install requirement files with pip, or say in one sentence why that fails."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    for file in lists:
        command += ["--requirement", file]
    pip = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    lines = []
    for line in pip.stdout:
        lines.append(line.rstrip())
        if line.startswith(("Collecting", "Installing")):
            say("  " + line.rstrip()[:84])
    if pip.wait():
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        say("\n".join(errors))
        sys.exit(
            "The packages could not be installed. Is there a network? Behind a proxy, "
            "set HTTPS_PROXY; offline, the README says how to install from a folder."
        )


def get_data(python, env):
    """Get the digits before any notebook runs; return "MNIST" or "stand-in"."""
    command = [python, "-m", "course.mnist"]
    result = subprocess.run(
        command, cwd=NOTEBOOKS, env=env, stdout=subprocess.PIPE, encoding="utf-8"
    )
    say(result.stdout.rstrip())
    if result.returncode:
        sys.exit(result.returncode)
    if result.stdout.startswith("MNIST"):
        return "MNIST"
    env["MNIST_MIRROR"] = "none"  # the notebooks need not ask the mirrors again
    return "stand-in"


def environment():
    """The environment of every command that is started, told to use UTF-8."""
    return dict(os.environ, PYTHONUTF8="1", PYDEVD_DISABLE_FILE_VALIDATION="1")


# ------------------------------------------------------------------ commands


def lab(arguments):
    """Open JupyterLab on the first chapter."""
    frameworks = taken("--frameworks", arguments)
    python, env = set_up(frameworks=frameworks), environment()
    get_data(python, env)
    say("Opening JupyterLab; Ctrl-C in this window ends it.")
    command = [python, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={HERE}", chapters()[0], *arguments]
    server = subprocess.Popen(command, env=env, cwd=HERE)
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            pass  # it reached JupyterLab too, which asks whether to stop


def execute(python, notebook, folder, env):
    """Execute a notebook into ``folder``; return its seconds, or show its error."""
    start = time.monotonic()
    command = [python, "-m", "nbconvert", "--to", "notebook", "--execute"]
    command += ["--output-dir", folder, "--log-level", "ERROR", notebook]
    result = subprocess.run(
        command,
        env=env,
        cwd=NOTEBOOKS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        text = result.stdout.decode("utf-8", "replace")
        say(re.sub(r"\x1b\[[0-9;]*m", "", text)[-3000:])
        sys.exit(f"{notebook.name} stopped at the error above.")
    return time.monotonic() - start


def run(arguments):
    """Execute the whole course without a browser, and show the table of results."""
    frameworks = taken("--frameworks", arguments)
    python, env = set_up(frameworks=frameworks), environment()
    get_data(python, env)
    with tempfile.TemporaryDirectory() as folder:
        for notebook in chapters(left_out(frameworks)):
            seconds = execute(python, notebook, folder, env)
            say(f"{notebook.stem:24} {seconds:6.1f} s")
    return subprocess.run(
        [python, "-m", "course.results"], env=env, cwd=NOTEBOOKS
    ).returncode


def test(arguments):
    """Re-execute every notebook and compare it, then run every other test."""
    frameworks = taken("--frameworks", arguments)
    oldest = taken("--oldest", arguments)
    python, env = set_up(TESTS, oldest, frameworks), environment()
    source = get_data(python, env)
    if source != "MNIST":
        env.setdefault("COURSE_EPOCHS", "1")  # the long trainings, shortened
    lax = source != "MNIST" or os.environ.get("COURSE_LAX") == "1"
    say(
        "Notebooks: every assertion is checked; the outputs are not compared."
        if lax
        else "Notebooks: every assertion is checked, every printed output compared."
    )
    pages = chapters(left_out(frameworks))
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    nbval = [*pytest, "--nbval-lax" if lax else "--nbval", "--nbval-cell-timeout=3600"]
    with tempfile.TemporaryDirectory() as folder:
        env["COURSE_RESULTS"] = folder
        # what needs no notebook's results runs meanwhile on the second core
        others = beside([*pytest, "tests", "--ignore=tests/test_results.py"], env)
        say("Chapters 1 to 7:")
        bad = call([*nbval, *(page for page in pages if page.name[:2] < "08")], env)
        # chapters 8 and 9 build on those before, and not on each other
        two = [page for page in pages if page.name[:2] in WITH_FRAMEWORKS]
        for page, job in [(page, beside([*nbval, page], env)) for page in two]:
            bad = finish(job, f"Chapter {page.name[1]}:") or bad
        bad = finish(others, "The other tests:") or bad
        # chapter 10 measures: nothing runs beside it
        for page in [page for page in pages if page.name[:2] > "09"]:
            say("Chapter 10:")
            bad = call([*nbval, page], env) or bad
        if not lax:
            compared, ignored = count_outputs(pages)
            say(
                f"Cells whose output was compared: {compared}. "
                f"Outputs ignored (timings, float32): {ignored}."
            )
        say("What the notebooks stored:")
        bad = call([*pytest, "tests/test_results.py"], env) or bad
    say(f"The data was {source}. {'FAILED.' if bad else 'Everything passed.'}")
    return bad


def call(command, env):
    """Run a command in the repository's folder; return its exit status."""
    return subprocess.run(command, env=env, cwd=HERE).returncode


def beside(command, env):
    """Start a command beside others; return it with the file of what it prints."""
    output = tempfile.TemporaryFile()
    pipes = {"stdout": output, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=env, cwd=HERE, **pipes), output


def finish(job, title):
    """Wait for what ``beside`` started, show what it said; return its exit status."""
    process, output = job
    status = process.wait()
    with output:
        output.seek(0)
        say(f"{title}\n{output.read().decode('utf-8', 'replace').rstrip()}")
    return status


def count_outputs(pages):
    """How many cells strict nbval compares, and how many it is told to ignore."""
    compared = ignored = 0
    for notebook in pages:
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                skip = "nbval-ignore-output" in cell["metadata"].get("tags", [])
                ignored += skip
                compared += bool(cell["outputs"]) and not skip
    return compared, ignored


def render(arguments):
    """Make outputs, results, pictures and the READMEs' numbers anew, on real MNIST.

    Names of chapters ("04") restrict it; ``--stored`` keeps the long studies' numbers.
    """
    frameworks = taken("--frameworks", arguments)
    python, env = set_up(TESTS, frameworks=frameworks), environment()
    if get_data(python, env) != "MNIST":
        sys.exit(
            "render writes what is committed: it needs real MNIST, not the stand-in."
        )
    if not taken("--stored", arguments):
        env["COURSE_STUDY"] = "compute"
    # chapter 10 measures the frameworks' networks too
    pages = chapters(left_out(frameworks, (*WITH_FRAMEWORKS, "10")))
    with tempfile.TemporaryDirectory() as folder:
        for notebook in pages:
            if arguments and notebook.name[:2] not in arguments:
                continue
            for figure in (HERE / "results" / notebook.stem).glob("*.png"):
                figure.unlink()
            seconds = execute(python, notebook, folder, env)
            normalise(Path(folder) / notebook.name, notebook)
            say(f"{notebook.stem:24} {seconds:6.1f} s")
    subprocess.run([python, HERE / "picture" / "draw.py"], env=env, check=True)
    return subprocess.run(
        [python, "-m", "course.results", "--refresh"], env=env, cwd=NOTEBOOKS
    ).returncode


def normalise(executed, notebook):
    """Store an executed notebook with nothing in it that varies from run to run."""
    content = json.loads(executed.read_text("utf-8"))
    content["metadata"] = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    content.update(nbformat=4, nbformat_minor=5)
    for number, cell in enumerate(content["cells"], 1):
        cell["id"] = f"cell-{number:02d}"
        kept = {
            key: cell["metadata"][key]
            for key in ("tags", "jupyter")
            if key in cell["metadata"]
        }
        cell["metadata"] = kept
        if cell["cell_type"] == "code":
            cell["outputs"] = joined(cell["outputs"])
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    notebook.write_text(text, "utf-8", newline="\n")


def joined(outputs):
    """Outputs with what was printed in several pieces, as it came, in one."""
    whole = []
    for output in outputs:
        name = output.get("name")
        if whole and name is not None and whole[-1].get("name") == name:
            text = "".join(whole[-1]["text"] + output["text"])
            whole[-1]["text"] = text.splitlines(keepends=True)
        else:
            whole.append(output)
    return whole


def bench(arguments):
    """Measure speed and memory, and print ratios taken within one run."""
    frameworks = taken("--frameworks", arguments)
    python, env = set_up(TESTS, frameworks=frameworks), environment()
    if get_data(python, env) != "MNIST":
        sys.exit("bench compares figures on real MNIST, and MNIST could not be had.")
    return subprocess.run(
        [python, HERE / "tests" / "bench.py", *arguments], env=env
    ).returncode


COMMANDS = {"lab": lab, "run": run, "test": test, "bench": bench, "render": render}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit("Say what to do:\n\n" + USAGE)
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))


if __name__ == "__main__":
    main()
