"""Which file is found in data/raw, what is refused, and what ``load`` returns."""

import functools
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import misbehaving_server as servers
import numpy as np
import pytest
from misbehaving_server import ARRAYS, CONTENT, FILES, NAMES, Server

from course import idx, mnist

COURSE = Path(mnist.__file__).resolve().parent
README = COURSE.parents[1] / "data" / "README.md"
PUBLISHED, RAW = mnist.FILES, mnist.RAW  # before a test replaces them
SPELLINGS = [
    lambda name: name,
    lambda name: name.replace("-idx", ".idx"),
    lambda name: name + ".gz",
    lambda name: name.replace("-idx", ".idx") + ".gz",
]


@pytest.fixture(autouse=True)
def raw(monkeypatch, tmp_path):
    """A data/raw with the four files of the small MNIST, and no mirrors."""
    with servers.small_mnist(monkeypatch, tmp_path) as raw:
        raw.mkdir()
        for role, content in CONTENT.items():
            (raw / NAMES[role]).write_bytes(content)
        yield raw


def state(raw):
    """Every file in data/raw with its content and the time of its last change."""
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in raw.iterdir()
        if file.is_file() and file.name != "download.lock"
    }


def test_load_returns_the_splits(raw, capsys):
    digits = mnist.load()
    line = "MNIST: 60,000 + 10,000 handwritten digits, every file verified.\n"
    assert capsys.readouterr() == (line, "")
    assert digits.source == mnist.source() == "MNIST"
    X, y = ARRAYS["train-images"], ARRAYS["train-labels"]
    expected = {
        "train": (X[:50], y[:50]),
        "validation": (X[50:], y[50:]),
        "train_and_validation": (X, y),
        "test": (ARRAYS["t10k-images"], ARRAYS["t10k-labels"]),
    }
    for split, pair in expected.items():
        for array, wanted in zip(getattr(digits, split), pair):
            assert array.dtype == np.uint8 and not array.flags.writeable
            np.testing.assert_array_equal(array, wanted)
    assert np.shares_memory(digits.train[0], digits.train_and_validation[0])


def test_load_is_the_stand_in_in_the_same_form(raw, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", "None")
    digits = mnist.load()  # though MNIST is there
    assert digits.source == mnist.source() == "stand-in"
    np.testing.assert_array_equal(digits.test[0], ARRAYS["t10k-images"])
    assert not digits.test[0].flags.writeable
    assert mnist.path("t10k-labels").parent.name == "stand-in"


def test_epochs_are_fewer_on_the_stand_in_only(raw, monkeypatch):
    monkeypatch.setenv("COURSE_EPOCHS", "3")
    assert mnist.source() == "MNIST" and mnist.epochs(12) == 12
    monkeypatch.setattr(mnist, "source", lambda: "stand-in")
    assert [mnist.epochs(wanted) for wanted in (12, 3, 2)] == [3, 3, 2]
    monkeypatch.delenv("COURSE_EPOCHS")
    assert mnist.epochs(12) == 12


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "one", "²"])
def test_epochs_refuse_what_is_no_count(value, monkeypatch):
    monkeypatch.setenv("COURSE_EPOCHS", value)
    monkeypatch.setattr(mnist, "source", lambda: "stand-in")
    with pytest.raises(ValueError, match="COURSE_EPOCHS is .* whole number from 1 up"):
        mnist.epochs(12)


@pytest.mark.parametrize(
    "role, wrong, words",
    [
        ("train-images", lambda array: array[:, 0, 0], "these are labels"),
        ("t10k-labels", lambda array: array[:-1], "labels for"),
        ("t10k-labels", lambda array: array + np.uint8(10), "at most 9"),
    ],
)
def test_load_refuses_what_does_not_belong_together(role, wrong, words, monkeypatch):
    parse = idx.parse

    def parsed(content, name):
        array = parse(content, name)
        return wrong(array) if name == role else array

    monkeypatch.setattr(idx, "parse", parsed)
    with pytest.raises(idx.IdxError, match=words):
        mnist.load()


