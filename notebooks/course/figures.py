"""One figure language for the course, and the way of a figure into results/.

Three colours keep one meaning everywhere: TRAIN, VALIDATION and ERROR (Okabe and Ito's
and Paul Tol's palettes, safe for colour-blind readers); NEUTRAL is for all the rest.
"""

import io
import json

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.patches import Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from . import results

TRAIN = "#0072B2"
VALIDATION = "#D55E00"
ERROR = "#882255"
NEUTRAL = "#555555"
DIGIT = {"cmap": "gray_r", "interpolation": "nearest"}
WEIGHTS = {"cmap": "RdBu_r", "interpolation": "nearest"}

plt.rcParams.update(
    {
        "figure.figsize": (7, 3.8),
        "figure.dpi": 100,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": NEUTRAL,
        "axes.labelcolor": "#333333",
        "axes.prop_cycle": plt.cycler(color=[TRAIN, VALIDATION, ERROR, NEUTRAL]),
        "xtick.color": NEUTRAL,
        "ytick.color": NEUTRAL,
        "lines.linewidth": 1.8,
        "image.cmap": "gray_r",
        "image.interpolation": "nearest",
        "legend.frameon": False,
    }
)


def digits(images, titles=None, columns=10, size=0.85, **imshow):
    """Draw images of shape (n, 28, 28) as a grid; return the figure.

    ``titles`` are n short texts above the images; ``imshow`` overrides DIGIT.
    """
    images = np.asarray(images).reshape(len(images), 28, 28)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = size * (1.3 if titles is not None else 1.0)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * height), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for index, (axis, image) in enumerate(zip(axes.flat, images)):
        axis.imshow(image, **(DIGIT | imshow))
        if titles is not None:
            axis.set_title(titles[index], fontsize=8, loc="center")
    return figure


def label_end(axis, line, dy=0):
    """Write a line's label at its last point, in its colour, ``dy`` points higher."""
    axis.annotate(
        line.get_label(),
        (line.get_xdata()[-1], line.get_ydata()[-1]),
        xytext=(6, dy),
        textcoords="offset points",
        va="center",
        color=line.get_color(),
    )


def confusion(axis, shares, title, cmap="Blues", text="{:.0f}"):
    """Draw a 10 × 10 matrix with its numbers; rows are the true digits."""
    axis.imshow(shares, cmap=cmap)
    bright = np.nanmax(shares) / 2
    for (row, column), value in np.ndenumerate(shares):
        if value > 0:
            color = "white" if value > bright else "#333333"
            axis.text(
                column,
                row,
                text.format(value),
                ha="center",
                va="center",
                fontsize=7,
                color=color,
            )
    axis.set(xticks=range(10), yticks=range(10), title=title)
    axis.set(xlabel="predicted digit", ylabel="true digit")
    axis.spines[:].set_visible(False)


def _digest(values):
    """A short list of numbers that changes when any entry of an array does.

    Its length, mean and spread, and two projections on fixed cosines: rounding on
    another machine moves them by nothing, a swapped or missing entry by a lot.
    """
    values = np.ma.filled(np.ma.asarray(values, dtype=float), -1).ravel()
    values = np.where(np.isfinite(values), values, -1)
    if values.size <= 24:
        return [float(f"{value:.9g}") for value in values]
    index = np.arange(values.size)
    weights = [np.cos(0.7 * index), np.cos(1.3 * index + 0.5)]
    scale = np.sqrt(np.mean(values**2)) or 1.0
    projections = [1 + float(np.mean(values * w)) / scale for w in weights]
    numbers = [values.mean(), values.std(), *projections]
    return [values.size, *(float(f"{number:.9g}") for number in numbers)]


def contents(figure):
    """What the axes of a figure hold: words, lines, bars, points and images."""
    return [
        {
            "titles": [axis.get_title(loc) for loc in ("left", "center", "right")],
            "labels": [axis.get_xlabel(), axis.get_ylabel()],
            "scales": [axis.get_xscale(), axis.get_yscale()],
            "texts": [text.get_text() for text in axis.texts],
            "lines": [_digest(line.get_xydata()) for line in axis.lines],
            "bars": [
                _digest([bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()])
                for bar in axis.patches
                if isinstance(bar, Rectangle)
            ],
            "points": [_digest(c.get_offsets()) for c in axis.collections],
            "images": [_digest(image.get_array()) for image in axis.images],
        }
        for axis in figure.axes
    ]


def stored_contents(file):
    """The contents that ``show`` wrote into a PNG file; None where there are none."""
    with Image.open(file) as picture:
        text = picture.info.get("Contents")
    return None if text is None else json.loads(text)


def stored_repeats(file):
    """Whether the picture in a PNG file says that every machine draws the same."""
    with Image.open(file) as picture:
        return picture.info.get("Repeats") != "no"


def _png(figure, held, repeats):
    """A figure as the bytes of a PNG of 256 colours, with what it holds as a text."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=100)
    with Image.open(full) as picture:
        texts = PngInfo()
        texts.add_text("Software", picture.info["Software"])
        texts.add_text("Contents", held)
        if not repeats:
            texts.add_text("Repeats", "no")
        flat = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        flat.save(small, format="png", optimize=True, pnginfo=texts)
    return small.getvalue()


def show(figure, name, alt, repeats=True):
    """Show a figure in the page, with ``alt`` for those who do not see it, and save it.

    It is saved as results/``name``.png ("chapter/figure"), together with what its axes
    hold; a saved figure that holds the same is left as it is.  ``repeats=False`` is for
    what comes from a network trained in float32, a little different on each machine:
    then any saved figure is left as it is, until ``tasks.py render`` makes it anew.
    """
    held = contents(figure)
    png = _png(figure, json.dumps(held), repeats)
    plt.close(figure)
    file = results.path(f"{name}.png")
    kept = file.exists() and (not repeats or results.agree(stored_contents(file), held))
    if not kept:
        file.write_bytes(png)
    display(
        {"image/png": png, "text/plain": alt},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )
