"""What the pages showed a moment ago must be what results/ holds.

nbval compares no picture and no file, so these tests do: `tasks.py test` lets the
notebooks write into a folder of their own (COURSE_RESULTS), to compare with results/.
"""

import json
import os
import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from course import figures, mnist, results

STORED = results.STORED
FRESH = Path(os.environ.get("COURSE_RESULTS", "nowhere"))
CHAPTERS = [c for c in results.CHAPTERS if (STORED / c).is_dir()]
by_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
after_run = pytest.mark.skipif(
    not FRESH.is_dir(), reason="`tasks.py test` runs the notebooks first"
)


def files(folder, pattern):
    return {file.name: file for file in folder.glob(pattern)}


def on_mnist():
    return mnist.source() == "MNIST"


def words(contents):
    """The titles and labels of a figure's axes, with # for each number in them."""
    texts = [[*axis["titles"], *axis["labels"]] for axis in contents]
    return [[re.sub(r"\d+(?:[.,]\d+)*", "#", text) for text in axis] for axis in texts]


def same_figure(old, new, on_mnist):
    """Whether two PNG files show the same, as far as another run can show it again.

    A figure that does not repeat has the same axes with the same words; one of other
    data has as many axes.
    """
    if figures.stored_repeats(old) != figures.stored_repeats(new):
        return False
    a, b = figures.stored_contents(old), figures.stored_contents(new)
    if not on_mnist:
        return len(a) == len(b)
    return results.agree(a, b) if figures.stored_repeats(old) else words(a) == words(b)


@after_run
@by_chapter
def test_figures_hold_what_is_committed(chapter):
    stored, fresh = files(STORED / chapter, "*.png"), files(FRESH / chapter, "*.png")
    assert stored and stored.keys() == fresh.keys()
    for name, file in stored.items():
        shown = f"{chapter}/{name} shows something else"
        assert same_figure(file, fresh[name], on_mnist()), shown


@after_run
@by_chapter
def test_pixels_on_the_version_that_drew_them(chapter):
    if not on_mnist():
        pytest.skip("the committed pictures show MNIST")
    compared = 0
    for name, file in files(STORED / chapter, "*.png").items():
        if not figures.stored_repeats(file):
            continue
        with Image.open(file) as old, Image.open(FRESH / chapter / name) as new:
            if f"version{matplotlib.__version__}," in old.info["Software"]:
                a, b = (np.asarray(p.convert("RGB"), dtype=int) for p in (old, new))
                assert a.shape == b.shape, name
                assert np.mean(np.abs(a - b) > 8) < 1e-3, name
                compared += 1
    if not compared:
        pytest.skip("drawn by another version of matplotlib")


@after_run
@by_chapter
def test_metrics_are_those_committed(chapter):
    old, new = (
        json.loads((folder / chapter / "metrics.json").read_text("utf-8"))
        for folder in (STORED, FRESH)
    )
    assert old["data"] == "MNIST" and new["data"] == mnist.source()
    assert old.keys() == new.keys()
    if on_mnist():
        assert results.agree(old, new)


@after_run
@by_chapter
def test_arrays_are_those_committed(chapter):
    stored, fresh = files(STORED / chapter, "*.npz"), files(FRESH / chapter, "*.npz")
    assert stored.keys() == fresh.keys()
    for name, file in stored.items():
        with np.load(file) as old, np.load(fresh[name]) as new:
            assert old.files == new.files
            for key in old.files:
                assert old[key].shape == new[key].shape
                assert not on_mnist() or np.allclose(old[key], new[key], atol=1e-6)


def test_every_file_in_results_belongs_to_a_chapter():
    known = {"metrics.json", "timings.json"}
    for folder in STORED.iterdir():
        if folder.name == "stand-in" or not folder.is_dir():
            continue
        assert folder.name in results.CHAPTERS
        for file in folder.iterdir():
            assert file.name in known or file.suffix in (".png", ".npz", ".json")
            if file.suffix == ".png":
                assert figures.stored_contents(file), f"{file.name} says nothing"


def draw(swap=False, title="t", height=2.0):
    """A small figure of every kind of content."""
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2, 3], [3, 1, 2] if swap else [1, 3, 2])
    left.set_title(title)
    right.bar([0, 1], [1, height])
    right.scatter([0, 1], [1, 1])
    return figure


def test_contents_notice_every_change_and_no_rounding():
    base = figures.contents(draw())
    assert results.agree(base, figures.contents(draw()))
    assert results.agree(base, figures.contents(draw(height=2 + 1e-12)))
    assert not results.agree(base, figures.contents(draw(swap=True)))
    assert not results.agree(base, figures.contents(draw(title="u")))
    assert not results.agree(base, figures.contents(draw(height=2.01)))
    plt.close("all")


