"""The layers: right against slow loops and against slopes, and every fault is seen.

Each check is a function of the module, so that it can be held against the layers as
they are, which must pass, and against copies with a planted fault, which must not.
"""

import importlib.util
import io
import math
import re
import tracemalloc
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import signal

import layers as real

# The examples are a few small numbers: readable without being made smaller still.
PROPERTY = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
H = 1e-5  # for central differences, in float64
SEEDS = st.integers(0, 99)
COUNTS = st.integers(1, 4)


def agree(came, expected, tolerance=1e-9):
    """Assert that two arrays have one shape and, within a tolerance, the same numbers.

    Whatever is no number is not close to anything.
    """
    assert came.shape == expected.shape, f"{came.shape} is not {expected.shape}"
    difference = np.abs(came - expected)
    assert np.all(difference <= tolerance * (1 + np.abs(expected)))


def slopes_agree(layer, X, rng, training=False, before=lambda: None):
    """Every entry of every gradient is the slope of sum(Y * D) in its direction."""
    before()
    D = rng.normal(size=layer.forward(X, training).shape)
    pairs = [(X, layer.backward(D))]
    if hasattr(layer, "weights"):
        pairs += [(layer.weights, layer.dweights), (layer.bias, layer.dbias)]
    for A, dA in pairs:
        slopes = np.empty_like(A)
        for index in np.ndindex(A.shape):
            here, sums = A[index], []
            for there in (here - H, here + H):
                A[index] = there
                before()
                sums.append(np.sum(layer.forward(X, training) * D))
            A[index] = here
            slopes[index] = (sums[1] - sums[0]) / (2 * H)
        agree(dA, slopes, 1e-6)


def places(length, size, stride, padding=0):
    """How many windows fit, found by moving one along the padded length."""
    return len(range(0, length + 2 * padding - size + 1, stride))


# Slow versions, from the definitions: outputs and gradients, one number at a time


def slow_dense(X, W, b, dY):
    """Y, dX, dW, db of a fully connected layer."""
    Y, dX, dW, db = np.zeros_like(dY), np.zeros_like(X), np.zeros_like(W), 0 * b
    for e, j in np.ndindex(dY.shape):
        Y[e, j] = b[j]
        db[j] += dY[e, j]
        for i in range(len(W)):
            Y[e, j] += X[e, i] * W[i, j]
            dX[e, i] += dY[e, j] * W[i, j]
            dW[i, j] += dY[e, j] * X[e, i]
    return Y, dX, dW, db


def slow_conv(X, W, b, dY, stride, padding, groups):
    """Y, dX, dW, db of a convolution; pixels outside of the image are 0."""
    Y, dX, dW, db = np.zeros_like(dY), np.zeros_like(X), np.zeros_like(W), 0 * b
    _, height, width, _ = X.shape
    for f, i, j, e in np.ndindex(dY.shape):
        Y[f, i, j, e] += b[f]
        db[f] += dY[f, i, j, e]
        group = f * groups // len(W)
        for c, a, d in np.ndindex(W.shape[1:]):
            row, column = i * stride + a - padding, j * stride + d - padding
            if 0 <= row < height and 0 <= column < width:
                pixel = (group * W.shape[1] + c, row, column, e)
                Y[f, i, j, e] += W[f, c, a, d] * X[pixel]
                dX[pixel] += dY[f, i, j, e] * W[f, c, a, d]
                dW[f, c, a, d] += dY[f, i, j, e] * X[pixel]
    return Y, dX, dW, db


def slow_pool(X, dY, size, stride):
    """Y and dX of a max-pooling; the first of the largest gets the whole gradient."""
    Y, dX = np.zeros_like(dY), np.zeros_like(X)
    for c, i, j, e in np.ndindex(dY.shape):
        best = (c, i * stride, j * stride, e)
        for a, d in np.ndindex(size, size):
            cell = (c, i * stride + a, j * stride + d, e)
            if X[cell] > X[best]:
                best = cell
        Y[c, i, j, e] = X[best]
        dX[best] += dY[c, i, j, e]
    return Y, dX


