"""Joblib's tasks on a real Dask cluster of two worker processes on this machine."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import threadpoolctl

import layers
from course import cluster, extras, mnist

CHAPTER = Path(__file__).resolve().parents[1] / "notebooks" / "10_speed.ipynb"
NOT_THERE = "tcp://127.0.0.1:9"  # nobody listens on this port


def squares(count, seconds=0.0):
    """The numbers that ``count`` tasks return, and the processes that did them."""

    def slow_square(number, seconds):  # here, so that it travels whole
        time.sleep(seconds)
        return number * number, os.getpid()

    tasks = (joblib.delayed(slow_square)(number, seconds) for number in range(count))
    numbers, processes = zip(*joblib.Parallel()(tasks))
    return list(numbers), set(processes)


def test_without_an_address_the_processes_of_this_machine_do_it():
    with cluster.workers() as count:
        numbers, processes = squares(8)
    assert count == os.cpu_count() and numbers == [n * n for n in range(8)]
    assert count == 1 or os.getpid() not in processes


def test_after_the_block_joblib_works_as_before():
    with cluster.workers(""):
        pass
    assert squares(3) == ([0, 1, 4], {os.getpid()})


def test_missing_dask_is_one_sentence(monkeypatch):
    def need(package):
        raise extras.Unavailable(f"This page needs {package}, ...")

    monkeypatch.setattr(extras, "need", need)
    with pytest.raises(extras.Unavailable, match="needs distributed"):
        with cluster.workers(NOT_THERE):
            pass


# ------------------------------------------------------------ with Dask installed


@contextlib.contextmanager
def scheduler(workers=2):
    """A scheduler in a process of its own, and its workers; gives both."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = ["--host", "127.0.0.1", "--port", str(port)]
    first = subprocess.Popen([*start, *here], **pipes)
    started = [first]
    try:
        start = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        for _ in range(workers):
            options = ["--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]
            started.append(subprocess.Popen([*start, *options], **pipes))
        yield address, first
    finally:
        for process in started[::-1]:
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(address, count):
    """Wait until a scheduler has this many workers."""
    with extras.need("distributed").Client(address, timeout=30) as client:
        client.wait_for_workers(count, timeout=60)


def test_two_workers_do_the_tasks():
    with scheduler() as (address, _):
        wait_for(address, 2)
        with cluster.workers(address) as count:
            numbers, processes = squares(8, 0.3)
        assert count == 2 and numbers == [n * n for n in range(8)]
        assert len(processes) == 2 and os.getpid() not in processes


def test_a_scheduler_that_dies_is_one_sentence():
    with scheduler() as (address, process):
        wait_for(address, 2)
        threading.Timer(1.5, process.kill).start()
        with pytest.raises(cluster.Lost) as caught:
            with cluster.workers(address):
                squares(200, 0.5)
    assert re.match(f"The scheduler at {address} was lost before", str(caught.value))
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert squares(3) == ([0, 1, 4], {os.getpid()})  # the next one works


def test_a_scheduler_without_workers_is_one_sentence(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with scheduler(workers=0) as (address, _):
        with pytest.raises(cluster.Lost, match="had no worker for 2 seconds"):
            with cluster.workers(address):
                squares(3)


@pytest.mark.parametrize(
    "address, said",
    [
        (NOT_THERE, "did not answer within 2 seconds"),
        ("nonsense", r"cannot be asked \(missing port"),
        ("http://x:1", r"cannot be asked \(unknown address scheme"),
    ],
)
def test_nobody_at_the_address_is_one_sentence(address, said, monkeypatch, capfd):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with pytest.raises(cluster.Lost, match=f"The scheduler at {address} {said}"):
        with cluster.workers(address):
            squares(3)
    assert capfd.readouterr().err == ""


def test_a_fault_of_a_task_is_not_blamed_on_the_scheduler():
    def fault(number):
        raise FileNotFoundError("a file of the task")

    with scheduler() as (address, _):
        wait_for(address, 2)
        with pytest.raises(FileNotFoundError, match="of the task"):
            with cluster.workers(address):
                joblib.Parallel()(joblib.delayed(fault)(n) for n in range(2))


def test_modules_of_the_tasks_are_sent_along(tmp_path):
    module = tmp_path / "sent_along.py"
    module.write_text("FACTOR = 7\n", "utf-8")

    def times(number):
        import sent_along

        return sent_along.FACTOR * number

    with scheduler() as (address, _):
        wait_for(address, 2)
        with cluster.workers(address, module):
            found = joblib.Parallel()(joblib.delayed(times)(n) for n in np.arange(3))
    assert found == [0, 7, 14]


def test_workers_that_cannot_read_the_tasks_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def task(n):\n    return n\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with scheduler() as (address, _):
        wait_for(address, 2)
        with pytest.raises(cluster.Lost, match="gave back no result in time"):
            with cluster.workers(address):
                tasks = (joblib.delayed(only_here.task)(n) for n in range(2))
                joblib.Parallel(timeout=3)(tasks)


def test_the_study_of_chapter_10_finds_the_same_on_a_cluster(monkeypatch, capsys):
    data = SimpleNamespace(  # less of it, for the time
        train=[part[:8000] for part in mnist.load().train],
        validation=[part[:2000] for part in mnist.load().validation],
    )
    modules = (cluster, joblib, layers, np, os, threadpoolctl, time)
    names = {module.__name__.split(".")[-1]: module for module in modules}
    names |= {"np": np, "data": data, "__name__": "__main__"}
    with scheduler() as (address, _):
        wait_for(address, 2)
        monkeypatch.setenv("COURSE_SCHEDULER", address)
        for cell in json.loads(CHAPTER.read_text("utf-8"))["cells"]:
            if "cluster" in cell["metadata"].get("tags", []):
                exec("".join(cell["source"]), names)  # it asserts
    said = capsys.readouterr().out
    assert re.search("the cluster: 2 workers, .* efficiency .* the same acc", said)
    assert said.count("the same accuracies") == 2
