"""Written by notebooks/10_speed.ipynb: the definitions of its cells."""

import time
from functools import partial

import numpy as np
import threadpoolctl

import layers
from course import apart, extras, mnist, sources

globals().update(vars(sources.load("10_speed/trainings")))


def score(name, where, seed, splits):
    """The accuracy of a whole training on each of these splits, in percent."""
    parts, rng = begin(name, where, seed)
    for _ in train(name, parts, *mnist.load().train, rng):
        pass
    take, _, answer = parts
    found = []
    for split in splits:
        images, y = getattr(mnist.load(), split)
        cuts = range(250, len(y), 250)
        digits = [answer(take(piece)) for piece in np.split(images, cuts)]
        found.append(100 * float(np.mean(np.concatenate(digits) == y)))
    return found
