"""A web server on 127.0.0.1 that misbehaves as told, and a small MNIST to serve.

A behaviour is a function of (server, connection, name): it writes to the socket what
the server answers to the request for ``name``, and returns; the connection is closed.
"""

import contextlib
import gzip
import hashlib
import os
import socket
import struct
import threading
import zlib

import numpy as np

from course import idx, mnist, standin

LONG = 10  # seconds, longer than any test waits: its end makes the test fail
ENDLESS = 500  # pieces of 64 KiB to 1 MiB, more than anybody should take
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # for SO_LINGER
_rng = np.random.default_rng(0)
ARRAYS = {
    "train-images": _rng.integers(0, 256, (60, 28, 28), np.uint8),
    "train-labels": _rng.integers(0, 10, 60, np.uint8),
    "t10k-images": _rng.integers(0, 256, (10, 28, 28), np.uint8),
    "t10k-labels": _rng.integers(0, 10, 10, np.uint8),
}
CONTENT = {role: idx.to_bytes(array) for role, array in ARRAYS.items()}
NAMES = {role: wanted.name for role, wanted in mnist.FILES.items()}
ARCHIVES = {NAMES[role]: gzip.compress(CONTENT[role], mtime=0) for role in CONTENT}
FILES = {
    role: mnist.File(
        NAMES[role],
        len(content),
        len(ARCHIVES[NAMES[role]]),
        hashlib.sha256(content).hexdigest(),
    )
    for role, content in CONTENT.items()
}
LARGEST = max(map(len, CONTENT.values()))