@pytest.mark.parametrize("spelling", range(4))
def test_every_spelling_is_found(spelling, raw):
    for name in NAMES.values():
        new = raw / SPELLINGS[spelling](name)
        content = (raw / name).read_bytes()
        (raw / name).unlink()
        new.write_bytes(gzip.compress(content) if new.suffix == ".gz" else content)
    before = state(raw)
    assert mnist.get() == "MNIST"
    digits = mnist.load()
    np.testing.assert_array_equal(digits.test[0], ARRAYS["t10k-images"])
    assert state(raw) == before

    for role, content in CONTENT.items():
        assert mnist.path(role).read_bytes() == content  # always uncompressed
    after = state(raw)
    assert {name: after[name] for name in before} == before  # what was there stays


def test_the_first_spelling_counts(raw):
    name = NAMES["train-images"]
    (raw / f"{name}.gz").write_bytes(b"ignored beside the plain file")
    assert mnist.path("train-images") == raw / name
    mnist.load()
    (raw / name).write_bytes(b"wrong")
    (raw / f"{name}.gz").write_bytes(gzip.compress(CONTENT["train-images"]))
    with pytest.raises(mnist.MnistError, match=re.escape(str(raw / name))):
        mnist.load()


def test_a_folder_of_the_name_beside_the_file(raw):
    name = NAMES["train-images"]
    (raw / name).rename(raw / name.replace("-idx", ".idx"))
    (raw / name).mkdir()
    assert mnist.path("train-images").name == "train-images.idx3-ubyte"
    mnist.load()
    mnist.path("train-images").unlink()
    (raw / f"{name}.gz").write_bytes(gzip.compress(CONTENT["train-images"]))
    mnist.load()
    with pytest.raises(mnist.MnistError, match="cannot be written"):
        mnist.path("train-images")  # the folder is where it would be unpacked
    (raw / f"{name}.gz").unlink()
    with pytest.raises(mnist.MnistError, match="folder"):
        mnist.load()


@functools.cache
def wrong_files():
    """Content that does not belong under the name of the training images."""
    right = CONTENT["train-images"]
    flipped = bytearray(right)
    flipped[-1] ^= 1
    broken = bytearray(gzip.compress(right))
    broken[-8] ^= 1  # the checksum of gzip itself
    return {
        "empty": b"",
        "cut": right[:-1],
        "longer": right + b"\0",
        "one bit": bytes(flipped),
        "test images": CONTENT["t10k-images"],
        "labels": CONTENT["train-labels"],
        "page": b"<!DOCTYPE html><title>Welcome</title>",
        "broken gzip": bytes(broken),
        "cut gzip": gzip.compress(right)[:-9],
        "bomb": gzip.compress(bytes(100 * 2**20)),
        "bomb with a header": gzip.compress(
            idx.to_bytes(np.zeros((200_000, 28, 28), np.uint8))
        ),
    }


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("fault", wrong_files())
def test_a_wrong_file_is_refused_and_left_alone(fault, suffix, raw, monkeypatch):
    good = Server(servers.good)
    wrong = raw / (NAMES["train-images"] + suffix)
    (raw / NAMES["train-images"]).unlink()
    wrong.write_bytes(wrong_files()[fault])
    before = state(raw)
    with good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        for call in (mnist.load, mnist.get, lambda: mnist.path("train-images")):
            tracemalloc.start()
            with pytest.raises(mnist.MnistError) as error:
                call()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            message = str(error.value)
            assert str(wrong) in message and "moved it away or deleted it" in message
            assert peak < 64 * 2**20
    if fault == "test images":
        assert "but that of t10k-images-idx3-ubyte" in message
    assert state(raw) == before
    assert not good.asked


def test_a_far_too_large_file_is_not_read(raw):
    header = bytes([0, 0, 8, 3]) + np.array([260_000, 28, 28], ">u4").tobytes()
    with open(raw / NAMES["train-images"], "wb") as file:
        file.write(header)
        file.truncate(len(header) + 260_000 * 28 * 28)  # 200 MB of zeros
    tracemalloc.start()
    with pytest.raises(mnist.MnistError):
        mnist.load()
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


