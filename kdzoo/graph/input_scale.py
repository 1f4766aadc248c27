"""Which numbers a model takes for pixels, and the same model for images in [0, 1]."""

import typing
from collections.abc import Generator
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import graph_of
from kdzoo.graph.keras_internals import Node, functional_of, nodes_of
from kdzoo.graph.outputs import is_one_column
from kdzoo.utils import check_choice
from kdzoo.utils.types import PixelScale

SCALES: tuple[PixelScale, ...] = typing.get_args(PixelScale)
"""What a pixel may be given as."""

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # Blue, green, red.
_OF_BYTES = 1 / 50  # A factor below it brings [0, 255] to the range that networks compute in.
_OF_FRACTIONS = 1.5, 512  # Factors between these bring [0, 1] to it, or to [0, 255].
_ROUNDING = 1e-6
_LARGEST_OFFSET = 4  # Of what networks compute in; ImageNet's mean over its deviation is 2.1.
# Layers after which pixels are still what they were.
_PASSING = ("Identity", "Resizing", "CenterCrop", "ZeroPadding2D", "Dropout", "GaussianNoise")
_AUGMENTING = "keras.src.layers.preprocessing.image_preprocessing."


def found_scale(model: keras.Model) -> PixelScale | None:
    """Returns what a model takes for pixels, as far as its first layers tell.

    A model tells that begins, perhaps after layers that augment or resize, with a `Rescaling`, a
    `Normalization` that knows its mean, or a multiplication or division by a number. Of
    keras.applications these are EfficientNet, EfficientNetV2, ConvNeXt and MobileNetV3.

    Args:
        model: A functional or built sequential `keras.Model` of one input.

    Returns:
        `"0..255"`, `"0..1"`, or None where nothing tells.
    """
    for node in _first_calls(model):
        operation = node.operation
        if isinstance(operation, keras.layers.Rescaling):
            return _by_factor(operation.scale, operation.offset)
        if isinstance(operation, keras.layers.Normalization):
            return _by_mean(operation)
        name = type(operation).__name__
        number = next((part for part in node.args[1:] if isinstance(part, int | float)), None)
        if name in ("Multiply", "TrueDivide", "Divide") and number:
            return _by_factor(number if name == "Multiply" else 1 / number)
        module = type(operation).__module__
        if name not in _PASSING and not module.startswith(_AUGMENTING):
            return None
    return None


def _first_calls(model: keras.Model) -> Generator[Node, None, bool]:
    """Yields the calls from the input on, those of nested models too, while each has one user.

    Returns:
        Whether that led to the model's output, behind which an outer model goes on.
    """
    graph = graph_of(model)
    tensor = graph.inputs[0]
    while tensor is not graph.outputs[0]:
        users = [node for node in nodes_of(graph) if any(tensor is given for given in node.inputs)]
        if len(users) != 1 or len(users[0].outputs) != 1:
            return False
        (node,) = users
        if functional_of(node.operation) is None:
            yield node
        elif not (yield from _first_calls(node.operation)):
            return False
        (tensor,) = node.outputs
    return True


def _by_factor(factor: Any, offset: Any = 0.0) -> PixelScale | None:
    """What pixels are that a factor brings to a network's range; None if it may be either."""
    sizes = np.abs(np.asarray(factor, "float64"))
    if np.abs(np.asarray(offset, "float64")).max() > _LARGEST_OFFSET:
        return None  # What comes out is in [0, 255], as from [-1, 1] by 127.5 x + 127.5.
    if sizes.max() <= _OF_BYTES:
        return "0..255"
    low, high = _OF_FRACTIONS
    return "0..1" if low <= sizes.min() and sizes.max() <= high else None


def _by_mean(layer: keras.layers.Normalization) -> PixelScale | None:
    """What pixels are by their mean, which a layer knows; None if it has none of an image."""
    mean = getattr(layer, "mean", None)
    if mean is None:
        return None
    mean, variance = map(keras.ops.convert_to_numpy, (mean, layer.variance))
    if mean.min() > 16:
        return "0..255"
    # Numbers in [0, 1] vary by no more than that (Bhatia and Davis), those in [-1, 1] may.
    return "0..1" if (variance <= mean * (1 - mean) + _ROUNDING).all() else None


