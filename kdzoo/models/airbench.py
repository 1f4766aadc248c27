"""The network of airbench: a few wide convolutions, which train quickly."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown

STEM_UNITS = 24


@blocks.channels_last
def airbench(
    widths: Sequence[int] = (64, 256, 256),
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds the network of airbench: six wide 3x3 convolutions, made to be trained quickly.

    A 2x2 convolution to 24 maps without padding, norm, ReLU; then for each width a 3x3
    convolution, 2x2 max pooling, norm, ReLU, and a 3x3 convolution, norm, ReLU; the maximum of
    every map; logits. At (64, 256, 256) it has 118 million multiplications for a 32x32 image, a
    third of a WRN-16-4's, in convolutions that keep a processor busy.
    Layers to tap: `stage1` … `stageN`, `features`, `logits`.

    Weight decay is left to the optimizer.

    Args:
        widths: For each stage, at least two, its channels, each at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout before the logits, in [0, 1).
        name: Name of the model; `"airbench_"` and the widths when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = airbench()
    >>> model.get_layer("stage2").output.shape
    (None, 7, 7, 256)

    Reference:
        Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498. Its first
        layer has fixed filters that whiten the training images, its norms no scales, its
        activations are GELUs; here all weights are learned, norms are the usual ones and
        activations ReLUs, which int8 takes. The paper's 94 % is of six views of each test image.
    """
    widths = blocks.check_counts("widths", widths)
    if len(widths) < 2:
        raise ValueError(
            "Expected widths to hold the channels of at least two stages. "
            f"Received: widths={shown(widths)}"
        )
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    inputs = keras.Input(blocks.check_image_shape(input_shape), name="image")
    x = _convolution(inputs, STEM_UNITS, 2, "valid", "stem")
    x = _norm_and_relu(x, "stem")
    for stage, width in enumerate(widths, start=1):
        first, second = f"stage{stage}_layer1", f"stage{stage}_layer2"
        x = _convolution(x, width, 3, "same", first)
        padding = "valid" if min(x.shape[1:3]) > 1 else "same"  # A single pixel stays one.
        x = layers.MaxPooling2D(2, padding=padding, name=f"{first}_pool")(x)
        x = _norm_and_relu(x, first)
        x = _convolution(x, width, 3, "same", second)
        x = _norm_and_relu(x, second, name=f"stage{stage}")
    x = layers.GlobalMaxPooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    name = name or f"airbench_{'_'.join(map(str, widths))}"
    return keras.Model(inputs, blocks.logits(classes)(x), name=name)


def _convolution(x, units, kernel_size, padding, prefix):
    return layers.Conv2D(
        units,
        kernel_size,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{prefix}_conv",
    )(x)


def _norm_and_relu(x, prefix, name=None):
    x = blocks.batch_norm(name=f"{prefix}_norm")(x)
    return layers.ReLU(name=name or f"{prefix}_relu")(x)
