"""Speed and memory, measured in one run: `python tasks.py bench [a b c d e f]`.

Each part repeats its measurements in turn and prints medians and ratios; the seconds
belong to this machine, the ratios travel.  One BLAS thread, real MNIST.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE / "notebooks"))

import numpy as np  # noqa: E402

from course import mnist  # noqa: E402

REPETITIONS = 5


def page(chapter):
    """The functions of a chapter's own cells tagged "bench", by name."""
    names = {"np": np}
    path = HERE / "notebooks" / f"{chapter}.ipynb"
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if "bench" in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), names)
    return names


def seconds(work):
    """The time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(works, repetitions=REPETITIONS):
    """Time several works in turn, after a warm-up; print and return the medians."""
    for work in works.values():
        work()
    times = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            times[name].append(seconds(work))
    for name, values in times.items():
        low, high = min(values), max(values)
        print(f"  {name:46} {median(values):7.3f} s  ({low:.3f} to {high:.3f})")
    return {name: median(values) for name, values in times.items()}


def scaled(images, dtype):
    return images.reshape(len(images), -1).astype(dtype) / 255


def sklearn_epoch(X, y):
    """An epoch of MLPClassifier with the plain recipe."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (64,), solver="sgd", alpha=0, batch_size=64, learning_rate_init=0.1,
        momentum=0, nesterovs_momentum=False, max_iter=1, random_state=0,
    )  # fmt: skip

    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)

    return work


def torch_epoch(X, y):
    """An epoch of an eager PyTorch loop with the plain recipe, or None without it."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    X, y = torch.tensor(X), torch.tensor(y, dtype=torch.long)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss()

    def work():
        order = torch.randperm(len(X))
        for start in range(0, len(X), 64):
            batch = order[start : start + 64]
            optimiser.zero_grad()
            loss(model(X[batch]), y[batch]).backward()
            optimiser.step()

    return work


def products(X, parameters):
    """The five matrix products of an epoch, alone."""
    W1, _, W2, _ = parameters
    batch = X[:64].copy()
    hidden, logits = batch @ W1, batch @ W1 @ W2

    def work():
        for _ in range(-(-len(X) // 64)):
            batch @ W1
            hidden @ W2
            logits @ W2.T
            hidden.T @ logits
            batch.T @ hidden

    return work


def plain_recipe():
    """(a) and (b): an epoch of chapter 4's own cells, beside others and its bound."""
    print("(a, b) one epoch of the plain recipe on 50,000 images, float32")
    images, y = mnist.load().train
    X = scaled(images, np.float32)
    names = page("04_neural_network")
    start = [P.astype(X.dtype) for P in names["initialise"](np.random.default_rng(0))]
    trained = names["train"](
        start, X[:640], y[:640], np.random.default_rng(0), 1, 64, 0.1
    )
    assert all(P.dtype == np.float32 for P in trained)
    works = {
        "chapter 4": lambda: names["train"](
            start, X, y, np.random.default_rng(0), 1, 64, 0.1
        ),
        "its five matrix products alone": products(X, start),
        "scikit-learn's MLPClassifier": sklearn_epoch(X, y),
        "PyTorch, eager": torch_epoch(X, y),
    }
    times = compare({name: work for name, work in works.items() if work})
    ours = times.pop("chapter 4")
    for name, value in times.items():
        print(f"  {name} / chapter 4: {value / ours:.2f}")
    print(
        f"  chapter 4 / its bound: {ours / times['its five matrix products alone']:.2f}"
    )


def time_to_accuracy():
    """(c): seconds of training until the validation accuracy first reaches 97.1 %.

    Chapter 5's recipe on raw pixels, in float32: for each seed, the fewest epochs whose
    training ends there.  The clock runs while it trains, not while it is scored.
    """
    print("(c) until 97.1 % on validation, with the recipe of chapter 5")
    data = mnist.load()
    names = page("05_better_training")
    X_validation = names["inputs"](data.validation[0], np.float32)
    times, needed = [], []
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        start = [P.astype(np.float32) for P in names["initialise"](rng)]
        for epochs in range(1, 11):
            begin = time.perf_counter()
            trained = names["train"](
                start, *data.train, rng, epochs, learning_rate=0.2, momentum=0.8,
                weight_decay=0.003, schedule=names["linear"],
            )  # fmt: skip
            spent = time.perf_counter() - begin
            reached = names["accuracy"](trained, X_validation, data.validation[1])
            if reached >= 0.971:
                break
        print(
            f"  seed {seed}: {100 * reached:.2f} % after {epochs} epochs, {spent:.2f} s"
        )
        times.append(spent)
        needed.append(epochs)
    print(f"  median {median(times):.2f} s, {median(needed):g} epochs")