def slow_norm(X, dY, size, alpha, beta, k):
    """Y and dX of a local response normalisation, by the quotient's derivative."""
    Y, dX = np.zeros_like(X), np.zeros_like(X)
    for c, i, j, e in np.ndindex(X.shape):
        near = [o for o in range(len(X)) if abs(o - c) <= size // 2]
        scale = k + alpha * sum(X[o, i, j, e] ** 2 for o in near)
        Y[c, i, j, e] = X[c, i, j, e] / scale**beta
        dX[c, i, j, e] += dY[c, i, j, e] / scale**beta
        for o in near:
            dscale = -beta * X[c, i, j, e] / scale ** (beta + 1)
            dX[o, i, j, e] += dY[c, i, j, e] * dscale * alpha * 2 * X[o, i, j, e]
    return Y, dX


def slow_loss(logits, y):
    """The mean cross-entropy and its gradient, with exact sums of exponentials."""
    loss, dlogits = 0.0, np.zeros_like(logits)
    for e, row in enumerate(logits):
        total = math.fsum(math.exp(logit - max(row)) for logit in row)
        loss += (math.log(total) - (row[y[e]] - max(row))) / len(y)
        for j, logit in enumerate(row):
            wanted = 1 if j == y[e] else 0
            dlogits[e, j] = (math.exp(logit - max(row)) / total - wanted) / len(y)
    return loss, dlogits


# Examples


@st.composite
def convolutions(draw):
    """Settings of a convolution, and images that are not too small for it."""
    size, padding, groups = draw(COUNTS), draw(st.integers(0, 2)), draw(COUNTS)
    smallest = max(1, size - 2 * padding)
    return {
        "channels": groups * draw(st.integers(1, 2)),
        "filters": groups * draw(st.integers(1, 2)),
        "height": draw(st.integers(smallest, smallest + 3)),
        "width": draw(st.integers(smallest, smallest + 4)),
        "n": draw(COUNTS),
        "size": size,
        "stride": draw(st.integers(1, size + 1)),
        "padding": padding,
        "groups": groups,
        "seed": draw(SEEDS),
    }


@st.composite
def pools(draw):
    """Settings of a pooling, often with an overlap, and images for it."""
    size = draw(st.sampled_from([2, 3, 4]))
    return {
        "channels": draw(st.integers(1, 2)),
        "height": draw(st.integers(size, size + 4)),
        "width": draw(st.integers(size, size + 5)),
        "n": draw(COUNTS),
        "size": size,
        "stride": draw(st.integers(1, size + 1)),
        "seed": draw(SEEDS),
    }


def made_conv(layers, case):
    """The layer of an example of ``convolutions``, images for it, and numbers."""
    rng = np.random.default_rng(case["seed"])
    layer = layers.Conv2D(
        case["channels"], case["filters"], case["size"], rng, case["stride"],
        case["padding"], case["groups"], dtype=np.float64,
    )  # fmt: skip
    layer.bias[:] = rng.normal(size=layer.bias.shape)
    shape = (case["channels"], case["height"], case["width"], case["n"])
    return layer, rng.normal(size=shape), rng


def every_layer(layers, dtype=np.float64):
    """At least one layer of each kind, always the same, and the shape of an input."""
    rng = np.random.default_rng(5)
    convolution = {"stride": 2, "padding": 1, "groups": 2, "dtype": dtype}
    return [
        (layers.Dense(6, 4, rng, dtype), (5, 6)),
        (layers.ReLU(), (5, 6)),
        (layers.ReLU(), (2, 4, 3, 5)),
        (layers.Conv2D(4, 6, 3, rng, **convolution), (4, 6, 5, 3)),
        (layers.Conv2D(2, 3, 2, rng, padding=2, dtype=dtype), (2, 5, 4, 3)),
        (layers.Conv2D(2, 3, 2, rng, dtype=dtype), (2, 5, 4, 3)),
        (layers.MaxPool2D(3, 2), (2, 6, 7, 3)),
        (layers.MaxPool2D(1), (2, 3, 2, 3)),
        (layers.LocalResponseNorm(), (4, 3, 2, 3)),
        (layers.LocalResponseNorm(3, 0.5, 0.6, 1.0), (4, 3, 2, 3)),
        (layers.Dropout(0.4, rng), (5, 6)),
        (layers.Dropout(0.4, rng), (2, 4, 3, 5)),
        (layers.Flatten(), (2, 4, 3, 5)),
    ]


def small_network(layers, rng, dtype=np.float64, rate=0.5, first=False):
    """A network with every kind of layer in it, for images of 9 × 8 pixels."""
    return [
        layers.Conv2D(1, 4, 3, rng, padding=1, first=first, dtype=dtype),
        layers.ReLU(),
        layers.LocalResponseNorm(3, 0.5, 0.75, 2.0),
        layers.MaxPool2D(3, 2),
        layers.Conv2D(4, 6, 2, rng, stride=1, groups=2, dtype=dtype),
        layers.ReLU(),
        layers.MaxPool2D(2),
        layers.Flatten(),
        layers.Dense(6, 8, rng, dtype),
        layers.ReLU(),
        layers.Dropout(rate, rng),
        layers.Dense(8, 3, rng, dtype),
    ]


def dense_network(layers, rng, dtype=np.float64):
    """20 pixels, 7 hidden neurons, 3 classes."""
    return [
        layers.Flatten(),
        layers.Dense(20, 7, rng, dtype),
        layers.ReLU(),
        layers.Dense(7, 3, rng, dtype),
    ]


def digits(n, height=4, width=5, classes=3):
    """Random images and labels."""
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, height, width), np.uint8)
    return images, rng.integers(0, classes, n).astype(np.uint8)


# Forward and backward


def check_dense(layers):
    """A fully connected layer agrees with slow loops and with slopes."""

    @PROPERTY
    @given(n=COUNTS, inputs=COUNTS, outputs=COUNTS, seed=SEEDS)
    def holds(n, inputs, outputs, seed):
        rng = np.random.default_rng(seed)
        layer = layers.Dense(inputs, outputs, rng, np.float64)
        layer.bias[:] = rng.normal(size=outputs)
        X, dY = rng.normal(size=(n, inputs)), rng.normal(size=(n, outputs))
        slow = slow_dense(X, layer.weights, layer.bias, dY)
        for came, expected in zip((layer.forward(X), layer.backward(dY)), slow):
            agree(came, expected)
        agree(layer.dweights, slow[2])
        agree(layer.dbias, slow[3])
        slopes_agree(layer, X, rng)

    holds()


def check_conv_against_loops(layers):
    """Any convolution agrees with slow loops, forward and backward."""

    @PROPERTY
    @given(convolutions())
    def holds(case):
        layer, X, rng = made_conv(layers, case)
        size, stride, padding = case["size"], case["stride"], case["padding"]
        rows, columns = (places(n, size, stride, padding) for n in X.shape[1:3])
        dY = rng.normal(size=(case["filters"], rows, columns, case["n"]))
        slow = slow_conv(
            X, layer.weights, layer.bias, dY, stride, padding, case["groups"]
        )
        agree(layer.forward(X), slow[0])
        agree(layer.backward(dY), slow[1])
        agree(layer.dweights, slow[2])
        agree(layer.dbias, slow[3])

    holds()


def check_conv_against_slopes(layers):
    """Any convolution's gradients are slopes: of the input, weights and bias."""

    @settings(PROPERTY, max_examples=20)
    @given(convolutions())
    def holds(case):
        layer, X, rng = made_conv(layers, case | {"n": min(case["n"], 2)})
        slopes_agree(layer, X, rng)

    holds()


def check_conv_against_scipy(layers):
    """With one channel and one filter, SciPy says the same, forward and backward."""

    @PROPERTY
    @given(convolutions())
    def holds(case):
        case |= {"channels": 1, "filters": 1, "groups": 1}
        layer, X, rng = made_conv(layers, case)
        p, s, (height, width) = case["padding"], case["stride"], X.shape[1:3]
        images = [np.pad(X[0, :, :, e], p) for e in range(case["n"])]
        W, Y = layer.weights[0, 0], layer.forward(X)
        every = [signal.correlate2d(image, W, mode="valid") for image in images]
        agree(Y[0], np.stack([one[::s, ::s] for one in every], axis=-1) + layer.bias)

        dY = rng.normal(size=Y.shape)
        dX, dW = layer.backward(dY), np.zeros_like(W)
        for e, image in enumerate(images):
            spread = np.zeros_like(every[e])  # places left out by the stride stay 0
            spread[::s, ::s] = dY[0, :, :, e]
            dimage = signal.convolve2d(spread, W)
            agree(dX[0, :, :, e], dimage[p : p + height, p : p + width])
            dW += signal.correlate2d(image, spread, mode="valid")
        agree(layer.dweights[0, 0], dW)

    holds()


def check_pool_against_loops(layers):
    """Any max-pooling agrees with slow loops, with few equal numbers and with many."""

    @PROPERTY
    @given(case=pools(), highest=st.sampled_from([0, 1, 3, 10**6]))
    def holds(case, highest):
        rng = np.random.default_rng(case["seed"])
        size, stride = case["size"], case["stride"]
        shape = (case["channels"], case["height"], case["width"], case["n"])
        X = rng.integers(-highest, highest + 1, shape).astype(float)
        rows, columns = (places(length, size, stride) for length in shape[1:3])
        dY = rng.normal(size=(shape[0], rows, columns, shape[3]))
        Y, dX = slow_pool(X, dY, size, stride)
        layer = layers.MaxPool2D(size, stride)
        assert np.array_equal(layer.forward(X), Y)
        agree(layer.backward(dY), dX)

    holds()


