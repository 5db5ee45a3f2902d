"""What a page defines is stored as it stands, and can be loaded without the page."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from course import results, sources

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
IMPORTS = "import functools\n\nimport numpy as np"

FIRST = '''import functools

import numpy as np

from course import results, sources

%config InlineBackend.figure_format = "png"


def double(x):
    """The first version, which a later cell replaces."""
    return 3 * x'''
FUNCTIONS = '''@functools.cache
def table(n,  m):  # fmt: skip
    """The products up to n times m."""
    return np.outer(
        np.arange(1, n + 1), np.arange(1, m + 1)
    )  # fmt: skip


def double(x):
    """Replaced within its cell."""
    return 4 * x


def double(x):
    """Twice x."""
    return 2 * x'''
CLASSES = '''@functools.total_ordering
class Size:
    """A size that can be compared."""

    UNIT = "cm"  # kept with its comment

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other.value

    def __lt__(self, other):
        return self.value < other.value'''


def executed(folder, monkeypatch, *cells, history=True):
    """Run cells in a kernel that writes to ``folder``; return the notebook.

    nbval runs them without ``history``: then the kernel's list of inputs stays empty.
    """
    monkeypatch.setenv("COURSE_RESULTS", str(folder))
    monkeypatch.setenv("MNIST_MIRROR", "none")
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(notebook, timeout=120, resources=where)
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index, store_history=history)
    return notebook


@pytest.mark.parametrize("history", [True, False])
def test_definitions_come_back_as_they_stand(tmp_path, monkeypatch, history):
    save = f"sources.save('08_pytorch/networks', '''{IMPORTS}''', table, double, Size)"
    again = f"before = sources.find('08_pytorch/networks').stat()\n{save}\n" + (
        "after = sources.find('08_pytorch/networks').stat()\n"
        "assert before.st_mtime_ns == after.st_mtime_ns, 'written twice'"
    )
    cells = FIRST, FUNCTIONS, CLASSES, save, again
    executed(tmp_path, monkeypatch, *cells, history=history)
    text = (tmp_path / "08_pytorch" / "networks.py").read_text("utf-8")
    assert text.startswith('"""Written by notebooks/08_pytorch.ipynb')
    assert FUNCTIONS.split("\n\n\n")[0] in text and CLASSES in text
    assert "first version" not in text and "Replaced" not in text

    module = sources.load("08_pytorch/networks")
    assert np.array_equal(module.table(2, 3), [[1, 2, 3], [2, 4, 6]])
    assert module.double(5) == 10 and module.Size(2) > module.Size(1)
    assert '"""Twice x."""' in inspect.getsource(module.double)
    assert [file.name for file in (tmp_path / "08_pytorch").iterdir()] == [
        "networks.py"
    ]


def test_what_was_saved_anew_is_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    file = results.path("06_convolution/network.py")
    for value in (1, 2):  # of one length, and within one second
        file.write_text(f"VALUE = {value}\n", "utf-8")
        assert sources.load("06_convolution/network").VALUE == value


def test_a_name_that_no_cell_defines_is_named(tmp_path, monkeypatch):
    with pytest.raises(CellExecutionError, match="No cell of this page defines 'join'"):
        executed(tmp_path, monkeypatch, FIRST, "sources.definition('join')")


def test_a_missing_file_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    monkeypatch.setattr(results, "STORED", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as caught:
        sources.load("06_convolution/network")
    assert str(caught.value) == (
        "results/06_convolution/network.py is missing. Open "
        "notebooks/06_convolution.ipynb and run it, or bring it back with "
        "`git checkout results`."
    )


def test_sources_are_shown_below_their_names(tmp_path, monkeypatch):
    cells = ["from course import figures, sources\nsources.show(figures.label_end)"]
    (output,) = executed(tmp_path, monkeypatch, *cells).cells[0].outputs
    shown = output["data"]["text/markdown"]
    assert shown.startswith("```python\n# label_end\ndef label_end(")


def test_lines_of_code_are_counted_without_what_only_people_read():
    text = '''def double(x):
    """Twice x,

    on three lines."""

    # a remark
    text = """kept: a string
    that is used"""
    return (2 *
            x)  # another


class Empty:
    "A docstring."
'''
    assert sources.count(text) == 6
    assert sources.count("# nothing\n\n") == 0
