"""Written by notebooks/10_speed.ipynb: the definitions of its cells."""

import time
from functools import partial

import numpy as np
import threadpoolctl

import layers
from course import apart, extras, mnist, sources


class FirstDense(layers.Dense):
    """A dense layer that sees the pixels: its way back ends with its weights."""

    def backward(self, dY):
        self.dweights = self.X.T @ dY
        self.dbias = dY.sum(axis=0)


def ten_neurons(rng):
    """Chapter 3's ten neurons, which start from zeros."""
    first = FirstDense(784, 10, rng)
    first.weights[:] = 0
    return [first]


def one_hidden(rng, hidden=64):
    """Chapter 4's network, with 64 hidden neurons or another number."""
    last = layers.Dense(hidden, 10, rng)
    return [FirstDense(784, hidden, rng), layers.ReLU(), last]


def plan(name):
    """How a network is built, and how its chapter trained it."""
    six = sources.load("06_convolution/network")
    seven = sources.load("07_alexnet/network")
    plain = dict(epochs=10, batch_size=64, rate=0.1, momentum=0.0, decay=0.0)
    plain |= dict(schedule=layers.constant, vary=None)
    ten = plain | dict(epochs=120, batch_size=50_000, rate=6.0)
    conv = plain | dict(rate=0.05, momentum=0.9, schedule=six.cosine, vary=six.shift)
    alex = conv | dict(rate=0.03, decay=5e-4, schedule=seven.warm_up, vary=seven.crop)
    return {
        "ten neurons": ten | dict(build=ten_neurons, twins="TenNeurons, ten_neurons"),
        "784-64-10": plain | dict(build=one_hidden, twins="OneHidden, one_hidden"),
        "LeNet-5": conv | dict(build=six.lenet, twins="LeNet5, lenet"),
        "AlexNet": alex | dict(build=seven.small_alexnet, twins="AlexNet, alexnet"),
    }[name]


def from_scratch(name, network, mean=None):
    """A training in NumPy: its take, step and answer."""
    how, rows = plan(name), isinstance(network[0], layers.Dense)
    optimiser = layers.SGD(network, how["momentum"], how["decay"])

    def take(images):
        if not rows:
            return layers.inputs(images)
        X = np.divide(images.reshape(-1, 784), np.float32(255), dtype=np.float32)
        return X if mean is None else X - mean.reshape(784)

    def step(X, y, rate):
        logits = layers.forward(network, X, training=True)
        layers.backward(network, layers.softmax_cross_entropy(logits, y)[1])
        if how["momentum"]:
            return optimiser.step(rate)
        for P, dP in zip(layers.parameters(network), layers.gradients(network)):
            P -= rate * dP

    return take, step, lambda X: layers.forward(network, X).argmax(axis=1)


def torch_model(name, network):
    """Chapter 8's model of a network, with the weights of ours."""
    import torch

    class_name, _ = plan(name)["twins"].split(", ")
    model = getattr(sources.load("08_pytorch/networks"), class_name)()
    if name == "784-64-10":
        hidden = network[0].outputs
        model.layers[1] = torch.nn.Linear(784, hidden)
        model.layers[3] = torch.nn.Linear(hidden, 10)
    with torch.no_grad():
        for P, A in zip(model.parameters(), layers.parameters(network), strict=True):
            P.copy_(torch.tensor(A.T if A.ndim == 2 else A))
    return model


def in_pytorch(name, network, mean=None):
    """A training in PyTorch: its take, step and answer."""
    import torch

    how, model = plan(name), torch_model(name, network)
    optimiser = torch.optim.SGD(model.parameters(), 1.0, how["momentum"])
    matrices = [P for P in model.parameters() if how["decay"] and P.ndim > 1]

    def take(images):
        X = torch.tensor(images)[:, None].float().div_(255)
        return X if mean is None else X - torch.tensor(mean)

    def step(X, y, rate):
        optimiser.param_groups[0]["lr"] = rate
        logits, labels = model(X), torch.tensor(y, dtype=torch.int64)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()
        for P in matrices:
            P.data *= 1 - rate * how["decay"]

    return take, step, torch.no_grad()(lambda X: model.eval()(X).argmax(1).numpy())


def keras_model(name, network):
    """Chapter 9's model of a network, with the weights of ours."""
    import keras

    nine = sources.load("09_tensorflow/networks")
    _, function_name = plan(name)["twins"].split(", ")
    model = getattr(nine, function_name)()
    if name == "784-64-10":
        hidden = keras.layers.Dense(network[0].outputs, activation="relu")
        before = [keras.Input((28, 28, 1)), keras.layers.Flatten()]
        model = keras.Sequential([*before, hidden, keras.layers.Dense(10)])
    model.set_weights(nine.to_keras(layers.parameters(network), model))
    return model


