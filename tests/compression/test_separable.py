"""Depthwise-separable convolutions: fitted as NumPy fits them, and exact with enough filters."""

import keras
import numpy as np
import pytest

from kdzoo.compression import to_separable

LAYERS = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((9, 9, 3))
    x = LAYERS.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="first")(inputs)
    x = LAYERS.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False, name="dilated")(x)
    x = LAYERS.Conv2D(4, 3, strides=(2, 1), padding="same", name="uneven")(x)
    x = LAYERS.Conv2D(4, 1, name="pointwise")(x)
    x = LAYERS.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, LAYERS.Dense(3, name="logits")(x))


def test_it_is_exact_with_as_many_filters_as_a_kernel_has_numbers(model):
    images = np.random.default_rng(0).random((2, 9, 9, 3), "float32")
    before = [weight.tobytes() for weight in model.get_weights()]
    made, report = to_separable(model, depth_multiplier=9)
    assert {row.path: row.rank for row in report.layers} == {"first": 5, "dilated": 6}
    wanted, found = (keras.ops.convert_to_numpy(m(images, training=False)) for m in (model, made))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert report.left == {
        "uneven": "strides of (2, 1), which a SeparableConv2D cannot have",
        "pointwise": "a kernel of 1 × 1",
        "logits": "a Dense, no Conv2D",
    }


def test_the_fit_is_that_of_numpy_and_the_count_that_of_the_formula(model):
    made, report = to_separable(model, ["first"])
    kernel = model.get_layer("first").get_weights()[0]
    depthwise, pointwise, bias = made.get_layer("first").get_weights()
    np.testing.assert_array_equal(bias, model.get_layer("first").get_weights()[1])
    lost = 0
    for channel in range(3):
        matrix = kernel[:, :, channel].reshape(9, 5)
        left, values, right = np.linalg.svd(matrix.astype("float64"))
        found = np.outer(depthwise[:, :, channel, 0], pointwise[0, 0, channel])
        np.testing.assert_allclose(found, values[0] * np.outer(left[:, 0], right[0]), atol=1e-6)
        lost += (values[1:] ** 2).sum()
    (row,) = report.layers
    assert row.weight_error == pytest.approx(np.sqrt(lost) / np.linalg.norm(kernel), abs=1e-7)
    assert (row.parameters_before, row.parameters_after) == (9 * 3 * 5, 9 * 3 + 3 * 5)
    assert row.parameters_predicted == round(9 * 3 * 5 * (1 / 5 + 1 / 9)) == row.parameters_after
    assert made.get_layer("first").activation is keras.activations.relu
    assert report.left["dilated"] == "not among the layers that were named"


def test_a_layer_that_cannot_be_separable_is_refused(model):
    with pytest.raises(ValueError, match=r"Received: 'uneven', strides of \(2, 1\)"):
        to_separable(model, ["uneven"])
    with pytest.raises(ValueError, match="Did you mean 'dilated'"):
        to_separable(model, ["dilate"])
