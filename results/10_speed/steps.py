"""Written by notebooks/10_speed.ipynb: the definitions of its cells."""

import time
from functools import partial

import numpy as np
import threadpoolctl

import layers
from course import apart, extras, mnist, sources

globals().update(vars(sources.load("10_speed/trainings")))


def products(network, n):
    """Each layer's matrix products in a step with n images, by their shapes.

    A shape is (groups, rows, inner length, columns); the first product is that of the
    way forward, the second gives the gradient of the weights, the third of the input.
    """
    dense = isinstance(network[0], layers.Dense)
    X = np.zeros((n, 784) if dense else (1, 28, 28, n), np.float32)
    layers.forward(network, X)  # so that every layer has seen n images
    shapes = []
    for layer in [layer for layer in network if hasattr(layer, "weights")]:
        if isinstance(layer, layers.Dense):
            g, a, b, c = 1, n, layer.inputs, layer.outputs
            shapes.append([(g, a, b, c), (g, b, a, c), (g, a, c, b)])
        else:
            g, a, b = layer.groups, layer.filters // layer.groups, layer.weights[0].size
            c = layer.columns.size // (g * b)
            shapes.append([(g, a, b, c), (g, a, c, b), (g, b, a, c)])
    shapes[0].pop()  # nobody needs the gradient of the pixels
    return shapes


def bare(name, hidden, n):
    """A function that does the products of a step, one after the other, in NumPy."""
    rng = np.random.default_rng(0)
    network = one_hidden(rng, hidden) if hidden else plan(name)["build"](rng)
    shapes = [shape for layer in products(network, n) for shape in layer]
    pairs = [(rng.random((g, a, b)), rng.random((g, b, c))) for g, a, b, c in shapes]
    pairs = [(A.astype(np.float32), B.astype(np.float32)) for A, B in pairs]
    return lambda: [A @ B for A, B in pairs]


def contestants(name, hidden, n):
    """A step of each library on n images, made ready before, and its products alone."""
    libraries = dict(NumPy=from_scratch, PyTorch=in_pytorch, TensorFlow=in_tensorflow)
    rng, steps = np.random.default_rng(0), {}
    images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
    y = rng.integers(10, size=n, dtype=np.uint8)
    for where, library in libraries.items():
        network = one_hidden(rng, hidden) if hidden else plan(name)["build"](rng)
        take, step, _ = library(name, network)
        steps[where] = partial(step, take(images), y, 0.01)
    return steps | {"products alone": bare(name, hidden, n)}


def time_in_turn(cases):
    """For each case the median seconds of every contestant, timed block by block."""
    medians = []
    for where in ("PyTorch", "TensorFlow", "NumPy"):
        begin("784-64-10", where)  # sets the threads
    for case in cases:
        steps = contestants(*case)
        calls = max(1, int(0.03 / median_time(steps["NumPy"])))  # in a block
        blocks = {where: [] for where in steps}
        for _ in range(12):
            for where, step in steps.items():
                start = time.perf_counter()
                for _ in range(calls):
                    step()
                blocks[where].append((time.perf_counter() - start) / calls)
        # the first two blocks are the warm-up
        medians.append({w: float(np.median(taken[2:])) for w, taken in blocks.items()})
    return medians
