"""What the pages showed a moment ago must be what results/ holds.

nbval compares no picture and no file, so these tests do: `tasks.py test` lets the
notebooks write into a folder of their own (COURSE_RESULTS), to compare with results/.
"""

import io
import json
import os
import re
import zipfile
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
WITHOUT = [c for c in ("08_pytorch", "09_tensorflow") if not (FRESH / c).is_dir()]
by_chapter = pytest.mark.parametrize(
    "chapter",
    [
        pytest.param(c, marks=pytest.mark.skipif(c in WITHOUT, reason="--frameworks"))
        for c in CHAPTERS
    ],
)
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
                a, b = old[key], new[key]
                assert a.dtype == b.dtype and a.shape == b.shape
                numbers = a.dtype.kind == "f"
                equal = (
                    np.allclose(a, b, atol=1e-6) if numbers else np.array_equal(a, b)
                )
                assert equal or not on_mnist(), f"{chapter}/{name}: {key}"


@after_run
@by_chapter
def test_sources_are_those_committed(chapter):
    stored, fresh = files(STORED / chapter, "*.py"), files(FRESH / chapter, "*.py")
    assert stored.keys() == fresh.keys()
    for name, file in stored.items():  # they do not depend on the data
        assert file.read_text("utf-8") == fresh[name].read_text("utf-8"), name


def test_every_file_in_results_belongs_to_a_chapter():
    known = {"metrics.json", "timings.json"}
    for folder in STORED.iterdir():
        if folder.name == "stand-in" or not folder.is_dir():
            continue
        assert folder.name in results.CHAPTERS
        for file in folder.iterdir():
            assert file.name in known or file.suffix in (".png", ".npz", ".json", ".py")
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


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """The name of a chapter that has stored its start, in results of its own."""
    monkeypatch.delenv("COURSE_RESULTS", raising=False)
    monkeypatch.setattr(mnist, "source", lambda: "MNIST")
    monkeypatch.setattr(results, "STORED", tmp_path / "results")
    monkeypatch.setattr(results, "REPOSITORY", tmp_path)
    rng = np.random.default_rng(6)
    W = rng.normal(size=(3, 2)).astype(np.float32)
    results.write("06_convolution", {"ladder": []})
    results.save_start("06_convolution", [W, np.zeros(2, np.float32)], rng)
    return "06_convolution"


def start_of(chapter):
    return results.STORED / chapter / "start.npz"


def test_start_comes_back_and_its_generator_goes_on(chapter):
    rng = np.random.default_rng(6)
    W = rng.normal(size=(3, 2)).astype(np.float32)
    for _ in range(2):  # each time from the same state
        (P, b), again = results.load_start(chapter)
        assert P.dtype == np.float32 and np.array_equal(P, W) and b.shape == (2,)
        expected = np.random.default_rng(6)
        expected.normal(size=(3, 2))
        assert np.array_equal(again.permutation(99), expected.permutation(99))
        assert again.random() == expected.random()
    assert rng.random() != np.random.default_rng(6).random()


def test_start_keeps_the_order_of_many_parameters(chapter):
    many = [np.full(index + 1, index) for index in range(16)]
    results.save_start(chapter, many, np.random.default_rng(0))
    for P, loaded in zip(many, results.load_start(chapter)[0], strict=True):
        assert np.array_equal(P, loaded)


@pytest.mark.parametrize(
    "dtype, change, kept",
    [(np.float32, 3e-7, True), (np.float32, 1e-4, False),
     (np.float64, 3e-10, True), (np.float64, 1e-6, False),
     (np.int64, 0, True), (np.int64, 1, False)],
)  # fmt: skip
def test_arrays_that_agree_are_left_alone(dtype, change, kept, chapter):
    file = results.path(f"{chapter}/weights.npz")
    results.save_arrays(f"{chapter}/weights", W=np.ones(3, dtype))
    first = file.read_bytes(), file.stat().st_mtime_ns
    results.save_arrays(f"{chapter}/weights", W=np.ones(3, dtype) + dtype(change))
    assert ((file.read_bytes(), file.stat().st_mtime_ns) == first) == kept


