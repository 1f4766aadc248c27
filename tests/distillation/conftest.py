import keras
import numpy as np
import pytest
from count_calls import CountCalls
from keras import ops


@pytest.fixture
def make_net():
    """Makes small image classifiers with every kind of state: batch norm, dropout, regularizer."""

    def make(width, classes=3, seed=0, regularizer=None, dropout=0.0, name=None, **head):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((6, 6, 2))
        x = keras.layers.Conv2D(width, 3, name="stage1", kernel_regularizer=regularizer)(inputs)
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.ReLU(name="stage2")(x)
        x = CountCalls(name="count")(x)
        x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        x = keras.layers.Dropout(dropout)(x)
        outputs = keras.layers.Dense(classes, name="logits", dtype="float32", **head)(x)
        return keras.Model(inputs, outputs, name=name)

    return make


@pytest.fixture
def data():
    """Images (24, 6, 6, 2), labels (24,) of 3 classes and sample weights (24,)."""
    rng = np.random.default_rng(0)
    x = rng.random((24, 6, 6, 2), dtype="float32")
    return x, rng.integers(0, 3, 24).astype("int32"), rng.uniform(0.2, 2, 24).astype("float32")


@pytest.fixture
def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def maps_loss():
    """Makes a loss that taps layers and owns a trained projection from student to teacher."""
    from kdzoo.losses import DistillationLoss

    class Maps(DistillationLoss):
        def build(self, teacher_shape, student_shape):
            shape = (student_shape[-1], teacher_shape[-1])
            self.kernel = self.add_weight(shape=shape, name="kernel", initializer="glorot_uniform")

        def call(self, teacher, student, labels=None):
            difference = ops.square(teacher - ops.matmul(student, self.kernel))
            return ops.mean(difference, axis=(1, 2, 3))

    return keras.saving.register_keras_serializable("tests")(Maps)


@pytest.fixture
def check_weights():
    """Asserts that two lists of arrays are equal, bit by bit or to a tolerance."""

    def check(actual, expected, rtol=0.0, atol=0.0):
        assert len(actual) == len(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)

    return check