def graph_step(model, momentum, decay):
    """A graph that trains a Keras model on one batch, with chapter 5's momentum."""
    import tensorflow as tf

    loss_of = tf.nn.sparse_softmax_cross_entropy_with_logits
    parameters = [P.value for P in model.trainable_variables]
    velocities = [tf.Variable(tf.zeros_like(P)) for P in parameters]

    @tf.function
    def step(X, y, rate):
        with tf.GradientTape() as tape:
            logits = model(X, training=True)
            loss = tf.reduce_mean(loss_of(tf.cast(y, tf.int32), logits))
        for P, V, dP in zip(parameters, velocities, tape.gradient(loss, parameters)):
            P.assign_sub(rate * (V.assign(momentum * V + dP) if momentum else dP))
            if decay and len(P.shape) > 1:
                P.assign_sub(rate * decay * P)

    return step


def in_tensorflow(name, network, mean=None):
    """A training in TensorFlow: its take, step and answer."""
    import tensorflow as tf

    how, model = plan(name), keras_model(name, network)
    graph = graph_step(model, how["momentum"], how["decay"])

    @tf.function
    def take(images):
        X = tf.cast(images[..., None], tf.float32) / 255
        return X if mean is None else X - mean[..., None]

    def step(X, y, rate):
        graph(X, y, tf.constant(rate, tf.float32))

    answer = tf.function(lambda X: tf.argmax(model(X, training=False), axis=1))
    return take, step, lambda X: answer(X).numpy()


def train(name, parts, images, y, rng):
    """A whole training, step by step; yields the number of images of each step."""
    (take, step, _), how, n = parts, plan(name), len(y)
    if how["batch_size"] >= n:
        X = take(images)
        for _ in range(how["epochs"]):
            step(X, y, how["rate"])
            yield n
        return
    for epoch in range(how["epochs"]):
        order = rng.permutation(n)
        for first in range(0, n, how["batch_size"]):
            batch = order[first : first + how["batch_size"]]
            picked = images[batch]
            if how["vary"] is not None:
                picked = how["vary"](picked, rng)
            progress = (epoch + first / n) / how["epochs"]
            step(take(picked), y[batch], how["rate"] * float(how["schedule"](progress)))
            yield len(batch)


def begin(name, where, seed=0, threads=1):
    """A training's three parts, ready to go, and its random numbers."""
    if where == "PyTorch":
        torch = extras.need("torch")
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
    if where == "TensorFlow":
        tf = extras.need("tensorflow")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.keras.utils.set_random_seed(seed)
    threadpoolctl.threadpool_limits(threads)
    library = dict(NumPy=from_scratch, PyTorch=in_pytorch, TensorFlow=in_tensorflow)
    rng, mean = np.random.default_rng(seed), None
    network = plan(name)["build"](rng)
    if name == "ten neurons":
        mean = (mnist.load().train[0].mean(axis=0) / 255).astype(np.float32)
    return library[where](name, network, mean), rng


def measure(name, where, threads):
    """Seconds per epoch of each block, peak memory, and the share of right answers."""
    parts, rng = begin(name, where, threads=threads)
    (images, y), (unseen, digits) = mnist.load().train, mnist.load().validation
    steps = {"ten neurons": 3, "784-64-10": 195, "LeNet-5": 40, "AlexNet": 15}[name]
    walk, seconds = train(name, parts, images, y, rng), []
    for _ in range(4):
        start = time.perf_counter()
        seen = sum(next(walk) for _ in range(steps))
        seconds.append((time.perf_counter() - start) * len(y) / seen)
    memory, (take, _, answer) = apart.peak_memory(), parts
    right = np.mean(answer(take(unseen[:1000])) == digits[:1000])
    return {"seconds": seconds[1:], "memory": memory, "right": float(right)}


def top_speed(threads):
    """Multiply-adds per second in the product of two large float32 matrices."""
    threadpoolctl.threadpool_limits(threads)
    A = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        A @ A
        times.append(time.perf_counter() - start)
    return 2048**3 / min(times)


def median_time(work, *given):
    """The median time of a call, after three that do not count."""
    times = []
    while len(times) < 3 + 9 or sum(times[3:]) < 0.4:
        start = time.perf_counter()
        work(*given)
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]))
