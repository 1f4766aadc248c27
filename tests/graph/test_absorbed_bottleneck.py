"""Absorbed bottlenecks: one linear layer for two, the same outputs, and clear refusals."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy as numpy

from kdzoo.models import absorb_bottleneck, shallow


def randomized(model, seed=0):
    """The model, with biases that are not zero."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return model


def dense(units, name, **options):
    return layers.Dense(units, name=name, **options)


def functional():
    inputs = keras.Input((5,))
    x = dense(8, "hidden", activation="relu")(dense(2, "bottleneck")(inputs))
    return keras.Model(inputs, dense(3, "logits", dtype="float32")(x), name="net")


def sequential():
    parts = [dense(2, "bottleneck", use_bias=False), dense(8, "hidden", activation="tanh")]
    return keras.Sequential([keras.Input((4, 5)), *parts, dense(3, "logits")])


def nested():
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.ReLU()(functional()(inputs)))


def chain():
    """Three linear layers, the last two without biases."""
    inputs = keras.Input((5,))
    x = dense(3, "middle", use_bias=False)(dense(4, "bottleneck")(inputs))
    return keras.Model(inputs, dense(6, "hidden", use_bias=False, activation="relu")(x))


def no_biases():
    inputs = keras.Input((5,))
    x = dense(2, "bottleneck", use_bias=False)(inputs)
    return keras.Model(inputs, dense(6, "hidden", use_bias=False, activation="relu")(x))


KERNELS = {
    functional: {"hidden": (5, 8), "logits": (8, 3)},
    sequential: {"hidden": (5, 8), "logits": (8, 3)},
    nested: {"hidden": (5, 8), "logits": (8, 3)},
    chain: {"hidden": (5, 6)},
    no_biases: {"hidden": (5, 6)},
}


@pytest.mark.parametrize("make", KERNELS)
def test_outputs_stay_and_linear_layers_go(make):
    model = randomized(make())
    before = model.get_weights()
    absorbed = absorb_bottleneck(model)
    x = np.random.default_rng(1).normal(size=(7, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(numpy(absorbed(x)), numpy(model(x)), rtol=1e-5, atol=1e-5)
    found = {
        layer.name: tuple(layer.kernel.shape)
        for layer in absorbed._flatten_layers()
        if isinstance(layer, layers.Dense)
    }
    assert found == KERNELS[make]
    assert type(absorbed) is type(model)
    assert absorbed.name == model.name
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_kernel_and_bias_are_the_products():
    model = randomized(functional())
    absorbed = absorb_bottleneck(model)
    kernels, biases = zip(
        *(model.get_layer(name).get_weights() for name in ("bottleneck", "hidden")), strict=True
    )
    kernel, bias = absorbed.get_layer("hidden").get_weights()
    np.testing.assert_allclose(kernel, kernels[0] @ kernels[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, biases[0] @ kernels[1] + biases[1], rtol=1e-5, atol=1e-6)
    assert absorbed.get_layer("hidden").activation is keras.activations.relu
    assert not absorb_bottleneck(no_biases()).get_layer("hidden").use_bias


def test_a_shallow_student_loses_its_bottleneck():
    model = randomized(shallow(50, 7, 4, input_shape=(9, 9, 2)))
    absorbed = absorb_bottleneck(model)
    without = shallow(50, None, 4, input_shape=(9, 9, 2))
    assert absorbed.count_params() == without.count_params()
    assert [layer.name for layer in absorbed.layers] == [layer.name for layer in without.layers]
    images = np.random.default_rng(2).random((6, 9, 9, 2), "float32")
    expected = numpy(model(images))
    size = np.abs(expected).max()
    np.testing.assert_allclose(numpy(absorbed(images)) / size, expected / size, atol=1e-5)


def test_compiled_models_stay_compiled():
    model = functional()
    model.compile("sgd", "mse")
    assert absorb_bottleneck(model).loss == "mse"


def branching():
    inputs = keras.Input((5,))
    x = dense(2, "bottleneck")(inputs)
    return keras.Model(inputs, [dense(3, "hidden")(x), layers.ReLU()(x)], name="net")


def tapped():
    inputs = keras.Input((5,))
    x = dense(2, "bottleneck")(inputs)
    return keras.Model(inputs, [dense(3, "hidden")(x), x], name="net")


def shared(which):
    inputs = keras.Input((5,))
    first, second = dense(5, "bottleneck"), dense(5, "hidden", activation="relu")
    x = second(first(inputs))
    return keras.Model(inputs, first(x) if which == "first" else second(x), name="net")


def called_twice():
    inputs = keras.Input((5,))
    net = functional()
    return keras.Model(inputs, layers.Add()([net(inputs), net(-inputs)]), name="outer")


def plain():
    inputs = keras.Input((5,))
    x = layers.ReLU()(dense(4, "before")(inputs))
    return keras.Model(inputs, dense(3, "logits")(dense(2, "a", activation="relu")(x)), name="net")


def regularized():
    inputs = keras.Input((5,))
    x = dense(2, "bottleneck", activity_regularizer="l2")(inputs)
    return keras.Model(inputs, dense(3, "hidden")(x), name="net")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (branching, "the output of 'bottleneck' also goes elsewhere"),
        (tapped, "the output of 'bottleneck' also goes elsewhere"),
        (lambda: shared("first"), "'bottleneck' is called 2 times"),
        (lambda: shared("second"), "'hidden' is called 2 times"),
        (called_twice, "'bottleneck' is called 2 times"),
        (plain, "no dense layer without activation is before one"),
        (regularized, "no dense layer without activation is before one"),
    ],
)
def test_models_without_such_a_pair_are_refused(make, reason):
    with pytest.raises(ValueError, match=f"each called once. Received: '.*', in which {reason}"):
        absorb_bottleneck(make())


def test_models_without_a_graph_are_refused():
    with pytest.raises(ValueError, match="functional or sequential"):
        absorb_bottleneck(layers.Dense(3))
