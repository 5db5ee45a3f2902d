"""A function that runs in a process of its own."""

import pytest

from course import apart, mnist, results

MODULE = """
import os

import numpy as np

from course.apart import peak_memory


def threads(first, *others):
    return [os.environ["OMP_NUM_THREADS"], first, *others]


def used(mebibytes):
    before = peak_memory()
    held = np.ones(mebibytes * 2**20, np.uint8)
    del held
    return [before, peak_memory()]


def fault():
    raise ValueError("the batch size is 0")


def silent():
    os._exit(3)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module as ``sources.save`` would leave it, in a folder of the test."""
    monkeypatch.setattr(mnist, "source", lambda: "MNIST")
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    results.path("10_speed/tried.py").write_text(MODULE, "utf-8")
    return "10_speed/tried"


def test_arguments_threads_and_result_get_through(module):
    assert apart.run(module, "threads", "é", None, threads=3) == ["3", "é", None]


def test_memory_is_its_own_and_the_peak_stays(module):
    held = bytearray(300 * 2**20)  # of this process, not of the new one
    before, after = apart.run(module, "used", 100)
    assert 99 < after - before < 130 and before < 250 and len(held)
    assert apart.peak_memory() > before


@pytest.mark.parametrize(
    "name, said",
    [
        ("fault", "fault of 10_speed/tried failed .* ValueError: the batch size is 0"),
        ("silent", "silent of .* it ended with 3"),
        ("missing", "missing of .* has no attribute 'missing'"),
    ],
)
def test_a_failure_is_one_sentence(name, said, module):
    with pytest.raises(RuntimeError, match=said) as caught:
        apart.run(module, name)
    assert "\n" not in str(caught.value)
