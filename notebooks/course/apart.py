"""A function in a process of its own: its memory and its threads are then its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1]
POOLS = ("OMP_NUM_", "OPENBLAS_NUM_", "MKL_NUM_", "VECLIB_MAXIMUM_")
CALL = """import json, sys
from course import sources
function = getattr(sources.load(sys.argv[1]), sys.argv[2])
print(json.dumps(function(*json.loads(sys.argv[3]))))"""


def run(module, name, *arguments, threads=1):
    """What a function returns, called in a new Python with so many threads.

    ``module`` is one that ``sources.save`` wrote ("10_speed/trainings"), ``name`` a
    function in it.  Arguments and result are what JSON can hold.  Raises RuntimeError,
    with the last line that the new Python said, when it fails.
    """
    env = os.environ | {f"{pool}THREADS": str(threads) for pool in POOLS}
    env |= {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CALL, module, name, json.dumps(arguments)],
        cwd=NOTEBOOKS,
        env=env | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"{name} of {module} failed in its process: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory():
    """The most memory that this process has held so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; what getrusage says there may be the parent's
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
