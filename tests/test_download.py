"""The download, against a server on 127.0.0.1 that misbehaves in every known way."""

import contextlib
import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import misbehaving_server as servers
import pytest
from misbehaving_server import CONTENT, FAULTS, FILES, NAMES, WAITS, Server

from course import mnist

ALL = FAULTS | WAITS
COURSE = Path(mnist.__file__).resolve().parent


@pytest.fixture(autouse=True)
def raw(monkeypatch, tmp_path):
    """An empty data/raw, the small MNIST, no mirrors; nothing of the real ones."""
    with servers.small_mnist(monkeypatch, tmp_path) as raw:
        yield raw


@pytest.fixture
def serve():
    """A function that starts a server with a behaviour; all stop after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda behave: stack.enter_context(Server(behave))


def impatient(monkeypatch, behave):
    """Shorten the clock where only the clock ends the test."""
    if behave in WAITS:
        monkeypatch.setattr(mnist, "PATIENCE", 1.2)


def files(raw):
    """The files in data/raw, without the lock."""
    return {file.name for file in raw.iterdir()} - {"download.lock"}


def complete(raw):
    """Whether data/raw holds the four files, byte for byte, and nothing else."""
    return files(raw) == set(NAMES.values()) and all(
        (raw / NAMES[role]).read_bytes() == content for role, content in CONTENT.items()
    )


def name_of(behave):
    return behave.__name__


@pytest.mark.parametrize("behave", ALL, ids=name_of)
def test_the_next_mirror_is_asked(behave, raw, serve, monkeypatch, capsys):
    impatient(monkeypatch, behave)
    bad, good = serve(behave), serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (bad.url, good.url))
    assert mnist.get() == "MNIST"
    assert complete(raw)
    once = mnist.REDIRECTS + 1 if "redirect" in behave.__name__ else 1
    assert bad.asked == [NAMES["train-images"]] * once  # and never again
    assert sorted(good.asked) == sorted(NAMES.values())
    printed = "".join(capsys.readouterr())
    assert bad.host not in printed  # quiet about a mirror that failed
    assert printed.count(good.host) == 4


@pytest.mark.parametrize("behave", ALL, ids=name_of)
def test_the_stand_in_takes_over(behave, raw, serve, monkeypatch, capsys):
    impatient(monkeypatch, behave)
    bad = serve(behave)
    monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
    start = time.monotonic()
    assert mnist.get() == "stand-in"
    assert time.monotonic() - start < 10
    assert files(raw) == set()
    asked = len(bad.asked)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("STAND-IN DATA, not MNIST")
    assert re.fullmatch(f"  {bad.host} .*({ALL[behave]}).*", lines[1])
    assert len(lines) == 2

    digits = mnist.load()  # the failure is remembered: nobody is asked again
    assert len(bad.asked) == asked
    assert digits.source == "stand-in"
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "STAND-IN" in line and "The numbers will differ" in line and bad.host in line


@pytest.mark.parametrize(
    "behave",
    [servers.good, servers.slow, servers.labelled, servers.chunked],
    ids=name_of,
)
def test_an_honest_mirror_succeeds(behave, raw, serve, monkeypatch):
    if behave is servers.slow:  # slower than the patience, and faster than the slowest
        monkeypatch.setattr(mnist, "PATIENCE", 1.2)
        monkeypatch.setattr(mnist, "PIECE", 1024)
    honest = serve(behave)
    monkeypatch.setattr(mnist, "MIRRORS", (honest.url,))
    assert mnist.source() == "MNIST"
    assert complete(raw)
    assert sorted(honest.asked) == sorted(NAMES.values())


def test_bytes_that_keep_coming_too_slowly(raw, serve, monkeypatch):
    monkeypatch.setattr(mnist, "PATIENCE", 1.2)
    monkeypatch.setattr(mnist, "PIECE", 1)  # each byte counts as progress
    bad = serve(servers.drip_body)
    monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
    start = time.monotonic()
    assert mnist.source() == "stand-in"
    assert time.monotonic() - start < 3 * 1.2
    assert "less than 4096 bytes per second" in mnist._decide()[1][0]


def test_never_more_is_written_than_the_file_can_have(serve):
    bombs = (servers.endless_content, servers.gzip_bomb, servers.bomb_in_bomb)
    for behave in bombs:
        written = 0
        with pytest.raises(mnist.MirrorError):
            for piece in mnist._unpacked(serve(behave).url, FILES["train-images"]):
                written += len(piece)
            raise mnist.MirrorError("its checksum would be wrong")
        assert written <= FILES["train-images"].size


def test_a_bomb_is_not_unpacked_beyond_the_size(monkeypatch):
    bomb = gzip.compress(bytes(8 * 2**20))
    monkeypatch.setattr(mnist, "_watched", lambda *_: (piece for piece in [bomb]))
    tracemalloc.start()
    with pytest.raises(mnist.MirrorError, match="sent more than the file can hold"):
        list(mnist._unpacked("http://mirror/", FILES["train-labels"]))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_never_more_is_received_than_the_archive_can_have(serve):
    url = serve(servers.endless_archive).url
    received = 0
    with pytest.raises(mnist.MirrorError, match="sent more than the file can have"):
        for piece in mnist._watched(url, 100_000):
            received += len(piece)
    assert received <= 100_000


def test_a_redirect_is_followed_within_its_scheme_only(raw, serve, monkeypatch):
    good = serve(servers.good)

    def redirect(target):
        def behave(server, connection, name):
            location = f"Location: {target}{name}.gz"
            connection.sendall(servers.head(0, "302 Found", location))

        monkeypatch.setattr(mnist, "MIRRORS", (serve(behave).url,))
        mnist._decide.cache_clear()

    redirect(good.url)
    assert mnist.source() == "MNIST"

    for file in raw.iterdir():
        file.unlink()
    asked = len(good.asked)
    for target in ("https://" + good.url[7:], "ftp://127.0.0.1/", "file:///"):
        redirect(target)
        assert mnist.source() == "stand-in"
        assert "redirects to another scheme" in mnist._decide()[1][0]
    assert len(good.asked) == asked


def test_the_training_file_is_refused_under_the_test_name(raw, serve, monkeypatch):
    def exchanged(server, connection, name):
        servers.good(server, connection, name.replace("t10k", "train"))

    bad, good = serve(exchanged), serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (bad.url, good.url))
    assert mnist.source() == "MNIST"
    assert complete(raw)
    assert len(bad.asked) == 3 and len(good.asked) == 2


def test_a_refused_connection_and_a_name_without_address(raw, serve, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    bad = (closed, "http://mirror.invalid/")
    monkeypatch.setattr(mnist, "MIRRORS", bad)
    assert mnist.source() == "stand-in"
    reasons = mnist._decide()[1]
    assert "refused the connection" in reasons[0]
    assert "mirror.invalid has a name that cannot be looked up" in reasons[1]

    mnist._decide.cache_clear()
    monkeypatch.setattr(mnist, "MIRRORS", (*bad, serve(servers.good).url))
    assert mnist.source() == "MNIST"
    assert complete(raw)


def test_a_look_up_that_does_not_end(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(mnist, "PATIENCE", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10))
    monkeypatch.setattr(mnist, "MIRRORS", ("http://mirror.invalid/",))
    start = time.monotonic()
    assert mnist.source() == "stand-in"
    assert time.monotonic() - start < 5
    assert "no progress for 0.5 seconds" in mnist._decide()[1][0]
    over.set()


def test_the_mirror_of_the_environment_comes_first(raw, serve, monkeypatch):
    mine, other = serve(servers.good), serve(servers.good)
    monkeypatch.setenv("MNIST_MIRROR", mine.url.rstrip("/"))
    monkeypatch.setattr(mnist, "MIRRORS", (other.url,))
    assert mnist.source() == "MNIST"
    assert len(mine.asked) == 4 and not other.asked


@pytest.mark.parametrize("mirror", ["somewhere", "http://[", "ftp://a/", "D:\\mnist"])
def test_a_mirror_that_is_no_address(mirror, raw, serve, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", mirror)
    assert mnist.source() == "stand-in"
    assert "is not an address of the form" in mnist._decide()[1][0]
    mnist._decide.cache_clear()
    monkeypatch.setattr(mnist, "MIRRORS", (serve(servers.good).url,))
    assert mnist.source() == "MNIST"


def test_none_asks_nobody_and_looks_nowhere(raw, serve, monkeypatch, capsys):
    good = serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
    monkeypatch.setenv("MNIST_MIRROR", "none")
    assert mnist.load().source == "stand-in"
    assert not good.asked and not raw.exists()
    assert "MNIST_MIRROR is set to none" in capsys.readouterr().out


def test_only_what_is_missing_is_downloaded(raw, serve, monkeypatch):
    raw.mkdir()
    for role in ("train-images", "t10k-labels"):
        (raw / NAMES[role]).write_bytes(CONTENT[role])
    good = serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
    assert mnist.source() == "MNIST"
    assert good.asked == [NAMES["train-labels"], NAMES["t10k-images"]]


def test_what_arrived_before_a_failure_is_kept(raw, serve, monkeypatch):
    def half(server, connection, name):
        answer = servers.good if "train" in name else servers.not_found
        answer(server, connection, name)

    bad = serve(half)
    monkeypatch.setattr(mnist, "MIRRORS", (bad.url,))
    assert mnist.source() == "stand-in"
    assert files(raw) == {NAMES["train-images"], NAMES["train-labels"]}
    assert len(bad.asked) == 3  # no fourth file from a mirror that failed


def test_a_file_that_a_person_brings_meanwhile_is_kept(raw, serve, monkeypatch):
    def meanwhile(server, connection, name):
        (raw / name).write_bytes(b"brought by hand")
        servers.good(server, connection, name)

    monkeypatch.setattr(mnist, "MIRRORS", (serve(meanwhile).url,))
    with pytest.raises(mnist.MnistError):
        mnist.get()
    assert (raw / NAMES["train-images"]).read_bytes() == b"brought by hand"


def test_progress_is_shown_on_a_terminal(serve, monkeypatch, capsys):
    good = serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert mnist.source() == "MNIST"
    output, shown = capsys.readouterr()
    assert output == ""
    assert f"asking {good.host}" in shown
    assert re.search(r"train-images-idx3-ubyte: 0\.\d of 0\.\d MB", shown)


def test_a_full_disk_is_a_clear_sentence(raw, serve, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    good = serve(servers.good)
    monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(mnist.MnistError, match="cannot be written to .*No space left"):
        mnist.get()
    assert files(raw) == set()
    assert len(good.asked) == 1  # another mirror could not help


def test_a_folder_that_cannot_be_made_is_a_clear_sentence(raw, serve, monkeypatch):
    raw.parent.joinpath("raw").write_text("a file where the folder belongs")
    with pytest.raises(mnist.MnistError, match="cannot be written to"):
        mnist.get()


def another_run(raw, url):
    """Start another process on the same folder, small files and mirror."""
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(COURSE.parent)!r}, {str(Path(__file__).parent)!r}]
import misbehaving_server
from course import mnist
mnist.RAW, mnist.MIRRORS = Path({str(raw)!r}), ({url!r},)
mnist.FILES = misbehaving_server.FILES
print(mnist.get())
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", program], text=True, **pipes)


def test_a_killed_run_leaves_nothing_that_hurts(raw, serve, monkeypatch):
    stalling, good = serve(servers.stall_in_body), serve(servers.good)
    process = another_run(raw, stalling.url)
    try:
        assert stalling.reached.wait(30)
        part = raw / (NAMES["train-images"] + mnist.UNVERIFIED)
        while not part.exists():
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert files(raw) == {part.name}

    monkeypatch.setattr(mnist, "MIRRORS", (good.url,))
    assert mnist.get() == "MNIST"
    assert complete(raw)


def test_leftovers_go_even_when_nothing_is_missing(raw):
    raw.mkdir()
    for role, content in CONTENT.items():
        (raw / NAMES[role]).write_bytes(content)
    (raw / f"{NAMES['t10k-images']}{mnist.UNVERIFIED}").write_bytes(b"half")
    assert mnist.source() == "MNIST"
    assert complete(raw)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_nothing(raw, serve):
    stalling = serve(servers.stall_in_body)
    process = another_run(raw, stalling.url)
    assert stalling.reached.wait(30)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    assert files(raw) == set()


def test_four_first_runs_at_once(raw, serve):
    server = serve(servers.slow)
    runs = [another_run(raw, server.url) for _ in range(4)]
    for run in runs:
        output, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        assert output.splitlines()[-1] == "MNIST"
    assert complete(raw)
    assert sorted(server.asked) == sorted(NAMES.values())  # each file once
