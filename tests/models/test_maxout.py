"""Maxout, pooling and parameter-free shortcuts against NumPy, and the layers that hints tap."""

import itertools

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as numpy

from kdzoo import zoo
from kdzoo.models import blocks, fitnet, lenet, maxout, resnet


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def apply(images, function):
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, function(inputs))
    return model, numpy(model(images))


@pytest.mark.parametrize("pieces", [2, 5])
def test_dense_maxout_is_the_largest_of_its_pieces(pieces):
    x = random((6, 7))
    model, units = apply(x, lambda inputs: blocks.maxout(inputs, 3, pieces, "unit"))
    kernel, bias = model.get_weights()
    linear = (x @ kernel + bias).reshape(6, pieces, 3)
    np.testing.assert_allclose(units, linear.max(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("padding", "sides"), [("same", (5, 6)), (0, (3, 4)), (2, (7, 8))])
def test_convolutional_maxout_is_the_largest_of_its_pieces(padding, sides):
    x = random((2, 5, 6, 3))
    model, units = apply(x, lambda inputs: blocks.maxout(inputs, 4, 3, "unit", 3, padding))
    model.get_layer("unit_conv").bias.assign(random((12,), seed=1))
    kernel, bias = model.get_weights()
    zeros = 1 if padding == "same" else padding
    padded = np.pad(x, ((0, 0), (zeros, zeros), (zeros, zeros), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    linear = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    expected = linear.reshape(2, *sides, 3, 4).max(axis=3)
    assert units.shape == (2, *sides, 4)
    np.testing.assert_allclose(numpy(model(x)), expected, rtol=1e-4, atol=1e-5)
    assert expected.min() < 0  # No other nonlinearity.


def test_gradient_of_maxout_reaches_the_largest_piece_alone():
    x = random((1, 4))
    model, _ = apply(x, lambda inputs: blocks.maxout(inputs, 3, 2, "unit"))
    kernel, bias = model.get_weights()
    largest = (x @ kernel + bias).reshape(2, 3).argmax(axis=0)
    model.compile(keras.optimizers.SGD(1.0), lambda y_true, y_pred: keras.ops.sum(y_pred, axis=-1))
    model.train_on_batch(x, np.zeros((1, 1)))
    moved = (bias - model.get_weights()[1]).reshape(2, 3)
    np.testing.assert_allclose(moved, np.arange(2)[:, None] == largest, atol=1e-6)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("sides", [(1, 2), (3, 4), (5, 6), (8, 8), (9, 9), (10, 7)], ids=str)
def test_pooling_keeps_the_window_that_hangs_over_the_edge(size, sides):
    x = random((2, *sides, 3)) - 5  # Zeros at the edge would be the largest.
    _, pooled = apply(x, lambda inputs: blocks.max_pool(inputs, size, "pool"))
    counts = [max(0, -(-(side - size) // 2)) + 1 for side in sides]
    expected = np.empty((2, *counts, 3), "float32")
    for row, column in itertools.product(*map(range, counts)):
        window = x[:, 2 * row : 2 * row + size, 2 * column : 2 * column + size]
        expected[:, row, column] = window.max(axis=(1, 2))
    np.testing.assert_array_equal(pooled, expected)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("sides", [(8, 8), (9, 10)], ids=str)
def test_shortcuts_of_resnet_take_every_second_pixel_and_add_zeros(sides):
    model = resnet(8, input_shape=(*sides, 3))
    before = model.get_layer("stage1").output
    shortcut = keras.Model(before, model.get_layer("stage2_block1_shortcut").output)
    x = random((2, *sides, 16))
    taken = numpy(shortcut(x))
    np.testing.assert_array_equal(taken[..., :16], x[:, ::2, ::2])
    np.testing.assert_array_equal(taken[..., 16:], np.zeros_like(taken[..., 16:]))
    assert taken.shape[-1] == 32
    assert not shortcut.weights


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("teacher", "student", "guided", "hint_shape", "guided_shape"),
    [
        ("maxout_mnist", "fitnet_mnist", 4, (4, 4, 48), (4, 4, 16)),
        ("maxout_cifar", "fitnet_1", 6, (7, 7, 192), (8, 8, 32)),
        ("maxout_cifar", "fitnet_2", 6, (7, 7, 192), (8, 8, 80)),
        ("maxout_cifar", "fitnet_3", 8, (7, 7, 192), (8, 8, 80)),
        ("maxout_cifar", "fitnet_4", 11, (7, 7, 192), (8, 8, 80)),
    ],
)
def test_hint_and_guided_layer_are_the_papers(teacher, student, guided, hint_shape, guided_shape):
    """`stage2` of both: after 2 convolutions of the teacher's, after `guided` of the student's."""

    def convolutions_below(model):
        below = keras.Model(model.input, model.get_layer("stage2").output)
        return sum(isinstance(layer, keras.layers.Conv2D) for layer in below.layers)

    teacher, student = zoo.create(teacher), zoo.create(student)
    assert teacher.get_layer("stage2").output.shape[1:] == hint_shape
    assert student.get_layer("stage2").output.shape[1:] == guided_shape
    assert (convolutions_below(teacher), convolutions_below(student)) == (2, guided)


@pytest.mark.large_on_jax
def test_maxout_with_a_dense_layer_on_small_images():
    model = maxout((4, 6, 8), (4, 3, 3), dense_units=10, dense_pieces=5, input_shape=(8, 9, 3))
    assert model.get_layer("stage4").output.shape == (None, 10)
    assert model.get_layer("features").output.shape == (None, 10)
    assert {layer.rate for layer in model.layers if "dropout" in layer.name} == {0.2, 0.5}
    logits = numpy(model(random((3, 8, 9, 3)), training=True))
    assert logits.shape == (3, 10)
    assert np.isfinite(logits).all()


def test_maxout_trains_as_the_papers_do_unless_told_otherwise():
    rates = {layer.name: layer.rate for layer in maxout().layers if "dropout" in layer.name}
    hidden = ["stage1_dropout", "stage2_dropout", "features_dropout"]
    assert rates == {"input_dropout": 0.2, **dict.fromkeys(hidden, 0.5)}
    plain = maxout(dropout=0.0, input_dropout=0.0)
    assert not any("dropout" in layer.name for layer in plain.layers)


@pytest.mark.large_on_jax
def test_filters_keep_the_papers_norms(tmp_path):
    arguments = {"dense_units": 6, "dense_pieces": 3, "dropout": 0.0, "input_dropout": 0.0}
    model = maxout((4, 6, 8), (4, 3, 3), input_shape=(8, 8, 1), max_norm=True, **arguments)
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e4), loss)  # Far beyond every bound.
    model.train_on_batch(random((4, 8, 8, 1)), np.arange(4))
    bounds = {"stage1_conv": 0.9, "stage2_conv": 1.9365, "stage3_conv": 1.9365}
    for name, bound in {**bounds, "stage4_dense": 1.9, "logits": 1.9365}.items():
        kernel = numpy(model.get_layer(name).kernel)
        norms = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        np.testing.assert_allclose(norms.max(), bound, rtol=1e-4, err_msg=name)
    assert not any(weight.constraint for weight in maxout().trainable_variables)


@pytest.mark.parametrize(
    ("padding", "least"), [((0, 3, 3), 12), ((2, 3, 3), 8), ((4, 3, 3), 4), ((0, 0, 0), 44)]
)
def test_maxout_takes_images_down_to_the_least_it_names(padding, least):
    model = maxout((2, 2, 2), padding, input_shape=(least, least, 1))
    assert all(model.get_layer("stage3").output.shape[1:])
    with pytest.raises(ValueError, match=f"height and width at least {least}, without"):
        maxout((2, 2, 2), padding, input_shape=(least, least - 1, 1))


@pytest.mark.large_on_jax
@pytest.mark.large_on_jax
def test_lenets_of_other_depths():
    one = lenet((4,), (8, 6), input_shape=(5, 6, 3))
    assert one.get_layer("stage1").output.shape == (None, 1, 1, 4)
    assert [one.get_layer(f"stage{n}").units for n in (2, 3)] == [8, 6]
    three = lenet((4, 4, 4), (8,), input_shape=(29, 29, 1))
    assert three.get_layer("stage3").output.shape == (None, 1, 1, 4)
    relus = [layer for layer in lenet().layers if "relu" in str(layer.get_config())]
    assert [layer.name for layer in relus] == ["stage3"]  # Caffe's convolutions have none.


@pytest.mark.large_on_jax
def test_fitnet_of_two_stages_names_its_taps():
    model = fitnet(((4,), (4, 6)), dense_units=5, dropout=0.25, input_shape=(9, 8, 1))
    shapes = {name: model.get_layer(name).output.shape[1:] for name in ("stage1", "stage2")}
    assert shapes == {"stage1": (5, 4, 4), "stage2": (5, 4, 6)}
    assert model.get_layer("stage3").output.shape == (None, 5)
    assert model.get_layer("dropout").rate == 0.25


def test_fitnet_of_one_stage_has_three_layers():
    model = fitnet(((4,),), dense_units=5, classes=3, input_shape=(9, 8, 1))
    assert model.name == "fitnet_3_layers"
    assert model.get_layer("stage1").output.shape == (None, 9, 8, 4)
    assert model.get_layer("stage2").output.shape == (None, 5)
    # Two pieces of 9 weights and a bias for 4 units, of 4 and 1 for 5; 5 and 1 for 3 logits.
    assert model.count_params() == 2 * 4 * 10 + 2 * 5 * 5 + 3 * 6
