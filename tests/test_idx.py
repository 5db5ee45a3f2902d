"""The IDX format: what is right is read exactly, what is wrong is refused at once."""

import gzip
import math
import os
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from course import idx

NOTEBOOKS = Path(idx.__file__).resolve().parents[1]
PROPERTY = settings(derandomize=True, deadline=None, max_examples=100, database=None)

# An independent description of the format: code, struct's letter, NumPy's native type.
TYPES = {
    0x08: ("B", np.uint8),
    0x09: ("b", np.int8),
    0x0B: ("h", np.int16),
    0x0C: ("i", np.int32),
    0x0D: ("f", np.float32),
    0x0E: ("d", np.float64),
}
HEADER = bytes.fromhex("00000803 00000003 00000004 00000005")  # 3 × 4 × 5 uint8
DATA = bytes(range(60))
GOOD = HEADER + DATA
LITTLE = struct.pack("<3I", 3, 4, 5)


def pack(content, level=9):
    """The content as one gzip member."""
    return gzip.compress(content, level, mtime=0)


def zeros_packed(header, mebibytes):
    """A gzip member of a header and as many MiB of zeros, made without holding them."""
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(header)]
    parts += [packer.compress(bytes(2**20)) for _ in range(mebibytes)]
    return b"".join([*parts, packer.flush()])


def vector(length):
    """The header of a uint8 vector."""
    return struct.pack(">II", 0x801, length)


def pack_to_length(content, length):
    """The content as one gzip member of this length, thanks to a long file name."""
    packed = pack(content)
    name = b"n" * (length - len(packed) - 1) + b"\0"
    return b"\x1f\x8b\x08\x08" + packed[4:10] + name + packed[10:]


