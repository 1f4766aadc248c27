"""Residual networks for CIFAR, thin and deep: teachers and students of many papers."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown


@blocks.channels_last
def resnet(
    depth: int = 20,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    name: str | None = None,
) -> keras.Model:
    """Builds a residual network for CIFAR, ResNet-depth.

    A 3x3 convolution to 16 channels, norm, ReLU, then three stages of `(depth - 2) / 6` blocks
    (convolution, norm, ReLU, convolution, norm, sum, ReLU) with 16, 32 and 64 channels, the second
    and third stage at half the resolution of the one before; average, logits. Shortcuts have no
    parameters (the paper's option A): where the shape changes, they take every second pixel and
    fill the new channels with zeros.
    Layers to tap: `stage1`, `stage2`, `stage3` (after the ReLU that ends a stage), `features`,
    `logits`. Weight decay is left to the optimizer.

    ResNet-20, 32, 44, 56 and 110 have 269,722, 464,154, 658,586, 853,018 and 1,727,962 trainable
    parameters: the paper's 0.27M, 0.46M, 0.66M, 0.85M and 1.7M.

    Args:
        depth: Number of layers with weights, `6 * n + 2` with n at least 1: 8, 14, 20, 32 …
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        name: Name of the model; `"resnet_{depth}"` when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range; for a depth, the nearest valid ones are
            named.

    Example:

    >>> model = resnet(depth=56, classes=100)
    >>> model.get_layer("stage3").output.shape
    (None, 8, 8, 64)

    Reference:
        He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section
        4.2 and table 6. Strided convolutions put the odd pixel of their padding at the end, as
        TensorFlow and LiteRT do; see `wide_resnet`.
    """
    _check(depth)
    classes = blocks.check_classes(classes)
    inputs = keras.Input(blocks.check_image_shape(input_shape), name="image")
    x = _conv_norm(inputs, 16, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage in (1, 2, 3):
        for block in range(1, count := (depth - 2) // 6 + 1):
            x = _block(
                x,
                8 * 2**stage,
                strides=2 if stage > 1 and block == 1 else 1,
                prefix=f"stage{stage}_block{block}",
                name=f"stage{stage}" if block == count - 1 else None,
            )
    x = layers.GlobalAveragePooling2D(name="features")(x)
    outputs = blocks.logits(classes)(x)
    return keras.Model(inputs, outputs, name=name or f"resnet_{depth}")


def _check(depth):
    if not blocks.is_count(depth, 8) or (depth - 2) % 6:
        below = 2 + 6 * max(1, (depth - 2) // 6) if blocks.is_count(depth) else 20
        nearest = f"{below} or {below + 6}" if below < 1e6 else "20 or 56"
        raise ValueError(
            "Expected depth to be 6n + 2 with n at least 1, the nearest being "
            f"{nearest}. Received: depth={shown(depth)}"
        )


def _conv_norm(x, filters, strides=1, name=None):
    x = layers.Conv2D(
        filters,
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return blocks.batch_norm(name=f"{name}_norm")(x)


def _block(x, filters, strides, prefix, name):
    shortcut = x if strides == 1 else _shortcut(x, filters, f"{prefix}_shortcut")
    x = _conv_norm(x, filters, strides, name=f"{prefix}_1")
    x = layers.ReLU(name=f"{prefix}_relu")(x)
    x = _conv_norm(x, filters, name=f"{prefix}_2")
    x = layers.Add(name=f"{prefix}_add")([shortcut, x])
    return layers.ReLU(name=name or f"{prefix}_out")(x)


def _shortcut(x, filters, name):
    """Every second pixel of `x`, and zeros for the channels it lacks, in layers LiteRT knows."""
    x = layers.AveragePooling2D(1, strides=2, name=f"{name}_pixels")(x)
    height, width, channels = x.shape[1:]
    # Zero padding is for images: the channels lie along the columns of one, pixels along its rows.
    x = layers.Reshape((height * width, channels, 1), name=f"{name}_rows")(x)
    x = layers.ZeroPadding2D(((0, 0), (0, filters - channels)), name=f"{name}_zeros")(x)
    return layers.Reshape((height, width, filters), name=name)(x)