@contextlib.contextmanager
def small_mnist(monkeypatch, folder):
    """Give the course the small MNIST, no mirror, no data/raw yet; yield its path."""
    made = folder / "stand-in"
    made.mkdir()

    def path(role):
        if not (made / role).exists():
            idx.write(made / role, ARRAYS[role])
        return made / role

    monkeypatch.setattr(mnist, "RAW", folder / "raw")
    monkeypatch.setattr(mnist, "FILES", FILES)
    monkeypatch.setattr(mnist, "TRAINING", 50)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(standin, "path", path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow on a busy disk
    monkeypatch.delenv("MNIST_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")  # a proxy must not answer for 127.0.0.1
    monkeypatch.setenv("NO_PROXY", "*")
    mnist._decide.cache_clear()
    yield folder / "raw"
    mnist._decide.cache_clear()


class Server:
    """Serves ``behave`` from a thread of its own; ``asked`` lists the requested names.

    A context manager.  ``url`` is its address; ``over`` is set when it stops, so that
    a behaviour can stall with ``server.over.wait(LONG)``; ``reached`` is set by one
    that has come to the place where a test wants to interrupt it.
    """

    def __init__(self, behave):
        self.behave = behave
        self.asked = []
        self.over = threading.Event()
        self.reached = threading.Event()

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"http://{self.host}/mnist/"
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        with contextlib.suppress(OSError):  # wakes the thread that listens
            socket.create_connection(self.listener.getsockname(), 1).close()
        self.listener.close()

    def _listen(self):
        while not self.over.is_set():
            with contextlib.suppress(OSError):
                connection = self.listener.accept()[0]
                threading.Thread(
                    target=self._answer, args=(connection,), daemon=True
                ).start()

    def _answer(self, connection):
        with contextlib.suppress(OSError), connection:
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(4096)
                if not received:
                    return
                request += received
            name = request.split()[1].decode().rsplit("/", 1)[-1].removesuffix(".gz")
            self.asked.append(name)
            self.behave(self, connection, name)


def head(length=None, status="200 OK", *headers):
    """The head of an answer, as bytes."""
    if length is not None:
        headers = (*headers, f"Content-Length: {length}")
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def send(connection, body, *headers):
    """Answer 200 with ``body``."""
    connection.sendall(head(len(body), "200 OK", *headers) + body)


def good(server, connection, name):
    """What every mirror should do."""
    if name in ARCHIVES:
        send(connection, ARCHIVES[name])
    else:
        connection.sendall(head(0, "404 Not Found"))


def slow(server, connection, name):
    """Honest and slow: 2,048 bytes every tenth of a second."""
    archive = ARCHIVES[name]
    connection.sendall(head(len(archive)))
    for start in range(0, len(archive), 2048):
        server.over.wait(0.1)
        connection.sendall(archive[start : start + 2048])


def labelled(server, connection, name):
    """Honest; the archive is announced as an encoding, as some servers do."""
    send(connection, ARCHIVES[name], "Content-Encoding: gzip")


def chunked(server, connection, name):
    """Honest, without a length."""
    connection.sendall(head(None, "200 OK", "Transfer-Encoding: chunked"))
    archive = ARCHIVES[name]
    for start in range(0, len(archive), 1000):
        piece = archive[start : start + 1000]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n")


def reset(server, connection, name):
    """Reset the connection in the middle of the body."""
    archive = ARCHIVES[name]
    connection.sendall(head(len(archive)) + archive[: len(archive) // 2])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def reset_at_once(server, connection, name):
    """Reset the connection instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def cut(server, connection, name):
    """Close the connection in the middle of the body."""
    archive = ARCHIVES[name]
    connection.sendall(head(len(archive)) + archive[: len(archive) // 2])


def cut_without_length(server, connection, name):
    """Close the connection in the middle of a body of unknown length."""
    connection.sendall(head() + ARCHIVES[name][:-20])


def stall_before_headers(server, connection, name):
    """Take the request and say nothing."""
    server.reached.set()
    server.over.wait(LONG)


def stall_in_body(server, connection, name):
    """Send half of the body, then nothing."""
    archive = ARCHIVES.get(name, b"\x1f\x8b\x08" + bytes(7))
    connection.sendall(head(10**6) + archive[: len(archive) // 2])
    server.reached.set()
    server.over.wait(LONG)


def drip_body(server, connection, name):
    """Send the body byte by byte."""
    connection.sendall(head(len(ARCHIVES[name])))
    for index in range(50 * LONG):
        connection.sendall(ARCHIVES[name][index : index + 1])
        if server.over.wait(0.02):
            return


def drip_headers(server, connection, name):
    """Send a header that never ends, byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Patience: ")
    for _ in range(50 * LONG):
        connection.sendall(b"z")
        if server.over.wait(0.02):
            return


def portal(server, connection, name):
    """Answer every request with the login page of a hotel."""
    send(
        connection, b"<!DOCTYPE html><title>Welcome</title>", "Content-Type: text/html"
    )


def garbage(server, connection, name):
    """Send other bytes of the right length."""
    send(connection, bytes(len(ARCHIVES[name])))


def other_content(server, connection, name):
    """Send a valid archive of other content of the right size."""
    sizes = {wanted.name: wanted.size for wanted in FILES.values()}
    send(connection, gzip.compress(b"\1" * sizes[name]))


def short_content(server, connection, name):
    """Send a valid archive of the first half of the content."""
    content = gzip.decompress(ARCHIVES[name])
    send(connection, gzip.compress(content[: len(content) // 2]))


def not_found(server, connection, name):
    """Answer 404."""
    connection.sendall(head(0, "404 Not Found"))


def unavailable(server, connection, name):
    """Answer 503."""
    connection.sendall(head(0, "503 Service Unavailable"))


def endless_archive(server, connection, name):
    """Send an archive that holds nothing and never ends."""
    connection.sendall(head() + gzip.compress(b"")[:10])
    for _ in range(ENDLESS):
        connection.sendall(b"\x00\x00\x00\xff\xff" * 20_000)  # empty blocks


def endless_content(server, connection, name):
    """Send an archive whose content never ends."""
    packer = zlib.compressobj(wbits=31)
    connection.sendall(head())
    for _ in range(ENDLESS):
        connection.sendall(packer.compress(bytes(2**20)))


def gzip_bomb(server, connection, name):
    """Send a page of zeros, a thousand times smaller by its Content-Encoding."""
    packed = gzip.compress(bytes(20 * 2**20))
    send(connection, packed, "Content-Encoding: gzip")


def bomb_in_bomb(server, connection, name):
    """Send the right archive grown a thousandfold, by its Content-Encoding."""
    packed = gzip.compress(ARCHIVES[name] + bytes(20 * 2**20))
    send(connection, packed, "Content-Encoding: gzip")


def redirect_loop(server, connection, name):
    """Redirect to the same address."""
    location = f"Location: /mnist/{name}.gz"
    connection.sendall(head(0, "302 Found", location))


def endless_redirect(server, connection, name):
    """Redirect, with a body that never ends."""
    connection.sendall(head(None, "302 Found", f"Location: /mnist/{name}.gz"))
    for _ in range(ENDLESS):
        connection.sendall(bytes(2**16))


def nonsense(server, connection, name):
    """Answer in another protocol."""
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


FAULTS = {  # behaviour: what the reason says
    reset: "broke the connection off",
    reset_at_once: "broke the connection off",
    cut: "broke the connection off|sent only a part",
    cut_without_length: "sent only a part",
    portal: "sent something else",
    garbage: "sent something else",
    other_content: "sent another file",
    short_content: "sent another file",
    not_found: "answered 404",
    unavailable: "answered 503",
    endless_archive: "sent more than",
    endless_content: "sent more than",
    gzip_bomb: "sent more than",
    bomb_in_bomb: "sent another file|sent more than",
    redirect_loop: "redirects without end",
    endless_redirect: "redirects without end",
    nonsense: "broke the connection off",
}
WAITS = {  # behaviours that only a clock ends
    stall_before_headers: "no progress|did not answer",
    stall_in_body: "no progress|did not answer",
    drip_body: "no progress",
    drip_headers: "no progress",
}
