"""The layers that chapters 6 and 7 build with, in NumPy; chapter 6 proves them.

A network is a list of layers.  Each has ``forward(X, training=False)`` and
``backward(dY)``, which takes the gradient of the loss with respect to what ``forward``
returned, and returns the one with respect to what it was given.  ``dweights`` and
``dbias`` then hold the gradients of ``weights`` and ``bias``.  A layer remembers its
last ``forward``, so each ``backward`` belongs to the ``forward`` before it.

Two shapes of data occur.  Images are (channels, height, width, n), with the examples
LAST: what one pixel is in n images lies side by side in memory, and that makes these
layers fast.  After ``Flatten`` rows are examples again: (n, features).  What comes as
float32 goes out as float32, what comes as float64 as float64; a layer with weights is
made for one of the two, and refuses the other.
"""

import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def check(layer, X, *expected):
    """Refuse an array whose shape or dtype is not the one that a layer works on.

    ``expected`` is its shape, with a name ("height") where any length will do.  Raises
    ValueError, with the layer, what came and what should have come.
    """
    came, dtype = np.shape(X), getattr(X, "dtype", type(X).__name__)
    fits = len(came) == len(expected) and all(
        isinstance(length, str) or length == given
        for given, length in zip(came, expected)
    )
    if not fits:
        wanted = ", ".join(map(str, expected))
        raise ValueError(f"{layer} got an array of shape {came}, expected ({wanted}).")
    dtypes = [layer.dtype] if hasattr(layer, "dtype") else [np.float32, np.float64]
    if dtype not in dtypes:
        wanted = " or ".join(np.dtype(d).name for d in dtypes)
        raise ValueError(f"{layer} got numbers of type {dtype}, expected {wanted}.")


def check_room(layer, image, size, padding=0):
    """Refuse images (height, width) in which no window has room, with a ValueError."""
    if min(image) + 2 * padding < size:
        raise ValueError(
            f"{layer} got images of {image[0]} x {image[1]} pixels, smaller than its "
            f"windows of {size} x {size}, even with a padding of {padding}."
        )


def check_loss(loss, epoch, step, learning_rate):
    """Refuse a loss that is not a number, with a FloatingPointError."""
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"The loss became {loss} in epoch {epoch + 1}, step {step + 1}. Build the "
            f"network anew and try a learning rate smaller than {learning_rate}."
        )


def whole(layer, smallest=1, **numbers):
    """Refuse settings that are no whole numbers, or too small, with a ValueError."""
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or value < smallest:
            raise ValueError(
                f"{layer}: {name} is {value!r}, not a whole number from {smallest} up."
            )


class Dense:
    """A fully connected layer: ``Y = X @ weights + bias``, as in chapter 4.

    ``X`` is (n, inputs), ``Y`` is (n, outputs).  The weights, (inputs, outputs), start
    as normal numbers of standard deviation sqrt(2 / inputs) (He et al. 2015, equation
    10), the bias at 0.
    """

    def __init__(self, inputs, outputs, rng, dtype=np.float32):
        self.inputs, self.outputs, self.dtype = inputs, outputs, np.dtype(dtype)
        whole(self, inputs=inputs, outputs=outputs)
        self.weights = rng.standard_normal((inputs, outputs), dtype=dtype)
        self.weights *= np.sqrt(2 / inputs)
        self.bias = np.zeros(outputs, dtype)

    def __repr__(self):
        return f"Dense({self.inputs}, {self.outputs})"

    def forward(self, X, training=False):
        check(self, X, "n", self.inputs)
        self.X = X
        return X @ self.weights + self.bias

    def backward(self, dY):
        check(self, dY, len(self.X), self.outputs)
        self.dweights = self.X.T @ dY
        self.dbias = dY.sum(axis=0)
        return dY @ self.weights.T


class ReLU:
    """Negative numbers become 0: ``Y = max(X, 0)``, for arrays of any shape."""

    def __repr__(self):
        return "ReLU()"

    def forward(self, X, training=False):
        check(self, X, *np.shape(X))
        self.Y = np.maximum(X, 0)
        return self.Y

    def backward(self, dY):
        check(self, dY, *self.Y.shape)
        return dY * (self.Y > 0)


