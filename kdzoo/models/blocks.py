"""What the families share: checks of arguments, normalization, maxout, pooling and the head."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec

import keras
from keras import layers

from kdzoo.utils import check_fraction, check_name, is_integer, shown
from kdzoo.utils.types import Tensor

_MOST = 1 << 24  # Of classes, units and the like; more is a mistake.
_Arguments = ParamSpec("_Arguments")


def channels_last(builder: Callable[_Arguments, keras.Model]) -> Callable[_Arguments, keras.Model]:
    """Decorates a builder of models that take (batch, height, width, channels).

    Keras's global image data format is set to that while the builder runs, and the builder's
    argument `name` is checked.

    Args:
        builder: A function that returns a `keras.Model`.
    """
    signature = inspect.signature(builder)

    @functools.wraps(builder)
    def build(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> keras.Model:
        check_name(signature.bind(*args, **kwargs).arguments.get("name"))
        usual = keras.config.image_data_format()
        keras.config.set_image_data_format("channels_last")
        try:
            return builder(*args, **kwargs)
        finally:
            keras.config.set_image_data_format(usual)

    return build


def is_count(value: Any, least: int = 1) -> bool:
    """Returns whether `value` is an integer, and no boolean, from `least` to what can be built."""
    return is_integer(value, least, _MOST)


def check_classes(classes: Any) -> int:
    """Returns `classes` as an `int`, or raises `ValueError` unless it is one of at least 2."""
    return check_count("classes", classes, least=2)


def check_rate(argument: str, rate: Any) -> None:
    """Raises `ValueError` unless `rate`, the value of `argument`, lies in [0, 1)."""
    check_fraction(argument, rate)


def check_image_shape(input_shape: Any, least: int = 8) -> tuple[int, int, int]:
    """Returns `input_shape` as a tuple of three integers.

    Args:
        input_shape: (height, width, channels) of one image, without the batch axis.
        least: The smallest height and width allowed.

    Returns:
        `(height, width, channels)`.

    Raises:
        ValueError: If it is anything else, or the image is smaller than `least`.
    """
    shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else ()
    if len(shape) != 3 or not all(map(is_count, shape)) or min(shape[:2]) < least:
        raise ValueError(
            "Expected input_shape to be (height, width, channels), height and width at least "
            f"{least}, without the batch axis. Received: input_shape={shown(input_shape)}"
        )
    height, width, channels = map(int, shape)
    return height, width, channels


def check_counts(
    argument: str, counts: Any, length: int | None = None, least: int = 1
) -> tuple[int, ...]:
    """Returns `counts`, the value of `argument`, as a tuple of integers of at least `least`.

    Args:
        argument: Name of the argument.
        counts: A list or tuple of integers.
        length: How many there must be; any number when None.
        least: The smallest value allowed.

    Returns:
        A tuple of integers.

    Raises:
        ValueError: If it is anything else.
    """
    counted = isinstance(counts, list | tuple) and all(is_count(count, least) for count in counts)
    if not counted or length not in (None, len(counts)):
        number = "" if length is None else f"{length} "
        raise ValueError(
            f"Expected {argument} to hold {number}integers of at least {least}. "
            f"Received: {argument}={shown(counts)}"
        )
    return tuple(map(int, counts))


def check_count(argument: str, count: Any, least: int = 1) -> int:
    """Returns `count`, the value of `argument`, or raises unless it is an integer from `least`."""
    if not is_count(count, least):
        raise ValueError(
            f"Expected {argument} to be an integer of at least {least}. "
            f"Received: {argument}={shown(count)}"
        )
    return int(count)


def batch_norm(epsilon: float = 1e-5, name: str | None = None) -> keras.layers.Layer:
    """Returns a batch normalization that averages over about ten batches, for small images."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)


def convolution_norm_relu(x: Tensor, filters: int, prefix: str, name: str | None = None) -> Tensor:
    """Applies a 3x3 convolution without bias, batch normalization and ReLU.

    Args:
        x: Symbolic tensor (batch, height, width, channels).
        filters: Number of filters.
        prefix: What the names of the layers start with.
        name: Name of the last layer; the prefix and `"_relu"` when None.

    Returns:
        Symbolic tensor (batch, height, width, filters).
    """
    x = layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{prefix}_conv",
    )(x)
    x = batch_norm(name=f"{prefix}_norm")(x)
    return layers.ReLU(name=name or f"{prefix}_relu")(x)


