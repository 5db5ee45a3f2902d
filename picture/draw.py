"""Draw the diagrams of the course: ``python picture/draw.py`` writes them all.

Blue is what the network learns, dark red what flows backward, grey all the rest, as in
the figures of the chapters.  Every diagram is a white card, 8 inches wide at 200 dots
per inch: sharp at 800 pixels, and readable on a light and on a dark page.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
sys.path.insert(0, str(REPOSITORY / "notebooks"))

from course import figures, idx  # noqa: E402

IMAGES = REPOSITORY / "data/raw/train-images-idx3-ubyte"
LABELS = REPOSITORY / "data/raw/train-labels-idx1-ubyte"
WEIGHTS = REPOSITORY / "results/04_neural_network/weights.npz"
BANNER = 51_444  # the digit of the banner, from the validation split

INK = "#222222"
GREY = figures.NEUTRAL
BLUE = figures.TRAIN
RED = figures.ERROR
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