def faults():
    """Name, content, offset and words of the message of everything that is no IDX."""
    page = b"<!DOCTYPE html><title>Log in</title>"
    plain = [
        ("empty", b"", 0, "it is empty"),
        ("header-of-1", GOOD[:1], 1, "inside the header"),
        ("header-of-3", GOOD[:3], 3, "inside the header"),
        ("header-cut", GOOD[:15], 15, "inside the header, which takes 16 bytes"),
        ("body-none", HEADER, 16, "it ends here, but declares 3 × 4 × 5 values"),
        ("body-cut", GOOD[:-1], 75, "76 bytes in all"),
        ("trailing", GOOD + b"\0", 76, "more bytes follow"),
        ("magic", b"\x89PNG\r\n\x1a\n" + DATA, 0, "begins with 89 50"),
        ("text", b"404: Not Found", 0, "begins with 34 30"),
        ("second-byte", b"\0\1" + GOOD[2:], 0, "begins with 00 01"),
        ("dtype", b"\0\0\x0a" + GOOD[3:], 2, "0x0A, and it can be 0x08 uint8"),
        ("dtype-0", bytes(80), 2, "0x00"),
        ("swapped-header", GOOD[3::-1] + LITTLE + DATA, 0, "header is byte-swapped"),
        ("swapped-dims", GOOD[:4] + LITTLE + DATA, 4, "dimensions are byte-swapped"),
        ("33-dims", b"\0\0\x08\x21" + b"\0\0\0\1" * 33 + b"\0", 3, "33 dimensions"),
        ("255-dims", b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", 3, "255 dimensions"),
        ("overflow", b"\0\0\x0e\3" + b"\xff" * 12 + DATA, 4, "any computer can hold"),
        # 2**32 × 2**32 - 2**64 = 0: a product in 64 bits wraps round to what is there
        ("wraps", b"\0\0\x08\3" + b"\x80\0\0\0" * 2 + b"\0\0\0\4", 4, "any computer"),
        ("0-overflow", b"\0\0\x08\4" + bytes(4) + b"\xff" * 12, 4, "any computer"),
        ("zip", b"PK\3\4" + DATA, 0, "zip archive"),
        ("npy", b"\x93NUMPY\1\0" + DATA, 0, "np.load"),
        ("page", page, 0, "web page"),
        ("page-indented", b"\xef\xbb\xbf\r\n  " + page, 0, "web page"),
        ("page-utf-16", "\ufeff<html>".encode("utf-16-le"), 0, "web page"),
    ]
    packed = [
        (f"{name}.gz", pack(content), offset, f"{words}")
        for name, content, offset, words in plain
    ]
    good = pack(GOOD)
    bomb = zeros_packed(vector(2**27), 128)
    hidden_bomb = zeros_packed(vector(60), 64)
    broken = [
        ("lying", vector(2**32 - 1) + DATA, 68, "4,294,967,303 bytes in all"),
        ("lying.gz", pack(vector(2**32 - 1) + DATA), 4, "at most 33,554,432"),
        ("bomb.gz", bomb, 4, "134,217,736 bytes"),
        ("hidden-bomb.gz", hidden_bomb, 68, "more bytes follow"),
        # the end is never reached: unpacking stops as soon as the fault is known
        ("bomb-cut.gz", bomb[:-9], 4, "134,217,736 bytes"),
        ("hidden-bomb-cut.gz", hidden_bomb[:-9], 68, "more bytes follow"),
        ("twice.gz", pack(good), 0, "compressed twice"),
        ("gzip-magic.gz", good[:2], 0, "cut off"),
        ("gzip-header.gz", good[:9], 0, "cut off"),
        ("gzip-body.gz", good[:-9], 76, "cut off"),
        ("gzip-checksum-cut.gz", good[:-1], 76, "cut off"),
        ("gzip-method.gz", b"\x1f\x8b\7" + good[3:], 0, "damaged"),
        ("gzip-deflate.gz", good[:10] + b"\xff" * 20, 0, "damaged"),
        ("crc.gz", good[:-8] + b"\0\0\0\0" + good[-4:], 0, "checksum"),
        ("length.gz", good[:-4] + b"\0\0\0\0", 0, "checksum"),
        ("members.gz", pack(GOOD[:30]) + pack(GOOD[30:]), 30, "more bytes follow"),
        ("empty-member.gz", good + pack(b""), 76, "more bytes follow"),
        ("after.gz", good + b"x", 76, "more bytes follow"),
        ("padded.gz", good + bytes(2**20), 76, "more bytes follow"),
    ]
    return plain + packed + broken


FAULTS = faults()


def check_message(error, name, offset, words):
    """One message: the name, the offset, the fault, and what to do next."""
    text = str(error)
    sentences = rf"{re.escape(name)}( \(unpacked\))?, offset {offset}: .+\. [A-Z].+\."
    assert re.fullmatch(sentences, text), text
    assert words in text
    assert len(text) < 400


def refused(source, called, offset, words, **options):
    """Read what has to be refused; return the seconds and the MiB that it took."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(idx.IdxError) as caught:
            idx.read(source, **options)
    finally:
        seconds = time.process_time() - started
        mebibytes = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    check_message(caught.value, called, offset, words)
    return seconds, mebibytes


def child(code, *arguments, timeout=30, **options):
    """Run Python code in a process of its own, with the course; return its output."""
    start = (
        f"import sys; sys.path.insert(0, {str(NOTEBOOKS)!r})\nfrom course import idx\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Reading


@pytest.mark.parametrize("code", TYPES)
def test_every_dtype_is_read(code):
    letter, native = TYPES[code]
    values = [1, -2, 3, -4, 5, 100] if native is not np.uint8 else [1, 2, 3, 4, 5, 200]
    content = struct.pack(f">HBB2I6{letter}", 0, code, 2, 2, 3, *values)
    array = idx.read(content)
    assert array.shape == (2, 3)
    assert array.dtype == np.dtype(native).newbyteorder(">")
    assert array.ravel().tolist() == values


def test_sixteen_bytes_of_mnist():
    content = bytes.fromhex("00000803 0000ea60 0000001c 0000001c") + bytes(60000 * 784)
    array = idx.read(content)
    assert array.shape == (60000, 28, 28)
    assert array.dtype == np.uint8


def test_array_is_a_read_only_view_of_the_bytes(tmp_path):
    for content in (GOOD, bytearray(GOOD), memoryview(GOOD)):
        array = idx.read(content)
        assert np.shares_memory(array, np.frombuffer(content, np.uint8))
        assert not array.flags.writeable
    (tmp_path / "good").write_bytes(GOOD)
    (tmp_path / "good.gz").write_bytes(pack(GOOD))
    for source in (tmp_path / "good", tmp_path / "good.gz", pack(GOOD)):
        content = idx.read_bytes(source)
        assert content.readonly
        assert content == GOOD
        assert np.shares_memory(idx.parse(content), np.frombuffer(content, np.uint8))
        assert not idx.read(source).flags.writeable


def test_every_kind_of_source(tmp_path):
    plain, packed = tmp_path / "été 1-idx", tmp_path / "packed"
    plain.write_bytes(GOOD)
    packed.write_bytes(pack(GOOD))  # known by its content, not by its name
    sources = [plain, str(plain), packed, str(packed), GOOD, pack(GOOD)]
    sources += [bytearray(pack(GOOD)), memoryview(pack(GOOD))]
    sources += [np.frombuffer(GOOD, np.uint8)]
    for source in sources:
        assert idx.read(source).tobytes() == DATA
    for source in (None, 5, ["path"]):
        with pytest.raises(TypeError):
            idx.read(source)


def test_no_dimensions_many_dimensions_and_no_values():
    assert idx.read(b"\0\0\x08\0\7").item() == 7
    assert idx.read(b"\0\0\x08\x20" + b"\0\0\0\1" * 32 + b"\7").shape == (1,) * 32
    assert idx.read(vector(0)).shape == (0,)
    for shape in ((0, 5), (5, 0), (0, 2**31, 2**32 - 1)):
        content = struct.pack(f">HBB{len(shape)}I", 0, 0x08, len(shape), *shape)
        assert idx.read(content).shape == shape


def test_a_link_is_followed(tmp_path):
    (tmp_path / "good").write_bytes(GOOD)
    try:
        (tmp_path / "link").symlink_to("good")
    except OSError:
        pytest.skip("no permission to make a link")
    assert idx.read(tmp_path / "link").tobytes() == DATA


@pytest.mark.parametrize("name", ["good", "good.gz"])
def test_peak_memory_of_a_good_read(tmp_path, name):
    values = np.arange(4 * 2**20, dtype=np.uint32).view(np.uint8)
    path = tmp_path / name
    path.write_bytes(idx.to_bytes(values) if name == "good" else b"")
    if name == "good.gz":
        path.write_bytes(pack(idx.to_bytes(values), level=1))
    size = values.nbytes
    for source in (path, path.read_bytes()):
        tracemalloc.start()
        array = idx.read(source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.array_equal(array, values)
        assert peak <= 1.1 * size
        assert peak >= size or (name == "good" and isinstance(source, bytes))
    if sys.platform == "linux":  # the same, as the system sees it
        code = (
            "import resource\n"
            "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = peak(); array = idx.read(sys.argv[1]); print(peak() - before)\n"
        )
        assert int(child(code, path)) * 1024 <= 1.1 * size


# Writing


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("order", "<>")
def test_written_bytes(code, order):
    letter, native = TYPES[code]
    array = np.arange(6, dtype=np.dtype(native).newbyteorder(order)).reshape(2, 3)
    expected = struct.pack(f">HBB2I6{letter}", 0, code, 2, 2, 3, *range(6))
    assert idx.to_bytes(array) == expected
    assert idx.to_bytes(np.asfortranarray(array)) == expected
    assert idx.to_bytes(np.repeat(array, 2, axis=1)[:, ::2]) == expected
    assert array.dtype.newbyteorder("=") == native  # and left as it was
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_write_compresses_by_name_and_always_alike(tmp_path):
    array = np.frombuffer(DATA, np.uint8).reshape(3, 4, 5)
    for name in ("plain", "packed.gz"):
        idx.write(tmp_path / name, array)
        idx.write(str(tmp_path / name), array)  # over the old one
        assert np.array_equal(idx.read(tmp_path / name), array)
    assert (tmp_path / "plain").read_bytes() == GOOD
    first = (tmp_path / "packed.gz").read_bytes()
    assert gzip.decompress(first) == GOOD
    assert first[4:8] == bytes(4)  # no time in it
    with pytest.raises(OSError):
        idx.write(tmp_path / "missing" / "plain", array)


@pytest.mark.parametrize(
    "array",
    [
        np.array([True]),
        np.arange(3, dtype=np.int64),
        np.arange(3, dtype=np.uint16),
        np.arange(3, dtype=np.float16),
        np.array(["text"]),
        np.array([object()]),
        np.zeros(2, "u1,i2"),
        np.empty((0, 2**32), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_what_cannot_be_written_leaves_the_file_alone(tmp_path, array):
    path = tmp_path / "file"
    path.write_bytes(b"as it was")
    with pytest.raises(idx.IdxError, match=r"^the array, offset [23]: .+\. [A-Z].+\."):
        idx.write(path, array)
    assert path.read_bytes() == b"as it was"


# What is wrong


@pytest.mark.parametrize("fault", FAULTS, ids=[fault[0] for fault in FAULTS])
def test_bad_content(tmp_path, fault):
    name, content, offset, words = fault
    (tmp_path / name).write_bytes(content)
    path = str(tmp_path / name)
    for source, title in ((path, path), (content, "these bytes")):
        seconds, mebibytes = refused(source, title, offset, words)
        assert seconds < 1
        assert mebibytes < 8
    refused(path, "my file", offset, words, name="my file")
    if content[:2] != b"\x1f\x8b":
        with pytest.raises(idx.IdxError, match="^my file, offset"):
            idx.parse(content, "my file")


def test_offset_and_fault_of_gzip_are_those_of_the_content(tmp_path):
    """Each fault is the same one, in the same place, once the file is unpacked."""
    for name, content, _, _ in FAULTS:
        if not name.endswith(".gz"):
            with pytest.raises(idx.IdxError) as plain:
                idx.read(content, name="file", limit=2**40)
            with pytest.raises(idx.IdxError) as packed:
                idx.read(pack(content), name="file", limit=2**40)
            assert str(packed.value) == str(plain.value).replace(
                "file,", "file (unpacked),", 1
            )


def test_a_damaged_gzip_file_of_many_pieces(tmp_path):
    content = idx.to_bytes(np.arange(300_000, dtype=np.int32))
    packed = pack(content, level=1)
    assert idx.read(packed).tobytes() == content[8:]
    refused(packed[:-8] + b"\0\0\0\0" + packed[-4:], "these bytes", 0, "checksum")
    with pytest.raises(idx.IdxError, match=r"offset (\d+): the gzip data are cut off"):
        idx.read(packed[: len(packed) // 2])
    long = pack(content + b"\0", level=1)
    refused(long, "these bytes", len(content), "more bytes follow")


def test_more_bytes_that_begin_with_a_piece_of_their_own(tmp_path):
    """What follows is seen although everything before ended with a whole piece."""
    path = tmp_path / "file"
    packed = pack_to_length(GOOD, idx.CHUNK)
    assert len(packed) == idx.CHUNK and idx.read(packed).tobytes() == DATA
    path.write_bytes(packed + b"x")
    for source, called in ((path, str(path)), (packed + b"x", "these bytes")):
        refused(source, called, 76, "the gzip data end here")
    content = vector(2 * idx.CHUNK - 8) + bytes(2 * idx.CHUNK - 8)
    assert idx.read(pack(content)).shape == (2 * idx.CHUNK - 8,)
    refused(pack(content + b"\0"), "these bytes", len(content), "that it declares end")


def test_every_truncation_and_every_added_byte_is_refused():
    for content in (GOOD, pack(GOOD)):
        for length in range(len(content)):
            with pytest.raises(idx.IdxError):
                idx.read(content[:length])
        for byte in (b"\0", b"\1", b"\x1f"):
            with pytest.raises(idx.IdxError):
                idx.read(content + byte)


def test_every_changed_byte_of_a_header():
    for index in range(len(HEADER)):
        for value in range(256):
            content = bytearray(GOOD)
            content[index] = value
            try:
                array = idx.read(content)
            except idx.IdxError:
                assert value != GOOD[index]
            else:  # only uint8 as int8 has the same size
                assert array.shape == (3, 4, 5)
                assert index == 2 and value in (8, 9) or value == GOOD[index]


def test_every_changed_byte_of_a_gzip_file():
    packed, harmless = pack(GOOD), set()
    for index in range(len(packed)):
        for bit in range(8):
            changed = bytearray(packed)
            changed[index] ^= 1 << bit
            try:
                array = idx.read(changed)
            except idx.IdxError:
                continue
            harmless.add(index)
            assert (array.shape, array.tobytes()) == ((3, 4, 5), DATA)
    # flags, time stamp and system, and the last bits, which fill up a byte
    assert harmless <= {3, 4, 5, 6, 7, 8, 9, len(packed) - 9}


def test_limit(tmp_path):
    for source in (GOOD, pack(GOOD)):
        assert idx.read(source, limit=76).shape == (3, 4, 5)
        refused(source, "these bytes", 4, "76 bytes, and at most 75", limit=75)
    path = tmp_path / "sparse"
    with open(path, "wb") as file:  # true to its header, but of nothing
        file.write(vector(2**27))
        file.truncate(8 + 2**27)
    seconds, mebibytes = refused(
        path, str(path), 4, "at most 47,040,016", limit=47_040_016
    )
    assert seconds < 1 and mebibytes < 8
    bomb = zeros_packed(vector(2**26), 64)
    refused(bomb, "these bytes", 4, "at most 33,554,432")
    assert idx.read(bomb, limit=2**27).shape == (2**26,)
    # 1,000 × 1,000, byte-swapped: declares far more than a gzip file may unpack to
    header = b"\0\0\x08\2" + struct.pack("<II", 1000, 1000)
    swapped = pack(header + bytes(10**6))
    refused(swapped, "these bytes", 4, "dimensions are byte-swapped")
    refused(swapped, "these bytes", 4, "dimensions are byte-swapped", limit=10**6 + 12)
    refused(swapped, "these bytes", 4, "any computer can hold", limit=999_999)


def test_a_gzip_file_that_unpacks_to_a_little_or_to_a_hundredfold_is_read():
    zeros = zeros_packed(vector(31 * 2**20), 31)
    assert idx.read(zeros).shape == (31 * 2**20,)
    part = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8).tobytes()
    packed = pack(vector(40 * 2**20) + part + bytes(39 * 2**20), level=1)
    assert idx.read(packed).shape == (40 * 2**20,)


def test_no_file_and_a_folder(tmp_path):
    missing = tmp_path / "missing"
    refused(missing, str(missing), 0, "no such file")
    refused(tmp_path, str(tmp_path), 0, "it is a folder")
    refused(str(tmp_path) + os.sep, str(tmp_path) + os.sep, 0, "it is a folder")


@pytest.mark.skipif(os.name == "nt", reason="POSIX's devices")
def test_a_device_is_not_even_opened(monkeypatch):
    def opened(*_):
        raise AssertionError("opening a device can rewind a tape")

    monkeypatch.setattr(os, "open", opened)
    refused(os.devnull, os.devnull, 0, "a pipe or a device")


def test_paths_that_no_system_has(tmp_path):
    (tmp_path / "file").write_bytes(GOOD)
    for path in ("x" * 5000, "a\0b", "a\ud800b\0", tmp_path / "file" / "inside"):
        with pytest.raises(idx.IdxError, match=r", offset 0: .+\. [A-Z]") as caught:
            idx.read(path)
        str(caught.value).encode("utf-8")  # so that it can be printed


@pytest.mark.skipif(os.name == "nt", reason="POSIX's permissions")
def test_no_permission_for_another_user(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD)
    path.chmod(0)
    code = (
        "import os\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: idx.read(sys.argv[1])\n"
        "except idx.IdxError as error: print(error)\n"
    )
    check_message(child(code, path).strip(), str(path), 0, "you have no permission")


@pytest.mark.parametrize(
    "module, function, error, words",
    [
        (os, "open", PermissionError(13, "no"), "you have no permission"),
        (idx, "_layout", OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_system_that_refuses(module, function, error, words, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(GOOD)

    def fail(*_):
        raise error

    monkeypatch.setattr(module, function, fail)
    refused(path, str(path), 0, words)


def test_too_little_memory(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(idx, "_unpack", full)
    refused(pack(GOOD), "these bytes", 0, "out of memory")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are files on POSIX only")
def test_pipes_and_devices_never_block(tmp_path):
    """In a process of its own, which is ended should it wait after all."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "file").write_bytes(GOOD)
    code = (
        "import os\n"
        "def attempt(path):\n"
        "    try: print(idx.read(path).shape)\n"
        "    except idx.IdxError as error: print(error)\n"
        "for path in ('/dev/zero', '/dev/null', '/dev/stdin', sys.argv[1]):\n"
        "    attempt(path)\n"
        "regular = os.stat(sys.argv[2])\n"
        "os.stat = lambda path: regular  # as if it became a pipe a moment later\n"
        "attempt(sys.argv[1])\n"
    )
    lines = child(
        code, pipe, tmp_path / "file", timeout=20, stdin=subprocess.PIPE
    ).splitlines()
    names = ["/dev/zero", "/dev/null", "/dev/stdin", str(pipe), str(pipe)]
    assert len(lines) == len(names)
    for line, name in zip(lines, names):
        check_message(line, name, 0, "pipe or a device")


def test_a_gzip_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    """Measured at one size, then of another one: refused, never filled with zeros."""
    path = tmp_path / "file"
    for other in (GOOD[:-1], GOOD + b"\0", GOOD * 1000):
        path.write_bytes(pack(GOOD))
        layout = idx._layout

        def change(*arguments, layout=layout, path=path, other=other):
            path.write_bytes(pack(other))
            return layout(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(idx, "_layout", change)
            with pytest.raises(idx.IdxError):
                idx.read(path)


# The level of MNIST


IMAGES = np.zeros((5, 28, 28), np.uint8)
LABELS = np.array([0, 9, 5, 4, 3], np.uint8)


def test_right_images_and_labels():
    idx.check_images(IMAGES, "name")
    idx.check_images(IMAGES, "name", 5)
    idx.check_labels(LABELS, "name")
    idx.check_labels(LABELS, "name", 5)
    idx.check_labels(LABELS[:0], "name")
    idx.check_pair(IMAGES, LABELS, "name")


@pytest.mark.parametrize(
    "check, arguments, offset, words",
    [
        (idx.check_images, (LABELS, "name"), 3, "these are labels"),
        (idx.check_labels, (IMAGES, "name"), 3, "these are images"),
        (idx.check_images, (IMAGES, "name", 6), 4, "6 × 28 × 28 of type uint8"),
        (idx.check_images, (IMAGES[:, :27], "name"), 4, "any × 28 × 28"),
        (idx.check_images, (IMAGES[0], "name"), 4, "any × 28 × 28"),
        (idx.check_images, (IMAGES.astype(np.int8), "name"), 2, "type int8"),
        (idx.check_images, (np.uint8(7), "name"), 4, "any × 28 × 28"),
        (idx.check_labels, (LABELS, "name", 4), 4, "4 of type uint8"),
        (idx.check_labels, (LABELS[:, None], "name"), 4, "any of type uint8"),
        (idx.check_labels, (LABELS.astype(">i4"), "name"), 2, "type int32"),
        (idx.check_labels, (LABELS + np.uint8(1), "name"), 9, "label 1 is 10"),
        (idx.check_pair, (IMAGES, LABELS[:4], "name"), 4, "4 labels for 5 images"),
    ],
)
def test_wrong_images_and_labels(check, arguments, offset, words):
    with pytest.raises(idx.IdxError) as caught:
        check(*arguments)
    check_message(caught.value, "name", offset, words)


# Properties


ARRAYS = st.sampled_from([native for _, native in TYPES.values()]).flatmap(
    lambda native: npst.arrays(
        st.sampled_from([np.dtype(native), np.dtype(native).newbyteorder()]),
        npst.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4),
    )
)


@PROPERTY
@given(array=ARRAYS, compressed=st.booleans())
def test_round_trip(tmp_path_factory, array, compressed):
    path = tmp_path_factory.mktemp("round") / ("file.gz" if compressed else "file")
    idx.write(path, array)
    content = idx.to_bytes(array)
    for source in (path, content, pack(content)):
        result = idx.read(source)
        assert result.shape == array.shape
        assert result.dtype == array.dtype.newbyteorder(">")
        assert result.tobytes() == array.astype(result.dtype).tobytes()  # NaN too


def reference(content):
    """A reader of five lines: what the bytes hold, or None."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        return None
    letter, size, end = TYPES[content[2]][0], content[3], 4 + 4 * content[3]
    if size > 32 or len(content) < end:
        return None
    shape = struct.unpack(f">{size}I", content[4:end])
    if len(content) != end + math.prod(shape) * struct.calcsize(letter):
        return None
    values = struct.unpack(f">{math.prod(shape)}{letter}", content[end:])
    return shape, np.array(values, TYPES[content[2]][1]).tobytes()


HEADERS = st.builds(
    lambda code, shape: struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape),
    st.sampled_from([*TYPES, 0x0A]),
    st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), max_size=4),
)


@PROPERTY
@given(content=st.binary(max_size=64) | st.tuples(HEADERS, st.binary()).map(b"".join))
@example(content=GOOD)
@example(content=b"\0\0\x0c\1\0\0\0\1\0\0\0\7")
def test_any_bytes_are_read_exactly_or_refused(content):
    expected = reference(content)
    for source in (content, pack(content, level=1)):
        try:
            array = idx.read(source)
        except idx.IdxError as error:
            assert expected is None or "any computer can hold" in str(error)
            check_message(error, "these bytes", r"\d+", "")
        else:
            assert expected is not None
            shape, values = expected
            native = array.astype(array.dtype.newbyteorder("="))
            assert (array.shape, native.tobytes()) == (shape, values)


@PROPERTY
@given(content=st.binary(max_size=200).map(lambda rest: b"\x1f\x8b\x08\0" + rest))
def test_any_bytes_after_the_start_of_gzip_are_refused(content):
    with pytest.raises(idx.IdxError):
        idx.read(content)


@PROPERTY
@given(
    array=ARRAYS.filter(lambda array: array.size),
    compressed=st.booleans(),
    data=st.data(),
)
def test_a_changed_file_is_refused_or_keeps_its_shape(array, compressed, data):
    """One byte changed, left out or added, anywhere."""
    content = idx.to_bytes(array)
    source = bytearray(pack(content) if compressed else content)
    index = data.draw(st.integers(0, len(source) - 1))
    value = data.draw(st.binary(min_size=1, max_size=1))
    how = data.draw(st.sampled_from(["change", "insert", "delete"]))
    source[index : index + (how != "insert")] = b"" if how == "delete" else value
    try:
        result = idx.read(source)
    except idx.IdxError:
        return
    # a number of dimensions that is changed may declare no values at all
    assert result.shape == array.shape or result.size == 0
    assert how == "change" or source == (pack(content) if compressed else content)
    if compressed:
        assert result.tobytes() == content[4 + 4 * array.ndim :]
