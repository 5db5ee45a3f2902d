"""The stand-in: its format, its sources, its looks, and how it gets on the disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from course import idx, standin

NOTEBOOKS = Path(standin.__file__).parents[1]
COUNTS = {"train": 1_200, "validation": 300, "test": 360}
TINY = f"""
import os, pathlib, sys, time
import numpy as np
sys.path.insert(0, {str(NOTEBOOKS)!r})
from course import standin

def generate():
    print("Making", flush=True)
    time.sleep(0.2)
    return dict.fromkeys(standin.FILES, np.zeros(1_000_000, np.uint8))

standin.FOLDER = pathlib.Path(sys.argv[1])
standin.generate = generate
"""


def start(code, folder):
    """Start a Python of its own, with a stand-in of zeros in ``folder``."""
    command = [sys.executable, "-c", TINY + code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def made():
    """A small stand-in in memory, by role."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "COUNTS", COUNTS)
        return standin.generate()


@pytest.fixture
def times(tmp_path, monkeypatch, made):
    """A folder of the test's own; the list grows each time the files are made."""
    times = []

    def generate():
        times.append("made")
        return made

    monkeypatch.setattr(standin, "FOLDER", tmp_path / "stand-in é")
    monkeypatch.setattr(standin, "generate", generate)
    return times


def test_size_is_mnists():
    assert standin.COUNTS == {"train": 50_000, "validation": 10_000, "test": 10_000}