def test_a_wrong_file_is_reported_before_a_download(raw, monkeypatch):
    (raw / NAMES["t10k-labels"]).write_bytes(CONTENT["train-labels"])
    (raw / NAMES["train-labels"]).unlink()
    with Server(servers.good) as good:
        monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
        with pytest.raises(mnist.MnistError, match="but that of train-labels"):
            mnist.get()
        assert not good.asked


def test_files_are_verified_at_every_load(raw):
    mnist.load()
    content = bytearray(CONTENT["t10k-images"])
    content[100] ^= 1
    (raw / NAMES["t10k-images"]).write_bytes(content)
    with pytest.raises(mnist.MnistError):
        mnist.load()
    (raw / NAMES["t10k-images"]).unlink()
    with pytest.raises(mnist.MnistError, match="gone"):
        mnist.load()
    (raw / NAMES["t10k-images"]).write_bytes(CONTENT["t10k-images"])
    mnist.load()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(raw):
    (raw / NAMES["train-labels"]).unlink()
    os.mkfifo(raw / NAMES["train-labels"])
    with pytest.raises(mnist.MnistError):
        mnist.load()


STUB = """
from pathlib import Path
from . import idx
import numpy as np

def path(role):
    file = Path(__file__).with_name(role)
    idx.write(file, np.zeros((1, 28, 28) if "images" in role else 1, np.uint8))
    return file
"""


@pytest.fixture
def course(tmp_path):
    """A copy of the course in a folder of its own, with a stub of the stand-in."""
    folder = tmp_path / "é and a space" / "notebooks"
    copied = shutil.ignore_patterns("__pycache__")
    shutil.copytree(COURSE, folder / "course", ignore=copied)
    (folder / "course" / "standin.py").write_text(STUB, "utf-8")
    return folder


def command(course, mirror):
    """Start ``python -m course.mnist`` as tasks.py does, with a mirror."""
    return subprocess.Popen(
        [sys.executable, "-m", "course.mnist"],
        cwd=course,
        env=os.environ | {"MNIST_MIRROR": mirror, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_command_with_the_stand_in(course):
    run = command(course, "none")
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 0 and errors == ""
    assert output.startswith("STAND-IN DATA, not MNIST")


def test_command_with_a_wrong_file(course):
    wrong = course.parent / "data" / "raw" / "train-labels.idx1-ubyte"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("<html>", "utf-8")
    run = command(course, "http://127.0.0.1:9/")
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 1 and output == ""
    assert str(wrong) in errors and "Traceback" not in errors
    assert errors.count("\n") == 1
    assert wrong.read_text("utf-8") == "<html>"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_command_interrupted(course):
    with Server(servers.stall_in_body) as stalling:
        run = command(course, stalling.url)
        assert stalling.reached.wait(30)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=10)
    assert run.returncode == 1
    assert "Stopped." in errors and "Traceback" not in errors
    assert {file.name for file in (course.parent / "data" / "raw").iterdir()} == {
        "download.lock"
    }


def rows(text):
    """The cells of the rows of a document's tables, one list per row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_datasheet_has_the_checksums_of_the_module():
    stated = {row[0]: row[1:] for row in rows(README.read_text("utf-8"))}
    assert set(PUBLISHED) == set(FILES)
    for wanted in PUBLISHED.values():
        assert stated[wanted.name] == [f"{wanted.size:,}", wanted.sha256]


def test_datasheet_has_the_counts_of_the_data(monkeypatch, capsys):
    monkeypatch.setattr(mnist, "RAW", RAW)
    monkeypatch.setattr(mnist, "FILES", PUBLISHED)
    monkeypatch.setattr(mnist, "TRAINING", 50_000)
    if mnist._missing():
        pytest.skip("MNIST is not in data/raw")
    digits = mnist.load()
    splits = (digits.train, digits.validation, digits.test)
    counts = np.array([np.bincount(y, minlength=10) for _, y in splits]).T
    stated = {row[0]: row[1:] for row in rows(README.read_text("utf-8"))}
    for digit, row in enumerate(counts):
        assert stated[str(digit)] == [f"{count:,}" for count in row]
    assert stated["together"] == [f"{count:,}" for count in counts.sum(axis=0)]
    assert np.isclose(digits.train_and_validation[0].mean() / 255, 0.1307, atol=5e-5)
