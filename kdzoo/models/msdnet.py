"""Multi-scale dense networks: classifiers at several depths that do not disturb each other."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import is_number, shown
from kdzoo.utils.types import Tensor

_FACTORS = (1, 2, 4, 4)  # Channels of a scale, times those of the finest; widths of bottlenecks.


@blocks.channels_last
def msdnet(
    exits: int = 5,
    first_layers: int = 4,
    more_layers: int = 2,
    channels: int = 16,
    growth: int = 6,
    scales: int = 3,
    reduction: float = 0.5,
    head_channels: int = 128,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str | None = None,
) -> keras.Model:
    """Builds a multi-scale dense network with a classifier at several depths.

    Each layer has feature maps at several scales, each of half the sides of the one before. A scale
    gets `growth` times its factor (1, 2, 4) new channels from a layer: half of them from its own
    maps, half by a strided convolution of the next finer scale's; the finest gets all from its own.
    All are concatenated to what is there. Each convolution is a 1x1 bottleneck, as wide as the new
    channels times the scale's factor, and a 3x3 one, with batch normalization and ReLU. After each
    third of the layers (of three scales) the finest scale is left out, and 1x1 convolutions keep a
    fraction of the channels. The classifiers look at the coarsest scale, by two strided 3x3
    convolutions, pooling and a dense layer.

    Layers to tap: `stage1` ... `stageN` (the coarsest scale before each classifier), `exit1`,
    `exit2`, ... and `logits`, the last classifier.

    Args:
        exits: Number of classifiers, at least 2.
        first_layers: Layers before the first classifier, its own first one included.
        more_layers: Layers from one classifier to the next.
        channels: Channels of the finest scale after the first layer.
        growth: New channels of the finest scale in each layer, even.
        scales: Number of scales, 1 to 4.
        reduction: Fraction of the channels that is kept where a scale is left out, above 0 to 1.
        head_channels: Filters of the classifiers' convolutions.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image.
        name: Name of the model; `"msdnet"` and the number of exits when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to a list of float32 logits (batch, classes), one for each exit.

    Raises:
        ValueError: If an argument is outside its range, or the images are too small.

    Example:

    >>> len(msdnet(exits=3, growth=4, channels=8).outputs)
    3

    Reference:
        Huang et al. 2018, "Multi-Scale Dense Networks for Resource Efficient Image
        Classification", arXiv:1703.09844, section 4 and appendix A.
    """
    exits = blocks.check_count("exits", exits, least=2)
    first_layers = blocks.check_count("first_layers", first_layers)
    more_layers = blocks.check_count("more_layers", more_layers)
    channels, growth = blocks.check_count("channels", channels), _check_growth(growth)
    scales = blocks.check_count("scales", scales)
    head_channels = blocks.check_count("head_channels", head_channels)
    classes = blocks.check_classes(classes)
    if scales > len(_FACTORS) or not is_number(reduction) or not 0 < reduction <= 1:
        raise ValueError(
            f"Expected scales from 1 to {len(_FACTORS)} and reduction above 0 up to 1. Received: "
            f"scales={scales}, reduction={shown(reduction)}"
        )
    shape = blocks.check_image_shape(input_shape, least=2 ** (scales - 1))
    depth = first_layers + (exits - 1) * more_layers
    inputs = keras.Input(shape, name="image")
    maps = _first_layer(inputs, channels, scales)
    outputs, done = [], 0
    for number in range(1, exits + 1):
        for _ in range(first_layers if number == 1 else more_layers):
            finest = done // math.ceil(depth / scales)
            done += 1
            maps = _layer(maps, growth, finest, reduction, f"layer{done}")
        coarsest = layers.Activation("linear", name=f"stage{number}")(maps[scales - 1])
        maps[scales - 1] = coarsest
        outputs.append(_head(coarsest, head_channels, classes, number, number == exits))
    return keras.Model(inputs, outputs, name=name or f"msdnet_{exits}")


def _check_growth(growth):
    if blocks.check_count("growth", growth) % 2:
        raise ValueError(f"Expected growth to be even. Received: growth={growth}")
    return growth


def _first_layer(x: Tensor, channels: int, scales: int) -> dict[int, Tensor]:
    """Maps by scale, 0 is the finest."""
    maps = {}
    for scale in range(scales):
        strides = 1 if scale == 0 else 2
        x = _convolution(x, channels * _FACTORS[scale], 3, strides, f"scale{scale + 1}")
        maps[scale] = x
    return maps


def _layer(
    maps: dict[int, Tensor], growth: int, finest: int, reduction: float, prefix: str
) -> dict[int, Tensor]:
    """A layer: new channels at each scale that is kept, beside those that are there.

    Args:
        maps: Scale -> its maps.
        growth: New channels of the finest scale.
        finest: The finest scale that is kept.
        reduction: Fraction of the channels that goes on where a scale is left out.
        prefix: What the names of its layers start with.
    """
    made = {}
    for scale, own in maps.items():
        if scale < finest:
            continue
        new, name = growth * _FACTORS[scale], f"{prefix}_scale{scale + 1}"
        if scale - 1 in maps:
            finer = maps[scale - 1]
            parts = [
                _bottleneck(finer, new // 2, _FACTORS[scale - 1], 2, f"{name}_down"),
                _bottleneck(own, new // 2, _FACTORS[scale], 1, f"{name}_same"),
            ]
        else:
            parts = [_bottleneck(own, new, _FACTORS[scale], 1, f"{name}_same")]
        joined = layers.Concatenate(name=f"{name}_maps")([own, *parts])
        if finest > min(maps):
            filters = math.floor(reduction * joined.shape[-1])
            joined = _convolution(joined, filters, 1, 1, f"{name}_fewer")
        made[scale] = joined
    return made


def _bottleneck(x: Tensor, filters: int, width: int, strides: int, prefix: str) -> Tensor:
    """A 1x1 convolution to `width` times the filters, where that is fewer, and a 3x3 one."""
    inner = min(x.shape[-1], width * filters)
    x = _convolution(x, inner, 1, 1, f"{prefix}_inner")
    return _convolution(x, filters, 3, strides, prefix)


def _head(x: Tensor, channels: int, classes: int, number: int, is_last: bool) -> Tensor:
    """The logits of a classifier."""
    for place in (1, 2):
        x = _convolution(x, channels, 3, 2, f"exit{number}_{place}")
    x = layers.GlobalAveragePooling2D(name=f"exit{number}_features")(x)
    if is_last:
        return blocks.logits(classes)(x)
    return layers.Dense(classes, dtype="float32", name=f"exit{number}")(x)


def _convolution(x: Tensor, filters: int, side: int, strides: int, prefix: str) -> Tensor:
    """A convolution without bias that sees zeros at each edge, batch normalization and ReLU."""
    padding = "same"
    if strides == 2:  # As in PyTorch, in which the paper's networks are: a zero at each edge.
        x = layers.ZeroPadding2D(1, name=f"{prefix}_zeros")(x)
        padding = "valid"
    x = layers.Conv2D(
        filters,
        side,
        strides,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{prefix}_conv",
    )(x)
    x = blocks.batch_norm(name=f"{prefix}_norm")(x)
    return layers.ReLU(name=f"{prefix}_relu")(x)