def test_arrays_of_other_names_shapes_or_types_are_stored_anew(chapter):
    name = f"{chapter}/weights"
    results.save_arrays(name, W=np.ones(3))
    for other in (np.ones((3, 1)), np.ones(3, np.float32), np.array("1.0")):
        results.save_arrays(name, W=other)
        assert results.same_array(results.load_arrays(name)["W"], other)
    results.save_arrays(name, V=np.ones(3))
    assert list(results.load_arrays(name)) == ["V"]


def pickled():
    """The bytes of an .npz file with an object in it, which needs pickle."""
    content = io.BytesIO()
    np.savez(content, P00=np.array([{}], dtype=object), generator=np.array("{}"))
    return content.getvalue()


def bare():
    """The bytes of an .npy file, one array without a name."""
    content = io.BytesIO()
    np.save(content, np.ones(3))
    return content.getvalue()


def zipped():
    """The bytes of a ZIP file with a text in the place of an array."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("P00.npy", "no array")
    return content.getvalue()


DAMAGES = {
    "cut off": lambda content: content[: len(content) // 2],
    "one byte": lambda content: content[:150] + b"?" + content[151:],
    "a text": lambda content: b"<html>Log in to download</html>",
    "nothing": lambda content: b"",
    "a pickle": lambda content: pickled(),
    "one array": lambda content: bare(),
    "another ZIP": lambda content: zipped(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_start_is_named_with_what_to_do(damage, chapter):
    file = start_of(chapter)
    parameters, rng = results.load_start(chapter)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError) as caught:
        results.load_start(chapter)
    assert str(caught.value) == (
        "results/06_convolution/start.npz is damaged, or no file of arrays. Open "
        "notebooks/06_convolution.ipynb and run it, or bring the file back with "
        "`git checkout results`."
    )
    results.save_start(chapter, parameters, rng)  # as running the chapter does
    assert np.array_equal(results.load_start(chapter)[0][0], parameters[0])


def test_missing_start_is_named_with_what_to_do(chapter):
    start_of(chapter).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        results.load_start(chapter)
    assert str(caught.value) == (
        "results/06_convolution/start.npz is missing. Open "
        "notebooks/06_convolution.ipynb and run it, or bring the file back with "
        "`git checkout results`."
    )
    with pytest.raises(FileNotFoundError, match="07_alexnet has not been run"):
        results.load_start("07_alexnet")


STATE = json.dumps(np.random.default_rng(0).bit_generator.state)
WRONG = {
    "weights of another kind": {"W1": np.ones(3), "b1": np.ones(1)},
    "no generator": {"P00": np.ones(3)},
    "no parameters": {"generator": np.array("{}")},
    "a generator of numbers": {"P00": np.ones(3), "generator": np.ones(3)},
    "half a state": {"P00": np.ones(3), "generator": np.array(STATE[:40])},
    "another generator": {
        "P00": np.ones(3),
        "generator": np.array(STATE.replace("PCG64", "MT19937")),
    },
    "a gap": {
        "P00": np.ones(3),
        "P02": np.ones(3),
        "generator": np.array(STATE),
    },
}


@pytest.mark.parametrize("arrays", WRONG.values(), ids=WRONG)
def test_wrong_start_is_named_with_what_to_do(arrays, chapter):
    results.save_arrays(f"{chapter}/start", **arrays)
    with pytest.raises(ValueError) as caught:
        results.load_start(chapter)
    assert str(caught.value) == (
        f"start.npz of 06_convolution holds {', '.join(sorted(arrays))}, which is not "
        f"the start of a training. Open notebooks/06_convolution.ipynb and run it."
    )


def test_start_on_mnist_is_never_loaded_on_the_stand_in(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "source", lambda: "stand-in")
    with pytest.raises(FileNotFoundError, match=r"on this data \(stand-in\) yet"):
        results.load_start(chapter)
    results.write(chapter, {"ladder": []})  # run there, but its file has gone
    with pytest.raises(FileNotFoundError) as caught:
        results.load_start(chapter)
    assert str(caught.value) == (
        "results/stand-in/06_convolution/start.npz is missing. Open "
        "notebooks/06_convolution.ipynb and run it."
    )
    results.save_start(chapter, [np.full(1, 7.0)], np.random.default_rng(0))
    assert results.load_start(chapter)[0] == [7.0]
    # not from a folder that a run on MNIST was given, either
    monkeypatch.setattr(results, "STORED", tmp_path / "nowhere")
    monkeypatch.setenv("COURSE_RESULTS", str(tmp_path / "results"))
    with pytest.raises(FileNotFoundError, match="has not been run on this data"):
        results.load_start(chapter)


def test_damaged_metrics_are_written_anew(chapter):
    file = results.path(f"{chapter}/metrics.json")
    file.write_text('{"data": "MN', "utf-8")
    results.write(chapter, {"ladder": []})
    assert results.read(chapter) == {"data": "MNIST", "ladder": []}


def test_table_and_ladder_leave_out_what_has_no_rows(chapter):
    line = {"model": "LeNet-5", "test": 99.27, "spread": 0.12, "seeds": 3}
    ladder = [["LeNet-5", 99.1]]
    results.write("06_convolution", {"ladder": ladder, "headlines": [line]})
    before = results.table(), results.ladder(results.CHAPTERS[-1])
    assert "99.27" in before[0] and "99.10" in before[1]
    results.write("08_pytorch", {"ladder": [], "headlines": []})
    results.write("10_speed", {"twelve": []})
    assert (results.table(), results.ladder(results.CHAPTERS[-1])) == before


def test_table_of_twelve_in_both_languages(chapter):
    assert results.twelve() == ""
    lines = [
        {"network": "ten neurons", "implementation": "NumPy", "test": 91.94,
         "spread": 0.0, "seeds": 1, "relative": 1, "parameters": 7850, "lines": 20},
        {"network": "LeNet-5", "implementation": "PyTorch", "test": 99.274,
         "spread": 0.123, "seeds": 3, "relative": 1234.56, "parameters": 61706,
         "lines": 30},
    ]  # fmt: skip
    results.write("10_speed", {"twelve": lines})
    assert results.twelve().splitlines()[2:] == [
        "| ten neurons | NumPy | 91.94 % | 1.0 | 7,850 |",
        "| LeNet-5 | PyTorch | 99.27 % (3 seeds, spread 0.12) | 1,234.6 | 61,706 |",
    ]
    assert results.twelve("README.fr.md").splitlines()[2:] == [
        "| dix neurones | NumPy | 91,94 % | 1,0 | 7\u202f850 |",
        "| LeNet-5 | PyTorch | 99,27 % (3 graines, écart-type 0,12) | 1\u202f234,6 | "
        "61\u202f706 |",
    ]


def test_readme_is_filled_between_its_marks_only(chapter):
    line = {"network": "LeNet-5", "implementation": "PyTorch", "test": 99.0,
            "spread": 0.0, "seeds": 1, "relative": 1, "parameters": 6}  # fmt: skip
    readme = results.REPOSITORY / "README.md"
    readme.write_text("a\n<!-- results -->old<!-- /results -->\nb\n", "utf-8")
    without = results.filled("README.md")
    assert "old" not in without and results.table() in without
    results.write("10_speed", {"twelve": [line]})
    assert results.filled("README.md") == without
    readme.write_text(f"{without}<!-- twelve -->old<!-- /twelve -->\nc\n", "utf-8")
    assert results.filled("README.md") == (
        f"{without}<!-- twelve -->\n\n{results.twelve()}\n\n<!-- /twelve -->\nc\n"
    )


def test_table_beside_other_data_holds_nothing_of_mnist(monkeypatch):
    headline = {"model": "ten neurons", "test": 90.0, "spread": 0.0, "seeds": 1}
    metrics = {"data": "stand-in", "headlines": [headline]}
    monkeypatch.setattr(results, "read", lambda chapter: metrics)
    table = results.table()
    assert "90.00 %" in table and "92.03" not in table and "seed" not in table