class Conv2D:
    """A convolution: every filter looks at every place of the image.

    ``X`` is (channels, height, width, n), ``Y`` is (filters, height', width', n) with
    ``height' = (height + 2 * padding - size) // stride + 1``, and likewise the width.
    The weights are (filters, channels / groups, size, size); with groups, each part of
    the filters sees its own part of the channels (Krizhevsky et al. 2012, figure 2).
    They start like those of ``Dense``, the inputs of a filter being its weights.

    ``first`` is for the first layer of a network: ``backward`` then returns None,
    because nobody needs the gradient of the loss with respect to the pixels.
    """

    def __init__(
        self, channels, filters, size, rng,
        stride=1, padding=0, groups=1, first=False, dtype=np.float32,
    ):  # fmt: skip
        self.channels, self.filters, self.size = channels, filters, size
        self.stride, self.padding, self.groups = stride, padding, groups
        self.first, self.dtype = first, np.dtype(dtype)
        whole(self, channels=channels, filters=filters, size=size)
        whole(self, stride=stride, groups=groups)
        whole(self, smallest=0, padding=padding)
        if channels % groups or filters % groups:
            raise ValueError(
                f"{self}: {channels} channels and {filters} filters, "
                f"expected multiples of {groups}, the number of groups."
            )
        shape = (filters, channels // groups, size, size)
        self.weights = rng.standard_normal(shape, dtype=dtype)
        self.weights *= np.sqrt(2 / np.prod(shape[1:]))
        self.bias = np.zeros(filters, dtype)

    def __repr__(self):
        return f"Conv2D({self.channels}, {self.filters}, {self.size})"

    def forward(self, X, training=False):
        check(self, X, self.channels, "height", "width", "n")
        self.image = X.shape[1:3]
        check_room(self, self.image, self.size, self.padding)
        windows = self._windows(X)
        self.columns = np.ascontiguousarray(windows)  # one column for each window
        Y = self._by_group(self.weights) @ self._by_group(self.columns, 3)
        Y = Y.reshape(self.filters, *windows.shape[3:])
        Y += self.bias[:, None, None, None]
        return Y

    def backward(self, dY):
        check(self, dY, self.filters, *self.columns.shape[3:])
        self.dbias = dY.sum(axis=(1, 2, 3))
        dY, columns = self._by_group(dY), self._by_group(self.columns, 3)
        self.dweights = (dY @ columns.swapaxes(1, 2)).reshape(self.weights.shape)
        if self.first:
            return None
        dcolumns = self._by_group(self.weights).swapaxes(1, 2) @ dY
        return self._add_up(dcolumns.reshape(self.columns.shape))

    def _windows(self, X):
        """A view of every window: (channels, size, size, height', width', n)."""
        p, s = self.padding, self.stride
        if p:
            X = np.pad(X, ((0, 0), (p, p), (p, p), (0, 0)))
        windows = sliding_window_view(X, (self.size, self.size), axis=(1, 2))
        return windows[:, ::s, ::s].transpose(0, 4, 5, 1, 2, 3)

    def _by_group(self, A, axes=1):
        """An array as (groups, rows, columns): its first ``axes`` become the rows."""
        rows = np.prod(A.shape[:axes], dtype=int) // self.groups
        return A.reshape(self.groups, rows, -1)

    def _add_up(self, dcolumns):
        """Each pixel's gradient: the sum over all windows that hold the pixel."""
        channels, size, _, rows, columns, n = dcolumns.shape
        p, s, (height, width) = self.padding, self.stride, self.image
        dX = np.zeros((channels, height + 2 * p, width + 2 * p, n), dcolumns.dtype)
        down, right = s * rows, s * columns
        for i in range(size):
            for j in range(size):
                dX[:, i : i + down : s, j : j + right : s] += dcolumns[:, i, j]
        return dX[:, p : p + height, p : p + width]


class MaxPool2D:
    """The largest number of each window; with ``stride < size`` the windows overlap.

    ``X`` is (channels, height, width, n), ``Y`` is (channels, height', width', n) with
    ``height' = (height - size) // stride + 1``: rows and columns in which no whole
    window fits are left out.  The gradient goes to the cell that was the largest; among
    equals to the first one, row by row.
    """

    def __init__(self, size, stride=None):
        self.size, self.stride = size, size if stride is None else stride
        whole(self, size=size, stride=self.stride)

    def __repr__(self):
        return f"MaxPool2D({self.size}, {self.stride})"

    def forward(self, X, training=False):
        check(self, X, "channels", "height", "width", "n")
        check_room(self, X.shape[1:3], self.size)
        first, *others = self._cells(X)
        Y = first.copy()
        for cell in others:
            np.maximum(Y, cell, out=Y)
        self.X, self.Y = X, Y
        return Y

    def backward(self, dY):
        check(self, dY, *self.Y.shape)
        dX = np.zeros_like(self.X)
        free = np.ones(dY.shape, bool)  # windows whose gradient has not been sent yet
        for cell, dcell in zip(self._cells(self.X), self._cells(dX)):
            largest = (cell == self.Y) & free
            dcell += dY * largest
            free &= ~largest
        return dX

    def _cells(self, X):
        """For each place in a window, row by row, a view of it in all windows."""
        s = self.stride
        rows, columns = (s * ((length - self.size) // s + 1) for length in X.shape[1:3])
        for i in range(self.size):
            for j in range(self.size):
                yield X[:, i : i + rows : s, j : j + columns : s]


class LocalResponseNorm:
    """Each number is divided by what its neighbour channels show in the same place.

    ``Y = X / (k + alpha * S) ** beta``, where S is the sum of X² over ``size``
    channels, the number's own in their middle (fewer at the ends).  The defaults are
    those of Krizhevsky et al. 2012, section 3.3.  ``X`` and ``Y`` are (channels,
    height, width, n).  With k = 0, a number and its neighbours must not all be 0.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=2.0):
        self.size, self.alpha, self.beta, self.k = size, alpha, float(beta), k
        whole(self, size=size)
        if size % 2 == 0:
            raise ValueError(f"{self}: the size must be odd, as many on either side.")
        if alpha < 0 or k < 0:
            raise ValueError(f"{self}: alpha {alpha} and k {k} must not be negative.")

    def __repr__(self):
        return f"LocalResponseNorm({self.size})"

    def forward(self, X, training=False):
        check(self, X, "channels", "height", "width", "n")
        self.X = X
        self.scale = self._neighbours(X * X)
        self.scale *= self.alpha
        self.scale += self.k
        if self.beta == 0.75:  # two square roots are many times faster than a power
            self.power = 1 / np.sqrt(self.scale)
            self.power *= np.sqrt(self.power)
        else:
            self.power = self.scale**-self.beta
        return X * self.power

    def backward(self, dY):
        check(self, dY, *self.X.shape)
        dX = dY * self.power
        cross = self._neighbours(dX * self.X / self.scale)
        cross *= self.X
        cross *= 2 * self.alpha * self.beta
        dX -= cross
        return dX

    def _neighbours(self, A):
        """The sum over the channels from size // 2 before to size // 2 after."""
        total = A.copy()
        for distance in range(1, self.size // 2 + 1):
            total[distance:] += A[:-distance]
            total[:-distance] += A[distance:]
        return total


class Dropout:
    """In training, a share ``rate`` of the numbers, drawn anew each time, becomes 0.

    The others are divided by ``1 - rate``, so that sums keep their size on average and
    nothing is left to do at prediction.  (Hinton et al. 2012 leave them, and halve the
    weights at prediction instead.)  Arrays may have any shape.
    """

    def __init__(self, rate, rng):
        self.rate, self.rng, self.mask = rate, rng, None
        if not 0 <= rate < 1:
            raise ValueError(f"{self}: the rate must be at least 0 and below 1.")

    def __repr__(self):
        return f"Dropout({self.rate})"

    def forward(self, X, training=False):
        check(self, X, *np.shape(X))
        self.shape, self.mask = X.shape, None
        if not training or self.rate == 0:
            return X
        kept = self.rng.random(X.shape, dtype=X.dtype) >= self.rate
        self.mask = kept / X.dtype.type(1 - self.rate)
        return X * self.mask

    def backward(self, dY):
        check(self, dY, *self.shape)
        return dY if self.mask is None else dY * self.mask


class Flatten:
    """From images, (channels, height, width, n), to rows of numbers, (n, features)."""

    def __repr__(self):
        return "Flatten()"

    def forward(self, X, training=False):
        check(self, X, "channels", "height", "width", "n")
        self.shape = X.shape
        return np.ascontiguousarray(X.reshape(-1, X.shape[3]).T)

    def backward(self, dY):
        channels, height, width, n = self.shape
        check(self, dY, n, channels * height * width)
        return np.ascontiguousarray(dY.T).reshape(self.shape)


def softmax_cross_entropy(logits, y):
    """The mean loss of ``logits`` (n, classes) for labels ``y`` (n,), and its gradient.

    Returns a float and an array like ``logits``: "predicted minus true", divided by n
    (chapters 3 and 4).  Raises ValueError for labels that fit no column of the logits.
    """
    check("softmax_cross_entropy", logits, len(y), "classes")
    classes = logits.shape[1]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"softmax_cross_entropy got labels of shape {y.shape} and type {y.dtype}, "
            f"expected whole numbers of shape ({len(y)},)."
        )
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"softmax_cross_entropy got labels from {y.min()} to {y.max()}, "
            f"expected whole numbers from 0 to {classes - 1}."
        )
    rows = np.arange(len(y))
    shifted = logits - logits.max(axis=1, keepdims=True)
    dlogits = np.exp(shifted)
    sums = dlogits.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(sums[:, 0]) - shifted[rows, y]))
    dlogits /= sums
    dlogits[rows, y] -= 1
    dlogits /= len(y)
    return loss, dlogits