def logits(classes: int, max_norm: float | None = None) -> keras.layers.Layer:
    """Returns the last layer of every family: a float32 logit for each class, in any dtype policy.

    Args:
        classes: Number of classes.
        max_norm: Largest L2 norm of the weights of a logit; None for any.
    """
    bound = _norm_bound(max_norm, rank=2)
    return layers.Dense(int(classes), kernel_constraint=bound, dtype="float32", name="logits")


def maxout(
    x: Tensor,
    units: int,
    pieces: int,
    prefix: str,
    kernel_size: int | None = None,
    padding: int | Literal["same"] = "same",
    variance: float = 1.0,
    max_norm: float | None = None,
    name: str | None = None,
) -> Tensor:
    """Applies maxout units: each is the largest of `pieces` linear functions of its inputs.

    One layer computes all pieces; a reshape puts those of a unit side by side, and max pooling
    picks the largest. These are plain layers that LiteRT, TF-MOT and all backends know, and the
    gradient of pooling is faster on the CPU than that of a maximum over an axis.

    Args:
        x: Symbolic tensor (batch, height, width, channels), or (batch, features) for dense units.
        units: Number of units.
        pieces: Number of linear functions of each unit, at least 2.
        prefix: What the names of the layers start with.
        kernel_size: Side of the convolution's kernel; None for dense units.
        padding: `"same"`, or the number of zeros on each side of the image.
        variance: Variance of the initial weights, times the number of inputs. At 1, units of two
            pieces keep the mean square of their inputs; more pieces or pooling raise it.
        max_norm: Largest L2 norm of the weights of a piece; None for any.
        name: Name of the last layer; the prefix and `"_units"` when None.

    Returns:
        Symbolic tensor (batch, height, width, units), or (batch, units).

    Reference:
        Goodfellow et al. 2013, "Maxout Networks", arXiv:1302.4389, section 2.
    """
    shared = {
        "kernel_initializer": keras.initializers.VarianceScaling(variance, "fan_in"),
        "kernel_constraint": _norm_bound(max_norm, rank=2 if kernel_size is None else 4),
    }
    if kernel_size is None:
        outputs: Sequence[int] = (units,)
        x = layers.Dense(pieces * units, name=f"{prefix}_dense", **shared)(x)
    else:
        if padding not in ("same", 0):
            x = layers.ZeroPadding2D(padding, name=f"{prefix}_zeros")(x)
        x = layers.Conv2D(
            pieces * units,
            kernel_size,
            padding="same" if padding == "same" else "valid",
            name=f"{prefix}_conv",
            **shared,
        )(x)
        outputs = (*x.shape[1:3], units)
    positions = math.prod(outputs[:-1])
    x = layers.Reshape((positions, pieces, units), name=f"{prefix}_pieces")(x)
    x = layers.MaxPooling2D((1, pieces), name=f"{prefix}_largest")(x)
    return layers.Reshape(outputs, name=name or f"{prefix}_units")(x)


def _norm_bound(max_norm, rank):
    """The constraint of a kernel of this rank, filter by filter."""
    if max_norm is None:
        return None
    return keras.constraints.MaxNorm(max_norm, axis=list(range(rank - 1)))


def max_pool(x: Tensor, size: int, name: str) -> Tensor:
    """Applies max pooling of windows `size` wide, 2 apart; the last may hang over the edge.

    Caffe and cuda-convnet pool like this: n pixels become ceil((n - size) / 2) + 1, where `"same"`
    would shift the windows of a 4x4 pooling and `"valid"` drop the last. An odd side is pooled in
    two steps instead, of which only the second, at the end, is incomplete.

    Args:
        x: Symbolic tensor (batch, height, width, channels).
        size: Width of the windows, 2 or 4; an image smaller than that is one window.
        name: Name of the last layer.

    Returns:
        Symbolic tensor (batch, new height, new width, channels).
    """
    sides = x.shape[1:3]
    if size > 2 and any(side % 2 or side < size for side in sides):
        last = tuple(2 + side % 2 for side in sides)
        first = tuple(min(size + 1 - w, side) for w, side in zip(last, sides, strict=True))
        x = layers.MaxPooling2D(first, strides=1, name=f"{name}_first")(x)
        return layers.MaxPooling2D(last, strides=2, padding="same", name=name)(x)
    padding = "same" if size == 2 else "valid"
    return layers.MaxPooling2D(size, strides=2, padding=padding, name=name)(x)
