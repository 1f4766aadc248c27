"""Models without their final softmax: the same model, in logits."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.graph.as_logits import as_logits, final_activation


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


@pytest.mark.large_on_jax
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


def probabilities_used_again():
    """Models whose probabilities are an output, and what another layer takes."""
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(3)(inputs)
    softmax = keras.layers.Softmax(name="last")(hidden)
    dense = keras.layers.Dense(3, activation="softmax", name="last")(inputs)
    nested = keras.Model(inputs, [hidden, dense], name="last")
    _, probs = nested(inputs)
    inner = keras.Model(inputs, [dense, keras.layers.Dense(2)(dense)])
    reshaped = keras.layers.Reshape((3, 1))(dense)
    shared = keras.layers.Dense(5, activation="softmax", name="last")
    return {
        "softmax": [inputs, [softmax, keras.layers.Dense(2, name="user")(softmax)]],
        "gate": [inputs, [dense, keras.layers.Multiply(name="user")([hidden, dense])]],
        "nested": [inputs, [probs, keras.layers.Dense(2, name="user")(probs)]],
        "within": [inputs, inner(inputs)[0]],
        "reshaped": [inputs, [dense, keras.layers.Dense(2, name="user")(reshaped)]],
        "in_both": [inputs, keras.Model(inputs, shared(inputs))(shared(inputs))],
    }


@pytest.mark.parametrize("case", ["softmax", "gate", "nested", "within", "reshaped", "in_both"])
def test_probabilities_that_another_layer_takes_are_refused(case):
    model = keras.Model(*probabilities_used_again()[case])
    message = "'last', to be used once" if case == "in_both" else "'last', to lead to the outputs"
    with pytest.raises(ValueError, match=message):
        as_logits(model)


def test_other_outputs_of_a_nested_model_may_be_used_again():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(4)(inputs)
    probs = keras.layers.Softmax()(keras.layers.Dense(3)(hidden))
    first, second = keras.Model(inputs, [hidden, probs])(inputs)
    model = keras.Model(inputs, [second, keras.layers.Dense(2)(first)])
    logits, other = as_logits(model)(images())
    np.testing.assert_allclose(ops.softmax(logits), model(images())[0], rtol=1e-5)
    np.testing.assert_array_equal(other, model(images())[1])


def test_the_first_output_that_gives_probabilities_counts():
    inputs = keras.Input((5,))
    outputs = [keras.layers.Dense(3, name)(inputs) for name in ("linear", "softmax", "sigmoid")]
    assert final_activation(keras.Model(inputs, outputs)) == "softmax"
    outputs[1] = nested("softmax")(inputs)
    assert final_activation(keras.Model(inputs, outputs)) == "softmax"


@pytest.mark.parametrize("is_sequential", [True, False])
def test_a_softmax_layer_leaves_its_type_and_name(is_sequential):
    inputs = keras.Input((5,))
    dense = keras.layers.Dense(3, dtype="mixed_float16")
    softmax = keras.layers.Softmax(dtype="float32", name="last")
    if is_sequential:
        model = keras.Sequential([inputs, dense, softmax])
    else:
        model = keras.Model(inputs, softmax(inputs=dense(inputs)))
    stripped = as_logits(model)
    assert stripped.outputs[0].dtype == "float32"
    assert stripped.layers[-1].name == "last"
    assert not stripped.compiled
    np.testing.assert_allclose(ops.softmax(stripped(images())), model(images()), rtol=1e-3)


def test_a_mask_of_the_softmax_goes_with_it():
    inputs, mask = keras.Input((5,)), keras.Input((3,), dtype="bool")
    hidden = keras.layers.Dense(3)(inputs)
    model = keras.Model([inputs, mask], keras.layers.Softmax()(hidden, mask=mask))
    given = [images(), np.ones((4, 3), "bool")]
    np.testing.assert_allclose(ops.softmax(as_logits(model)(given)), model(given), rtol=1e-5)


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


def over_pixels(end, **head):
    inputs = keras.Input((4, 4, 5))
    return keras.Model(inputs, end(keras.layers.Conv2D(3, 1, name="head", **head)(inputs)))


class Cooled(keras.layers.Softmax):
    def call(self, inputs):
        return super().call(inputs / 2)


class Renamed(keras.layers.Softmax):
    pass


@pytest.mark.parametrize(
    "end",
    [
        lambda probs: keras.layers.GlobalAveragePooling2D()(probs),
        lambda probs: ops.mean(probs, axis=(1, 2)),
        lambda probs: keras.layers.Flatten()(probs) * 1.0,
        lambda probs: keras.layers.Average()([probs, keras.layers.Softmax()(probs)]),
        keras.layers.UpSampling2D(),
        keras.layers.Resizing(8, 8),
        keras.layers.GlobalMaxPooling2D(),
        lambda probs: keras.layers.Concatenate(1)([probs, keras.layers.Permute((2, 1, 3))(probs)]),
        lambda probs: ops.clip(probs, 1e-7, 1 - 1e-7),
        lambda probs: 1 - probs,
    ],
)
def test_averages_of_probabilities_have_no_logits(end):
    with pytest.raises(
        ValueError, match="the probabilities that 'head' gives, so that they have no logits"
    ):
        as_logits(over_pixels(end, activation="softmax"))
    model = over_pixels(end)
    assert as_logits(model) is model


def test_averages_within_a_nested_model_have_no_logits():
    inner = over_pixels(keras.layers.GlobalAveragePooling2D(), activation="softmax")
    inputs = keras.Input((4, 4, 5))
    with pytest.raises(ValueError, match="the probabilities that 'head' gives"):
        as_logits(keras.Model(inputs, inner(inputs)))


@pytest.mark.parametrize(
    "end",
    [
        keras.layers.Permute((2, 1, 3)),
        keras.layers.Cropping2D(1),
        lambda probs: ops.reshape(probs, (-1, 16, 3)),
        lambda probs: ops.squeeze(ops.expand_dims(probs, 1), 1),
    ],
)
def test_reshapes_and_crops_stay_after_the_logits(end):
    model = over_pixels(end, activation="softmax")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 5)).astype("float32")
    logits = as_logits(model)(x)
    np.testing.assert_allclose(ops.softmax(logits), model(x), rtol=1e-5)
    assert final_activation(as_logits(model)) is None


@pytest.mark.parametrize(
    "end", [ops.log, keras.layers.Activation(ops.log), lambda p: ops.log(p) - ops.log(1 - p)]
)
def test_logarithms_of_probabilities_are_logits(end):
    model = over_pixels(end, activation="softmax")
    assert as_logits(model) is model


def test_probabilities_that_weight_features_are_no_output():
    inputs = keras.Input((5,))
    weights = keras.layers.Dense(5, activation="softmax")(inputs)
    model = keras.Model(inputs, keras.layers.Multiply()([weights, inputs]))
    assert as_logits(model) is model


@pytest.mark.parametrize(
    "last", [lambda x: ops.cast(keras.layers.Softmax()(x), "float16"), Renamed()]
)
def test_a_cast_and_a_subclass_of_softmax_are_seen(last):
    model = layer(last)
    assert final_activation(model) == "softmax"
    logits = ops.softmax(ops.cast(as_logits(model)(images()), "float32"))
    np.testing.assert_allclose(logits, ops.cast(model(images()), "float32"), atol=2e-3)


def test_a_softmax_with_a_call_of_its_own_is_refused():
    with pytest.raises(ValueError, match="a Cooled with a `call` of its own"):
        as_logits(layer(Cooled()))


def test_a_sequential_model_that_is_not_built_says_how_to_build_it():
    with pytest.raises(ValueError, match=r"is built; give it a `keras.Input`"):
        as_logits(keras.Sequential([keras.layers.Dense(3, activation="softmax")]))
