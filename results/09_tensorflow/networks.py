"""Written by notebooks/09_tensorflow.ipynb: the definitions of its cells."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class SplitConv2D(layers.Conv2D):
    """A convolution in groups, as separate convolutions side by side."""

    def convolution_op(self, inputs, kernel):
        parts = [tf.split(A, self.groups, axis=3) for A in (inputs, kernel)]
        padding = self.padding.upper()
        answers = [tf.nn.conv2d(X, W, self.strides, padding) for X, W in zip(*parts)]
        return tf.concat(answers, axis=3)


class LocalResponseNorm(layers.Layer):
    """Chapter 7's normalisation: X / (2 + 0.0001 S)^0.75, S over five channels."""

    def call(self, X):
        i = np.arange(X.shape[-1])
        near = tf.cast(abs(i[:, None] - i) <= 2, X.dtype)
        root = tf.math.rsqrt(2 + 1e-4 * tf.tensordot(X * X, near, axes=1))
        return X * root * tf.sqrt(root)


def ten_neurons():
    """Chapter 3's ten neurons."""
    plan = [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)]
    return keras.Sequential(plan, name="ten_neurons")


def one_hidden():
    """Chapter 4's network, 784-64-10."""
    plan = [keras.Input((28, 28, 1)), layers.Flatten()]
    plan += [layers.Dense(64, activation="relu"), layers.Dense(10)]
    return keras.Sequential(plan, name="one_hidden")


def lenet():
    """Chapter 6's LeNet-5."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same"), layers.MaxPooling2D(2), layers.ReLU(),
        layers.Conv2D(16, 5), layers.MaxPooling2D(2), layers.ReLU(),
        layers.Flatten(),
        layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"),
        layers.Dense(10),
    ], name="lenet")  # fmt: skip


def alexnet():
    """Chapter 7's AlexNet for digits, one eighth as wide."""
    relu, halves = dict(activation="relu"), dict(padding="same", groups=2)
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(12, 5, **relu), LocalResponseNorm(), layers.MaxPooling2D(3, 2),
        SplitConv2D(32, 5, **halves, **relu), LocalResponseNorm(),
        layers.MaxPooling2D(3, 2),
        layers.Conv2D(48, 3, padding="same", **relu),
        SplitConv2D(48, 3, **halves, **relu),
        SplitConv2D(32, 3, **halves, **relu), layers.MaxPooling2D(3, 2),
        layers.Flatten(),
        layers.Dense(512, **relu), layers.Dropout(0.5),
        layers.Dense(512, **relu), layers.Dropout(0.5),
        layers.Dense(10),
    ], name="alexnet")  # fmt: skip


def to_keras(arrays, model):
    """Our parameters, or their gradients, in the order of axes that Keras has."""
    flatten = next(L for L in model.layers if isinstance(L, layers.Flatten))
    height, width, channels = flatten.input.shape[1:]
    moved, first_dense = [], True
    for A in arrays:
        if A.ndim == 4:
            A = A.transpose(2, 3, 1, 0)
        elif A.ndim == 2 and first_dense:
            by_place = A.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
            A, first_dense = by_place.reshape(A.shape), False
        moved.append(A)
    return moved
