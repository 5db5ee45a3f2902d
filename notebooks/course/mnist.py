"""Where the digits come from: data/raw, then the mirrors, then the stand-in.

A notebook calls ``load()``.  ``tasks.py`` runs ``python -m course.mnist`` beforehand:
whatever has to be downloaded is there when the first notebook asks for it.

Every file is known by the SHA-256 of its uncompressed content, computed at every load
from the very bytes that become the arrays.  A download arrives under a name of its own
(``*.unverified``) and takes the final name only when its checksum is right.  A file
that a person put into data/raw is checked like the others, and never changed.

``MNIST_MIRROR`` in the environment is the address of a mirror to try first, or ``none``
for the stand-in at once.  ``COURSE_EPOCHS`` shortens the trainings on the stand-in.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import queue
import socket
import ssl
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import numpy as np
import requests
from filelock import FileLock, Timeout

from . import idx, standin

RAW = Path(__file__).resolve().parents[2] / "data" / "raw"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)


class File(NamedTuple):
    """One of the four files: its published name, and what it must hold."""

    name: str
    size: int  # bytes of the content
    packed: int  # bytes of the published archive
    sha256: str  # of the content


FILES = {
    "train-images": File(
        "train-images-idx3-ubyte",
        47_040_016,
        9_912_422,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels": File(
        "train-labels-idx1-ubyte",
        60_008,
        28_881,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images": File(
        "t10k-images-idx3-ubyte",
        7_840_016,
        1_648_877,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels": File(
        "t10k-labels-idx1-ubyte",
        10_008,
        4_542,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
TRAINING = 50_000  # images of the training file before the validation split

CONNECT = 10  # seconds to reach one address of a server
PATIENCE = 20  # seconds without progress after which an attempt ends
SLOWEST = 4096  # bytes per second that a server must send, over each PATIENCE seconds
REDIRECTS = 5
PIECE = 8192  # bytes
UNVERIFIED = ".unverified"  # ends the name of a file that is still arriving


STAND_IN = (
    "STAND-IN DATA, not MNIST: 60,000 + 10,000 images made from scikit-learn's 1,797 "
    "digits. The numbers will differ."
)


class MnistError(Exception):
    """A file in data/raw is wrong, or data/raw cannot be used; says what to do."""


class MirrorError(Exception):
    """A mirror did not send the file; says why, in a few words."""


class Digits(NamedTuple):
    """The data of a run: four pairs (X, y) of read-only uint8 arrays, and their name.

    X has the shape (n, 28, 28), 0 for white to 255 for black; y has the shape (n,).
    """

    train: tuple  # n = 50,000
    validation: tuple  # n = 10,000
    train_and_validation: tuple  # both of them, n = 60,000
    test: tuple  # n = 10,000
    source: str  # "MNIST" or "stand-in"


def load():
    """Return the ``Digits`` of this run and print one line that says what they are.

    Raises MnistError for a wrong file in data/raw, and IdxError where images and labels
    do not belong together.
    """
    name, reasons = _decide()
    if name == "MNIST":
        arrays = [idx.parse(_content(role), role) for role in FILES]
        print("MNIST: 60,000 + 10,000 handwritten digits, every file verified.")
    else:
        arrays = [idx.read(standin.path(role)) for role in FILES]
        print(f"{STAND_IN} Why: {'; '.join(reasons)}.")
    for images, labels, split in zip(arrays[::2], arrays[1::2], ("train", "t10k")):
        idx.check_images(images, f"{split}-images")
        idx.check_labels(labels, f"{split}-labels")
        idx.check_pair(images, labels, f"{split}-labels")
    X, y, X_test, y_test = arrays
    train, validation = np.s_[:TRAINING], np.s_[TRAINING:]
    return Digits(
        (X[train], y[train]),
        (X[validation], y[validation]),
        (X, y),
        (X_test, y_test),
        name,
    )


def source():
    """Return "MNIST" or "stand-in", whichever this run has; downloads if necessary.

    Decided once in a process: a failed download is not tried again.
    """
    return _decide()[0]


def epochs(wanted):
    """Return how many epochs to train: ``wanted``, on the stand-in perhaps fewer.

    There, the environment variable COURSE_EPOCHS says how many there are at most.
    Raises ValueError when it is no whole number from 1 up.  On MNIST it has no effect.
    """
    text = os.environ.get("COURSE_EPOCHS", "").strip()
    if source() == "MNIST" or not text:
        return wanted
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            f"COURSE_EPOCHS is {text!r}. Set it to a whole number from 1 up: the "
            f"epochs that a training has at most on the stand-in."
        )
    return min(wanted, int(text))


def path(role):
    """Return the Path of the uncompressed, verified file of ``role``, a key of FILES.

    Raises MnistError for a wrong file in data/raw.
    """
    if source() != "MNIST":
        return standin.path(role)
    content, file = _content(role), _find(role)
    if file.suffix != ".gz":
        return file
    with _locked():
        _install(role, [content])
    return RAW / FILES[role].name


def get():
    """Make sure that the data are there, all verified; return what ``source`` returns.

    Shows the progress of a download on stderr, and prints what this run has: MNIST, or
    the stand-in and every mirror's reason.  Raises MnistError.
    """
    name, reasons = _decide()
    if name == "MNIST":
        for role in FILES:
            _content(role)
        print("MNIST: the four files in data/raw are verified.")
        return name
    for role in FILES:
        standin.path(role)
    print(f"{STAND_IN} Why:", *reasons, sep="\n  ")
    return name


@functools.cache
def _decide():
    """Which data this process has, and why: ("MNIST", ()) or ("stand-in", reasons)."""
    mirror = os.environ.get("MNIST_MIRROR", "").strip()
    if mirror.lower() == "none":
        return "stand-in", ("MNIST_MIRROR is set to none",)
    mirrors = (mirror.rstrip("/") + "/", *MIRRORS) if mirror else MIRRORS
    if not _missing() and not any(RAW.glob(f"*{UNVERIFIED}")):
        return "MNIST", ()
    with _locked():
        missing = _missing()
        for role in FILES:
            if role not in missing:
                _content(role)  # a wrong file is reported before anything else is done
        reasons = _download(missing, mirrors)
    return ("stand-in", reasons) if reasons else ("MNIST", ())


def _missing():
    """The roles without a file in data/raw, right or wrong."""
    return [role for role in FILES if _find(role) is None]


def _find(role):
    """The file of ``role`` in data/raw, or None.

    Of several spellings, the first that is there counts, plain before gzipped. A
    folder counts only when there is nothing else: some copies of MNIST bring one.
    """
    name = FILES[role].name
    spellings = (name, name.replace("-idx", ".idx"))
    files = [RAW / f"{spelling}{end}" for end in ("", ".gz") for spelling in spellings]
    files = [file for file in files if os.path.lexists(file)]
    return min(files, key=Path.is_dir, default=None)


def _content(role):
    """The content of the file of ``role`` in data/raw, verified; or MnistError."""
    file = _find(role)
    if file is None:
        raise MnistError(f"{RAW / FILES[role].name} has gone. Start again.")
    largest = max(wanted.size for wanted in FILES.values())
    advice = (
        "The course leaves it as it is. Once you have moved it away or deleted it, the "
        "right one is downloaded (data/README.md says how to get it by hand)."
    )
    try:
        content = idx.read_bytes(file, limit=largest)
    except idx.IdxError as error:
        raise MnistError(f"{error} {advice}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 == FILES[role].sha256:
        return content
    others = {wanted.sha256: wanted.name for wanted in FILES.values()}
    fault = f"its content is not that of {FILES[role].name}"
    if sha256 in others:
        fault = f"{fault} but that of {others[sha256]}"
    raise MnistError(f"{file}: {fault} (SHA-256 {sha256}). {advice}")


@contextlib.contextmanager
def _locked():
    """Hold data/raw alone, without the leftovers of runs that were killed."""
    try:
        RAW.mkdir(parents=True, exist_ok=True)
        lock = FileLock(RAW / "download.lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            _say("Another run is getting the data; this one waits for it.")
            lock.acquire()
        try:
            for leftover in RAW.glob(f"*{UNVERIFIED}"):
                leftover.unlink()
            yield
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # the latter: no locks here
        raise MnistError(
            f"The digits cannot be written to {RAW}: {error}. "
            "They need 70 MB of space in a folder that you may write to."
        ) from error


def _say(text, end="\n"):
    """Write ``text`` to stderr, over the line of progress if there is one."""
    start = f"\r{'':70}\r" if sys.stderr.isatty() else ""
    print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def _download(roles, mirrors):
    """Download the files of ``roles``; return () or, on failure, the mirrors' reasons.

    A mirror that failed once is not asked for the other files.
    """
    failed = {}
    if roles:
        names = ", ".join(FILES[role].name for role in roles)
        _say(f"Downloading to {RAW}: {names}")
    for role in roles:
        for mirror in mirrors:
            if mirror in failed:
                continue
            if sys.stderr.isatty():
                _say(f"  asking {_host(mirror)}", end="")
            try:
                _install(role, _unpacked(mirror, FILES[role]))
                _say(f"  {FILES[role].name} from {_host(mirror)}")
                break
            except MirrorError as reason:
                failed[mirror] = f"{_host(mirror)} {reason}"
        else:
            _say("", end="")
            return tuple(failed.values())
    return ()


def _host(mirror):
    """The name of a mirror's server, without a password that its address may hold."""
    return mirror.split("//")[-1].split("/")[0].split("@")[-1]


