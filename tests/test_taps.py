import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import taps


@pytest.fixture
def nested():
    """A model with a nested functional model and a layer that runs twice."""
    inner_in = keras.Input((4,))
    inner_out = keras.layers.Dense(3, name="stage1")(inner_in)
    backbone = keras.Model(inner_in, keras.layers.ReLU(name="top")(inner_out), name="backbone")
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    x = shared(shared(inputs))
    outputs = keras.layers.Dense(2, name="logits")(backbone(x))
    return keras.Model(inputs, outputs, name="net")


def test_taps_are_what_the_layers_give(nested):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    with taps.tapping(nested, ["backbone/stage1", "backbone"]) as tapped:
        outputs = nested(x)
    shared = nested.get_layer("shared")
    np.testing.assert_array_equal(
        tapped["backbone"], nested.get_layer("backbone")(shared(shared(x)))
    )
    logits = nested.get_layer("logits")(tapped["backbone"])
    np.testing.assert_array_equal(outputs, logits)
    np.testing.assert_array_equal(ops.relu(tapped["backbone/stage1"]), tapped["backbone"])


def test_the_model_is_left_as_it_was(nested):
    layers = [nested.get_layer("logits"), taps.find_layer(nested, "backbone/stage1")]
    nodes = [len(layer._inbound_nodes) for layer in layers]
    with taps.tapping(nested, ["logits", "backbone/stage1"]):
        nested(np.zeros((1, 4), "float32"))
    assert ["call" in vars(layer) for layer in layers] == [False, False]
    assert [len(layer._inbound_nodes) for layer in layers] == nodes


def test_a_call_of_the_layers_own_survives_a_tap(nested):
    layer = nested.get_layer("logits")
    vars(layer)["call"] = own = lambda inputs: inputs[:, :2]
    with taps.tapping(nested, ["logits"]) as tapped:
        outputs = nested(np.ones((1, 4), "float32"))
    np.testing.assert_array_equal(tapped["logits"], outputs)
    assert vars(layer)["call"] is own


def test_shapes_are_those_of_the_graph(nested):
    assert taps.tapped_shapes(nested, None) == [(None, 2)]
    assert taps.tapped_shapes(nested, "backbone/stage1") == [(None, 3)]


def test_shapes_of_a_subclassed_model_are_unknown():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    assert taps.tapped_shapes(Subclassed(), None) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("logit", r"Unknown layer of 'net': 'logit'. Did you mean 'logits'"),
        ("backbone/stage2", r"Unknown layer of 'net/backbone': 'stage2'. Did you mean 'stage1'"),
    ],
)
def test_unknown_layers_suggest_the_nearest(nested, path, message):
    with pytest.raises(ValueError, match=message):
        taps.find_layer(nested, path)


def test_a_shared_layer_cannot_be_tapped(nested):
    with (
        pytest.raises(ValueError, match=r"'shared' of 'net' to run once.*Received: 2 runs"),
        taps.tapping(nested, ["shared"]),
    ):
        nested(np.zeros((1, 4), "float32"))