def check_pool_against_slopes(layers):
    """Between numbers that are all different, the gradient is the slope."""

    @settings(PROPERTY, max_examples=20)
    @given(pools())
    def holds(case):
        rng = np.random.default_rng(case["seed"])
        shape = (case["channels"], case["height"], case["width"], case["n"])
        X = rng.permutation(math.prod(shape)).reshape(shape) / 10
        slopes_agree(layers.MaxPool2D(case["size"], case["stride"]), X, rng)

    holds()


def check_pool_with_ties(layers):
    """A window sends its whole gradient to one cell, the first of the largest."""
    X = np.full((2, 4, 6, 3), 7.0)
    layer = layers.MaxPool2D(2)
    dY = np.arange(1.0, 37).reshape(2, 2, 3, 3)
    assert np.array_equal(layer.forward(X), np.full(dY.shape, 7.0))
    dX = layer.backward(dY)
    assert np.array_equal(dX[:, ::2, ::2], dY)
    assert dX.sum() == dY.sum() and np.count_nonzero(dX) == dY.size

    row = np.array([1.0, 5, 5, 5, 2, 2, 2]).reshape(1, 1, 7, 1)
    overlapping = layers.MaxPool2D(3, 2)  # of each column, the first row is the first
    assert overlapping.forward(np.repeat(row, 3, axis=1)).ravel().tolist() == [5, 5, 2]
    dX = overlapping.backward(np.array([1.0, 10, 100]).reshape(1, 1, 3, 1))
    assert dX[0, 0, :, 0].tolist() == [0, 1, 10, 0, 100, 0, 0]
    assert dX.sum() == 111

    rng = np.random.default_rng(0)
    for size, stride in ((2, 2), (3, 2), (3, 1), (4, 3)):
        layer = layers.MaxPool2D(size, stride)
        X = rng.integers(0, 2, (3, 9, 8, 4)).astype(float)
        dY = rng.integers(1, 9, layer.forward(X).shape).astype(float)
        assert layer.backward(dY).sum() == dY.sum()
    assert layers.MaxPool2D(3).stride == 3


def check_norm(layers):
    """Any local response normalisation agrees with slow loops and with slopes."""

    @PROPERTY
    @given(
        shape=st.tuples(st.integers(1, 7), *[st.integers(1, 2)] * 3),
        size=st.sampled_from([1, 3, 5, 9]),
        alpha=st.sampled_from([0.0, 1e-4, 0.3, 2.0]),
        beta=st.sampled_from([0.0, 0.5, 0.75, 1.0, 1.7]),
        k=st.sampled_from([0.5, 1.0, 2.0]),
        seed=SEEDS,
    )
    def holds(shape, size, alpha, beta, k, seed):
        rng = np.random.default_rng(seed)
        X, dY = rng.normal(size=shape), rng.normal(size=shape)
        layer = layers.LocalResponseNorm(size, alpha, beta, k)
        Y, dX = slow_norm(X, dY, size, alpha, beta, k)
        agree(layer.forward(X), Y)
        agree(layer.backward(dY), dX)
        slopes_agree(layer, X, rng)

    holds()
    rng, layer = np.random.default_rng(0), layers.LocalResponseNorm()
    X, dY = 30 * rng.normal(size=(2, 9, 2, 2, 2))
    for came, expected in zip(
        (layer.forward(X), layer.backward(dY)), slow_norm(X, dY, 5, 1e-4, 0.75, 2.0)
    ):
        agree(came, expected)


def check_relu_and_flatten(layers):
    """Negative numbers and their gradients become 0; rows hold an image each."""
    X = np.array([[-2.0, 0.0, 3.0], [0.5, -0.0, -1e-9]])
    relu = layers.ReLU()
    assert relu.forward(X).tolist() == [[0, 0, 3], [0.5, 0, 0]]
    assert relu.backward(np.full((2, 3), 7.0)).tolist() == [[0, 0, 7], [7, 0, 0]]
    rng, flatten = np.random.default_rng(0), layers.Flatten()
    for shape in ((3, 2), (2, 3, 4, 2), (2, 3, 4, 1), (1, 1, 1, 3)):
        away = rng.uniform(0.1, 1, shape) * rng.choice([-1, 1], shape)
        slopes_agree(layers.ReLU(), away, rng)
        if len(shape) == 4:
            rows = flatten.forward(away)
            for c, i, j, e in np.ndindex(shape):
                assert rows[e, (c * shape[1] + i) * shape[2] + j] == away[c, i, j, e]
            assert np.array_equal(flatten.backward(rows), away)
            slopes_agree(flatten, away, rng)


def check_loss(layers):
    """The loss and its gradient agree with slow loops and with slopes."""

    @PROPERTY
    @given(n=COUNTS, classes=COUNTS, spread=st.sampled_from([1, 300]), seed=SEEDS)
    def holds(n, classes, spread, seed):
        rng = np.random.default_rng(seed)
        logits = spread * rng.normal(size=(n, classes))
        y = rng.integers(0, classes, n).astype(rng.choice([np.uint8, np.int64]))
        kept = logits.copy()
        loss, dlogits = layers.softmax_cross_entropy(logits, y)
        expected, slow = slow_loss(logits, y)
        assert type(loss) is float and abs(loss - expected) <= 1e-9 * (1 + expected)
        agree(dlogits, slow)
        assert np.array_equal(logits, kept)
        for index in np.ndindex(logits.shape):
            losses = []
            for there in (kept[index] - H, kept[index] + H):
                logits[index] = there
                losses.append(layers.softmax_cross_entropy(logits, y)[0])
            logits[index] = kept[index]
            assert abs((losses[1] - losses[0]) / (2 * H) - slow[index]) < 1e-6

    holds()
    certain = np.array([[1000.0, 0], [-1000, 0]])
    assert layers.softmax_cross_entropy(certain, np.array([0, 1]))[0] == 0
    assert layers.softmax_cross_entropy(certain, np.array([1, 0]))[0] == 1000
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        loss, dlogits = layers.softmax_cross_entropy(
            rng.normal(size=(5, 3)).astype(dtype), np.array([0, 2, 1, 1, 0])
        )
        assert type(loss) is float and dlogits.dtype == dtype