def reading():
    """(d): reading the four verified files, beside np.fromfile and the checksum."""
    import contextlib
    import hashlib

    print("(d) reading the four files from data/raw")
    files = [mnist.path(role) for role in mnist.FILES]
    contents = [file.read_bytes() for file in files]

    def load():
        with contextlib.redirect_stdout(None):
            mnist.load()

    times = compare(
        {
            "mnist.load(), verified": load,
            "np.fromfile of the same bytes": lambda: [
                np.fromfile(file, np.uint8) for file in files
            ],
            "SHA-256 of the same bytes": lambda: [
                hashlib.sha256(content).digest() for content in contents
            ],
        },
        15,
    )
    load_, bare, checksum = times.values()
    print(f"  (load - checksum) / np.fromfile: {(load_ - checksum) / bare:.2f}")


def chapters():
    """(e): wall time and peak memory of each chapter, with one and with two threads."""
    print("(e) each chapter, executed alone: seconds, and peak memory of its kernel")
    import tempfile

    total, peaks = {1: 0.0, 2: 0.0}, []
    with tempfile.TemporaryDirectory() as folder:
        for notebook in sorted((HERE / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            needed = {"08": "torch", "09": "tensorflow"}.get(notebook.name[:2])
            if needed and importlib.util.find_spec(needed) is None:
                print(f"  {notebook.stem:24}  left out: {needed} is not installed")
                continue
            line, highest = f"  {notebook.stem:24}", 0.0
            for threads in total:
                wall, peak = execute(notebook, threads, folder)
                total[threads] += wall
                peaks.append(peak)
                line += f"  {threads} thread(s) {wall:6.1f} s {peak / 2**20:6.0f} MiB"
                highest = max(highest, peak)
            print(f"{line}  {verdict(highest)}", flush=True)
    print(f"  together: {total[1]:.0f} s with one thread, {total[2]:.0f} s with two; "
          f"peak {max(peaks) / 2**20:.0f} MiB")  # fmt: skip


def verdict(peak):
    """Whether a chapter's peak memory, in bytes or nan, keeps to its limit."""
    if np.isnan(peak):
        return "not counted"
    return "below 1.5 GB" if peak < 1.5e9 else "ABOVE 1.5 GB"


def execute(notebook, threads, folder):
    """Run a notebook in a process of its own; its seconds, and peak bytes or nan."""
    code = (
        "import subprocess, sys\n"
        "status = subprocess.run(sys.argv[1:]).returncode\n"
        "try:\n"
        "    import resource\n"
        "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "except ImportError:  # Windows has no such count\n"
        "    print('nan')\n"
        "sys.exit(status)"
    )
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
    command += ["--output-dir", folder, "--log-level", "ERROR", str(notebook)]
    env = dict(
        os.environ, OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads),
        COURSE_RESULTS=folder,
    )  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=env, check=True,
        stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, float(done.stdout.split()[-1]) * unit


def lenet_epoch(images, y):
    """An epoch of LeNet-5 with the layers of the course."""
    from layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU, train

    rng = np.random.default_rng(0)
    network = [
        Conv2D(1, 6, 5, rng, padding=2, first=True), MaxPool2D(2), ReLU(),
        Conv2D(6, 16, 5, rng), MaxPool2D(2), ReLU(), Flatten(),
        Dense(400, 120, rng), ReLU(), Dense(120, 84, rng), ReLU(), Dense(84, 10, rng),
    ]  # fmt: skip
    return lambda: train(network, images, y, rng, 1)


def torch_lenet_epoch(images, y, layout):
    """The same in eager PyTorch, in a memory format of it; None without PyTorch."""
    try:
        import torch
        from torch import nn
    except ImportError:
        return None
    torch.set_num_threads(1)
    layout = getattr(torch, layout)
    images, y = torch.tensor(images), torch.tensor(y, dtype=torch.long)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    ).to(memory_format=layout)  # fmt: skip
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def work():
        order = torch.randperm(len(y))
        for start in range(0, len(y), 64):
            batch = order[start : start + 64]
            X = (images[batch].to(torch.float32) / 255)[:, None]
            optimiser.zero_grad()
            loss(model(X.contiguous(memory_format=layout)), y[batch]).backward()
            optimiser.step()

    return work


def convolution():
    """(f): an epoch of LeNet-5 with layers.py, beside eager PyTorch."""
    print("(f) one epoch of LeNet-5 on 50,000 images, batches of 64, one thread")
    images, y = mnist.load().train
    works = {
        "layers.py": lenet_epoch(images, y),
        "PyTorch, eager": torch_lenet_epoch(images, y, "contiguous_format"),
        "PyTorch, channels_last": torch_lenet_epoch(images, y, "channels_last"),
    }
    times = compare({name: work for name, work in works.items() if work}, 3)
    ours = times.pop("layers.py")
    for name, value in times.items():
        print(f"  layers.py / {name}: {ours / value:.2f}")


PARTS = {
    "a": plain_recipe,
    "c": time_to_accuracy,
    "d": reading,
    "e": chapters,
    "f": convolution,
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS["a" if part == "b" else part]()
