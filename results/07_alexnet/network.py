"""Written by notebooks/07_alexnet.ipynb: the definitions of its cells."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from layers import (
    Conv2D, Dense, Dropout, Flatten, LocalResponseNorm, MaxPool2D, ReLU,
)  # fmt: skip


def small_alexnet(
    rng, activation=ReLU, alpha=1e-4, overlap=True, dropout=0.5, dtype=np.float32
):
    """AlexNet with an eighth of the channels, for (1, 28, 28, n): a list of layers."""
    d, size = {"dtype": dtype}, 3 if overlap else 2
    last = 1 if overlap else 0  # padding of the last convolution
    norm = [] if alpha is None else [LocalResponseNorm(alpha=alpha) for _ in range(2)]
    return [
        Conv2D(1, 12, 5, rng, first=True, **d), activation(),
        *norm[:1], MaxPool2D(size, 2),
        Conv2D(12, 32, 5, rng, padding=2, groups=2, **d), activation(),
        *norm[1:], MaxPool2D(size, 2),
        Conv2D(32, 48, 3, rng, padding=1, **d), activation(),
        Conv2D(48, 48, 3, rng, padding=1, groups=2, **d), activation(),
        Conv2D(48, 32, 3, rng, padding=last, groups=2, **d), activation(),
        MaxPool2D(size, 2), Flatten(),
        Dense(128, 512, rng, **d), activation(), Dropout(dropout, rng),
        Dense(512, 512, rng, **d), activation(), Dropout(dropout, rng),
        Dense(512, 10, rng, **d),
    ]  # fmt: skip


def cosine(progress):
    """Half a cosine wave, from the full rate down to zero."""
    return 0.5 * (1 + float(np.cos(np.pi * progress)))


def warm_up(progress):
    """From zero up to the cosine during the first tenth, then along it."""
    return min(progress / 0.1, 1.0) * cosine(progress)


def crop(images, rng, reach=2):
    """Move each image (n, 28, 28) by up to ``reach`` pixels either way, at random."""
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)))
    windows = sliding_window_view(padded, (28, 28), axis=(1, 2))
    top, left = rng.integers(2 * reach + 1, size=(2, len(images)))
    return windows[np.arange(len(images)), top, left]