def check_dropout(layers):
    """Off at prediction; in training the share, the scale and one mask both ways."""
    X = np.random.default_rng(0).uniform(1, 2, (200, 500))
    ones = np.ones_like(X)
    layer = layers.Dropout(0.3, np.random.default_rng(1))
    for before in (lambda: None, lambda: layer.forward(X, training=True)):
        before()
        assert np.array_equal(layer.forward(X), X)
        assert np.array_equal(layer.backward(ones), ones)
    factors = layer.forward(X, training=True) / X
    kept = factors > 0
    assert abs(kept.mean() - 0.7) < 0.01
    assert abs(factors.mean() - 1) < 0.01
    assert np.allclose(factors[kept], 1 / 0.7)
    for axis in (0, 1):  # every row and every column has draws of its own
        assert abs(kept.mean(axis=axis) - 0.7).max() < 0.2
    assert len(np.unique(kept, axis=0)) == 200
    agree(layer.backward(X), X * factors)
    assert not np.array_equal(layer.forward(X, training=True) > 0, kept)  # drawn anew
    nothing = layers.Dropout(0.0, np.random.default_rng(1))
    assert np.array_equal(nothing.forward(X, training=True), X)
    assert np.array_equal(nothing.backward(ones), ones)

    def again():
        layer.rng = np.random.default_rng(2)

    for shape in ((3, 4), (2, 3, 2, 2)):
        rng = np.random.default_rng(3)
        slopes_agree(layer, rng.normal(size=shape), rng, training=True, before=again)


def check_whole_network(layers):
    """Along random directions through every number, the slope is the gradient's."""
    rng = np.random.default_rng(4)
    network = small_network(layers, rng)
    images, y = digits(6, 9, 8)
    X = layers.inputs(images, np.float64)
    for P in layers.parameters(network):
        P += 0.1 * rng.normal(size=P.shape)
    dropout = next(layer for layer in network if isinstance(layer, layers.Dropout))

    def loss_and_gradient():
        dropout.rng = np.random.default_rng(0)  # the same neurons every time
        logits = layers.forward(network, X, training=True)
        return layers.softmax_cross_entropy(logits, y)

    gradient = [layers.backward(network, loss_and_gradient()[1])]
    gradient += layers.gradients(network)
    arrays = [X, *layers.parameters(network)]
    shapes = [A.shape for A in arrays]
    assert shapes[1:] == [
        (4, 1, 3, 3), (4,), (6, 2, 2, 2), (6,), (6, 8), (8,), (8, 3), (3,),
    ]  # fmt: skip
    assert [dA.shape for dA in gradient] == shapes
    assert all(np.any(dA) for dA in gradient)
    for _ in range(5):
        D = [rng.normal(size=shape) / 10 for shape in shapes]
        losses = []
        for step in (-H, 2 * H):
            for A, d in zip(arrays, D):
                A += step * d
            losses.append(loss_and_gradient()[0])
        for A, d in zip(arrays, D):
            A -= H * d
        slope = sum(np.sum(dA * d) for dA, d in zip(gradient, D))
        assert abs(slope - (losses[1] - losses[0]) / (2 * H)) < 1e-7


def check_first_layer(layers):
    """A first convolution gives no gradient of the pixels; all others stay alike."""
    images, y = digits(6, 9, 8)
    found = []
    for first in (False, True):
        network = small_network(layers, np.random.default_rng(4), first=first)
        logits = layers.forward(network, layers.inputs(images, np.float64), True)
        _, dlogits = layers.softmax_cross_entropy(logits, y)
        assert (layers.backward(network, dlogits) is None) == first
        found.append(layers.gradients(network))
    for one, other in zip(*found):
        assert np.array_equal(one, other)


# Types and memory


def check_dtypes(layers):
    """float32 stays float32, float64 stays float64, and the two are close."""
    rng = np.random.default_rng(0)
    doubles = every_layer(layers)
    singles = every_layer(layers, np.float32)
    for (double, shape), (single, _) in zip(doubles, singles):
        if hasattr(single, "weights"):
            double.weights[:] = single.weights
        X = rng.normal(size=shape)
        dY = rng.normal(size=double.forward(X).shape)
        for training in (True, False):
            came = []
            for layer, dtype in ((double, np.float64), (single, np.float32)):
                arrays = [layer.forward(X.astype(dtype), training)]
                arrays.append(layer.backward(dY.astype(dtype)))
                if hasattr(layer, "weights"):
                    arrays += [layer.dweights, layer.dbias, layer.weights, layer.bias]
                assert all(A.dtype == dtype for A in arrays), layer
                came.append(arrays)
        for one, other in zip(*came):  # without training: the masks would differ
            agree(other.astype(float), one, 1e-5)
    for dtype in (np.float32, np.float64):
        assert layers.inputs(digits(3)[0], dtype).dtype == dtype
        network = small_network(layers, np.random.default_rng(0), dtype)
        images, y = digits(20, 9, 8)
        layers.train(network, images, y, rng, epochs=1, batch_size=8, weight_decay=0.1)
        assert layers.predict(network, images).dtype == dtype
        assert {P.dtype for P in layers.parameters(network)} == {np.dtype(dtype)}
    assert {P.dtype for P in layers.parameters(dense_network(layers, rng, "f4"))} == {
        np.dtype(np.float32)
    }


def check_reuse(layers):
    """After other batches a layer is as good as new, and what it gave stays as it is.

    Neither its input nor the gradient that it is given is changed.
    """
    rng = np.random.default_rng(0)

    def step(layer, X, dY, training):
        arrays = [layer.forward(X, training), layer.backward(dY)]
        if hasattr(layer, "weights"):
            arrays += [layer.dweights, layer.dbias]
        return arrays

    for number, (layer, shape) in enumerate(every_layer(layers)):
        axis = 0 if len(shape) == 2 else 3
        for training in (False, True):
            held = []
            for n in (4, 6, 4, 4, 1):
                batch = (*shape[:axis], n, *shape[axis + 1 :])
                X = rng.normal(size=batch)
                dY = rng.normal(size=layer.forward(X).shape)
                arrays = [X, dY]
                copies = [X.copy(), dY.copy()]
                arrays += step(layer, X, dY, training)
                copies += [A.copy() for A in arrays[2:]]
                assert np.array_equal(X, copies[0]) and np.array_equal(dY, copies[1])
                held += zip(arrays, copies)
                if training and isinstance(layer, layers.Dropout):
                    continue  # a new one would draw other numbers
                new = every_layer(layers)[number][0]
                for came, expected in zip(arrays[2:], step(new, X, dY, training)):
                    agree(came, expected)
            for A, copied in held:
                assert np.array_equal(A, copied), f"{layer} changed it afterwards"


