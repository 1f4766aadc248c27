"""A small net whose classes lie far apart, and images for it."""

import keras
import numpy as np
import pytest


@pytest.fixture
def images():
    """Returns 120 images (8, 8, 3), float32, from the darkest pixel 0 to the brightest 1."""
    found = np.random.default_rng(1).random((120, 8, 8, 3), "float32")
    found[0, 0, 0], found[0, 0, 1] = 0.0, 1.0
    return found


@pytest.fixture
def student():
    """Returns a separable net with batch norm, statistics moved away from their start."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="logits")(x))
    norm = model.layers[2]
    norm.moving_mean.assign([0.1] * 8)
    norm.moving_variance.assign([0.05] * 8)
    return model
