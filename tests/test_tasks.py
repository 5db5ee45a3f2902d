"""`tasks.py` on machines that are not as it wishes."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parents[1]
specification = importlib.util.spec_from_file_location("tasks", HERE / "tasks.py")
tasks = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tasks)


def call(folder, *arguments, code=None, **variables):
    """Run the copy of tasks.py in ``folder``; return its exit status and its words."""
    start = ["-c", code] if code else [folder / "tasks.py"]
    done = subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env=dict(os.environ, PYTHONUTF8="1", **variables),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    """A folder that holds what the set-up needs, under a name with a space and an é."""
    place = tmp_path / "a fresh é"
    place.mkdir()
    for name in ("tasks.py", *tasks.TESTS, tasks.EXTRAS):
        shutil.copy(HERE / name, place)
    return place


def one_sentence(said):
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def test_old_python_gets_one_sentence(folder):
    code = (
        "import sys, runpy; sys.version_info = (3, 8, 1);"
        "runpy.run_path('tasks.py', run_name='__main__')"
    )
    status, said = call(folder, code=code)
    assert status == 1
    assert "needs Python 3.11 or newer, and this is Python 3.8." in one_sentence(said)
    assert len(said.strip().splitlines()) == 1


def test_missing_venv_module_gets_one_sentence(folder):
    code = (
        "import sys, runpy; sys.modules['ensurepip'] = None;"
        "sys.argv = ['tasks.py', 'lab'];"
        "runpy.run_path('tasks.py', run_name='__main__')"
    )
    status, said = call(folder, code=code)
    assert status == 1
    assert "no venv module" in one_sentence(said)


def test_no_network_for_the_packages_gets_one_sentence(folder):
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    status, said = call(folder, "lab", **nowhere)
    assert status == 1
    assert "packages could not be installed. Is there a network?" in one_sentence(said)
    assert not list(folder.glob(".venv/installed-*"))


def test_nothing_to_do_shows_the_commands(folder):
    for arguments in ([], ["dance"]):
        status, said = call(folder, *arguments)
        assert status == 1 and "Traceback" not in said
        assert all(f"tasks.py {command}" in said for command in tasks.COMMANDS)
        assert "--frameworks" in said


def test_second_start_installs_nothing(folder, monkeypatch):
    """The packages are installed once, and again when the list of them changes."""
    monkeypatch.setattr(tasks, "HERE", folder)
    installed = []
    monkeypatch.setattr(tasks, "install", lambda python, lists: installed.append(lists))
    python = tasks.set_up()
    assert python.exists() and len(installed) == 1
    assert tasks.set_up() == python and len(installed) == 1
    list_ = folder / "requirements.txt"
    list_.write_text(list_.read_text("utf-8") + "six>=1\n", "utf-8")
    tasks.set_up()
    assert len(installed) == 2


@pytest.fixture
def lists(folder, monkeypatch):
    """The lists of packages that were installed, each as [(name, text), ...]."""
    monkeypatch.setattr(tasks, "HERE", folder)
    seen = []

    def install(python, files):
        seen.append([(file.name, file.read_text("utf-8")) for file in files])

    monkeypatch.setattr(tasks, "install", install)
    monkeypatch.setattr(tasks, "make_environment", Path.mkdir)
    monkeypatch.setattr(tasks, "works", lambda python: python.parents[1].is_dir())
    return seen


def test_frameworks_have_an_environment_of_their_own(folder, lists):
    assert tasks.set_up().parts[-3] == ".venv"
    assert tasks.set_up(frameworks=True).parts[-3] == ".venv-frameworks"
    tasks.set_up(tasks.TESTS, frameworks=True)
    tasks.set_up(tasks.TESTS, frameworks=True)
    tasks.set_up(frameworks=True)
    core, extras, tests = "requirements.txt", tasks.EXTRAS, tasks.TESTS[1]
    names = [[name for name, _ in files] for files in lists]
    assert names == [[core], [core, extras], [core, tests, extras]]


def test_what_was_installed_by_hand_stays(folder, lists):
    """An environment that is there is filled, never made anew; pip changes no more."""
    tasks.make_environment(folder / ".venv-frameworks")
    mine = folder / ".venv-frameworks" / "by hand"
    mine.touch()
    tasks.set_up(frameworks=True)
    extras = folder / tasks.EXTRAS
    extras.write_text(extras.read_text("utf-8") + "six>=1\n", "utf-8")
    tasks.set_up(frameworks=True)
    assert mine.exists() and len(lists) == 2
    source = (HERE / "tasks.py").read_text("utf-8")
    assert "--upgrade" not in source and "--force" not in source


def test_oldest_pins_every_lower_bound():
    text = tasks.pinned_to_the_oldest((HERE / "requirements.txt").read_text("utf-8"))
    assert "numpy==1.26\n" in text and ">=" not in text and "<" not in text


def test_oldest_keeps_the_markers():
    text = tasks.pinned_to_the_oldest((HERE / tasks.EXTRAS).read_text("utf-8"))
    linux = 'sys_platform == "linux" and platform_machine == "x86_64"'
    other = 'sys_platform != "linux" or platform_machine != "x86_64"'
    assert ">=" not in text and "<" not in text
    assert re.search(r"^torch==[\d.]+$", text, re.M)
    assert re.search(rf"^tensorflow-cpu==[\d.]+; {linux}$", text, re.M)
    assert re.search(rf"^tensorflow==[\d.]+; {other}$", text, re.M)


def test_oldest_frameworks_are_those_that_the_file_begins_with(lists):
    python = tasks.set_up(tasks.TESTS, oldest=True, frameworks=True)
    assert python.parts[-3] == ".venv-frameworks-oldest"
    texts = dict(lists[0])
    assert (
        "numpy==1.26" in texts["requirements.txt"] and "torch==" in texts[tasks.EXTRAS]
    )
    assert "pytest>=" in texts[tasks.TESTS[1]]


def test_render_and_bench_refuse_the_stand_in(monkeypatch):
    monkeypatch.setattr(tasks, "set_up", lambda *_, **__: sys.executable)
    monkeypatch.setattr(tasks, "get_data", lambda *_: "stand-in")
    for command in (tasks.render, tasks.bench):
        with pytest.raises(SystemExit, match="MNIST"):
            command([])


@pytest.mark.parametrize(
    "source, given, used",
    [("stand-in", None, "1"), ("stand-in", "3", "3"), ("MNIST", None, None)],
)
def test_trainings_are_short_on_the_stand_in(source, given, used, monkeypatch):
    seen = []

    def start(command, env, **_):
        seen.append(env.get("COURSE_EPOCHS"))
        return SimpleNamespace(wait=lambda: 0, returncode=0)

    monkeypatch.delenv("COURSE_EPOCHS", raising=False)
    if given:
        monkeypatch.setenv("COURSE_EPOCHS", given)
    monkeypatch.setattr(tasks, "set_up", lambda *_: sys.executable)
    monkeypatch.setattr(tasks, "get_data", lambda *_: source)
    monkeypatch.setattr(tasks.subprocess, "Popen", start)
    monkeypatch.setattr(tasks.subprocess, "run", start)
    assert tasks.test([]) == 0
    assert len(seen) >= 3 and set(seen) == {used}


TEN = [f"{number:02}_page.ipynb" for number in range(1, 11)]
RESULTS = "test_results.py"
EIGHT = [name for name in TEN if name[:2] not in ("08", "09")]


@pytest.fixture
def ten(tmp_path, monkeypatch):
    """Ten chapters, and the log of what would be done with them, and said."""
    (tmp_path / "notebooks").mkdir()
    for name in TEN:
        (tmp_path / "notebooks" / name).write_text(notebook("1"), "utf-8")
    log = SimpleNamespace(done=[], said=[], frameworks=[])

    def set_up(files=(), oldest=False, frameworks=False):
        log.frameworks.append(frameworks)
        return sys.executable

    def started(kind, code=0):
        def start(command, **_):
            names = [Path(word).name for word in command]
            what = [name for name in names if name in (*TEN, "tests", RESULTS)]
            log.done.append((kind, *what))
            wait = lambda: log.done.append(("end", *what)) or code  # noqa: E731
            return SimpleNamespace(returncode=code, wait=wait)

        return start

    def execute(python, page, folder, env):
        log.done.append(page.name)
        shutil.copy(page, folder)
        return 0.0

    monkeypatch.setattr(tasks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tasks, "HERE", tmp_path)
    monkeypatch.setattr(tasks, "set_up", set_up)
    monkeypatch.setattr(tasks, "get_data", lambda *_: "MNIST")
    monkeypatch.setattr(tasks, "say", log.said.append)
    monkeypatch.setattr(tasks, "execute", execute)
    monkeypatch.setattr(tasks.subprocess, "Popen", started("start"))
    monkeypatch.setattr(tasks.subprocess, "run", started("call"))
    log.started = started
    return log


def test_run_leaves_two_chapters_out_and_says_so(ten):
    tasks.run([])
    assert ten.done[:-1] == EIGHT and ten.frameworks == [False]
    (line,) = [line for line in ten.said if "Left out" in line]
    assert "chapters 8 and 9" in line and "--frameworks" in line and "\n" not in line


def test_run_with_frameworks_runs_all(ten):
    tasks.run(["--frameworks"])
    assert ten.done[:-1] == TEN and ten.frameworks == [True]
    assert "Left out" not in " ".join(ten.said)


def test_test_without_frameworks(ten):
    assert tasks.test([]) == 0
    assert ten.done == [
        ("start", "tests", RESULTS),
        ("call", *TEN[:7]),
        ("end", "tests", RESULTS),
        ("call", TEN[9]),
        ("call", RESULTS),
    ]
    assert sum("Left out: chapters 8 and 9" in line for line in ten.said) == 1


def test_test_with_frameworks(ten):
    """Chapters 8 and 9 side by side after those before; chapter 10 with nothing."""
    assert tasks.test(["--frameworks"]) == 0
    assert ten.done == [
        ("start", "tests", RESULTS),
        ("call", *TEN[:7]),
        ("start", TEN[7]),
        ("start", TEN[8]),
        ("end", TEN[7]),
        ("end", TEN[8]),
        ("end", "tests", RESULTS),
        ("call", TEN[9]),
        ("call", RESULTS),
    ]
    assert ten.frameworks == [True] and "Everything passed." in ten.said[-1]


@pytest.mark.parametrize("kind, function", [("start", "Popen"), ("call", "run")])
def test_one_failure_anywhere_fails_the_whole(kind, function, ten, monkeypatch):
    monkeypatch.setattr(tasks.subprocess, function, ten.started(kind, code=1))
    assert tasks.test(["--frameworks"]) == 1
    assert "The data was MNIST. FAILED." in ten.said[-1]


def test_render_leaves_the_last_three_as_they_are(ten):
    tasks.render(["--stored"])
    assert [name for name in ten.done if name in TEN] == TEN[:7]
    assert any("Left out: chapters 8 to 10" in line for line in ten.said)
    ten.done.clear()
    tasks.render(["--frameworks", "08", "10"])
    assert [name for name in ten.done if name in TEN] == [TEN[7], TEN[9]]


def test_lab_opens_chapter_1_in_both_environments(ten):
    for arguments in ([], ["--frameworks"]):
        tasks.lab([*arguments, "--no-browser"])
    assert ten.frameworks == [False, True]
    assert [kind for kind in ten.done if kind[0] == "start"] == [("start", TEN[0])] * 2


def test_what_ran_beside_is_shown_whole_afterwards(capfd):
    code = "import sys; print('out', flush=True); print('\u00e9rr', file=sys.stderr)"
    job = tasks.beside([sys.executable, "-c", f"{code}; sys.exit(3)"], None)
    assert tasks.finish(job, "Both:") == 3
    assert capfd.readouterr().out.split() == ["Both:", "out", "érr"]


def notebook(*sources):
    """A notebook with code cells only, not executed."""
    cells = [
        {"cell_type": "code", "execution_count": None, "id": f"c{number}",
         "metadata": {}, "outputs": [], "source": source}
        for number, source in enumerate(sources)
    ]  # fmt: skip
    return json.dumps(
        {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    )


def test_a_failing_notebook_stops_the_run_with_its_error(tmp_path, monkeypatch):
    bad = tmp_path / "09_bad.ipynb"
    bad.write_text(notebook("assert 1 + 1 == 3, 'the sum is off'"), "utf-8")
    said = []
    monkeypatch.setattr(tasks, "say", said.append)
    with pytest.raises(SystemExit, match="09_bad.ipynb stopped"):
        tasks.execute(sys.executable, bad, tmp_path / "out", tasks.environment())
    assert "the sum is off" in "".join(said)


def test_normalise_keeps_nothing_that_varies(tmp_path):
    page = tmp_path / "09_good.ipynb"
    page.write_text(notebook("1 + 1", "2 + 2"), "utf-8")
    results = []
    for turn in ("a", "b"):
        tasks.execute(sys.executable, page, tmp_path / turn, tasks.environment())
        tasks.normalise(tmp_path / turn / page.name, tmp_path / f"{turn}.ipynb")
        results.append((tmp_path / f"{turn}.ipynb").read_bytes())
    assert results[0] == results[1]
    cells = json.loads(results[0])["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2]
    assert all(cell["metadata"] == {} for cell in cells)


def test_what_was_printed_in_pieces_is_stored_in_one(tmp_path):
    page = tmp_path / "09_good.ipynb"
    slow = "import time\nfor x in 'ab':\n    print(x, end=' ', flush=True)\n"
    page.write_text(notebook(slow + "    time.sleep(0.5)\nprint()"), "utf-8")
    tasks.execute(sys.executable, page, tmp_path / "run", tasks.environment())
    executed = tmp_path / "run" / page.name
    pieces = json.loads(executed.read_text("utf-8"))["cells"][0]["outputs"]
    tasks.normalise(executed, page)
    (output,) = json.loads(page.read_text("utf-8"))["cells"][0]["outputs"]
    assert len(pieces) > 1 and output["text"] == ["a b \n"]