def peak(action):
    """The MiB that an action takes at most, beside what was there before."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def check_memory(layers):
    """Images stay uint8 until a batch of them is needed."""
    images, y = digits(2000, 28, 28)  # 6 MiB as float32
    rng = np.random.default_rng(0)
    network = [layers.Flatten(), layers.Dense(784, 3, rng)]
    assert peak(lambda: layers.predict(network, images)) < 3
    assert peak(lambda: layers.accuracy(network, images, y)) < 3
    assert peak(lambda: layers.train(network, images, y, rng, epochs=1)) < 3
    network = [
        layers.Conv2D(1, 2, 3, rng),
        layers.Flatten(),
        layers.Dense(1352, 3, rng),
    ]
    few = peak(lambda: layers.predict(network, images[:200], batch_size=100))
    many = peak(lambda: layers.predict(network, images, batch_size=100))
    assert many < few + 1


# Errors


def refused(words, function, *arguments, **named):
    """Assert that a call raises a ValueError whose message has all these words."""
    try:
        function(*arguments, **named)
    except ValueError as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in {str(error)!r}"
    except Exception as error:
        raise AssertionError(f"{error!r} instead of a ValueError: {words}") from error
    else:
        raise AssertionError(f"not refused: {words}")


def check_errors_of_arrays(layers):
    """A wrong array: the layer, what came and what was expected, in one message."""
    rng = np.random.default_rng(0)
    conv, dense = layers.Conv2D(4, 6, 3, rng, groups=2), layers.Dense(6, 3, rng)
    pool, norm = layers.MaxPool2D(3, 2), layers.LocalResponseNorm(3)
    relu, flatten, dropout = layers.ReLU(), layers.Flatten(), layers.Dropout(0.5, rng)
    images, rows = np.ones((4, 6, 5, 2), np.float32), np.ones((2, 6), np.float32)
    any_images = "(channels, height, width, n)"
    for layer, name, X, wanted, output in (
        (conv, "Conv2D(4, 6, 3)", images, "(4, height, width, n)", "(6, 4, 3, 2)"),
        (dense, "Dense(6, 3)", rows, "(n, 6)", "(2, 3)"),
        (pool, "MaxPool2D(3, 2)", images, any_images, "(4, 2, 2, 2)"),
        (norm, "LocalResponseNorm(3)", images, any_images, "(4, 6, 5, 2)"),
        (flatten, "Flatten()", images, any_images, "(2, 120)"),
        (relu, "ReLU()", images, None, "(4, 6, 5, 2)"),
        (dropout, "Dropout(0.5)", rows, None, "(2, 6)"),
    ):
        wrong = [X[0], X[..., None], X.ravel(), X[0].ravel()[0]] if wanted else []
        wrong += [X[:3]] if layer is conv else [X[:, :5]] if layer is dense else []
        for bad in wrong:
            words = name, f"shape {bad.shape}, ", f"expected {wanted}."
            refused(words, layer.forward, bad)
        types = "expected float32." if layer in (conv, dense) else "float32 or float64."
        for other in (np.uint8, np.int64, np.float16, bool, complex, ">f4"):
            bad = X.astype(other)
            refused((name, f"of type {bad.dtype}, ", types), layer.forward, bad)
        refused((name, "of type list, ", types), layer.forward, X.tolist())
        if layer in (conv, dense):
            refused((name, "float64", types), layer.forward, X.astype(float))
        for training in (True, False):
            Y = layer.forward(X, training)
            assert str(Y.shape) == output
            for bad in (Y[:1], Y[..., :1], Y[0], Y[None], Y[:0]):
                words = name, f"shape {bad.shape}, ", f"expected {output}."
                refused(words, layer.backward, bad)
            refused((name, "int32", types), layer.backward, Y.astype(np.int32))
    double = layers.Dense(6, 3, rng, np.float64)
    refused(("Dense(6, 3)", "float32", "expected float64."), double.forward, rows)
    large = layers.Conv2D(1, 2, 5, rng, padding=1)
    words = "Conv2D(1, 2, 5)", "2 x 4", "smaller than its windows", "padding of 1"
    refused(words, large.forward, images[:1, :2, :4])
    for bad in (images[:, :2], images[:, :, :2]):
        size = f"{bad.shape[1]} x {bad.shape[2]} pixels"
        refused(("MaxPool2D(3, 2)", size, "smaller"), pool.forward, bad)


def check_errors_of_settings(layers):
    """Settings that cannot be: the layer, the setting and what was expected."""
    rng = np.random.default_rng(0)
    good = {"channels": 4, "filters": 6, "size": 3, "stride": 1, "padding": 0}
    good |= {"groups": 1, "rng": rng}
    for name in ("channels", "filters", "size", "stride", "padding", "groups"):
        least = 0 if name == "padding" else 1
        for bad in (least - 1, -5, 1.0, 2.5, "2", None):
            words = "Conv2D(", f"{name} is {bad!r}, ", f"whole number from {least} up"
            refused(words, layers.Conv2D, **good | {name: bad})
    for groups in (3, 4, 5):  # 3 is no divisor of the channels, 4 of the filters
        words = "Conv2D(4, 6, 3)", f"{groups}", "4 channels", "6 filters", "multiples"
        refused(words, layers.Conv2D, **good | {"groups": groups})
    for bad in (0, -1, 2.0, "2"):
        whole = f"is {bad!r}, not a whole number from 1 up"
        refused(("Dense(", "inputs", whole), layers.Dense, bad, 2, rng)
        refused(("Dense(", "outputs", whole), layers.Dense, 2, bad, rng)
        refused(("MaxPool2D(", "size", whole), layers.MaxPool2D, bad)
        refused(("MaxPool2D(2, ", "stride", whole), layers.MaxPool2D, 2, bad)
        refused(("LocalResponseNorm(", "size", whole), layers.LocalResponseNorm, bad)
    refused(("LocalResponseNorm(4)", "must be odd"), layers.LocalResponseNorm, 4)
    for bad in (1, 1.0, -0.1, 1.5, math.nan):
        words = f"Dropout({bad})", "at least 0 and below 1"
        refused(words, layers.Dropout, bad, rng)


def check_errors_of_labels_and_images(layers):
    """Labels that fit no logits, logits that are none, and images that are none."""
    logits, y, loss = np.zeros((4, 3)), np.array([0, 1, 2, 1]), "softmax_cross_entropy"
    for scores, labels, *words in (
        (logits, y + 1, "from 1 to 3", "from 0 to 2"),
        (logits, y - 1, "from -1 to 1", "from 0 to 2"),
        (logits, y.astype(float), "float64", "whole numbers"),
        (logits, y > 0, "bool", "whole numbers"),
        (logits, y[:, None], "(4, 1)", "(4,)"),
        (logits, np.eye(4, dtype=np.uint8), "(4, 4)", "(4,)"),
        (logits, y[:3], "(4, 3)", "(3, classes)"),
        (logits[0], y, "(3,)", "(4, classes)"),
        (logits.astype(np.int16), y, "int16", "float32 or float64"),
    ):
        refused((loss, *words), layers.softmax_cross_entropy, scores, labels)
    images = digits(5)[0]
    for bad in (images / 255, images.astype(int), images[0], images[None]):
        words = f"{bad.shape}", f"{bad.dtype}", "(n, height, width)", "uint8"
        refused(words, layers.inputs, bad)


def check_explosion(layers):
    """A loss that is no number ends the training, with advice and without warnings."""
    images, y = digits(64, 9, 8)
    dense, small = (dense_network, images[:, :4, :5]), (small_network, images)
    for (network, pixels), dtype, rate, start in (
        (dense, np.float32, 1e30, 0),
        (dense, np.float64, 1e200, 0),
        (small, np.float32, 1e30, 0),
        (small, np.float64, 1e200, 0),
        (dense, np.float32, 1e30, 2),
    ):
        rng = np.random.default_rng(0)
        made = network(layers, rng, dtype)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                layers.train(
                    made, pixels, y, rng, epochs=20, batch_size=16, learning_rate=rate,
                    schedule=lambda progress: progress >= start / 20,  # noqa: B023
                )  # fmt: skip
            except FloatingPointError as error:
                message = str(error)
            else:
                raise AssertionError("the training went on to its end")
        assert not seen, seen[0].message
        where = rf"The loss became (nan|inf) in epoch {start + 1}, step [23]\. "
        assert re.match(where, message), message
        assert f"a learning rate smaller than {rate}." in message


# Training


def check_inputs(layers):
    """Pixels become numbers from 0 to 1, the examples last; the images stay alike."""
    images, _ = digits(3)
    kept = images.copy()
    for dtype in (np.float32, np.float64):
        X = layers.inputs(images, dtype)
        assert X.shape == (1, 4, 5, 3) and X.flags.c_contiguous
        for e, i, j in np.ndindex(images.shape):
            assert X[0, i, j, e] == dtype(images[e, i, j]) / dtype(255)
        X[:] = 7
    assert layers.inputs(images).dtype == np.float32
    assert np.array_equal(images, kept)
    assert layers.inputs(np.array([[[0, 255]]], np.uint8)).ravel().tolist() == [0, 1]


def check_start(layers):
    """Weights start with the spread of He et al., whatever is behind a number."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for layer, behind in (
            (layers.Dense(50, 400, rng, dtype), 50),
            (layers.Conv2D(8, 200, 5, rng, groups=2, dtype=dtype), 100),
        ):
            spread = np.sqrt(2 / behind)
            assert abs(layer.weights.std() / spread - 1) < 0.03
            assert abs(layer.weights.mean() / spread) < 0.03
            assert not np.any(layer.bias)
    assert layers.Conv2D(8, 200, 5, rng, groups=2).weights.shape == (200, 4, 5, 5)


