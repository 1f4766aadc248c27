"""Models without their final softmax: the same model, in logits."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.graph.logits import as_logits, final_activation


def images(batch=4):
    return np.random.default_rng(0).normal(size=(batch, 5)).astype("float32")


def dense(activation):
    inputs = keras.Input((5,))
    x = keras.layers.Dense(6, activation="softmax", name="attention")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation=activation)(x))


def layer(last):
    inputs = keras.Input((5,))
    return keras.Model(inputs, last(keras.layers.Dense(3)(inputs)))


def sequential(activation):
    layers = [keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(3, activation)]
    return keras.Sequential(layers)


def nested(activation):
    inputs = keras.Input((5,))
    return keras.Model(inputs, dense(activation)(keras.layers.Dense(5)(inputs)))


def adapted(activation):
    normalization = keras.layers.Normalization()
    normalization.adapt(3 * images(64) + 7)
    inputs = keras.Input((5,))
    return keras.Model(inputs, keras.layers.Dense(3, activation)(normalization(inputs)))


CASES = {
    "dense": lambda: dense("softmax"),
    "softmax_layer": lambda: layer(keras.layers.Softmax()),
    "activation_layer": lambda: layer(keras.layers.Activation("softmax")),
    "sequential": lambda: sequential("softmax"),
    "adapted": lambda: adapted("softmax"),
    "nested": lambda: nested("softmax"),
    "softmax_object": lambda: dense(keras.layers.Softmax()),
    "softmax_then_reshape": lambda: layer(
        lambda x: keras.layers.Reshape((3,))(keras.layers.Softmax()(x))
    ),
    "softmax_then_float32": lambda: layer(
        lambda x: keras.layers.Activation("linear", dtype="float32")(keras.layers.Softmax()(x))
    ),
    "sequential_then_float32": lambda: keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(3, activation="softmax"),
            keras.layers.Activation("linear", dtype="float32"),
        ]
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_softmax_of_the_logits_is_the_original(case):
    model = CASES[case]()
    assert final_activation(model) == "softmax"
    before = model.get_weights()
    stripped = as_logits(model)
    assert final_activation(stripped) is None
    logits = ops.convert_to_numpy(stripped(images()))
    probs = ops.convert_to_numpy(model(images()))
    np.testing.assert_allclose(ops.softmax(logits), probs, rtol=1e-5, atol=1e-6)
    # Logits, not probabilities: a softmax of probabilities would be nearly flat.
    assert np.abs(logits.sum(-1) - 1).max() > 1e-3
    for ours, theirs in zip(stripped.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not {id(v) for v in stripped.variables} & {id(v) for v in model.variables}


@pytest.mark.parametrize("make", [dense, sequential, nested])
def test_sigmoid_too(make):
    model = make("sigmoid")
    assert final_activation(model) == "sigmoid"
    logits = ops.convert_to_numpy(as_logits(model)(images()))
    np.testing.assert_allclose(ops.sigmoid(logits), model(images()), rtol=1e-5, atol=1e-6)


def test_every_output_is_stripped_and_other_outputs_stay():
    inputs = keras.Input((5,))
    outputs = {
        "a": keras.layers.Dense(3, activation="softmax", name="a")(inputs),
        "b": keras.layers.Dense(2, activation="relu", name="b")(inputs),
    }
    model = keras.Model(inputs, outputs)
    stripped = as_logits(model)(images())
    original = model(images())
    np.testing.assert_allclose(ops.softmax(stripped["a"]), original["a"], rtol=1e-5)
    np.testing.assert_array_equal(stripped["b"], original["b"])


def test_models_in_logits_are_returned_as_they_are():
    model = dense(None)
    assert final_activation(model) is None
    assert as_logits(model) is model


def test_a_published_architecture():
    model = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=4
    )
    x = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(ops.softmax(as_logits(model)(x)), model(x), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_stripped_says_what_to_do():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((5,))
    function = keras.Model(inputs, ops.softmax(keras.layers.Dense(3)(inputs)))
    last = keras.layers.Dense(5, activation="softmax", name="twice")
    shared = keras.Model(inputs, last(last(inputs)))
    with pytest.raises(ValueError, match="activation=None"):
        as_logits(Subclassed())
    with pytest.raises(ValueError, match=r"`keras.ops.softmax`; make the model without it"):
        as_logits(function)
    with pytest.raises(ValueError, match="'twice', to be used once"):
        as_logits(shared)


def test_a_softmax_at_each_step_of_a_sequence_is_stripped():
    inputs = keras.Input((4, 5))
    last = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="softmax"))
    model = keras.Model(inputs, last(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    assert final_activation(model) == "softmax"
    logits = ops.convert_to_numpy(as_logits(model)(x))
    np.testing.assert_allclose(ops.softmax(logits), model(x), rtol=1e-5)


@pytest.mark.tensorflow
def test_tensorflows_own_softmax_is_seen():
    import tensorflow as tf

    assert final_activation(dense(tf.nn.softmax)) == "softmax"


def test_a_model_that_is_not_built_is_seen_too():
    assert final_activation(keras.Sequential([keras.layers.Dense(3, "softmax")])) == "softmax"


def test_boundaries_that_a_layer_has_adapted_to_stay():
    bins = keras.layers.Discretization(num_bins=4)
    bins.adapt(np.random.default_rng(0).random((400, 6), "float32"))
    inputs = keras.Input((6,))
    x = keras.layers.Flatten()(keras.layers.Embedding(4, 3)(bins(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    given = np.random.default_rng(1).random((20, 6), "float32")
    again = keras.ops.softmax(as_logits(model)(given))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again), keras.ops.convert_to_numpy(model(given)), atol=1e-6
    )
