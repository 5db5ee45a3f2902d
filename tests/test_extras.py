"""A framework that is missing, broken or of another age is told in one sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from course import apart, extras

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LOW, HIGH = extras.bounds(extras.REQUIREMENTS.read_text("utf-8"), "torch")
NOISE = """
import os, sys, warnings
print("noise from Python", file=sys.stderr)
warnings.warn("noise from a warning")
os.write(2, b"noise from C")
"""
MISSING = "raise ModuleNotFoundError('no module', name={!r})"
FAULTS = {  # what stands in the package's __init__.py, and what the page says of it
    "missing": (MISSING.format("torch"), "which is not installed"),
    "too old": ("__version__ = '1.13.1+cpu'", "and 1.13.1\\+cpu is installed"),
    "too new": (f"__version__ = '{HIGH}.0'", f"to below {HIGH}, and {HIGH}.0 is"),
    "half of it": (
        "import a_part_of_torch",
        r"cannot be imported \(No module named 'a_part_of_torch'\)",
    ),
    "no library": (
        "raise OSError('libtorch is missing\\nand more')",
        r"cannot be imported \(libtorch is missing\)",
    ),
    "no reason": ("raise RuntimeError", r"cannot be imported \(RuntimeError\)"),
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that puts a package with this code in front of the true one."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code, package="torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code, "utf-8")

    return write


def errors(notebook):
    """Execute a notebook until it stops; return its error outputs, cell by cell."""
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=120, resources=where).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None for cell in code[1:]), "it went on"
    return code[0].outputs


@pytest.mark.parametrize("code, said", FAULTS.values(), ids=FAULTS)
def test_fault_is_one_sentence(code, said, fake):
    fake(NOISE + code)
    start = "from course import extras\ntorch = extras.need('torch')"
    page = new_notebook(cells=[new_code_cell(start), new_code_cell("1 + 1")])
    (error,) = errors(page)  # no other output: nothing on stderr
    assert error.ename == "Unavailable"
    (text,) = error.traceback
    assert text == error.evalue and "\n" not in text and "Traceback" not in text
    assert re.match(f"This page needs torch,? .*{said}", text)
    assert text.endswith("The README says more.") and "lab --frameworks" in text


@pytest.mark.parametrize("stem, package", [("08_", "torch"), ("09_", "tensorflow")])
def test_page_without_its_framework_ends_at_its_first_cell(stem, package, fake):
    pages = list(NOTEBOOKS.glob(f"{stem}*.ipynb"))
    if not pages:
        pytest.skip("the chapter is not there yet")
    fake(MISSING.format(package), package)
    page = nbformat.read(pages[0], as_version=4)
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (error,) = errors(page)
    assert error.traceback == [
        f"This page needs {package}, which is not installed. {extras.HELP}"
    ]


def python(code):
    """Run code in a Python of its own, in the course's folder."""
    env = dict(os.environ, PYTHONUTF8="1")
    return subprocess.run(
        [sys.executable, "-c", code], cwd=NOTEBOOKS, env=env,
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip


def test_import_is_quiet_and_what_follows_is_not(fake):
    fake(f"{NOISE}\n__version__ = '{LOW}'")
    after = "print('from Python', file=sys.stderr); os.write(2, b'from C')"
    start = f"import os, sys; from course import extras; {after};"
    done = python(f"{start} print(extras.need('torch').__version__); {after}")
    assert done.returncode == 0 and done.stdout.strip() == LOW
    assert "noise" not in done.stderr
    assert done.stderr.count("from Python") == done.stderr.count("from C") == 2


def test_no_console_is_no_obstacle(fake):
    fake(f"__version__ = '{LOW}'")
    code = "import os; from course import extras; os.close(2); extras.need('torch')"
    assert python(code).returncode == 0


def test_chapter_10_measures_no_framework_of_another_age(fake):
    fake("__version__ = '1.13.1'")
    with pytest.raises(RuntimeError, match="Unavailable: This page needs torch from"):
        apart.run("10_speed/trainings", "measure", "784-64-10", "PyTorch", 1)


def test_version_of_a_package_that_does_not_say_it(fake, monkeypatch):
    fake("")
    done = python(
        "from course import extras; extras.metadata.version = lambda name: '1.0';"
        "extras.need('torch')"
    )
    assert "and 1.0 is installed" in done.stderr


def test_requirements_name_what_the_course_asks_for():
    text = extras.REQUIREMENTS.read_text("utf-8")
    for package in ("torch", "tensorflow", "distributed"):
        low, high = extras.bounds(text, package)
        assert extras.numbers(low) < extras.numbers(high)
    assert re.findall(r"tensorflow(?:-cpu)?>=(\S+);", text)[0] == ",<".join(
        extras.bounds(text, "tensorflow")
    )
    with pytest.raises(ValueError, match="does not name jax"):
        extras.bounds(text, "jax")


def test_versions_compare_as_numbers():
    assert extras.numbers("2.13.0+cpu") == (2, 13) > extras.numbers("2.9")
    assert extras.numbers("2.6.0rc1") == (2, 6)
    assert extras.numbers("2026.8.0") < extras.numbers("2027")