def check_momentum(layers):
    """SGD moves by its formula; only weights shrink, and only if they are asked to."""
    for momentum, decay in ((0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.7, 0.3)):
        rng = np.random.default_rng(0)
        network = [
            layers.Conv2D(2, 3, 2, rng, dtype=np.float64),
            layers.ReLU(),
            layers.Dense(3, 2, rng, np.float64),
        ]
        arrays = layers.parameters(network)
        for number, layer in ((0, network[0]), (2, network[2])):
            assert arrays[number] is layer.weights
            assert arrays[number + 1] is layer.bias
        for P in arrays:
            P += 1
        expected = [P.copy() for P in arrays]
        velocities = [np.zeros(P.shape) for P in arrays]
        optimiser = layers.SGD(network, momentum, decay)
        for rate in (0.5, 0.1, 0.2):
            for layer in (network[0], network[2]):
                layer.dweights = rng.normal(size=layer.weights.shape)
                layer.dbias = rng.normal(size=layer.bias.shape)
            slopes = layers.gradients(network)
            held = [dP.copy() for dP in slopes]
            optimiser.step(rate)
            for i, dP in enumerate(held):
                velocities[i] = momentum * velocities[i] + dP
                expected[i] = expected[i] - rate * velocities[i]
                if i % 2 == 0:
                    expected[i] = expected[i] * (1 - rate * decay)
                agree(arrays[i], expected[i], 1e-12)
                assert np.array_equal(slopes[i], dP)
    defaults = layers.SGD(network)
    assert (defaults.momentum, defaults.weight_decay) == (0.9, 0)


def trained_by_hand(
    parameters, images, y, rng, epochs, batch_size=64, learning_rate=0.02, momentum=0.9,
    schedule=lambda progress: 1, vary=lambda images, rng: images,
):  # fmt: skip
    """Two dense layers trained with the steps of chapters 4 and 5; all the losses."""
    W1, b1, W2, b2 = parameters = [P.copy() for P in parameters]
    velocities, losses = [np.zeros_like(P) for P in parameters], []
    for epoch in range(epochs):
        order = rng.permutation(len(y))
        losses.append([])
        for first in range(0, len(y), batch_size):
            batch = order[first : first + batch_size]
            n, X = len(batch), vary(images[batch], rng).reshape(len(batch), -1) / 255
            Z1 = X @ W1 + b1
            A1 = np.maximum(Z1, 0)
            exponentials = np.exp(A1 @ W2 + b2)
            predicted = exponentials / exponentials.sum(axis=1, keepdims=True)
            losses[-1].append(-np.mean(np.log(predicted[np.arange(n), y[batch]])))
            dlogits = (predicted - np.eye(3)[y[batch]]) / n
            dZ1 = dlogits @ W2.T * (Z1 > 0)
            gradients = [X.T @ dZ1, dZ1.sum(0), A1.T @ dlogits, dlogits.sum(0)]
            rate = learning_rate * schedule((epoch + first / len(y)) / epochs)
            for P, V, dP in zip(parameters, velocities, gradients):
                V[:] = momentum * V + dP
                P -= rate * V
    return parameters, losses


def check_train(layers):
    """Training repeats a network written by hand, and says what it did."""
    (images, y), others = digits(150), digits(30)

    def negative(batch, rng):
        assert batch.dtype == np.uint8 and batch.shape[1:] == (4, 5)
        return batch if rng.random() < 0.5 else 255 - batch

    plain = {"batch_size": 16, "learning_rate": 0.5, "momentum": 0.0}
    varied = {"momentum": 0.8, "schedule": lambda part: 1 - part, "vary": negative}
    for options in ({}, plain, plain | varied):
        network = dense_network(layers, np.random.default_rng(7))
        parameters, printed = layers.parameters(network), io.StringIO()
        expected, losses = trained_by_hand(
            parameters, images, y, np.random.default_rng(8), 3, **options
        )
        with redirect_stdout(printed):
            rng = np.random.default_rng(8)
            curve = layers.train(
                network, images, y, rng, 3, validation=others, **options
            )
        for P, wanted in zip(parameters, expected):
            agree(P, wanted, 1e-10)
        lines = printed.getvalue().splitlines()
        assert len(lines) == len(curve) == 3
        for epoch, line in enumerate(lines):
            start = f"epoch {epoch + 1:2}: loss {np.mean(losses[epoch]):.4f}, "
            start += f"validation {100 * curve[epoch]:.2f} %, "
            assert line.startswith(start), (line, start)
            assert re.fullmatch(r"\d\.\d s", line[len(start) :])
        right = layers.predict(network, others[0]).argmax(axis=1) == others[1]
        assert curve[-1] == np.mean(right) == layers.accuracy(network, *others)
        assert all(type(share) is float for share in curve)


