"""The IDX format: read it, write it, and say what is wrong with a file.

An IDX file is a header and then the values, every number with its most significant byte
first (big-endian):

    byte 0, 1     zero
    byte 2        the dtype code, a key of DTYPES
    byte 3        the number of dimensions
    4 bytes each  the dimensions, as unsigned integers
    the rest      the values, the last dimension running fastest

Chapter 1 builds such a reader in a few lines.  This one does the same and trusts no
file: it returns exactly the array that the header declares, or raises IdxError, quickly
and without filling the memory.  Nothing is ever unpickled.
"""

import gzip
import math
import os
import stat
import struct
import sys
import zlib

import numpy as np

DTYPES = {
    0x08: np.dtype("uint8"),
    0x09: np.dtype("int8"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 32  # of an array in NumPy 1; NumPy 2 allows 64
MAX_HEADER = 4 + 4 * MAX_DIMENSIONS
GZIP = b"\x1f\x8b"
CHUNK = 2**16  # bytes: what is unpacked at a time
UNPACKED = 2**25  # bytes that any gzip file may unpack to; a large one may unpack to
RATIO = 100  # times its own size (MNIST: 5 times; a file full of zeros: 1,000 times)

AGAIN = "Delete it, then download or copy it again."
BIG_ENDIAN = "Write it again with big-endian integers, or get another copy."
EXCHANGED = "Check whether two files were exchanged."
OTHER_KINDS = {
    b"<": ("it is a web page, perhaps a network's login page.", AGAIN),
    b"PK\3\4": ("it is a zip archive.", "Unpack it, and use the file inside."),
    b"\x93NUMPY": ("it is in NumPy's own format.", "Read it with np.load."),
    GZIP: ("it was compressed twice.", "Unpack it once, and use the result."),
}


class IdxError(ValueError):
    """A file or an array is not what it should be.

    The message names the file, the offset (in bytes from the start of the uncompressed
    content), the fault, and what to do next.
    """


def read(source, *, limit=None, name=None):
    """Read an IDX file, gzipped or not, and return its array.

    ``source`` is a path (str or Path) or the content itself (bytes-like); ``limit`` and
    ``name`` are those of ``read_bytes``.  The array is a read-only view of the bytes
    that were read, so nothing is copied: int16, int32 and the floats keep the file's
    big-endian order (``>i4`` and so on).  NumPy computes with them as with any others;
    ``array.astype(np.int32)`` is a copy in the computer's own order, which you can
    change.  Raises IdxError for anything that is not exactly one IDX file.
    """
    name = _name(source, name)
    return parse(read_bytes(source, limit=limit, name=name), name)


def read_bytes(source, *, limit=None, name=None):
    """Return the uncompressed content of an IDX file, as a read-only memoryview.

    This is ``read`` without its last step, for whoever wants the checksum of the very
    bytes that ``parse`` reads.  The header is checked, and the size against it.

    ``limit`` is the greatest size in bytes that the content may have, header included;
    without it a plain file may have any size, and a gzip file may unpack to 32 MiB or
    to 100 times its own size, whichever is more.  ``name`` is what an error calls the
    source.  A gzip file has to be a single member, as the gzip program writes it.
    Raises IdxError.
    """
    name = _name(source, name)
    try:
        if not isinstance(source, (str, os.PathLike)):
            content = memoryview(source).cast("B").toreadonly()
            if content[:2] == GZIP:
                return _unpack(content, len(content), name, limit)
            _layout(bytes(content[:MAX_HEADER]), len(content), name, limit)
            return content
        _check_kind(os.stat(source).st_mode, name)  # before: opening a pipe can block
        with open(source, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _check_kind(status.st_mode, name)
            start = file.read(MAX_HEADER)
            if start[:2] == GZIP:
                return _unpack(file, status.st_size, name, limit)
            _layout(start, status.st_size, name, limit)
            file.seek(0)
            return memoryview(file.read(status.st_size))
    except IdxError:
        raise
    except FileNotFoundError as error:
        advice = "Check its name and its folder."
        raise _error(name, 0, "there is no such file.", advice) from error
    except PermissionError as error:
        advice = "Change its permissions, or make a copy that you may read."
        raise _error(name, 0, "you have no permission to read it.", advice) from error
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "out of memory"
        advice = "Check the path, or copy the file to another folder."
        raise _error(name, 0, f"it cannot be read ({reason}).", advice) from error


def parse(content, name="these bytes"):
    """Return the array in ``content``, the bytes of an uncompressed IDX file.

    The array is a read-only view of ``content``; see ``read``.  Raises IdxError.
    """
    content = memoryview(content).cast("B").toreadonly()
    dtype, shape = _layout(bytes(content[:MAX_HEADER]), len(content), name)
    return np.ndarray(shape, dtype, content, offset=4 + 4 * len(shape))


def to_bytes(array):
    """Return ``array`` as the content of an IDX file, uncompressed; see ``write``."""
    return b"".join(_parts(array))


def write(path, array):
    """Write ``array`` as an IDX file, gzipped if the name ends in ``.gz``.

    Its dtype is uint8, int8, int16, int32, float32 or float64, in any byte order.
    Raises IdxError for any other, before the file is touched, and OSError where the
    file cannot be written.
    """
    header, values = _parts(array)
    compressed = os.fspath(path).endswith(".gz")
    opened = gzip.GzipFile(path, "wb", mtime=0) if compressed else open(path, "wb")
    with opened as file:
        file.write(header)
        file.write(values)


def check_images(images, name, count=None):
    """Raise IdxError unless ``images`` is uint8 (count, 28, 28); any count if None."""
    if images.ndim == 1:
        raise _error(name, 3, "these are labels, and images belong here.", EXCHANGED)
    _check(images, name, (count, 28, 28))


def check_labels(labels, name, count=None):
    """Raise IdxError unless ``labels`` is uint8 (count,), each from 0 to 9."""
    if labels.ndim == 3:
        raise _error(name, 3, "these are images, and labels belong here.", EXCHANGED)
    _check(labels, name, (count,))
    if labels.max(initial=0) > 9:
        first = int(np.argmax(labels > 9))
        fault = f"label {first} is {labels[first]}, and a digit is at most 9."
        raise _error(name, 8 + first, fault, AGAIN)


def check_pair(images, labels, name):
    """Raise IdxError unless there are as many labels as images."""
    if len(images) != len(labels):
        fault = f"it holds {len(labels):,} labels for {len(images):,} images."
        raise _error(name, 4, fault, "Take both files from the same data set.")


def _error(name, offset, fault, advice):
    """The one form of every message: which file, where, what is wrong, what to do."""
    return IdxError(f"{name}, offset {offset}: {fault} {advice}")


def _name(source, name):
    """What an error calls ``source``, printable even where a file name is not."""
    if name is None:
        name = source if isinstance(source, (str, os.PathLike)) else "these bytes"
    return str(name).encode("utf-8", "replace").decode("utf-8")


def _check_kind(mode, name):
    """Raise IdxError for a folder, a pipe or a device."""
    if stat.S_ISDIR(mode):
        fault = "it is a folder, not a file."
        raise _error(name, 0, fault, "Name a file inside it.")
    if not stat.S_ISREG(mode):
        fault = "it is a pipe or a device, which may never end."
        raise _error(name, 0, fault, "Save its content as a file first.")


def _open_without_waiting(path, flags):
    """Open a file for ``open``; should it have become a pipe meanwhile, do not wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _header(start, name):
    """Return the dtype and the shape that a header declares.

    ``start`` holds the first MAX_HEADER bytes, or all of them if there are fewer.
    """
    if not start:
        raise _error(name, 0, "it is empty.", AGAIN)
    text = start.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    for beginning, (fault, advice) in OTHER_KINDS.items():
        if text.startswith(beginning):
            raise _error(name, 0, fault, advice)
    if start[2:4] == b"\0\0" and start[1] in DTYPES:
        fault = "the header is byte-swapped: its least significant byte comes first."
        raise _error(name, 0, fault, BIG_ENDIAN)
    if any(start[:2]):
        fault = f"it begins with {start[:2].hex(' ')}, where an IDX file has 00 00."
        raise _error(name, 0, fault, "It is a file of another kind, or damaged.")
    if len(start) > 2 and start[2] not in DTYPES:
        known = ", ".join(f"0x{code:02X} {d.name}" for code, d in DTYPES.items())
        fault = f"the dtype code is 0x{start[2]:02X}, and it can be {known}."
        raise _error(name, 2, fault, AGAIN)
    dimensions = start[3] if len(start) > 3 else 0
    if dimensions > MAX_DIMENSIONS:
        fault = (
            f"it declares {dimensions} dimensions, and {MAX_DIMENSIONS} is the limit."
        )
        raise _error(name, 3, fault, AGAIN)
    end = 4 + 4 * dimensions
    if len(start) < end:
        fault = f"it ends inside the header, which takes {end} bytes."
        raise _error(name, len(start), fault, AGAIN)
    return DTYPES[start[2]], struct.unpack(f">{dimensions}I", start[4:end])


def _sizes(dtype, shape):
    """The bytes that a file of this shape has, and if its dimensions are swapped."""
    swapped = struct.unpack(f"<{len(shape)}I", struct.pack(f">{len(shape)}I", *shape))
    header = 4 + 4 * len(shape)
    return [header + math.prod(s) * dtype.itemsize for s in (shape, swapped)]


def _layout(start, size, name, limit=None):
    """Check a header and the ``size`` of the content; return dtype and shape."""
    dtype, shape = _header(start, name)
    declared, swapped = _sizes(dtype, shape)
    values = f"{' × '.join(map(str, shape)) or 'one'} values of type {dtype.name}"
    if size != declared and size == swapped:
        fault = "the dimensions are byte-swapped: least significant byte first."
        raise _error(name, 4, fault, BIG_ENDIAN)
    if math.prod(filter(None, shape)) * dtype.itemsize > sys.maxsize:
        fault = f"it declares {values}, more than any computer can hold."
        raise _error(name, 4, fault, AGAIN)
    if limit is not None and declared > limit:
        fault = f"it declares {declared:,} bytes, and at most {limit:,} are accepted."
        raise _error(name, 4, fault, "If you trust it, pass a greater limit.")
    if size < declared:
        fault = f"it ends here, but declares {values}: {declared:,} bytes in all."
        raise _error(name, size, fault, AGAIN)
    if size > declared:
        fault = f"the {values} that it declares end here, and more bytes follow."
        raise _error(name, declared, fault, AGAIN)
    return dtype, shape


def _chunks(source):
    """Yield the bytes of an open file, or of a memoryview, from its start."""
    if isinstance(source, memoryview):
        yield from (source[i : i + CHUNK] for i in range(0, len(source), CHUNK))
    else:
        source.seek(0)
        yield from iter(lambda: source.read(CHUNK), b"")


def _inflate(source, name):
    """Yield what a gzip file unpacks to, in pieces of 1 to CHUNK bytes.

    Its checksum is compared after the last piece.  Raises IdxError.
    """
    chunks, done = _chunks(source), 0
    decoder = zlib.decompressobj(wbits=31)  # 31: one gzip member, with its checksum
    try:
        while not decoder.eof:
            packed = decoder.unconsumed_tail or next(chunks, b"")
            piece = decoder.decompress(packed, CHUNK)
            if piece:
                done += len(piece)
                yield piece
            elif not packed and not decoder.eof:
                raise _error(name, done, "the gzip data are cut off here.", AGAIN)
    except zlib.error as error:
        fault = "from about here on the gzip data are damaged."
        if "data check" in str(error) or "length check" in str(error):
            done, fault = 0, "the content does not have the checksum that gzip stored."
        raise _error(name, done, fault, AGAIN) from error
    if decoder.unused_data or next(chunks, b""):
        fault = "the gzip data end here, and more bytes follow."
        raise _error(name, done, fault, "Unpack it with gzip, then use the result.")


def _unpack(source, packed_size, name, limit):
    """The content of a gzip file: unpacked once to measure it, once more to keep it.

    So neither a header that lies nor a damaged file takes more memory than a piece.
    """
    name = f"{name} (unpacked)"
    limit = max(UNPACKED, RATIO * packed_size) if limit is None else limit
    pieces, start = _inflate(source, name), b""
    while len(start) < MAX_HEADER and (piece := next(pieces, b"")):
        start += piece
    sizes = _sizes(*_header(start[:MAX_HEADER], name))
    enough = max((size for size in sizes if size <= limit), default=0)
    size = len(start)
    while size <= enough and (piece := next(pieces, b"")):
        size += len(piece)
    _layout(start[:MAX_HEADER], size, name, limit)
    content, size = memoryview(bytearray(size)), 0
    for piece in _inflate(source, name):
        content[size : size + len(piece)] = piece
        size += len(piece)
    return content[:size].toreadonly()


def _parts(array):
    """The header of an array's IDX file, and its values as big-endian bytes."""
    array = np.asarray(array)
    codes = {dtype.newbyteorder("="): code for code, dtype in DTYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        fault = f"an IDX file cannot hold {array.dtype}."
        advice = f"Convert it with astype to {', '.join(d.name for d in codes)}."
        raise _error("the array", 2, fault, advice)
    if array.ndim > MAX_DIMENSIONS or max(array.shape, default=0) >= 2**32:
        fault = f"an IDX file cannot hold the shape {array.shape}."
        raise _error("the array", 3, fault, "Reshape it, or split it into several.")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    values = np.asarray(array, DTYPES[code], order="C")
    return header, values.reshape(-1).view(np.uint8).data


def _check(array, name, shape):
    """Raise IdxError unless ``array`` is uint8 of this shape; None is any length."""
    fits = array.ndim == len(shape) and all(
        wanted in (length, None) for length, wanted in zip(array.shape, shape)
    )
    if array.dtype != np.uint8 or not fits:
        wanted = " × ".join("any" if n is None else str(n) for n in shape)
        fault = f"it holds {' × '.join(map(str, array.shape))} values of type "
        fault += f"{array.dtype.name}, and {wanted} of type uint8 are wanted."
        raise _error(name, 2 if fits else 4, fault, EXCHANGED)
