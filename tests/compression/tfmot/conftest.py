"""What the tests of compression share: a small network, its data, and TF-MOT's own training."""

import pathlib

import keras
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
if keras.backend.backend() != "tensorflow":
    # Elsewhere there is one thing to test: what is said. The rest imports TF-MOT.
    collect_ignore = [
        path.name for path in HERE.glob("test_*.py") if path.name != "test_backend.py"
    ]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.random((64, 8, 8, 3), "float32"), rng.integers(0, 3, 64)


@pytest.fixture
def net():
    """Makes a network with what TF-MOT treats apart: conv, batch norm, depthwise, dense."""

    def make(seed=0, name="net", regularizer=None):
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        inputs = keras.Input((8, 8, 3), name="image")
        x = layers.Conv2D(8, 3, name="conv", kernel_regularizer=regularizer)(inputs)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.ReLU(name="stage1")(x)
        x = layers.DepthwiseConv2D(3, name="depthwise")(x)
        x = layers.Conv2D(12, 1, activation="relu", name="stage2")(x)
        x = layers.GlobalAveragePooling2D(name="features")(x)
        model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name=name)
        random = np.random.default_rng(seed)
        for layer in model.layers:  # Statistics and biases that are not those of the start.
            layer.set_weights([w + 0.1 * random.random(w.shape) for w in layer.get_weights()])
        return model

    return make


@pytest.fixture
def legacy_net():
    """Makes the same network in tf_keras, by hand, with given weights."""

    def make(weights):
        import tf_keras

        layers = tf_keras.layers
        inputs = tf_keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, name="conv")(inputs)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.ReLU(name="stage1")(x)
        x = layers.DepthwiseConv2D(3, name="depthwise")(x)
        x = layers.Conv2D(12, 1, activation="relu", name="stage2")(x)
        x = layers.GlobalAveragePooling2D(name="features")(x)
        model = tf_keras.Model(inputs, layers.Dense(3, name="logits")(x))
        model.set_weights(weights)
        return model

    return make
