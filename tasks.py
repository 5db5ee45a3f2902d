"""Everything that the course can do, in one command; needs nothing but Python.

    python3 tasks.py lab      set up, get the digits, open JupyterLab on chapter 1
    python3 tasks.py run      execute the whole course without a browser
    python3 tasks.py test     re-execute and check every notebook, then the other tests
    python3 tasks.py bench    measure speed and memory (on MNIST)
    python3 tasks.py render   for maintainers: make all that is computed anew (on MNIST)

On Windows, write ``py tasks.py`` instead.  The packages go to the folder .venv beside
this file; nothing else on the machine is touched.  Further arguments of ``lab`` go to
JupyterLab (``--no-browser``, ``--port 9000``), those of ``test`` to pytest.
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
USAGE = __doc__.split("\n\n")[1]


def say(text):
    """Print at once, whatever the console can show of it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def chapters():
    """The notebooks, in the order of their numbers."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


# ---------------------------------------------------------------- setting up


def pinned_to_the_oldest(text):
    """A requirements file with every lower bound turned into a pin."""
    return re.sub(r">=\s*([\w.]+)[^\n]*", r"==\1", text)


def set_up(files=CORE, oldest=False):
    """Make the virtual environment and fill it, both once; return its Python."""
    folder = HERE / (".venv-oldest" if oldest else ".venv")
    windows = os.name == "nt"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    texts = [(HERE / name).read_text("utf-8") for name in files]
    if oldest:
        texts[0] = pinned_to_the_oldest(texts[0])
    wanted = hashlib.sha256(("\n".join(texts) + sys.version).encode()).hexdigest()
    stamp = folder / (f"installed-{len(files)}")
    if stamp.exists() and stamp.read_text("utf-8") == wanted and works(python):
        return python
    if not works(python):
        make_environment(folder)
    say(f"Installing the packages into {folder.name} (once; a few minutes) ...")
    with tempfile.TemporaryDirectory() as scratch:
        lists = [Path(scratch) / name for name in files]
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
    python, env = set_up(), environment()
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
    python, env = set_up(), environment()
    get_data(python, env)
    with tempfile.TemporaryDirectory() as folder:
        for notebook in chapters():
            seconds = execute(python, notebook, folder, env)
            say(f"{notebook.stem:24} {seconds:6.1f} s")
    return subprocess.run(
        [python, "-m", "course.results"], env=env, cwd=NOTEBOOKS
    ).returncode


def test(arguments):
    """Re-execute every notebook and compare it, then run every other test."""
    oldest = "--oldest" in arguments
    arguments = [argument for argument in arguments if argument != "--oldest"]
    python, env = set_up(TESTS, oldest), environment()
    source = get_data(python, env)
    if source != "MNIST":
        env.setdefault("COURSE_EPOCHS", "1")  # the long trainings, shortened
    lax = source != "MNIST" or os.environ.get("COURSE_LAX") == "1"
    say(
        "Notebooks: every assertion is checked; the outputs are not compared."
        if lax
        else "Notebooks: every assertion is checked, every printed output compared."
    )
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        env["COURSE_RESULTS"] = folder
        # what needs no notebook's results runs meanwhile on the second core
        with open(Path(folder) / "others.txt", "w+", encoding="utf-8") as output:
            others = subprocess.Popen(
                [*pytest, "tests", "--ignore=tests/test_results.py"],
                env=env,
                cwd=HERE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            mode = ["--nbval-lax" if lax else "--nbval", "--nbval-cell-timeout=3600"]
            bad = call([*pytest, *mode, *chapters()], env)
            if not lax:
                compared, ignored = count_outputs()
                say(
                    f"Cells whose output was compared: {compared}. "
                    f"Outputs ignored (timings, float32): {ignored}."
                )
            bad = call([*pytest, "tests/test_results.py"], env) or bad
            bad = others.wait() or bad
            output.seek(0)
            say(output.read())
    say(f"The data was {source}. {'FAILED.' if bad else 'Everything passed.'}")
    return bad


def call(command, env):
    """Run a command in the repository's folder; return its exit status."""
    return subprocess.run(command, env=env, cwd=HERE).returncode


def count_outputs():
    """How many cells strict nbval compares, and how many it is told to ignore."""
    compared = ignored = 0
    for notebook in chapters():
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
    python, env = set_up(TESTS), environment()
    if get_data(python, env) != "MNIST":
        sys.exit(
            "render writes what is committed: it needs real MNIST, not the stand-in."
        )
    if "--stored" not in arguments:
        env["COURSE_STUDY"] = "compute"
    wanted = [argument for argument in arguments if argument != "--stored"]
    with tempfile.TemporaryDirectory() as folder:
        for notebook in chapters():
            if wanted and notebook.name[:2] not in wanted:
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
    python, env = set_up(TESTS), environment()
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
