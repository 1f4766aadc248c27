"""Networks and data of seconds, and a run that is stopped, for tests of several schemes."""

import keras
import numpy as np

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 6)).astype("float32"), RNG.integers(0, 3, 24)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(width, seed, name=None, dropout=0.2, classes=3, inputs=6):
    """A network with all that changes in a training: weights, averages and seeds."""
    keras.utils.set_random_seed(seed)
    x = given = keras.Input((inputs,), name="x")
    x = keras.layers.Dense(width, "relu", name="features")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(given, keras.layers.Dense(classes, name="logits")(x), name=name)


class Rows(keras.utils.PyDataset):
    """The samples in batches, in another order each epoch; in their own where that is None."""

    def __init__(self, size, epoch=None, weights=None):
        super().__init__()
        self.size, self.epoch, self.weights = size, epoch, weights

    def __len__(self):
        return len(X) // self.size

    def on_epoch_end(self):
        self.epoch = None if self.epoch is None else self.epoch + 1

    def __getitem__(self, index):
        rows = np.arange(len(X))
        if self.epoch is not None:
            rows = np.random.default_rng(self.epoch).permutation(rows)
        rows = rows[index * self.size : (index + 1) * self.size]
        weights = () if self.weights is None else (self.weights[rows],)
        return X[rows], Y[rows], *weights


def batches(epoch):
    return Rows(8, epoch)


class Stopped(Exception):
    pass


class StopIn(keras.callbacks.Callback):
    """Ends a run in the second batch of an epoch, counted through all stages from 0."""

    def __init__(self, epoch, how=None):
        super().__init__()
        self.left, self.how = epoch, how

    def on_epoch_begin(self, epoch, logs=None):
        self.left -= 1

    def on_train_batch_begin(self, batch, logs=None):
        if self.left == -1 and batch == 1:
            if self.how is None:
                raise Stopped
            self.how()


def assert_same(models, others):
    """All weights of the models are equal, bit by bit."""
    for model, other in zip(models, others, strict=True):
        for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def cross_entropy(probs, labels):
    return -np.log(probs[np.arange(len(labels)), labels])


def kl(p, q):
    return (p * (np.log(p) - np.log(q))).sum(-1)


def logits_in_training(model):
    """What a model gives for all samples as in training, float64; the model stays as it is."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return keras.ops.convert_to_numpy(copy(X, training=True)).astype("float64")
