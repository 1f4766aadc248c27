"""BranchyNets: a LeNet that may stop after its first convolution."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks


@blocks.channels_last
def branchy_lenet(
    classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    name: str | None = None,
) -> keras.Model:
    """Builds B-LeNet: a LeNet of three 5x5 convolutions with an exit after the first.

    The convolutions have 5, 10 and 20 filters and padding of 3, each is followed by 2x2 max pooling
    and ReLU; then come 84 units and the logits. The exit has a 3x3 convolution of 10 filters,
    pooling and ReLU. On 28 x 28 images the first exit takes 220,150 multiply-accumulates, the last
    one alone 1,140,070: 5.18 times as many.

    Layers to tap: `stage1`, `stage2`, `stage3` (the convolutions after pooling and ReLU),
    `features` and the two exits, `exit1` and `logits`.

    Args:
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        name: Name of the model; `"branchy_lenet"` when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to a list of two float32 logits (batch, classes), those of the first exit and of the last.

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> [output.shape for output in branchy_lenet().outputs]
    [(None, 10), (None, 10)]

    Reference:
        Teerapittayanon et al. 2016, "BranchyNet", arXiv:1709.01686, section IV.
    """
    classes = blocks.check_classes(classes)
    inputs = x = keras.Input(blocks.check_image_shape(input_shape), name="image")
    x = first = _stage(x, 5, "stage1")
    for number, filters in enumerate((10, 20), start=2):
        x = _stage(x, filters, f"stage{number}")
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, activation="relu", kernel_initializer="he_normal", name="features")(x)
    branch = layers.Conv2D(
        10, 3, padding="same", kernel_initializer="he_normal", name="exit1_conv"
    )(first)
    branch = layers.Flatten(name="exit1_flatten")(_pooled(branch, "exit1_units"))
    outputs = [
        layers.Dense(classes, dtype="float32", name="exit1")(branch),
        blocks.logits(classes)(x),
    ]
    return keras.Model(inputs, outputs, name=name or "branchy_lenet")


def _stage(x, filters, name):
    """A 5x5 convolution that sees 3 zeros at each edge, pooling and ReLU."""
    x = layers.ZeroPadding2D(3, name=f"{name}_zeros")(x)
    x = layers.Conv2D(filters, 5, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return _pooled(x, name)


def _pooled(x, name):
    return layers.ReLU(name=name)(blocks.max_pool(x, 2, name=f"{name}_pool"))
