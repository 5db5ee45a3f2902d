"""The plumbing of the course: the data's way in, and the results' way out.

What a chapter is about stands in the chapter; nothing here is a neuron, a loss or an
optimiser.  Importing the package limits the matrix products to one thread: the
matrices of this course are small, and a second thread makes them slower, not faster.
"""

import os

for _name in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")
os.environ.setdefault("VECLIB_MAXIMUM_THREADS", "1")

import numpy  # noqa: E402, F401  (loaded first, so that the limit below finds its BLAS)
import threadpoolctl  # noqa: E402

threadpoolctl.threadpool_limits(1)
