"""What a model takes for pixels: as its first layers tell, and as keras.applications prepare it."""

import keras
import numpy as np
import pytest

from kdzoo.graph.input_scale import SCALES, for_images, found_scale, with_scale

layers = keras.layers
SHAPE = (8, 8, 3)


def net(*first, activation=None):
    """A sequential classifier of four classes that begins with some layers."""
    last = [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Activation(activation)]
    return keras.Sequential([keras.Input(SHAPE), *first, *last])


def functional(begin):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, net()(begin(inputs)))


def normalization(mean, variance=None):
    return layers.Normalization(mean=[mean] * 3, variance=[variance or mean**2] * 3)


def nested_in_two():
    """A model with two branches behind its input, within one that goes on by a `Rescaling`."""
    inputs = keras.Input(SHAPE)
    branches = [layers.Conv2D(3, 1)(inputs) for _ in range(2)]
    inner = keras.Model(inputs, layers.Add()(branches))
    return functional(lambda x: layers.Rescaling(1 / 255)(inner(x)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: net(layers.Rescaling(1 / 255)), "0..255"),
        (lambda: net(layers.Rescaling(1 / 127.5, -1)), "0..255"),
        (lambda: net(layers.Rescaling([1 / 255, 1 / 250, 1 / 245])), "0..255"),
        (lambda: net(layers.Rescaling(2, -1)), "0..1"),
        (lambda: net(layers.Rescaling(255)), "0..1"),
        (lambda: net(layers.Rescaling(1.0)), None),
        (lambda: net(layers.Rescaling(127.5, 127.5)), None),
        (lambda: net(layers.Rescaling(0.1)), None),
        (lambda: net(normalization(120.0)), "0..255"),
        (lambda: net(normalization(0.5)), "0..1"),
        (lambda: net(normalization(5.0)), None),
        (lambda: net(normalization(0.1, 0.25)), None),  # Of numbers in [-1, 1].
        (nested_in_two, None),
        (lambda: net(layers.Normalization()), None),
        (lambda: net(), None),
        (lambda: net(layers.BatchNormalization(), layers.Rescaling(1 / 255)), None),
        (
            lambda: net(layers.RandomFlip(), layers.Resizing(8, 8), layers.Rescaling(1 / 255)),
            "0..255",
        ),
        (lambda: net(keras.Sequential([layers.RandomFlip()]), layers.Rescaling(1 / 255)), "0..255"),
        (lambda: net(keras.Sequential([layers.Rescaling(2.0), layers.ReLU()])), "0..1"),
        (lambda: functional(lambda x: x / 127.5 - 1), "0..255"),
        (lambda: functional(lambda x: x * 2 - 1), "0..1"),
        (lambda: functional(lambda x: layers.Rescaling(1 / 255)(x) + 0 * x), None),
    ],
)
def test_first_layers_tell(make, expected):
    assert found_scale(make()) == expected


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ConvNeXtTiny", "0..255"),
        ("EfficientNetB0", "0..255"),
        ("EfficientNetV2B0", "0..255"),
        ("EfficientNetV2S", "0..255"),
        ("MobileNetV3Small", "0..255"),
        ("MobileNetV2", None),
        ("ResNet50", None),
    ],
)
def test_of_keras_applications_those_tell_that_have_preprocessing_inside(name, expected):
    application = getattr(keras.applications, name)
    model = application(weights=None, input_shape=(32, 32, 3), classes=4)
    assert found_scale(model) == expected


def identity(shape=SHAPE):
    """A model that gives what it is given."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Flatten()(inputs), name="identity")


@pytest.mark.parametrize("scale", SCALES)
def test_pixels_are_what_the_model_takes(scale):
    images = np.random.default_rng(0).random((2, *SHAPE)).astype("float32")
    mode = {"-1..1": "tf"}.get(scale, scale)
    expected = {"0..1": images, "0..255": 255 * images}.get(scale)
    if expected is None:
        expected = keras.applications.imagenet_utils.preprocess_input(255 * images, mode=mode)
    for model in (for_images(identity(), SHAPE, scale), with_scale(identity(), scale)):
        given = model.predict(images, verbose=0)
        np.testing.assert_allclose(given, expected.reshape(2, -1), atol=2e-4)


@pytest.mark.parametrize("scale", ["torch", "caffe"])
def test_means_of_three_colours_are_for_three_channels(scale):
    grey = identity((16, 16, 1))
    for make in (lambda: with_scale(grey, scale), lambda: for_images(grey, (16, 16, 1), scale)):
        with pytest.raises(ValueError, match=rf"3 channels .*'{scale}'.*Received: 1 channels"):
            make()
    layer = layers.GlobalAveragePooling2D()
    inputs = keras.Input((16, 16, None))
    model = keras.Model(inputs, layer(inputs))
    assert for_images(model, SHAPE, scale).input_shape[1:] == SHAPE


def test_images_are_resized_to_its_own_size():
    images = np.repeat(np.repeat(np.random.default_rng(0).random((2, 4, 4, 3)), 2, 1), 2, 2)
    model = for_images(identity((16, 16, 3)), SHAPE, "0..1")
    given = model.predict(images.astype("float32"), verbose=0).reshape(2, 16, 16, 3)
    expected = keras.ops.image.resize(images.astype("float32"), (16, 16))
    np.testing.assert_allclose(given, keras.ops.convert_to_numpy(expected), atol=1e-5)
    assert for_images(identity((None, None, 3)), SHAPE, "0..1").input_shape[1:] == SHAPE
    with pytest.raises(ValueError, match="for images of 1 channels"):
        for_images(identity(), (8, 8, 1), "0..1")
    with pytest.raises(ValueError, match="Expected a model of one input, images"):
        for_images(identity((5,)), SHAPE, "0..1")


def test_one_column_is_the_logit_of_the_second_of_two_classes():
    inputs = keras.Input(SHAPE)
    outputs = layers.Dense(1)(layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).random((5, *SHAPE)).astype("float32")
    two = for_images(model, SHAPE, "0..1").predict(images, verbose=0)
    yes = 1 / (1 + np.exp(-model.predict(images, verbose=0)[:, 0]))
    exponents = np.exp(two)
    np.testing.assert_allclose(exponents[:, 1] / exponents.sum(-1), yes, rtol=1e-5)