def _install(role, pieces):
    """Write a file into data/raw and, once it is verified, give it its name.

    ``pieces`` are its content, piece by piece.  Raises MirrorError for other content.
    """
    final = RAW / FILES[role].name
    part = RAW / f"{final.name}{UNVERIFIED}"
    sha256 = hashlib.sha256()
    try:
        with open(part, "wb") as file:
            for piece in pieces:
                file.write(piece)
                sha256.update(piece)
            file.flush()
            os.fsync(file.fileno())
        if sha256.hexdigest() != FILES[role].sha256:
            raise MirrorError("sent another file (its checksum is wrong)")
        if not final.is_file():  # whoever put one there meanwhile keeps it
            os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)


def _unpacked(mirror, wanted):
    """Yield the content of the file that a mirror sends, never more than its size."""
    url = f"{mirror}{wanted.name}.gz"
    limit = wanted.packed + wanted.packed // 4 + 2**16  # others compress less well
    unpacker, room, received, shown = zlib.decompressobj(wbits=31), wanted.size, 0, 0
    with contextlib.closing(_watched(url, limit)) as pieces:
        for piece in pieces:
            try:
                content = unpacker.decompress(piece, room + 1)
            except zlib.error:
                raise MirrorError("sent something else (a login page?)") from None
            room -= len(content)
            if room < 0:
                raise MirrorError("sent more than the file can hold")
            yield content
            if unpacker.eof:
                return
            received += len(piece)
            if sys.stderr.isatty() and time.monotonic() > shown + 0.2:
                shown = time.monotonic()
                megabytes = f"{received / 1e6:.1f} of {wanted.packed / 1e6:.1f} MB"
                _say(f"  {wanted.name}: {megabytes}", end="")
    raise MirrorError("sent only a part of the file")


