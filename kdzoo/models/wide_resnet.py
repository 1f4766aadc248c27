"""Wide residual networks: teachers, and students of papers on CIFAR."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown


@blocks.channels_last
def wide_resnet(
    depth: int = 16,
    width: int = 2,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds a wide residual network WRN-depth-width.

    A 3x3 convolution to 16 channels, then three stages of `(depth - 4) / 6` pre-activation blocks
    (norm, ReLU, convolution, twice) with `16 * width`, `32 * width` and `64 * width` channels, the
    second and third stage at half the resolution of the one before; norm, ReLU, average, logits.
    Layers to tap: `stage1`, `stage2`, `stage3` (the sums that end a stage), `features`, `logits`.

    Weight decay is left to the optimizer (`keras.optimizers.SGD(weight_decay=...)`), so that one
    graph serves every recipe and no penalty is in its saved file. Before quantization-aware
    training, `kdzoo.compression.fold_batch_normalization` removes the norms that follow no
    convolution, which TF-MOT refuses.

    Args:
        depth: Number of convolutional layers, `6 * n + 4` with n at least 1: 10, 16, 22, 28, 40 …
        width: Factor on the channels, an integer of at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout between the two convolutions of a block, in [0, 1). The paper
            uses 0.3 on SVHN and CIFAR where width is 10, and 0 otherwise.
        name: Name of the model; `"wide_resnet_{depth}_{width}"` when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range; for a depth, the nearest valid ones are
            named.

    Example:

    >>> model = wide_resnet(depth=16, width=2, classes=100)
    >>> model.output_shape
    (None, 100)

    Reference:
        Zagoruyko & Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146, table 1. The
        trainable parameters are the paper's. Its code pads strided convolutions alike on both
        sides; here "same" padding puts the odd pixel at the end, as TensorFlow and LiteRT do.
    """
    depth, width = _check(depth, width)
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    inputs = keras.Input(blocks.check_image_shape(input_shape), name="image")
    x = _conv(16, name="stem_conv")(inputs)
    for stage in (1, 2, 3):
        filters = 16 * width * 2 ** (stage - 1)
        for block in range(1, count := (depth - 4) // 6 + 1):
            x = _block(
                x,
                filters,
                strides=2 if stage > 1 and block == 1 else 1,
                dropout=dropout,
                prefix=f"stage{stage}_block{block}",
                name=f"stage{stage}" if block == count - 1 else None,
            )
    x = blocks.batch_norm(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    outputs = blocks.logits(classes)(x)
    return keras.Model(inputs, outputs, name=name or f"wide_resnet_{depth}_{width}")


def _check(depth, width):
    """Returns both as `int`, or raises unless there is such a network."""
    if not blocks.is_count(depth, 10) or (depth - 4) % 6:
        below = 4 + 6 * max(1, (depth - 4) // 6) if blocks.is_count(depth) else 16
        nearest = f"{below} or {below + 6}" if below < 1e6 else "16 or 40"
        raise ValueError(
            "Expected depth to be 6n + 4 with n at least 1, the nearest being "
            f"{nearest}. Received: depth={shown(depth)}"
        )
    return int(depth), blocks.check_count("width", width)


def _conv(filters, kernel_size=3, strides=1, name=None):
    # The authors' initialization: normal with variance 2 / (kernel area * filters).
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=initializer,
        name=name,
    )


def _block(x, filters, strides, dropout, prefix, name):
    """A pre-activation block; where the shape changes, the shortcut starts after the first ReLU."""
    shortcut = x
    x = blocks.batch_norm(name=f"{prefix}_norm1")(x)
    x = layers.ReLU(name=f"{prefix}_relu1")(x)
    if strides != 1 or shortcut.shape[-1] != filters:
        shortcut = _conv(filters, 1, strides, name=f"{prefix}_shortcut")(x)
    x = _conv(filters, strides=strides, name=f"{prefix}_conv1")(x)
    x = blocks.batch_norm(name=f"{prefix}_norm2")(x)
    x = layers.ReLU(name=f"{prefix}_relu2")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{prefix}_dropout")(x)
    x = _conv(filters, name=f"{prefix}_conv2")(x)
    return layers.Add(name=name or f"{prefix}_add")([shortcut, x])
