"""Folding: the same outputs, and no batch normalization where TF-MOT would refuse it."""

import keras
import numpy as np
import pytest
from keras import layers

from kdzoo.compression import fold_batch_normalization, quantize_model

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


def siamese():
    """A convolution and its norm that are called twice, as the model in which they are is."""
    x = layers.Conv2D(4, 3, name="conv")(inner := keras.Input((6, 6, 3)))
    encoder = keras.Model(inner, norm("shared")(x), name="encoder")
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Add()([encoder(inputs), encoder(inputs * 2)]))


def names_of(model, layer_class):
    return {layer.name for layer in model._flatten_layers() if isinstance(layer, layer_class)}


@pytest.mark.parametrize(
    ("make", "lone", "kept"),
    [
        (functional, {"lone", "after_relu", "of_a_branch"}, {"after_conv"}),
        (nested, {"lone", "after_relu", "of_a_branch"}, {"after_conv"}),
        (sequential, {"lone"}, {"after_conv"}),
        (siamese, {"shared"}, set()),
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


@pytest.mark.parametrize("shape", [(6,), (5, 6), (None, 6), (2, 3, 4, 6)], ids=str)
def test_what_is_no_image_becomes_one_for_a_moment(shape):
    inputs = keras.Input(shape)
    x = keras.layers.Dense(6, activation="relu")(inputs)
    x = keras.layers.BatchNormalization(name="lone")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    random = np.random.default_rng(0)
    lone = model.get_layer("lone")
    lone.set_weights([weight + random.random(weight.shape) for weight in lone.get_weights()])
    folded = fold_batch_normalization(model)
    x = random.random((7, *(4 if size is None else size for size in shape)), "float32")
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)
    if len(shape) == 1:
        first = keras.Sequential([inputs, keras.layers.BatchNormalization(), keras.layers.Dense(2)])
        np.testing.assert_allclose(fold_batch_normalization(first)(x), first(x), atol=1e-5)
        assert quantize_model(folded).layers_in_float == []


def test_a_norm_over_another_axis_cannot_be_folded():
    inputs = keras.Input((5, 6))
    x = keras.layers.BatchNormalization(axis=1, name="lone")(inputs)
    with pytest.raises(ValueError, match=r"the last axis, .* Received: 'lone' over axis 1 of"):
        fold_batch_normalization(keras.Model(inputs, keras.layers.Dense(3)(x)))
