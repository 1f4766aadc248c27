"""Slimmable networks by name, and their weights in files."""

import numpy as np
import pytest

import kdzoo
from kdzoo.zoo import load_weights, save_weights

pytestmark = pytest.mark.large_on_jax

ARGUMENTS = {"network": "separable_025", "widths": (0.5, 1.0), "input_shape": (8, 8, 1)}


@pytest.mark.parametrize("universal", [False, True])
def test_every_weight_of_every_width_is_in_the_file(universal, tmp_path):
    made, other = (kdzoo.create("slimmable", 5, universal=universal, **ARGUMENTS) for _ in range(2))
    rng = np.random.default_rng(0)
    for weight in made.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    save_weights(made, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert len(made.weights) > len(made.whole.weights)
    for ours, theirs in zip(made.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    images = rng.uniform(size=(2, 8, 8, 1)).astype("float32")
    for width in made.widths:
        ours, theirs = (np.asarray(model(images, width=width)) for model in (made, other))
        np.testing.assert_array_equal(ours, theirs)


def test_arguments_go_to_the_network():
    given = {**ARGUMENTS, "arguments": {"dropout": 0.5}, "universal": True, "round_to": 4}
    made = kdzoo.create("slimmable", 7, **given)
    assert made.output_shape == (None, 7)
    assert [layer.rate for layer in made.whole.layers if hasattr(layer, "rate")] == [0.5]
    assert (made.universal, made.round_to, made.name) == (True, 4, "slimmable")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"widths": 0.5}, "Expected two or more widths"),
        ({"network": "separable_52"}, "Unknown model: 'separable_52'"),
        ({"round_to": 0}, "round_to"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        kdzoo.create("slimmable", **{**ARGUMENTS, **wrong})
