"""Written by notebooks/06_convolution.ipynb: the definitions of its cells."""

import numpy as np
from layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from numpy.lib.stride_tricks import sliding_window_view


def lenet(rng, dtype=np.float32):
    """LeNet-5 as a list of layers; 28×28 pixels in, ten logits out."""
    return [
        Conv2D(1, 6, 5, rng, padding=2, first=True, dtype=dtype),
        MaxPool2D(2), ReLU(),
        Conv2D(6, 16, 5, rng, dtype=dtype),
        MaxPool2D(2), ReLU(),
        Flatten(),
        Dense(400, 120, rng, dtype=dtype), ReLU(),
        Dense(120, 84, rng, dtype=dtype), ReLU(),
        Dense(84, 10, rng, dtype=dtype),
    ]  # fmt: skip


def cosine(progress):
    """Half a cosine wave, from the full rate down to zero."""
    return 0.5 * (1 + np.cos(np.pi * progress))


def shift(images, rng):
    """Move each image (n, 28, 28) by -1, 0 or 1 pixel in both directions, at random."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (28, 28), axis=(1, 2))  # (n, 3, 3, 28, 28)
    top, left = rng.integers(3, size=(2, len(images)))
    return windows[np.arange(len(images)), top, left]