def _watched(url, limit):
    """Yield the bytes behind ``url`` in pieces, as long as they keep coming.

    The transfer runs in a thread of its own, because nothing else ends the look-up of a
    name, or a header that drips in byte by byte; it is left behind when time is up.
    """
    pieces, stop = queue.SimpleQueue(), threading.Event()
    arguments = (url, limit, pieces, stop)
    threading.Thread(target=_transfer, args=arguments, daemon=True).start()
    progress = start = time.monotonic()
    received = 0
    try:
        while True:
            with contextlib.suppress(queue.Empty):
                piece = pieces.get(timeout=0.1)  # short, for Ctrl-C on Windows
                if piece is None:
                    return
                if isinstance(piece, Exception):
                    raise MirrorError(_reason(piece))
                progress = time.monotonic()
                if not piece:  # the headers are here, the body begins
                    start = progress
                received += len(piece)
                yield piece
            now = time.monotonic()
            if now > progress + PATIENCE:
                raise MirrorError(f"made no progress for {PATIENCE} seconds")
            if now > start + PATIENCE:
                if received < SLOWEST * PATIENCE:
                    raise MirrorError(f"sends less than {SLOWEST} bytes per second")
                start, received = now, 0
    finally:
        stop.set()


def _transfer(url, limit, pieces, stop):
    """Put what is behind ``url`` into a queue: pieces, then None, or an exception.

    The bytes are counted as they come from the network, without undoing an encoding.
    """
    try:
        scheme = urlsplit(url).scheme
        with requests.Session() as session:
            # requests reads the whole body of a redirect, however long: do it here
            session.get_redirect_target = lambda response: None
            for _ in range(REDIRECTS + 1):
                with session.get(
                    url,
                    headers={"Accept-Encoding": "identity"},
                    timeout=(CONNECT, PATIENCE),
                    stream=True,
                    allow_redirects=False,
                ) as response:
                    if response.is_redirect:
                        url = urljoin(url, response.headers["Location"])
                        if urlsplit(url).scheme != scheme:
                            raise MirrorError("redirects to another scheme")
                        continue
                    if response.status_code != 200:
                        raise MirrorError(f"answered {response.status_code}")
                    pieces.put(b"")
                    while piece := response.raw.read(PIECE, decode_content=False):
                        limit -= len(piece)
                        if limit < 0:
                            raise MirrorError("sent more than the file can have")
                        if stop.is_set():
                            return
                        pieces.put(piece)
                    pieces.put(None)
                    return
            raise MirrorError("redirects without end")
    except Exception as error:  # whatever it is, the next mirror is asked
        pieces.put(error)


def _reason(error):
    """Why a transfer failed, in a few words: the first of REASONS behind ``error``."""
    if isinstance(error, MirrorError):
        return str(error)
    causes = [error]
    while causes[-1].__context__ is not None:
        causes.append(causes[-1].__context__)
    for kinds, words in REASONS.items():
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    return f"failed ({type(error).__name__})"


REASONS = {
    requests.exceptions.ProxyError: "cannot be reached through this computer's proxy",
    socket.gaierror: "has a name that cannot be looked up (is there a network?)",
    ConnectionRefusedError: "refused the connection",
    (ConnectionError, http.client.HTTPException): "broke the connection off",
    TimeoutError: "did not answer",
    ssl.SSLError: "has no certificate that this computer trusts",
    ValueError: "is not an address of the form https://...",
    OSError: "cannot be reached",
}


if __name__ == "__main__":
    try:
        get()
    except (MnistError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(
            "\nStopped. What has arrived whole is kept; run it again for the rest."
        )
