"""`tasks.py` on machines that are not as it wishes."""

import importlib.util
import json
import os
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
    for name in ("tasks.py", *tasks.TESTS):
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


def test_oldest_pins_every_lower_bound():
    text = tasks.pinned_to_the_oldest((HERE / "requirements.txt").read_text("utf-8"))
    assert "numpy==1.26\n" in text and ">=" not in text and "<" not in text


def test_render_and_bench_refuse_the_stand_in(monkeypatch):
    monkeypatch.setattr(tasks, "set_up", lambda *_: sys.executable)
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
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.delenv("COURSE_EPOCHS", raising=False)
    if given:
        monkeypatch.setenv("COURSE_EPOCHS", given)
    monkeypatch.setattr(tasks, "set_up", lambda *_: sys.executable)
    monkeypatch.setattr(tasks, "get_data", lambda *_: source)
    monkeypatch.setattr(tasks.subprocess, "Popen", start)
    monkeypatch.setattr(tasks, "call", lambda *arguments: start(*arguments).wait())
    assert tasks.test([]) == 0
    assert seen == [used] * 3


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
