"""Draw the diagrams of the course: ``python picture/draw.py`` writes them all.

Blue is what the network learns, dark red what flows backward, grey all the rest, as in
the figures of the chapters; green follows one example through a diagram.  Every diagram
is a white card, 8 inches wide at 200 dots per inch: sharp at 800 pixels, and readable
on a light and on a dark page.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.lib.stride_tricks import sliding_window_view

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
sys.path.insert(0, str(REPOSITORY / "notebooks"))

from course import figures, idx  # noqa: E402
from layers import Conv2D, Dense, Flatten, MaxPool2D  # noqa: E402

IMAGES = REPOSITORY / "data/raw/train-images-idx3-ubyte"
LABELS = REPOSITORY / "data/raw/train-labels-idx1-ubyte"
WEIGHTS = REPOSITORY / "results/04_neural_network/weights.npz"
BANNER = 51_444  # the digit of the banner, from the validation split

INK = "#222222"
GREY = figures.NEUTRAL
BLUE = figures.TRAIN
RED = figures.ERROR
GREEN = "#007f5f"
PALE = {INK: "#f2f2f2", GREY: "#f2f2f2", BLUE: "#e3f0f8", RED: "#f6e6ee"}
MONO = "DejaVu Sans Mono"
CODE = {"family": MONO, "va": "center_baseline"}


def card(height, width=8.0):
    """A white card of so many inches; return figure and axis, whose unit is an inch."""
    figure = plt.figure(figsize=(width, height), layout="none", facecolor="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axis.axis("off")
    edge = {
        "boxstyle": "round,pad=0,rounding_size=0.14",
        "fc": "white",
        "ec": "#d0d0d0",
    }
    axis.add_patch(FancyBboxPatch((0.02, 0.02), width - 0.04, height - 0.04, **edge))
    return figure, axis


def text(axis, x, y, words, size=10, color=INK, **more):
    """Write centred ``words`` at (x, y)."""
    more = {"ha": "center", "va": "center"} | more
    return axis.text(x, y, words, fontsize=size, color=color, **more)


def box(axis, x, y, width, height, words="", color=GREY, size=10, **more):
    """Draw a rounded box around (x, y) with ``words`` in it."""
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.07",
        fc=PALE[color],
        ec=color,
        lw=1.2,
    )
    axis.add_patch(patch)
    text(axis, x, y, words, size, INK if color == GREY else color, **more)


def node(axis, x, y, radius, words, color, size):
    """Draw a circle around (x, y) with ``words`` in it."""
    axis.add_patch(Circle((x, y), radius, fc=PALE[color], ec=color, lw=1.2, zorder=3))
    text(axis, x, y, words, size, INK if color == GREY else color, zorder=4)


def arrow(axis, start, end, color=GREY, width=1.4, bend=0.0, head=9):
    """Draw an arrow from ``start`` to ``end``, both (x, y)."""
    axis.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=head,
            shrinkA=0,
            shrinkB=0,
            lw=width,
            color=color,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def strip(axis, left, y, cells, height, color, size=10, **more):
    """Draw cells, (words, width) each, side by side; return their right end."""
    for words, width in cells:
        face = {"fc": PALE[color], "ec": color, "lw": 1.1}
        axis.add_patch(Rectangle((left, y), width, height, **face))
        middle = (left + width / 2, y + height / 2 - 0.01)
        text(axis, *middle, words, size, va="center_baseline", **more)
        left += width
    return left


def idx_layout():
    """The header of train-images-idx3-ubyte, field by field, and what follows it."""
    figure, axis = card(4.625)
    text(axis, 0.4, 4.22, "train-images-idx3-ubyte", 12, ha="left", weight="bold")
    text(axis, 0.4, 3.92, "The first 16 bytes are the header …", 10, GREY, ha="left")
    fields = [
        ("00 00 08 03", "magic number", "08: unsigned bytes", "03: three dimensions"),
        ("00 00 EA 60", "60,000", "images", ""),
        ("00 00 00 1C", "28", "rows", ""),
        ("00 00 00 1C", "28", "columns", ""),
        ("00 00 00 …", "pixels", "one byte each,", "0 to 255"),
    ]
    left, side, gap, y = 0.4, 0.336, 0.12, 3.1
    for number, (values, name, *meaning) in enumerate(fields):
        color = GREY if name == "pixels" else BLUE
        text(axis, left, y + side + 0.14, f"byte {4 * number}", 8, GREY, ha="left")
        cells = [(value, side) for value in values.split()]
        right = strip(axis, left, y, cells, side, color, family=MONO)
        bracket = [left + 0.03, left + 0.03, right - 0.03, right - 0.03]
        axis.plot(
            bracket, [y - 0.08, y - 0.15, y - 0.15, y - 0.08], color=color, lw=1.2
        )
        middle = (left + right) / 2
        text(axis, middle, y - 0.42, name, 11, color, va="baseline", weight="bold")
        for line, words in enumerate(meaning):
            text(axis, middle, y - 0.66 - 0.2 * line, words, 9, va="baseline")
        left = right + gap

    words = "… and then the images follow, one after the other."
    text(axis, 0.4, 1.77, words, 10, GREY, ha="left")
    y, height = 1.13, 0.42
    right = strip(axis, 0.4, y, [("header", 0.9)], height, BLUE)
    images = [("image 0", 1.5), ("image 1", 1.5), ("…", 1.8), ("image 59,999", 1.5)]
    strip(axis, right, y, images, height, GREY)
    text(axis, 0.85, y - 0.16, "16 bytes", 9, GREY)
    for x in (2.05, 3.55, 6.85):
        text(axis, x, y - 0.16, "784 bytes", 9, GREY)
    total = "16 + 60,000 × 28 × 28 = 47,040,016 bytes in all"
    text(axis, 4.0, 0.48, total, 11, BLUE, weight="bold")
    return figure


def one_neuron():
    """Inputs, weights, the sum with the bias, the activation."""
    figure, axis = card(4.0)
    titles = [
        (1.0, "inputs", GREY),
        (2.1, "weights", BLUE),
        (3.35, "weighted sum", GREY),
        (5.4, "activation", GREY),
        (7.15, "output", GREY),
    ]
    for x, title, color in titles:
        text(axis, x, 3.62, title, 10, color, va="baseline")

    middle = 2.1
    for name, y in (("1", 3.05), ("2", 2.4), ("{784}", 1.15)):
        node(axis, 1.0, y, 0.27, f"$x_{name}$", GREY, 12)
        start = np.array([1.27, y])
        way = np.array([3.35, middle]) - start
        way *= 1 - 0.42 / np.hypot(*way)  # it ends at the circle's edge
        arrow(axis, start, start + way, BLUE)
        place = start + 0.45 * way
        patch = {"fc": "white", "ec": "none", "pad": 1.5}
        text(axis, *place, f"$w_{name}$", 12, BLUE, bbox=patch)
    text(axis, 1.0, 1.81, "⋮", 15, GREY)
    node(axis, 3.35, middle, 0.42, r"$\Sigma + b$", BLUE, 13)
    arrow(axis, (3.77, middle), (4.75, middle))
    text(axis, 4.24, middle + 0.2, "$z$", 13)

    box(axis, 5.4, middle, 1.3, 0.94)
    t = np.linspace(-6, 6, 61)
    low = middle - 0.31
    axis.plot([4.87, 5.93], [low, low], color="#bbbbbb", lw=0.8)
    axis.plot([5.4, 5.4], [low - 0.06, low + 0.68], color="#bbbbbb", lw=0.8)
    axis.plot(5.4 + t / 12, low + 0.62 / (1 + np.exp(-t)), color=INK, lw=1.8)
    arrow(axis, (6.05, middle), (6.98, middle))
    text(axis, 7.15, middle, "$a$", 14, va="center_baseline")
    text(axis, 7.15, middle - 0.32, "from 0 to 1", 9, GREY)

    text(axis, 3.35, 0.5, r"$z = x \cdot w + b$", 15, va="baseline")
    text(axis, 5.4, 0.5, r"$a = \sigma(z)$", 15, va="baseline")
    return figure


def ten_neurons():
    """784 inputs, ten neurons, softmax, ten probabilities."""
    figure, axis = card(4.8)
    heights = np.linspace(3.9, 1.2, 10)
    for name, y in (
        ("1", 3.8),
        ("2", 3.3),
        ("3", 2.8),
        ("{783}", 1.75),
        ("{784}", 1.25),
    ):
        for height in heights:
            axis.plot([0.93, 2.83], [y, height], color=BLUE, lw=0.5, alpha=0.45)
        node(axis, 0.72, y, 0.21, f"$x_{name}$", GREY, 9)
    text(axis, 0.72, 2.28, "⋮", 15, GREY)

    logits = np.array([0.4, -1.6, 0.9, 3.1, -2.2, 1.2, -1.9, 0.1, 1.6, -0.4])
    shares = np.exp(logits) / np.exp(logits).sum()
    for digit, (y, share) in enumerate(zip(heights, shares)):
        node(axis, 2.95, y, 0.125, str(digit), BLUE, 8.5)
        arrow(axis, (3.075, y), (4.3, y), head=7, width=1.1)
        patch = {"fc": "white", "ec": "none", "pad": 1}
        text(axis, 3.62, y, f"$z_{digit}$", 10, bbox=patch)
        arrow(axis, (5.2, y), (5.6, y), head=7, width=1.1)
        text(axis, 5.76, y, str(digit), 9.5, va="center_baseline")
        color = BLUE if share == shares.max() else "#c4c4c4"
        axis.add_patch(
            Rectangle((5.93, y - 0.09), 1.9 * share, 0.18, color=color, lw=0)
        )
    box(axis, 4.75, 2.55, 0.9, 3.0, "softmax", size=11)
    end = 5.93 + 1.9 * shares.max()
    text(axis, end + 0.08, heights[3], "a three", 10, BLUE, ha="left")

    for x, title in ((0.72, "784 pixels"), (2.95, "ten neurons"), (4.75, "")):
        text(axis, x, 4.36, title, 10.5, GREY)
    text(axis, 5.72, 4.36, "ten probabilities", 10.5, GREY, ha="left")
    rows = [
        (0.72, "x", "(784,)", INK),
        (1.85, "W", "(784, 10)", BLUE),
        (2.95, "b", "(10,)", BLUE),
        (4.2, "z = x @ W + b", "(10,)", INK),
        (6.6, "softmax(z)", "(10,), their sum is 1", INK),
    ]
    for x, name, shape, color in rows:
        text(axis, x, 0.68, name, 10, color, va="baseline", family=MONO)
        text(axis, x, 0.42, shape, 9, GREY, va="baseline", family=MONO)
    return figure


def network_784_64_10():
    """The forward pass from left to right, and below it its mirror, right to left."""
    figure, axis = card(5.8)
    up, forward, backward, down = 4.75, 3.68, 2.2, 1.13
    for x, title in ((0.7, "784 pixels"), (3.61, "64 neurons"), (6.02, "10 neurons")):
        text(axis, x, 5.42, title, 10.5, GREY)

    def step(x, y, width, color, name, formula, shape):
        """A box with a name, how it is computed, and its shape."""
        box(axis, x, y, width, 0.84, color=color)
        text(axis, x, y + 0.22, name, 11, color if color != GREY else INK, **CODE)
        text(axis, x, y - 0.03, formula, 8, **CODE)
        text(axis, x, y - 0.26, shape, 8, GREY, **CODE)

    step(0.7, forward, 0.96, GREY, "X", "n images", "(n, 784)")
    step(2.85, forward, 1.28, GREY, "Z1", "X @ W1 + b1", "(n, 64)")
    step(4.37, forward, 1.28, GREY, "A1", "np.maximum(Z1, 0)", "(n, 64)")
    step(6.02, forward, 1.06, GREY, "logits", "A1 @ W2 + b2", "(n, 10)")
    step(7.29, forward, 0.98, GREY, "loss", "cross-entropy", "a number")
    for start, end in ((1.18, 2.21), (3.49, 3.73), (5.01, 5.49), (6.55, 6.8)):
        arrow(axis, (start, forward), (end, forward))

    step(2.85, backward, 1.28, RED, "dZ1", "dA1 * (Z1 > 0)", "(n, 64)")
    step(4.37, backward, 1.28, RED, "dA1", "dlogits @ W2.T", "(n, 64)")
    step(6.02, backward, 1.06, RED, "dlogits", "(p - true) / n", "(n, 10)")
    for x in (2.85, 4.37, 6.02):
        axis.plot([x, x], [forward - 0.48, backward + 0.48], ":", color=GREY, lw=1)
    axis.plot([7.29, 7.29], [forward - 0.42, backward], color=RED, lw=1.4)
    for start, end in ((7.29, 6.55), (5.49, 5.01), (3.73, 3.49)):
        arrow(axis, (start, backward), (end, backward), RED)
    axis.plot([2.21, 1.7], [backward, backward], color=RED, lw=1.4)

    for x, layer, weights, biases, before, after in (
        (1.7, "1", "(784, 64)", "(64,)", "X", "dZ1"),
        (5.25, "2", "(64, 10)", "(10,)", "A1", "dlogits"),
    ):
        box(axis, x, up, 1.3, 0.62, color=BLUE)
        text(axis, x, up + 0.13, f"W{layer} {weights}", 9.5, BLUE, **CODE)
        text(axis, x, up - 0.14, f"b{layer} {biases}", 9.5, BLUE, **CODE)
        arrow(axis, (x, up - 0.31), (x, forward), BLUE)
        arrow(axis, (x, backward), (x, down + 0.31), RED)
        box(axis, x, down, 1.96, 0.62, color=RED)
        gradient = f"dW{layer} = {before}.T @ {after}"
        text(axis, x, down + 0.13, gradient, 8.5, RED, **CODE)
        gradient = f"db{layer} = {after}.sum(axis=0)"
        text(axis, x, down - 0.14, gradient, 8.5, RED, **CODE)
    text(axis, 7.29, up, "y (n,)", 9.5, **CODE)
    arrow(axis, (7.29, up - 0.14), (7.29, forward + 0.42))

    text(axis, 0.22, up, "forward", 11, ha="left", weight="bold")
    text(axis, 0.22, backward, "backward", 11, RED, ha="left", weight="bold")
    words = "p: softmax(logits)   ·   true: 1 where the label is, 0 elsewhere   ·   "
    words += "dotted: same shape"
    text(axis, 4.0, 0.45, words, 9.5, GREY)
    return figure


def grid(axis, left, y, numbers, side, color=GREY, size=10, ink=False):
    """Draw a matrix around the height y; with ``ink``, the larger the darker."""
    top = y + side * len(numbers) / 2
    for (row, column), number in np.ndenumerate(numbers):
        corner = (left + side * column, top - side * (row + 1))
        face = str(1 - 0.13 * number) if ink else PALE[color]
        axis.add_patch(Rectangle(corner, side, side, fc=face, ec=color, lw=0.8))
        middle = (corner[0] + side / 2, corner[1] + side / 2 - 0.01)
        words = f"{number}".replace("-", "−")
        text(axis, *middle, words, size, va="center_baseline")


def outline(axis, left, top, columns, rows, side):
    """Outline some cells of a grid: the example that the eye follows."""
    corner = (left, top - side * rows)
    style = {"fc": "none", "ec": GREEN, "lw": 2.4, "zorder": 3}
    axis.add_patch(Rectangle(corner, side * columns, side * rows, **style))


def convolution():
    """A filter on one window of an image, and on all nine as one matrix product."""
    image = [[2, 2, 2, 2, 1], [0, 0, 0, 2, 1], [0, 0, 1, 2, 0]]
    image = np.array([*image, [0, 0, 2, 1, 0], [0, 1, 2, 0, 0]])
    kernel = np.array([[-1, 0, 1], [0, 1, 0], [1, 0, -1]])
    windows = sliding_window_view(image, (3, 3))
    columns = windows.reshape(9, 9).T
    outputs = kernel.reshape(1, 9) @ columns
    row, column = 1, 2  # the window that the eye follows
    value = (windows[row, column] * kernel).sum()
    assert value == outputs[0, 3 * row + column]

    figure, axis = card(6.9)
    words = "The filter lies on one window of the image after the other …"
    text(axis, 0.3, 6.5, words, 11, ha="left")
    side, y = 0.34, 5.28
    grid(axis, 0.3, y, image, side, size=11, ink=True)
    grid(axis, 2.58, y, kernel, side, BLUE, size=11)
    grid(axis, 4.16, y, outputs.reshape(3, 3), side, size=11)
    outline(axis, 0.3 + side * column, y + side * (2.5 - row), 3, 3, side)
    outline(axis, 4.16 + side * column, y + side * (1.5 - row), 1, 1, side)
    text(axis, 2.29, y - 0.05, "∗", 16)
    text(axis, 3.88, y, "=", 16)
    for x, words in ((1.15, "image"), (4.67, "output")):
        text(axis, x, 4.14, words, 11, va="baseline")
    text(axis, 3.09, 4.14, "filter", 11, BLUE, va="baseline")
    for line in range(3):
        for term in range(3):
            pixel, weight = windows[row, column][line, term], kernel[line, term]
            words = f"{pixel}·({weight})" if weight < 0 else f"{pixel}·{weight}"
            words = ("+ " if line + term else "  ") + words.replace("-", "−")
            place = (5.42 + 0.76 * term, y + side * (1 - line))
            text(axis, *place, words, 9.5, ha="left", **CODE)
    text(axis, 5.42, y + 0.72, "pixel · weight, all added up", 10, GREY, ha="left")
    text(axis, 5.42, y - side * 2.1, f"= {value}", 12, GREEN, ha="left", **CODE)

    words = "… or on all nine windows at once: one matrix product."
    text(axis, 0.3, 3.62, words, 11, ha="left")
    side, y, left = 0.25, 1.65, 2.875
    top = y + side * 4.5
    grid(axis, 0.3, y, kernel.reshape(1, 9), side, BLUE, size=9)
    grid(axis, left, y, columns, side, size=9, ink=True)
    grid(axis, 5.45, y, outputs, side, size=9)
    for line in (3, 6):  # each row of the filter meets its row of the windows
        x, height = 0.3 + side * line, top - side * line
        axis.plot([x, x], [y - side / 2, y + side / 2], color=BLUE, lw=2)
        axis.plot([left, left + 9 * side], [height, height], color=GREY, lw=2)
    for number, (i, j) in enumerate(np.ndindex(3, 3)):
        x, cell = left + side * number + 0.025, 0.04
        face = {"fc": "white", "ec": GREY, "lw": 0.7}
        axis.add_patch(Rectangle((x, top + 0.08), 5 * cell, 5 * cell, **face))
        color = GREEN if (i, j) == (row, column) else "#b0b0b0"
        corner = (x + cell * j, top + 0.08 + cell * (2 - i))
        axis.add_patch(Rectangle(corner, 3 * cell, 3 * cell, color=color, lw=0))
    number = 3 * row + column
    outline(axis, left + side * number, top, 1, 9, side)
    outline(axis, 5.45 + side * number, y + side / 2, 1, 1, side)
    text(axis, 2.71, y, "@", 13)
    text(axis, 5.285, y, "=", 14)
    text(axis, 1.425, y + 0.3, "the filter as one row", 10, BLUE)
    text(axis, 4.0, top + 0.46, "one column for each window", 10)
    text(axis, 6.575, y + 0.3, "one output for each window", 10)
    text(axis, 4.0, 0.33, "(9, 9)", 9, GREY, family=MONO)
    for x in (1.425, 6.575):
        text(axis, x, y - 0.32, "(1, 9)", 9, GREY, family=MONO)
    return figure


def stack(axis, left, middle, shape, pixel=0.027):
    """Draw channels as squares behind one another; return their right end."""
    channels, height, width = shape
    shift = min(0.035, 0.3 / channels)
    low = middle - (pixel * height + shift * (channels - 1)) / 2
    face = {"fc": PALE[GREY], "ec": GREY, "lw": 0.9}
    for away in shift * np.arange(channels)[::-1]:
        corner = (left + away, low + away)
        axis.add_patch(Rectangle(corner, pixel * width, pixel * height, **face))
    return left + pixel * width + shift * (channels - 1)


def learnt(layer):
    """How many numbers a layer learns."""
    return layer.weights.size + layer.bias.size


def lenet():
    """The network of chapter 6: two convolutions, two poolings, three dense layers."""
    rng = np.random.default_rng(0)
    steps = [
        (Conv2D(1, 6, 5, rng, padding=2), ["conv 5×5", "padding 2"], []),
        (MaxPool2D(2), [], ["max-pool 2", "ReLU"]),
        (Conv2D(6, 16, 5, rng), ["conv 5×5"], []),
        (MaxPool2D(2), [], ["max-pool 2", "ReLU"]),
        (Flatten(), [], ["flatten"]),
        (Dense(400, 120, rng), ["dense"], ["ReLU"]),
        (Dense(120, 84, rng), ["dense"], ["ReLU"]),
        (Dense(84, 10, rng), ["dense"], []),
    ]
    figure, axis = card(4.3)
    X, middle, counts = np.zeros((1, 28, 28, 1), np.float32), 2.7, []
    right = stack(axis, 0.3, middle, X.shape[:3])
    text(axis, (0.3 + right) / 2, 3.93, "1@28×28", 10, GREY)
    text(axis, (0.3 + right) / 2, 2.07, "channels@\nheight×width", 8.5, GREY)
    for layer, learning, others in steps:
        X = layer.forward(X)
        gap, width = (0.36, 0.84) if X.ndim == 4 else (0.55, 0.62)
        arrow(axis, (right + 0.05, middle), (right + gap - 0.05, middle), head=7)
        x, left = right + gap / 2, right + gap
        if X.ndim == 4:
            right = stack(axis, left, middle, X.shape[:3])
            name = "{}@{}×{}".format(*X.shape)
        else:
            right, height = left + 0.13, 0.0045 * X.shape[1]
            face = {"fc": PALE[GREY], "ec": GREY, "lw": 0.9}
            axis.add_patch(Rectangle((left, middle - height / 2), 0.13, height, **face))
            name = str(X.shape[1])
        text(axis, (left + right) / 2, 3.93, name, 10, GREY)
        y = 1.58
        arrow(axis, (x, y), (x, middle - 0.03), BLUE if learning else GREY, 1.1, head=7)
        if learning:
            counts.append(learnt(layer))
            height = 0.2 * len(learning) + 0.34
            box(axis, x, y - height / 2, width, height, color=BLUE)
            for line, words in enumerate(learning):
                text(axis, x, y - 0.17 - 0.2 * line, words, 9, BLUE)
            y -= height + 0.06
            text(axis, x, y + 0.22, f"{counts[-1]:,}", 9.5, BLUE, weight="bold")
        for words in others:
            box(axis, x, y - 0.13, width, 0.26, words, size=9)
            y -= 0.32
    words = " + ".join(f"{count:,}" for count in counts)
    words += f" = {sum(counts):,} numbers are learnt"
    text(axis, 4.0, 0.38, words, 11, BLUE, weight="bold")
    return figure


COLUMNS = [1.42, 2.32, 3.22, 4.12, 5.02, 5.88, 6.68, 7.48]  # of the learning layers


def alexnet_row(axis, top, channels, length, size, stride, share, classes):
    """Draw one AlexNet, return how many numbers it learns.

    Its images have so many ``channels`` and pixels; ``size`` and ``stride`` are those
    of the first convolution; ``share`` divides the numbers of filters and neurons.
    """
    rng, count, height = np.random.default_rng(0), 0, 1.16
    middle = top - height / 2
    box(axis, 0.55, middle, 0.7, 0.6, f"{channels}@\n{length}×{length}", size=9)
    plan = [
        (96, size, stride, 0, 1, ["LRN", "pool 3/2"]),
        (256, 5, 1, 2, 2, ["LRN", "pool 3/2"]),
        (384, 3, 1, 1, 1, []),
        (384, 3, 1, 1, 2, []),
        (256, 3, 1, 1, 2, ["pool 3/2"]),
        (4096, ["dropout"]),
        (4096, ["dropout"]),
        (classes * share, []),
    ]
    for x, (filters, *settings, after) in zip(COLUMNS, plan):
        filters //= share
        if settings:
            size, stride, padding, groups = settings
            made = Conv2D(channels, filters, size, rng, stride, padding, groups)
            length = (length + 2 * padding - size) // stride + 1
            words = [f"{size}×{size}", f"padding {padding}" if padding else ""]
            words[1] = f"stride {stride}" if stride > 1 else words[1]
            words += [f"{groups} groups" if groups > 1 else "", f"→ {length}×{length}"]
        else:
            made = Dense(channels * length**2, filters, rng)
            words, length = ["", "from", f"{made.inputs:,}"], 1
        channels, count = filters, count + learnt(made)
        width = 0.78 if settings else 0.68
        box(axis, x, middle, width, height, color=BLUE)
        arrow(axis, (x - width / 2 - 0.12, middle), (x - width / 2, middle), head=6)
        text(axis, x, top - 0.19, f"{filters:,}", 12, BLUE, weight="bold")
        for line, word in enumerate(words):
            text(axis, x, top - 0.43 - 0.19 * line, word, 9)
        y = top - height - 0.06
        for word in after:
            deep = 0.25
            if word.startswith("pool"):
                length, deep = (length - 3) // 2 + 1, 0.44
                word += f"\n→ {length}×{length}"
            box(axis, x, y - deep / 2, width, deep, word, size=9)
            y -= deep + 0.06
    return count


def alexnet():
    """AlexNet of 2012, and below it the same plan for 28 × 28, an eighth as wide."""
    figure, axis = card(6.75)
    for number, x in enumerate(COLUMNS):
        kind = "conv" if number < 5 else "dense"
        text(axis, x, 5.98, f"{kind} {number + 1}", 10, GREY)
        arrow(axis, (x, 3.76), (x, 3.24))
        patch = {"fc": "white", "ec": "none", "pad": 1.5}
        words = "÷ 8" if number < 7 else "classes"
        text(axis, x, 3.53, words, 10, bbox=patch)
    count = alexnet_row(axis, 5.8, 3, 227, 11, 4, 1, 1000)
    text(axis, 0.2, 6.38, "AlexNet, 2012", 12, ha="left", weight="bold")
    text(axis, 7.82, 6.38, f"{count:,} numbers", 12, BLUE, ha="right", weight="bold")
    count = alexnet_row(axis, 3.18, 1, 28, 5, 1, 8, 10)
    words = "The same plan for digits, one eighth as wide"
    text(axis, 0.2, 0.92, words, 12, ha="left", weight="bold")
    text(axis, 7.82, 0.92, f"{count:,} numbers", 12, BLUE, ha="right", weight="bold")
    words = "large: filters, then neurons   ·   → height×width that comes out   ·   "
    words += "pool 3/2: 3×3 cells, stride 2\nLRN: local response normalisation   ·   "
    words += "ReLU after every blue box but the last"
    text(axis, 4.0, 0.43, words, 9, GREY, linespacing=1.5)
    return figure


def banner(images, label, W1, b1, W2, b2):
    """A digit as bytes, as pixels, in 64 neurons, and as ten probabilities.

    The digit is ``images[BANNER]``.  Each neuron shows its weights, each times how much
    its pixel varies among the images; it is the paler the less the digit excites it.
    """
    image, spread = images[BANNER], images[::10].std(axis=0).ravel()
    hidden = np.maximum(image.ravel() / 255 @ W1 + b1, 0)
    logits = hidden @ W2 + b2
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    assert shares.argmax() == label, "the banner shows a digit that is recognised"

    height, side, top = 2.9, 1.8, 2.6
    figure, axis = card(height)

    def inset(x, y, size):
        return figure.add_axes((x / 8, y / height, size / 8, size / height))

    for start in (2.12, 4.32, 6.52):
        arrow(axis, (start, top - side / 2), (start + 0.24, top - side / 2))

    cell = side / 28
    for (row, column), value in np.ndenumerate(image):
        x, y = 0.25 + cell * (column + 0.5), top - cell * (row + 0.5)
        shade = str(0.78 - 0.7 * value / 255)
        text(axis, x, y, f"{value:02x}", 3.4, shade, family=MONO)

    pixels = inset(2.45, top - side, side)
    pixels.imshow(image, **figures.DIGIT)
    pixels.set(xticks=[], yticks=[])
    pixels.spines[:].set(visible=True, color="#c4c4c4")

    effects = W1 * spread[:, None]
    limit = np.quantile(np.abs(effects), 0.98)
    glow = 0.3 + 0.7 * (hidden / hidden.max()) ** 0.7
    size = side / 8
    for neuron, effect in enumerate(effects.T):
        row, column = divmod(neuron, 8)
        tile = inset(4.65 + size * column, top - size * (row + 1), 0.93 * size)
        scale = {"vmin": -limit, "vmax": limit, "alpha": glow[neuron]}
        tile.imshow(effect.reshape(28, 28), **figures.WEIGHTS, **scale)
        tile.axis("off")

    step = side / 10
    for digit, share in enumerate(shares):
        y = top - step * (digit + 0.5)
        text(axis, 6.9, y, str(digit), 9, va="center_baseline")
        color = BLUE if digit == label else "#c4c4c4"
        bar = (7.0, y - 0.35 * step), max(0.75 * share, 0.01), 0.7 * step
        axis.add_patch(Rectangle(*bar, color=color, lw=0))

    names = ("784 bytes", "28 × 28 pixels", "64 neurons", f"the answer: {label}")
    for x, words in zip((1.15, 3.35, 5.55, 7.3), names):
        text(axis, x, 0.36, words, 10.5, GREY, va="baseline")
    return figure


DIAGRAMS = {
    "idx_layout": idx_layout,
    "one_neuron": one_neuron,
    "ten_neurons": ten_neurons,
    "network_784_64_10": network_784_64_10,
    "convolution": convolution,
    "lenet": lenet,
    "alexnet": alexnet,
}


def save(figure, file):
    """Save a diagram, with what its axes hold, for the test to compare."""
    held = json.dumps(figures.contents(figure))
    figure.savefig(file, dpi=200, facecolor="none", metadata={"Contents": held})
    plt.close(figure)
    print(file.name)


def main():
    """Draw every diagram into the folder named on the command line, or beside this."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    for name, draw in DIAGRAMS.items():
        save(draw(), folder / f"{name}.png")
    if WEIGHTS.exists() and IMAGES.exists():
        images, labels = idx.read(IMAGES), idx.read(LABELS)
        with np.load(WEIGHTS, allow_pickle=False) as weights:
            drawn = banner(images, labels[BANNER], **weights)
        save(drawn, folder / "banner.png")
    else:
        print("banner.png is left as it is: it needs MNIST and chapter 4's weights.")


if __name__ == "__main__":
    main()
