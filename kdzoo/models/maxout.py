"""Maxout networks: the teachers of FitNets."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import check_flag

KERNEL_SIZES = (8, 8, 5)
POOL_SIZES = (4, 4, 2)
MAX_NORMS = (0.9, 1.9365, 1.9365, 1.9, 1.9365)  # Of three stages, `stage4`, the logits.
VARIANCE = 0.5  # Of the initial weights: pooling about doubles the mean square of the maps.


@blocks.channels_last
def maxout(
    units: Sequence[int] = (48, 48, 24),
    padding: Sequence[int] = (0, 3, 3),
    dense_units: int | None = None,
    pieces: int = 2,
    dense_pieces: int = 2,
    classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    dropout: float = 0.5,
    input_dropout: float = 0.2,
    max_norm: bool = False,
    name: str | None = None,
) -> keras.Model:
    """Builds a convolutional maxout network: the teacher of FitNets' experiments.

    Three convolutional maxout layers with kernels of 8, 8 and 5 pixels, each followed by max
    pooling (4x4, 4x4 and 2x2, stride 2); where `dense_units` is given a fully connected maxout
    layer; logits. A unit has no other nonlinearity than the choice of its largest piece.
    Layers to tap: `stage1`, `stage2`, `stage3` (after pooling), `stage4` (the fully connected
    layer, if there is one), `features` (the inputs of the logits, as a vector) and `logits`. In
    FitNets the student's guided layer learns to predict `stage2`, the hint.

    The zoo's `maxout_mnist` is the network of the defaults; `maxout_cifar` has 96, 192 and 192
    units, padding (4, 3, 3) and 500 dense units. Of weights without biases, as the authors'
    script counts, they have 360,816 and 9,044,360: FitNets' 361K and 9M (and 725M
    multiplications). With biases they have 361,066 and 9,046,330.

    Args:
        units: Units of the three convolutional layers, each at least 1.
        padding: Zeros on each side of the image before each of the three convolutions.
        dense_units: Units of the fully connected maxout layer; None for no such layer.
        pieces: Linear functions of each convolutional unit, at least 2.
        dense_pieces: Linear functions of each fully connected unit, at least 2.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 12, or 8
            with a padding of 2 before the first convolution, or 4 with one of 4.
        dropout: Rate of dropout after each hidden layer, in [0, 1). The paper's is 0.5.
        input_dropout: Rate of dropout on the pixels, in [0, 1). The paper's is 0.2.
        max_norm: Whether training bounds the L2 norm of every filter, as in the papers: of `stage1`
            by 0.9, of `stage4` by 1.9, of the other stages and the logits by 1.9365.
        name: Name of the model; `"maxout_"` and the units when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range, or the images are too small.

    Example:

    >>> model = maxout()
    >>> model.get_layer("stage2").output.shape
    (None, 4, 4, 48)

    Reference:
        Goodfellow et al. 2013, "Maxout Networks", arXiv:1302.4389, and its configurations in
        pylearn2; Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550,
        appendices A.1.1 and A.2. The counts that FitNets states hold for two pieces everywhere,
        which is the default. pylearn2 has four in the MNIST network's third layer
        (418,416 weights) and, like FitNets' text on CIFAR, five in the fully connected layer
        (`dense_pieces=5`: 16,244,360). Here biases are shared by all positions of a map, on MNIST
        pylearn2's are not; the initial weights are larger than the papers' U(-0.005, 0.005).
    """
    units = blocks.check_counts("units", units, 3)
    padding = blocks.check_counts("padding", padding, 3, least=0)
    if dense_units is not None:
        dense_units = blocks.check_count("dense_units", dense_units)
    pieces = blocks.check_count("pieces", pieces, least=2)
    dense_pieces = blocks.check_count("dense_pieces", dense_pieces, least=2)
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    blocks.check_rate("input_dropout", input_dropout)
    shape = blocks.check_image_shape(input_shape, least=_least(padding))
    norms = MAX_NORMS if check_flag("max_norm", max_norm) else [None] * 5
    inputs = keras.Input(shape, name="image")
    x = layers.Dropout(input_dropout, name="input_dropout")(inputs) if input_dropout else inputs
    for stage in (1, 2, 3):
        x = _stage(x, stage, units[stage - 1], pieces, padding[stage - 1], norms[stage - 1])
        if dropout and (stage < 3 or dense_units):
            x = layers.Dropout(dropout, name=f"stage{stage}_dropout")(x)
    x = layers.Flatten(name="flatten" if dense_units else "features")(x)
    if dense_units:
        x = blocks.maxout(
            x,
            dense_units,
            dense_pieces,
            "stage4",
            variance=VARIANCE,
            max_norm=norms[3],
            name="stage4",
        )
        x = layers.Activation("linear", name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="features_dropout")(x)
    outputs = blocks.logits(classes, norms[4])(x)
    numbers = [*units, *([dense_units] if dense_units else [])]
    return keras.Model(inputs, outputs, name=name or "_".join(["maxout", *map(str, numbers)]))


def _least(padding):
    """Returns the smallest side of an image of which every stage keeps at least one pixel."""
    side = 1
    for kernel, pool, zeros in reversed(list(zip(KERNEL_SIZES, POOL_SIZES, padding, strict=True))):
        pooled = 1 if side == 1 else pool + 2 * side - 3
        side = max(1, pooled + kernel - 1 - 2 * zeros)
    return side


def _stage(x, stage, units, pieces, padding, max_norm):
    kernel_size, pool_size = KERNEL_SIZES[stage - 1], POOL_SIZES[stage - 1]
    x = blocks.maxout(x, units, pieces, f"stage{stage}", kernel_size, padding, VARIANCE, max_norm)
    return blocks.max_pool(x, pool_size, name=f"stage{stage}")
