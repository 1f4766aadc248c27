import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.graph import taps


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


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`:UserWarning")
def test_layers_that_keras_quantized_are_tapped(nested):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    nested.quantize("int8")
    with taps.tapping(nested, ["backbone/stage1", "backbone"]) as tapped:
        nested(x)
    np.testing.assert_array_equal(ops.relu(tapped["backbone/stage1"]), tapped["backbone"])
    layer = taps.find_layer(nested, "backbone/stage1")
    assert not {"call", "quantized_call"} & set(vars(layer))


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


def check_agreement(part, model, path, x):
    """Whether a part gives what the layer gives in the whole model, with the same weights."""
    with taps.tapping(model, [path]) as tapped:
        model(x)
    np.testing.assert_allclose(
        ops.convert_to_numpy(part(x)), ops.convert_to_numpy(tapped[path]), rtol=1e-6
    )
    assert {id(weight) for weight in part.weights} <= {id(weight) for weight in model.weights}


@pytest.mark.parametrize("path", ["backbone", "backbone/stage1", "logits"])
@pytest.mark.parametrize("used_again", [False, True])
def test_a_model_is_cut_at_a_layer_of_its_graph(nested, path, used_again):
    if used_again:  # As in transfer learning: the backbone's last call is of another model.
        inputs = keras.Input((4,))
        backbone = nested.get_layer("backbone")
        keras.Model(inputs, nested.get_layer("logits")(backbone(keras.layers.ReLU()(inputs))))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    check_agreement(taps.cut(nested, path), nested, path, x)


def test_a_model_built_of_anothers_layers_is_cut(nested):
    """The layers' first calls belong to the model that they come from."""
    backbone = nested.get_layer("backbone")
    inputs = keras.Input((4,))
    functional = keras.Model(
        inputs, backbone.get_layer("top")(backbone.get_layer("stage1")(inputs))
    )
    sequential = keras.Sequential([keras.Input((4,)), *backbone.layers[1:]])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    for model in (functional, sequential):
        check_agreement(taps.cut(model, "stage1"), model, "stage1", x)


def test_what_cannot_be_cut_is_refused(nested):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, name="dense")

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="Did you mean 'logits'"):
        taps.cut(nested, "logit")
    with pytest.raises(ValueError, match="'shared', which it calls 2 times"):
        taps.cut(nested, "shared")
    with pytest.raises(ValueError, match=r"has a graph\. Received: .* of type Subclassed"):
        taps.cut(Subclassed(), "dense")
    with pytest.raises(ValueError, match="sequential model that is built"):
        taps.cut(keras.Sequential([keras.layers.Dense(2, name="dense")]), "dense")