def forward(network, X, training=False):
    """Pass ``X`` through all layers of a network, a list; return what comes out."""
    for layer in network:
        X = layer.forward(X, training)
    return X


def backward(network, dY):
    """Pass the gradient of the loss back through all layers, from the last one on."""
    for layer in reversed(network):
        dY = layer.backward(dY)
    return dY


def parameters(network):
    """Every array that learns, in the order of the layers: weights, then bias."""
    learning = [layer for layer in network if hasattr(layer, "weights")]
    return [P for layer in learning for P in (layer.weights, layer.bias)]


def gradients(network):
    """The gradient of every array of ``parameters``, in the same order."""
    learning = [layer for layer in network if hasattr(layer, "weights")]
    return [dP for layer in learning for dP in (layer.dweights, layer.dbias)]


class SGD:
    """Gradient descent with momentum and decoupled weight decay, as in chapter 5.

    A step: ``V = momentum * V + dP``, then ``P -= learning_rate * V``; then the weights
    (the biases not) shrink by a share ``learning_rate * weight_decay``.
    """

    def __init__(self, network, momentum=0.9, weight_decay=0.0):
        self.network, self.momentum, self.weight_decay = network, momentum, weight_decay
        self.velocities = [np.zeros_like(P) for P in parameters(network)]

    def step(self, learning_rate):
        """Move every parameter once, in place, by the gradients of ``backward``."""
        steps = zip(parameters(self.network), self.velocities, gradients(self.network))
        for P, V, dP in steps:
            V *= self.momentum
            V += dP
            P -= learning_rate * V
            if self.weight_decay and P.ndim > 1:
                P *= 1 - learning_rate * self.weight_decay


