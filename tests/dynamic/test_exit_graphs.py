"""Exits in graphs of other shapes: within nested models, without layers, in half precision."""

import keras
import numpy as np
import pytest
from exit_networks import gradients, network

from kdzoo.dynamic import (
    BudgetedClassifier,
    ExitLearner,
    add_exits,
    exit_macs,
    exit_model,
    exit_parts,
)
from kdzoo.dynamic.scaled_gradients import with_equal_gradients


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")


@pytest.fixture(scope="module")
def nested():
    """A network of exits behind a layer that prepares the images."""
    exits = add_exits(network(), at=["block1", "block2"])
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, exits(keras.layers.Rescaling(0.5, name="prepared")(inputs)))
    return exits, model


def test_exits_of_a_nested_model_are_followed_into_it(nested, images):
    exits, model = nested
    assert exit_macs(model) == exit_macs(exits)
    expected = exits.predict(0.5 * images, verbose=0)
    carried, parts = images, exit_parts(model)
    for part, logits in zip(parts, expected, strict=True):
        found, *carried = keras.tree.flatten(part.predict(carried, verbose=0))
        np.testing.assert_allclose(found, logits, atol=1e-5)
        carried = carried[0] if len(carried) == 1 else carried
    alone = exit_model(model, 1)
    np.testing.assert_allclose(alone.predict(images, verbose=0), expected[0], atol=1e-5)
    assert "exit2" not in [layer.name for layer in alone.layers]
    assert BudgetedClassifier(model).costs == exit_macs(exits)


def test_gradients_within_a_nested_model_are_equal_too(nested, images):
    exits, model = nested
    for place, scale in enumerate((1 / 3, 1 / 2 * 2 / 3)):
        plain = gradients(exits, 0.5 * images, place)["block1/kernel"]
        scaled = gradients(with_equal_gradients(model), images, place)["block1/kernel"]
        np.testing.assert_allclose(scaled, scale * plain, rtol=1e-4, atol=1e-6)


def test_gradients_within_a_tapped_model_are_equal_too(images):
    """Heads of one's own on what a nested model gives: without one, the exits of its layers."""
    layers, base = keras.layers, network()
    taps = [base.get_layer(name).output for name in ("block1", "block2")]
    tapped = keras.Model(base.input, taps, name="tapped")
    heads = [layers.Dense(3, name=f"head{number}") for number in (1, 2)]

    def exits(inputs, tensors):
        pooled = map(layers.GlobalAveragePooling2D(), tensors)
        outputs = [head(tensor) for head, tensor in zip(heads, pooled, strict=True)]
        return keras.Model(inputs, outputs)

    inputs = keras.Input((8, 8, 2))
    nested, plain = exits(inputs, tapped(inputs)), exits(base.input, taps)
    assert exit_macs(nested) == exit_macs(plain)
    for place in (0, 1):
        expected = gradients(plain, images, place)["block1/kernel"] / 2
        found = gradients(with_equal_gradients(nested), images, place)["block1/kernel"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert np.abs(expected).max() > 1e-4


def test_gradients_are_equal_where_an_exit_is_what_the_network_goes_on_from(images):
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    first = layers.Dense(3, name="first")(layers.Flatten()(inputs))
    model = keras.Model(inputs, [first, layers.Dense(3, name="second")(first)])
    for place in (0, 1):
        plain = gradients(model, images, place)["first/kernel"]
        scaled = gradients(with_equal_gradients(model), images, place)["first/kernel"]
        np.testing.assert_allclose(scaled, plain / 2, rtol=1e-4, atol=1e-6)


def test_gradients_are_equal_where_heads_take_what_others_take(images):
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    first = layers.Dense(3, name="first")(layers.Flatten()(inputs))
    second = layers.Dense(3, name="second")(first)
    third = layers.Dense(3, name="third")(second)
    both = layers.Add()([layers.Dense(3, name="early")(first), layers.Dense(3)(second)])
    ends = layers.Add()([third, layers.Dense(3)(first), layers.Dense(3)(second)])
    model = keras.Model(inputs, [layers.Dense(3)(first), both, ends])
    equal = with_equal_gradients(model)
    expected = {"first": (1 / 3, 1 / 3, 1 / 3), "second": (None, 1 / 2, 1 / 2)}
    expected |= {"early": (None, 1, None), "third": (None, None, 1)}
    for layer, scales in expected.items():
        for place, scale in enumerate(scales):
            plain = gradients(model, images, place)[f"{layer}/kernel"]
            scaled = gradients(equal, images, place)[f"{layer}/kernel"]
            if scale is not None:
                np.testing.assert_allclose(scaled, scale * plain, rtol=1e-4, atol=1e-6)


def test_exits_of_a_network_in_half_precision_are_in_it_too():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    exits = add_exits(model, at=["block1"], heads="convolved")
    assert exits.dtype_policy.name == "mixed_float16"
    names = {layer.name: layer.dtype_policy.name for layer in exits.layers}
    assert names["exit1_conv"] == names["exit1_norm"] == "mixed_float16"
    assert names["exit1"] == "float32"
    learner = ExitLearner(exits)
    learner.compile("sgd", "mse")
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer)


def test_exits_of_other_classes_are_refused():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, name="x")(inputs)
    outputs = [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(x)]
    with pytest.raises(ValueError, match="the same classes"):
        BudgetedClassifier(keras.Model(inputs, outputs))