def for_images(model: keras.Model, input_shape: tuple[int, int, int], scale: str) -> keras.Model:
    """Returns a classifier for images in [0, 1] of some size, by one that takes others.

    Args:
        model: A `keras.Model` of one input, (batch, height, width, channels), and one output.
        input_shape: (height, width, channels) of the images. They are resized to the model's own
            height and width, if it has them.
        scale: What the model takes for pixels: one of `SCALES`.

    Returns:
        A functional `keras.Model` that calls `model`. Where that gives one column, the logit of the
        second of two classes, it gives (batch, 2).

    Raises:
        ValueError: If the scale is unknown, or is `"torch"` or `"caffe"` and the images have other
            than three channels, or the model takes other channels.
    """
    check_choice("scale", scale, SCALES)
    height, width, channels = _own_shape(model)
    if channels not in (None, input_shape[2]):
        raise ValueError(
            f"Expected a model for images of {input_shape[2]} channels. Received: "
            f"{model.name!r}, for {channels}"
        )
    images = keras.Input(input_shape, name="image")
    x = images
    size = height or input_shape[0], width or input_shape[1]
    if size != tuple(input_shape[:2]):
        x = keras.layers.Resizing(*size, name="own_size")(x)
    outputs = model(scaled(x, scale))
    if is_one_column(model.output_shape):
        second = keras.layers.Dense(2, use_bias=False, trainable=False, name="two_logits")
        outputs = second(outputs)
        second.set_weights([np.array([[0.0, 1.0]], "float32")])
    return keras.Model(images, outputs, name=model.name)


def with_scale(model: keras.Model, scale: str) -> keras.Model:
    """Returns a model for images in [0, 1] that gives what one gives for other pixels.

    Args:
        model: A `keras.Model` of one input, (batch, height, width, channels).
        scale: What it takes for pixels: one of `SCALES`.

    Returns:
        A functional `keras.Model` that calls `model`.

    Raises:
        ValueError: If the scale is unknown, or is `"torch"` or `"caffe"` and the model takes other
            than three channels, or it takes no images.
    """
    check_choice("scale", scale, SCALES)
    images = keras.Input(_own_shape(model, one_output=False), name="image")
    return keras.Model(images, model(scaled(images, scale)), name=model.name)


def _own_shape(model: keras.Model, one_output: bool = True) -> tuple[int | None, ...]:
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    is_right = len(shapes) == 1 and len(shapes[0]) == 3
    if not is_right or (one_output and len(model.outputs) != 1):
        raise ValueError(
            "Expected a model of one input, images (height, width, channels), and one output. "
            f"Received: {model.name!r}, for {shapes} and of {len(model.outputs)} outputs"
        )
    return shapes[0]


def scaled(x: Any, scale: str) -> Any:
    """Returns images in [0, 1] as a model takes them.

    Args:
        x: A tensor, or a symbolic one, (batch, height, width, channels).
        scale: One of `SCALES`.

    Raises:
        ValueError: If the scale is of red, green and blue, and there are other channels.
    """
    if scale == "0..1":
        return x
    if scale in ("torch", "caffe") and x.shape[-1] not in (None, 3):
        raise ValueError(
            f"Expected images of 3 channels beside the scale {scale!r}, which has a mean for red, "
            f"green and blue. Received: {x.shape[-1]} channels"
        )
    if scale == "caffe":
        x = x[..., ::-1]
    factor, offset = {
        "0..255": (255.0, 0.0),
        "-1..1": (2.0, -1.0),
        "torch": ((1 / _DEVIATION).tolist(), (-_MEAN / _DEVIATION).tolist()),
        "caffe": (255.0, [-mean for mean in _CAFFE_MEAN]),
    }[scale]
    return keras.layers.Rescaling(factor, offset, name="own_scale")(x)