def inputs(images, dtype=np.float32):
    """uint8 images (n, height, width) as numbers in [0, 1]: (1, height, width, n)."""
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(
            f"The images have the shape {images.shape} and numbers of type "
            f"{images.dtype}, expected (n, height, width) and uint8."
        )
    X = np.empty((1, *images.shape[1:], len(images)), dtype)
    return np.divide(images.transpose(1, 2, 0), dtype(255), out=X[0])[None]


def constant(progress):
    """The full learning rate, from the start of the training to its end."""
    return 1.0


@np.errstate(all="ignore")  # the loss is looked at instead
def train(
    network, images, y, rng, epochs, batch_size=64, learning_rate=0.02, momentum=0.9,
    weight_decay=0.0, schedule=constant, vary=None, validation=None,
):  # fmt: skip
    """Train a network in place on uint8 images (n, height, width); the shortest loop.

    ``schedule`` and ``vary`` are those of chapter 5.  With ``validation``, a pair of
    images and labels, a line is printed after each epoch: the mean loss of its batches,
    the accuracy on validation, and the seconds that both took.  Returns these
    accuracies.  Raises FloatingPointError when the loss of a batch is not a number.
    """
    if len(images) != len(y):
        raise ValueError(f"train got {len(images)} images, but {len(y)} labels.")
    optimiser = SGD(network, momentum, weight_decay)
    dtype = parameters(network)[0].dtype.type
    curve = []
    for epoch in range(epochs):
        begin, order, losses = time.perf_counter(), rng.permutation(len(y)), []
        for first in range(0, len(y), batch_size):
            batch = order[first : first + batch_size]
            picked = images[batch] if vary is None else vary(images[batch], rng)
            logits = forward(network, inputs(picked, dtype), training=True)
            loss, dlogits = softmax_cross_entropy(logits, y[batch])
            check_loss(loss, epoch, first // batch_size, learning_rate)
            losses.append(loss)
            backward(network, dlogits)
            progress = (epoch + first / len(y)) / epochs
            optimiser.step(learning_rate * float(schedule(progress)))
        if validation is not None:
            curve.append(accuracy(network, *validation))
            seconds = time.perf_counter() - begin
            print(
                f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}, "
                f"validation {100 * curve[-1]:.2f} %, {seconds:.1f} s"
            )
    return curve


def predict(network, images, batch_size=250):
    """The logits (n, classes) of uint8 images (n, height, width), batch by batch."""
    dtype = parameters(network)[0].dtype.type
    batches = range(0, len(images), batch_size)
    return np.concatenate(
        [forward(network, inputs(images[i : i + batch_size], dtype)) for i in batches]
    )


def accuracy(network, images, y):
    """The share of images whose largest logit is that of the true digit."""
    return float(np.mean(predict(network, images).argmax(axis=1) == y))