def test_sources_are_disjoint_and_whole():
    splits = standin.sources()
    assert [len(labels) for _, labels in splits.values()] == [1197, 240, 360]
    seen = [set(map(bytes, images)) for images, _ in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 1797
    for _, labels in splits.values():
        counts = np.bincount(labels, minlength=10)
        assert counts.min() > 0.9 * counts.mean()


def test_every_image_comes_from_the_sources_of_its_split(monkeypatch):
    """``vary`` is given one split's sources at a time, in the order of the files."""
    given = []

    def vary(images, labels, count, rng, step):
        given.append((len(images), count))
        return np.zeros((count, 28, 28), np.uint8), np.resize(labels, count)

    monkeypatch.setattr(standin, "vary", vary)
    arrays = standin.generate()
    assert given == [(1197, 50_000), (240, 10_000), (360, 10_000)]
    expected = standin.sources()
    validation = np.resize(expected["validation"][1], 10_000)
    assert np.array_equal(arrays["train-labels"][50_000:], validation)
    assert np.array_equal(arrays["t10k-labels"], np.resize(expected["test"][1], 10_000))


def test_same_seed_same_bytes(made, monkeypatch):
    monkeypatch.setattr(standin, "COUNTS", COUNTS)
    again = standin.generate()
    assert all(np.array_equal(made[role], again[role]) for role in standin.FILES)


def test_another_seed_gives_other_images():
    images, labels = standin.sources()["test"]
    one, _ = standin.vary(images, labels, 5, np.random.default_rng(1))
    two, _ = standin.vary(images, labels, 5, np.random.default_rng(2))
    assert not np.array_equal(one, two)


def test_every_source_is_drawn_equally_often_and_shuffled():
    images, labels = standin.sources()["test"]
    _, drawn = standin.vary(images, labels, 720, np.random.default_rng(0))
    assert np.array_equal(np.bincount(drawn), 2 * np.bincount(labels))
    assert (np.diff(drawn.astype(int)) != 0).mean() > 0.8


def test_arrays(made):
    assert made["train-images"].shape == (1_500, 28, 28)
    assert made["t10k-images"].shape == (360, 28, 28)
    for role, array in made.items():
        assert array.dtype == np.uint8
        if role.endswith("labels"):
            assert set(array) == set(range(10))
            assert len(array) == len(made[role.replace("labels", "images")])


def test_looks_like_mnist(made):
    """Black background, white strokes, one digit in the middle of every image."""
    images = made["train-images"].astype(float)
    assert 0.75 < (images == 0).mean() < 0.85
    assert 28 < images.mean() < 38
    assert np.all(images.max(axis=(1, 2)) > 180)
    assert np.all(images[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0)
    ink = images.sum(axis=(1, 2))
    assert np.all(ink > 0)
    for axis in (1, 2):
        centre = images.sum(axis=axis) @ np.arange(28) / ink
        assert np.all(np.abs(centre - 14) < 2)
        assert abs(centre.mean() - 14) < 0.1


def test_nearest_mean_recognises_most(made):
    X, y = made["train-images"][:1_200].reshape(1_200, -1) / 255, made["train-labels"]
    means = np.stack([X[y[:1_200] == digit].mean(axis=0) for digit in range(10)])
    X_test = made["t10k-images"].reshape(360, -1) / 255
    distances = np.square(X_test[:, None] - means).sum(axis=2)
    assert (distances.argmin(axis=1) == made["t10k-labels"]).mean() > 0.75


def test_files_are_idx_and_made_once(times, made):
    for role, array in made.items():
        file = standin.path(role)
        assert np.array_equal(idx.read(file), array)
        assert file.name.startswith("stand-in-") and file.parent == standin.FOLDER
    assert len(times) == 1
    assert not list(standin.FOLDER.glob("*.part"))


@pytest.mark.parametrize("harm", ["cut", "changed", "removed", "recipe", "record"])
def test_what_is_not_whole_is_made_anew(times, made, monkeypatch, harm):
    file = standin.path("t10k-labels")
    content = file.read_bytes()
    if harm == "cut":
        file.write_bytes(content[:100])
    elif harm == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "removed":
        file.unlink()
    elif harm == "recipe":
        monkeypatch.setattr(standin, "RECIPE", "another")
    elif harm == "record":
        (standin.FOLDER / "made.json").write_text("[]")
    assert np.array_equal(idx.read(standin.path("t10k-labels")), made["t10k-labels"])
    assert len(times) == 2


def test_unknown_role(times):
    with pytest.raises(KeyError):
        standin.path("training-images")
    assert not times


def test_four_first_runs_at_once(tmp_path):
    """All four succeed, and one of them makes the files."""
    code = "print(standin.path('train-images').stat().st_size)"
    runs = [start(code, tmp_path / "stand-in") for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0].split() for process in runs]
    assert [process.returncode for process in runs] == [0] * 4
    assert {int(output[-1]) for output in outputs} == {8 + 1_000_000}
    assert sum(b"Making" in output for output in outputs) == 1


@pytest.mark.parametrize("renamed", range(5))
def test_interrupted(times, made, monkeypatch, renamed):
    """Stopped before its n-th renaming: what has a final name is whole."""
    left, replace = [renamed], os.replace

    def interrupted(*names):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        standin.path("train-images")
    final = [role for role in made if (standin.FOLDER / standin.FILES[role]).exists()]
    assert len(final) == renamed
    for role in final:
        content = idx.read(standin.FOLDER / standin.FILES[role])
        assert np.array_equal(content, made[role])
    standin.path("train-images")
    assert not list(standin.FOLDER.glob("*.part"))


def test_killed(tmp_path, times, made, monkeypatch):
    """A run that was killed holds no lock; the next one makes the files."""
    monkeypatch.setattr(standin, "FOLDER", tmp_path)
    code = "os.replace = lambda *names: os._exit(9)\nstandin.path('train-images')"
    process = start(code, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert len(list(tmp_path.glob("*.part"))) == 1
    assert np.array_equal(idx.read(standin.path("train-images")), made["train-images"])
    assert times == ["made"]
    assert not list(tmp_path.glob("*.part"))


def test_leaves_the_real_data_alone(times):
    raw = NOTEBOOKS.parent / "data" / "raw"

    def state():
        return {file.name: file.stat().st_mtime_ns for file in raw.glob("*")}

    before = state()
    standin.path("train-images")
    assert state() == before
    assert times == ["made"]
