"""The checkpoints bite: each fault, planted in a copy of a chapter, must stop it.

A chapter is a test only if it fails when it should.  Every fault below replaces text in
a copy of a notebook, which is then executed; an assertion of the page must fail, or the
page must stop with another error.  What the page prints is not looked at.
"""

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from course import results

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ONE, THREE, FOUR = "01_idx_exploration", "03_single_neuron", "04_neural_network"
FAULTS = [
    (ONE, "wrong byte order", 'raw[i : i + 4], "big"', 'raw[i : i + 4], "little"'),
    (ONE, "test set as validation", "= data.validation", "= data.test"),
    (THREE, "lost bias gradient", "db = dz.sum", "db = 0 * dz.sum"),
    (THREE, "missing 1/n", "(sigmoid(z) - t) / len(t)", "(sigmoid(z) - t) / 1"),
    (THREE, "learning rate of 0", "p -= learning_rate * dp", "p -= 0 * dp"),
    (
        THREE,
        "shuffled labels",
        "t, t_validation = np.where(y == 0",
        "t, t_validation = np.where(y[::-1] == 0",
    ),
    (THREE, "test set as validation", "data.validation[", "data.test["),
    (FOUR, "always-open ReLU gate", "dA1 * (Z1 > 0)", "dA1 * 1.0"),
    (FOUR, "lost bias gradient", "db1 = dZ1", "db1 = 0 * dZ1"),
    (FOUR, "missing 1/n", "dlogits /= len(y)", "dlogits /= 1"),
    (FOUR, "transposed product", "= X.T @ dZ1", "= (dZ1.T @ X).reshape(W1.shape)"),
    (FOUR, "learning rate of 0", "P -= learning_rate * dP", "P -= 0 * dP"),
    (FOUR, "shuffled labels", "X[batch], y[batch]", "X[batch], y[batch[::-1]]"),
    (FOUR, "test set as validation", "= data.validation", "= data.test"),
]


def planted(chapter, old, new):
    """A chapter's notebook with ``old`` replaced by ``new`` wherever it stands."""
    notebook = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    hits = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            hits += cell.source.count(old)
            cell.source = cell.source.replace(old, new)
    assert hits, f"{chapter} no longer contains {old!r}: the fault was not planted"
    return notebook


def stopped_by(notebook, folder, monkeypatch):
    """Execute a notebook on a copy of the results; return the name of its error."""
    fresh = os.environ.get("COURSE_RESULTS", results.root())
    shutil.copytree(fresh, folder, ignore=shutil.ignore_patterns("*.png", "stand-in"))
    monkeypatch.setenv("COURSE_RESULTS", str(folder))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(notebook, timeout=600, resources=where)
    try:
        client.execute()
    except CellExecutionError as error:
        return error.ename
    return None


@pytest.mark.parametrize(
    "chapter, old, new",
    [(chapter, old, new) for chapter, _, old, new in FAULTS],
    ids=[f"{chapter[:2]}-{name}" for chapter, name, *_ in FAULTS],
)
def test_fault_stops_the_chapter(chapter, old, new, tmp_path, monkeypatch):
    notebook = planted(chapter, old, new)
    error = stopped_by(notebook, tmp_path / "results", monkeypatch)
    assert error == "AssertionError", f"the chapter went on to its end, or {error}"


def test_a_fault_that_is_none_stops_nothing(tmp_path, monkeypatch):
    """The control: the same machinery runs the untouched chapter 1 to its end."""
    notebook = planted(ONE, "read_idx(raw)", "read_idx(raw)")
    assert stopped_by(notebook, tmp_path / "results", monkeypatch) is None


def test_the_list_is_complete():
    chapters = {chapter for chapter, *_ in FAULTS}
    assert chapters == {ONE, THREE, FOUR} and json.dumps(FAULTS)