def check_train_repeats(layers):
    """The same seed gives the same numbers, another one others; nothing is printed."""
    images, y = digits(40, 9, 8)
    found, printed = [], io.StringIO()
    for seed in (0, 0, 1):
        rng = np.random.default_rng(seed)
        network = small_network(layers, rng, np.float32)
        kept = images.copy(), y.copy()
        with redirect_stdout(printed):
            assert layers.train(network, images, y, rng, epochs=2, batch_size=16) == []
        assert np.array_equal(images, kept[0]) and np.array_equal(y, kept[1])
        found.append(layers.parameters(network))
    assert printed.getvalue() == ""
    for one, same, other in zip(*found):
        assert np.array_equal(one, same) and not np.array_equal(one, other)


def check_modes(layers):
    """Training tells the layers that it is one, validation and prediction do not."""
    told = []

    class Witness:
        def forward(self, X, training=False):
            told.append((len(X), training))
            return X

        def backward(self, dY):
            return dY

    (images, y), others = digits(6), digits(5)
    network = dense_network(layers, np.random.default_rng(0))
    network.insert(1, Witness())
    rng = np.random.default_rng(0)
    with redirect_stdout(io.StringIO()):
        layers.train(network, images, y, rng, 2, batch_size=4, validation=others)
    assert told == [(4, True), (2, True), (5, False)] * 2
    told.clear()
    layers.predict(network, images, batch_size=4)
    layers.forward(network, layers.inputs(images, np.float64))
    layers.forward(network, layers.inputs(images, np.float64), training=True)
    assert told == [(4, False), (2, False), (6, False), (6, True)]


def check_predict(layers):
    """In batches of any size the logits are those of all images at once."""
    images, y = digits(23, 9, 8)
    rng = np.random.default_rng(0)
    network = small_network(layers, rng)
    for P in layers.parameters(network):
        P += 0.5 * rng.normal(size=P.shape)
    at_once = layers.forward(network, layers.inputs(images, np.float64))
    assert at_once.shape == (23, 3) and len(np.unique(at_once.argmax(axis=1))) > 1
    for size in (1, 5, 22, 23, 250):
        agree(layers.predict(network, images, batch_size=size), at_once, 1e-12)
    share = np.mean(at_once.argmax(axis=1) == y)
    assert layers.accuracy(network, images, y) == share
    assert type(layers.accuracy(network, images, y)) is float


