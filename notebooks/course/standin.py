"""The stand-in: real handwriting for a machine that cannot reach MNIST.

scikit-learn brings 1,797 handwritten digits of 8 × 8 pixels (the test part of UCI's
optdigits).  From them this module makes 60,000 + 10,000 images in MNIST's format, size
and contrast: each source digit is turned, sheared and scaled a little, drawn anew on
28 × 28 pixels with cubic splines, centred by mass and sharpened.

No source digit is on two sides: 1,197 stand behind the first 50,000 training images,
240 behind the last 10,000 (the validation split) and 360 behind the test images.  Their
writers are on all sides, though, and 360 sources are few, so scores are higher and far
less certain than on MNIST.  Nearest mean < logistic regression < neural network holds.

A seed fixes everything.  The same versions of NumPy and SciPy on the same kind of
computer give the same bytes; elsewhere a few pixels may differ by one grey value, so no
checksum is pinned here: each computer keeps those of what it made beside the files.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
from filelock import FileLock

from . import idx

FOLDER = Path(__file__).resolve().parents[2] / "data" / "stand-in"
FILES = {
    "train-images": "stand-in-train-images-idx3-ubyte",
    "train-labels": "stand-in-train-labels-idx1-ubyte",
    "t10k-images": "stand-in-t10k-images-idx3-ubyte",
    "t10k-labels": "stand-in-t10k-labels-idx1-ubyte",
}
COUNTS = {"train": 50_000, "validation": 10_000, "test": 10_000}
SEED = 8
RECIPE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()  # this file is it


def path(role):
    """The stand-in's IDX file for ``role``, a key of FILES, as a Path.

    The first call makes all four files (ten to twenty seconds, with progress on
    stderr), and so does a call that finds one missing, changed, or made by another
    recipe.  Several processes may call at once.  Raises KeyError for an unknown role,
    OSError where the folder cannot be written.
    """
    if not _verified(role):
        FOLDER.mkdir(parents=True, exist_ok=True)
        with FileLock(FOLDER / "lock"):
            if not all(_verified(other) for other in FILES):
                _make_files()
    return FOLDER / FILES[role]


def sources():
    """Split the 1,797 source digits into three, each digit in its share.

    Returns {"train": (images, labels), "validation": ..., "test": ...}: images float64
    of shape (n, 8, 8) from 0 to 1, labels uint8 of shape (n,).
    """
    from sklearn.datasets import load_digits  # a second to import, needed only once

    digits = load_digits()
    images, labels = digits.images / 16, digits.target.astype(np.uint8)
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rest = np.delete(by_label, np.s_[::5])
    chosen = {
        "train": np.delete(rest, np.s_[::6]),
        "validation": rest[::6],
        "test": by_label[::5],
    }
    return {split: (images[rows], labels[rows]) for split, rows in chosen.items()}


def vary(images, labels, count, rng, step=lambda: None):
    """Draw ``count`` variations of source digits, all sources equally often, shuffled.

    ``images``: float64 (n, 8, 8) from 0 to 1; ``labels``: uint8 (n,).  ``step()`` is
    called after each image.  Returns uint8 images (count, 28, 28) and labels (count,).
    """
    from scipy import ndimage

    darker = images**0.7  # which keeps thin strokes whole
    padded = np.pad(darker, ((0, 0), (2, 2), (2, 2)))
    splines = [ndimage.spline_filter(image, order=3) for image in padded]
    centres = np.array([ndimage.center_of_mass(image) for image in padded])

    rows = rng.permutation(np.resize(rng.permutation(len(images)), count))
    turn = np.radians(rng.uniform(-10, 10, count))
    shear = rng.uniform(-0.15, 0.25, count)  # handwriting leans to the right
    zoom = np.stack([rng.uniform(2.25, 2.55, count), rng.uniform(2.4, 3.1, count)], 1)
    centre = 14 + rng.uniform(-0.5, 0.5, (count, 2))  # as far off as in MNIST
    threshold = rng.uniform(0.4, 0.6, count)  # the higher, the thinner the stroke

    one, zero = np.ones(count), np.zeros(count)
    rotations = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shears = np.array([[one, zero], [shear, one]])
    maps = np.einsum("ijn,jkn->nik", rotations, shears) / zoom[:, None]
    starts = centres[rows] - np.einsum("nij,nj->ni", maps, centre)

    drawn = np.empty((count, 28, 28), np.uint8)
    grey = np.empty((28, 28))
    for index, row in enumerate(rows):
        ndimage.affine_transform(
            splines[row], maps[index], starts[index], output=grey, prefilter=False
        )
        grey -= threshold[index]
        grey *= 255 / 0.4
        drawn[index] = np.clip(grey, 0, 255).round()
        step()
    return drawn, labels[rows]


def generate():
    """Make the four arrays, COUNTS images of each split; return them by role.

    Images are uint8 of shape (n, 28, 28), labels uint8 of shape (n,); the training
    arrays end with the validation split.  Progress goes to stderr.
    """
    total, made = sum(COUNTS.values()), 0

    def step():
        nonlocal made
        made += 1
        if made % 10_000 == 0 or made == total:
            print(f"  {made:6,} of {total:,} digits", file=sys.stderr, flush=True)

    print("Making the stand-in digits, once:", file=sys.stderr, flush=True)
    X = np.empty((total, 28, 28), np.uint8)
    y = np.empty(total, np.uint8)
    rng = np.random.default_rng(SEED)
    start = 0
    for split, (images, labels) in sources().items():
        rows = slice(start, start + COUNTS[split])
        X[rows], y[rows] = vary(images, labels, COUNTS[split], rng, step)
        start = rows.stop
    end = total - COUNTS["test"]
    return dict(zip(FILES, (X[:end], y[:end], X[end:], y[end:])))


def _checksum(file):
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _verified(role):
    """Whether the file of ``role`` is whole, unchanged, and made by this recipe."""
    file = FOLDER / FILES[role]
    try:
        made = json.loads((FOLDER / "made.json").read_text("utf-8"))
        return made["recipe"] == RECIPE and made["sha256"][role] == _checksum(file)
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return False


def _make_files():
    """Write the four files, each under its name only when whole; then the checksums."""
    made = {"recipe": RECIPE, "sha256": {}}
    for role, array in generate().items():
        part = FOLDER / f"{FILES[role]}.part"
        idx.write(part, array)
        made["sha256"][role] = _checksum(part)
        os.replace(part, FOLDER / FILES[role])
    part = FOLDER / "made.json.part"
    part.write_text(json.dumps(made, indent=1), "utf-8")
    os.replace(part, FOLDER / "made.json")
