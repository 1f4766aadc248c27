"""Depthwise-separable networks like MobileNet: the students for phones."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import is_number, shown

CHANNELS = (128, 256, 512)  # Of the three stages at width 1.
BLOCKS = (2, 2, 3)
STEM_CHANNELS = 64
_WIDEST = 1024
LARGEST_MAP = 48  # The stem halves larger images until their shorter side is at most this.


@blocks.channels_last
def separable(
    width: float = 0.5,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    halvings: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a MobileNet-style network of depthwise-separable convolutions.

    A 3x3 convolution, then three stages of 2, 2 and 3 blocks with `128 * width`, `256 * width` and
    `512 * width` channels (rounded to a multiple of 8, at least 8), the second and third stage at
    half the resolution of the one before; average, logits. A block is a depthwise 3x3 convolution,
    norm, ReLU, a 1x1 convolution, norm, ReLU: in this order converters fold the norm into the
    convolution and TF-MOT's quantization-aware training takes the whole network.

    The resolution of the first stage follows from the image: up to 48 pixels on the shorter side
    the stem keeps it (32x32 stays 32x32, and the last stage is 8x8); for larger images the stem's
    convolution, and after it one strided block at a time, halve it until it is at most 48 (64 and
    128 become 32, 224 becomes 28, and the last stage is 7x7).
    Layers to tap: `stage1`, `stage2`, `stage3`, `features`, `logits`.

    Networks with shortcuts, without the inner ReLU, with inverted residuals and with residual 3x3
    convolutions were compared with it at equal numbers of parameters. After six epochs of CIFAR-10
    none was more accurate, and the last two take twice the time in LiteRT:
    `benchmarks/separable_alternatives.py`.

    Weight decay is left to the optimizer.

    Args:
        width: Factor on the channels, positive. The zoo has 0.25, 0.5, 0.75 and 1; 0.0625 and
            0.125 suit images as small as 8x8.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout before the logits, in [0, 1).
        halvings: How often the image is halved before the first stage; None for the rule above.
            Each halving leaves about a quarter of the multiplications.
        name: Name of the model; `"separable_"` and the width in percent when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = separable(width=0.25, input_shape=(28, 28, 1))
    >>> model.get_layer("stage3").output.shape
    (None, 7, 7, 128)

    Reference:
        Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", arXiv:1704.04861. The block and the width multiplier are the paper's; the
        stages are fewer and start at a higher resolution, as small images want.
    """
    if not is_number(width) or not 0 < width <= _WIDEST:
        raise ValueError(f"Expected width to be a positive number. Received: width={shown(width)}")
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    shape = blocks.check_image_shape(input_shape)
    halvings = _halvings(min(shape[:2])) if halvings is None else halvings
    if not blocks.is_count(halvings, 0) or halvings > math.log2(max(shape[:2])) + 1:
        raise ValueError(
            "Expected halvings to be an integer of at least 0, as many as leave pixels. Received: "
            f"halvings={shown(halvings)}"
        )
    inputs = keras.Input(shape, name="image")
    x = _stem(inputs, _scaled(STEM_CHANNELS, width), halvings)
    for stage, (channels, count) in enumerate(zip(CHANNELS, BLOCKS, strict=True), start=1):
        for block in range(1, count + 1):
            x = _block(
                x,
                _scaled(channels, width),
                strides=2 if stage > 1 and block == 1 else 1,
                prefix=f"stage{stage}_block{block}",
                name=f"stage{stage}" if block == count else None,
            )
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    outputs = blocks.logits(classes)(x)
    return keras.Model(inputs, outputs, name=name or f"separable_{round(100 * width):03d}")


def _scaled(channels, width):
    """Returns channels * width as the nearest multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def _halvings(side):
    """Returns how often an image of this side is halved before the first stage."""
    return max(0, math.ceil(math.log2(side / LARGEST_MAP)))


def _stem(x, channels, halvings):
    x = layers.Conv2D(
        channels,
        3,
        strides=2 if halvings else 1,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name="stem_conv",
    )(x)
    x = _norm("stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for block in range(1, halvings):
        x = _block(x, channels, strides=2, prefix=f"stem_block{block}", name=None)
    return x


def _block(x, channels, strides, prefix, name):
    x = layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        # He et al. for the nine inputs of a filter; "he_normal" would count all channels.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2 / 9)),
        name=f"{prefix}_depthwise",
    )(x)
    x = _norm(f"{prefix}_norm1")(x)
    x = layers.ReLU(name=f"{prefix}_relu1")(x)
    x = layers.Conv2D(
        channels, 1, use_bias=False, kernel_initializer="he_normal", name=f"{prefix}_conv"
    )(x)
    x = _norm(f"{prefix}_norm2")(x)
    return layers.ReLU(name=name or f"{prefix}_relu2")(x)


def _norm(name):
    # A larger epsilon keeps a channel that has gone quiet from a huge scale once it is folded.
    return blocks.batch_norm(epsilon=1e-3, name=name)