CHECKS = [check for name, check in globals().items() if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_layers(check):
    check(real)


# Planted faults: what it is, the text that goes, the text that comes, who must see it

POOL = "zip(self._cells(self.X), self._cells(dX))"
CELL = "X[:, i : i + rows : s, j : j + columns : s]"
BY_LOOPS, BY_SLOPES = check_conv_against_loops, check_conv_against_slopes
POOL_LOOPS, POOL_SLOPES = check_pool_against_loops, check_pool_against_slopes
# fmt: off
FAULTS = [
    # convolution
    ("kernel not flipped in the gradient of the input",
     "self._by_group(self.weights).swapaxes",
     "self._by_group(self.weights[:, :, ::-1, ::-1]).swapaxes",
     BY_LOOPS, BY_SLOPES, check_conv_against_scipy),
    ("stride ignored", "windows[:, ::s, ::s]", "windows",
     BY_LOOPS, check_conv_against_scipy),
    ("stride of the columns ignored", "windows[:, ::s, ::s]",
     "windows[:, ::s, : (windows.shape[2] + s - 1) // s]",
     BY_LOOPS, check_conv_against_scipy),
    ("stride ignored in the gradient", "dX[:, i : i + down : s, j : j + right : s]",
     "dX[:, i : i + rows, j : j + columns]",
     BY_LOOPS, BY_SLOPES, check_conv_against_scipy),
    ("rows and columns of a window exchanged",
     ".transpose(0, 4, 5, 1, 2, 3)", ".transpose(0, 5, 4, 1, 2, 3)",
     BY_LOOPS, check_conv_against_scipy),
    ("bias gradient lost", "self.dbias = dY.sum(axis=(1, 2, 3))",
     "self.dbias = 0 * dY.sum(axis=(1, 2, 3))",
     BY_LOOPS, BY_SLOPES, check_whole_network),
    ("order of the groups swapped", "@ self._by_group(self.columns, 3)",
     "@ self._by_group(self.columns, 3)[::-1]", BY_LOOPS),
    ("order of the groups swapped in the gradient",
     "self._by_group(dY), self._by_group(self.columns, 3)",
     "self._by_group(dY)[::-1], self._by_group(self.columns, 3)[::-1]",
     BY_LOOPS, BY_SLOPES, check_whole_network),
    ("padding on one side only",
     "((0, 0), (p, p), (p, p), (0, 0))", "((0, 0), (p, p), (0, 2 * p), (0, 0))",
     BY_LOOPS, check_conv_against_scipy),
    ("padding on one side of the gradient only",
     "dX[:, p : p + height, p : p + width]", "dX[:, p : p + height, :width]",
     BY_LOOPS, BY_SLOPES, check_conv_against_scipy),
    ("border of the padded images not 0",
     "(p, p), (0, 0)))", "(p, p), (0, 0)), constant_values=1)",
     BY_LOOPS, check_conv_against_scipy),
    ("columns not filled again", "self.columns = np.ascontiguousarray(windows)",
     "old = getattr(self, 'columns', windows[..., :0]); "
     "same = old.shape == windows.shape; "
     "self.columns = old if same else np.ascontiguousarray(windows)",
     check_reuse, BY_SLOPES),
    ("gradient returned in a buffer",
     "dX = np.zeros((channels, height + 2 * p, width + 2 * p, n), dcolumns.dtype)",
     "shape = (channels, height + 2 * p, width + 2 * p, n); "
     "same = getattr(self, 'dX', np.zeros(0)).shape == shape; "
     "self.dX = dX = self.dX if same else np.zeros(shape, dcolumns.dtype); "
     "dX[:] = 0", check_reuse),
    ("first layer not first", "if self.first:", "if False:", check_first_layer),
    ("start of a convolution without its size",
     "np.sqrt(2 / np.prod(shape[1:]))", "np.sqrt(2 / shape[1])", check_start),
    # pooling
    ("last among equals", POOL, f"reversed([*{POOL}])",
     check_pool_with_ties, POOL_LOOPS),
    ("every one among equals", "(cell == self.Y) & free", "cell == self.Y",
     check_pool_with_ties, POOL_LOOPS),
    ("neighbour of the largest", POOL,
     "zip(self._cells(self.X), [*self._cells(dX)][1:] + [*self._cells(dX)][:1])",
     POOL_LOOPS, POOL_SLOPES, check_whole_network),
    ("one gradient where windows overlap",
     "dcell += dY * largest", "np.copyto(dcell, dY, where=largest)",
     check_pool_with_ties, POOL_LOOPS, POOL_SLOPES),
    ("stride of a pool ignored", CELL, "X[:, i : i + rows // s, j : j + columns // s]",
     POOL_LOOPS),
    ("row of a window forgotten", CELL, "X[:, 0 : rows : s, j : j + columns : s]",
     POOL_LOOPS),
    ("input of a pool changed", "Y = first.copy()", "Y = first", check_reuse),
    # normalisation
    ("no cross term", "dX -= cross", "pass", check_norm, check_whole_network),
    ("neighbours on one side only", "total[:-distance] += A[distance:]", "pass",
     check_norm),
    ("one neighbour too few", "range(1, self.size // 2 + 1)",
     "range(1, self.size // 2)", check_norm),
    ("two square roots, one too many", "self.power *= np.sqrt(self.power)",
     "self.power = np.sqrt(self.power)", check_norm),
    ("float64 out of float32", "return X * self.power",
     "return X * self.power.astype(float)", check_dtypes),
    # dropout
    ("on at prediction", "if not training or self.rate == 0:", "if self.rate == 0:",
     check_dropout, check_predict),
    ("off in training", "if not training or", "if True or", check_dropout),
    ("no scale", "kept / X.dtype.type(1 - self.rate)", "kept / X.dtype.type(1)",
     check_dropout),
    ("share kept is share dropped", "dtype=X.dtype) >= self.rate",
     "dtype=X.dtype) < self.rate", check_dropout),
    ("no mask in the gradient", "dY if self.mask is None else dY * self.mask", "dY",
     check_dropout, check_whole_network),
    ("mask kept for prediction", "self.shape, self.mask = X.shape, None",
     "self.shape = X.shape", check_dropout),
    ("one mask for all examples", "self.rng.random(X.shape,",
     "self.rng.random(X.shape[1:],", check_dropout),
    ("random numbers of its own", "kept = self.rng.random",
     "kept = np.random.default_rng().random", check_train_repeats),
    # the other layers
    ("gate always open", "dY * (self.Y > 0)", "dY * 1",
     check_relu_and_flatten, check_whole_network, check_train),
    ("gate open at 0", "(self.Y > 0)", "(self.Y >= 0)", check_relu_and_flatten),
    ("bias gradient of dense layers lost", "self.dbias = dY.sum(axis=0)",
     "self.dbias = 0 * dY.sum(axis=0)", check_dense, check_whole_network, check_train),
    ("bias forgotten", "X @ self.weights + self.bias", "X @ self.weights", check_dense),
    ("rows filled in another order", "X.reshape(-1, X.shape[3]).T",
     "X.T.reshape(X.shape[3], -1)", check_relu_and_flatten),
    ("start of a dense layer too small", "np.sqrt(2 / inputs)", "np.sqrt(1 / inputs)",
     check_start),
    # loss, optimiser, training
    ("no 1/n", "dlogits /= len(y)", "pass", check_loss, check_train),
    ("no largest logit subtracted", "logits - logits.max(axis=1, keepdims=True)",
     "logits - 0", check_loss),
    ("momentum ignored", "V *= self.momentum", "V *= 0", check_momentum, check_train),
    ("biases shrink too", "if self.weight_decay and P.ndim > 1:",
     "if self.weight_decay:", check_momentum),
    ("no weight decay", "1 - learning_rate * self.weight_decay", "1", check_momentum),
    ("layers not told of the training", "X = layer.forward(X, training)",
     "X = layer.forward(X)", check_modes),
    ("training as at prediction", ", training=True)", ")", check_modes),
    ("another constant", "return 1.0", "return 2.0", check_train),
    ("schedule ignored", "learning_rate * float(schedule(progress))", "learning_rate",
     check_train),
    ("images not varied", "images[batch] if vary is None else vary(images[batch], rng)",
     "images[batch]", check_train),
    ("always the same order", "rng.permutation(len(y))", "np.arange(len(y))",
     check_train),
    ("last batch left out", "range(0, len(y), batch_size)",
     "range(0, len(y) - batch_size + 1, batch_size)", check_train),
    ("all images as floats at once", "inputs(images[i : i + batch_size], dtype)",
     "inputs(images, dtype)[..., i : i + batch_size]", check_memory),
    ("pixels of several images mixed", "images.transpose(1, 2, 0)",
     "images.reshape(*images.shape[1:], -1)", check_inputs),
    # errors
    ("shapes not looked at", "if not fits:", "if False:", check_errors_of_arrays),
    ("types not looked at", "if dtype not in dtypes:", "if False:",
     check_errors_of_arrays),
    ("settings not looked at", "or value < smallest:", "or False:",
     check_errors_of_settings),
    ("labels not looked at", "if y.min() < 0 or y.max() >= classes:", "if False:",
     check_errors_of_labels_and_images),
    ("shape of the labels not looked at", "if y.ndim != 1 or", "if",
     check_errors_of_labels_and_images),
    ("loss not looked at", "if not np.isfinite(loss):", "if False:", check_explosion),
    ("warnings before the error", '@np.errstate(all="ignore")',
     "@np.errstate()", check_explosion),
]
# fmt: on


def planted(old, new):
    """A module of its own, from the text of the layers with ``old`` made ``new``."""
    text = Path(real.__file__).read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times, not once"
    spec = importlib.util.spec_from_loader("planted_layers", loader=None)
    module = importlib.util.module_from_spec(spec)
    exec(compile(text.replace(old, new), "planted_layers", "exec"), module.__dict__)
    return module


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "old, new, checks",
    [(old, new, checks) for _, old, new, *checks in FAULTS],
    ids=[name.replace(" ", "-") for name, *_ in FAULTS],
)
def test_fault_is_seen(old, new, checks):
    layers = planted(old, new)
    for check in checks:
        with pytest.raises(AssertionError):
            check(layers)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_fault_is_seen_where_none_is(check):
    """The control: the same machinery, with nothing changed, lets every check pass."""
    check(planted("class Dense:", "class Dense:"))


def test_every_check_sees_a_fault():
    assert {check for _, _, _, *checks in FAULTS for check in checks} == set(CHECKS)