def test_contents_notice_one_pixel_among_many():
    image = np.random.default_rng(0).integers(0, 256, (28, 28))
    other = image.copy()
    other[[3, 4]] = other[[4, 3]]
    one, two = (figures.contents(figures.digits(i[None])) for i in (image, other))
    assert not results.agree(one, two)
    plt.close("all")


def test_show_leaves_an_equal_figure_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    figures.show(draw(), "chapter/figure", "a figure for the test")
    file = tmp_path / "chapter" / "figure.png"
    first = file.read_bytes()
    with plt.rc_context({"font.size": 14}):
        figures.show(draw(), "chapter/figure", "a figure for the test")
    assert file.read_bytes() == first
    figures.show(draw(swap=True), "chapter/figure", "a figure for the test")
    assert file.read_bytes() != first


def test_show_leaves_a_figure_alone_that_does_not_repeat(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    alt = "a figure for the test"
    for name, drawing in {
        "stored": draw(title="98.9 %"),
        "trained elsewhere": draw(title="99.1 %", swap=True),
        "other words": draw(title="99.1 % of all"),
    }.items():
        figures.show(drawing, f"chapter/{name}", alt, repeats=False)
    figures.show(draw(title="98.9 %"), "chapter/repeats", alt)
    place = files(tmp_path / "chapter", "*.png")
    stored = place["stored.png"]
    assert figures.stored_repeats(place["repeats.png"])
    assert not figures.stored_repeats(stored)
    assert same_figure(stored, place["trained elsewhere.png"], True)
    assert not same_figure(stored, place["other words.png"], True)
    assert not same_figure(stored, place["repeats.png"], True)
    first = stored.read_bytes()
    figures.show(draw(swap=True, title="u"), "chapter/stored", alt, repeats=False)
    assert stored.read_bytes() == first
    stored.unlink()  # as `tasks.py render` does
    figures.show(draw(swap=True, title="u"), "chapter/stored", alt, repeats=False)
    assert stored.read_bytes() != first


def test_write_leaves_equal_metrics_alone_and_stores_others(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    file = tmp_path / "01_idx_exploration" / "metrics.json"
    results.write("01_idx_exploration", {"loss": 0.25, "ladder": []})
    file.write_text(file.read_text().replace("0.25", "0.2500000001"))
    results.write("01_idx_exploration", {"loss": np.float64(0.25), "ladder": []})
    assert "0.2500000001" in file.read_text()
    results.write("01_idx_exploration", {"loss": 0.26, "ladder": []})
    assert results.read("01_idx_exploration")["loss"] == 0.26


def test_metrics_refuse_what_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    with pytest.raises(ValueError):
        results.write("01_idx_exploration", {"loss": float("nan")})
    with pytest.raises(TypeError):
        results.write("01_idx_exploration", {"loss": object()})


def test_a_chapter_that_was_not_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    monkeypatch.setattr(results, "STORED", tmp_path)
    with pytest.raises(FileNotFoundError, match="04_neural_network has not been run"):
        results.read("04_neural_network")
    with pytest.raises(FileNotFoundError, match="git checkout results"):
        results.study("05_better_training/none", dict)


def test_studies_are_refused_on_the_stand_in(monkeypatch):
    monkeypatch.setenv("COURSE_STUDY", "compute")
    monkeypatch.setattr(mnist, "source", lambda: "stand-in")
    with pytest.raises(RuntimeError, match="real MNIST only"):
        results.study("05_better_training/none", dict)


def test_stand_in_results_have_a_folder_of_their_own(monkeypatch):
    monkeypatch.delenv("COURSE_RESULTS", raising=False)
    monkeypatch.setattr(mnist, "source", lambda: "stand-in")
    assert results.root() == STORED / "stand-in"
    monkeypatch.setattr(mnist, "source", lambda: "MNIST")
    assert results.root() == STORED


def test_arrays_come_back_and_need_no_pickle(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path))
    results.write("04_neural_network", {"ladder": []})
    results.save_arrays("04_neural_network/weights", W=np.eye(3), b=np.zeros(2))
    arrays = results.load_arrays("04_neural_network/weights")
    assert np.array_equal(arrays["W"], np.eye(3)) and list(arrays) == ["W", "b"]
    with pytest.raises(ValueError):
        results.save_arrays("04_neural_network/objects", o=np.array([{}], dtype=object))


def test_table_beside_other_data_holds_nothing_of_mnist(monkeypatch):
    headline = {"model": "ten neurons", "test": 90.0, "spread": 0.0, "seeds": 1}
    metrics = {"data": "stand-in", "headlines": [headline]}
    monkeypatch.setattr(results, "read", lambda chapter: metrics)
    table = results.table()
    assert "90.00 %" in table and "92.03" not in table and "seed" not in table
