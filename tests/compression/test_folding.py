"""Folding: the same outputs, and no batch normalization where TF-MOT would refuse it."""

import keras
import numpy as np
import pytest
from keras import layers

from kdzoo.compression import fold_batch_normalization

pytestmark = pytest.mark.tensorflow


def norm(name, **arguments):
    return layers.BatchNormalization(name=name, **arguments)


def graph(x):
    x = norm("lone")(x)
    x = norm("after_conv")(layers.Conv2D(4, 3, name="conv")(x))
    x = norm("after_relu", scale=False)(layers.Conv2D(4, 1, activation="relu")(x))
    shared = layers.Conv2D(4, 1, name="used_twice")(x)
    return layers.Add()([norm("of_a_branch", center=False)(shared), shared])


def functional():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, graph(inputs))


def nested():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Flatten()(functional()(inputs)))


def sequential():
    return keras.Sequential(
        [keras.Input((6, 6, 3)), norm("lone"), layers.Conv2D(2, 1, name="c"), norm("after_conv")]
    )


def names_of(model, kind):
    return {layer.name for layer in model._flatten_layers() if isinstance(layer, kind)}


@pytest.mark.parametrize(
    ("make", "lone", "kept"),
    [
        (functional, {"lone", "after_relu", "of_a_branch"}, {"after_conv"}),
        (nested, {"lone", "after_relu", "of_a_branch"}, {"after_conv"}),
        (sequential, {"lone"}, {"after_conv"}),
    ],
)
def test_outputs_stay_and_lone_norms_go(make, lone, kept):
    model, random = make(), np.random.default_rng(0)
    for weight in model.weights:  # As after a training.
        weight.assign(weight + 0.5 * random.random(weight.shape))
    before = model.get_weights()
    folded = fold_batch_normalization(model)
    x = random.random((4, 6, 6, 3), "float32")
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert names_of(folded, layers.DepthwiseConv2D) == lone
    assert names_of(folded, layers.BatchNormalization) == kept
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_vectors_cannot_be_folded():
    model = keras.Sequential([keras.Input((4,)), norm("first"), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"'first' over axis -1 of 2 dimensions; put it right"):
        fold_batch_normalization(model)
