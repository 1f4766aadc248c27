"""Shallow networks with one wide hidden layer: the students of mimic learning."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks

POOL_SIZE = 3  # Windows 2 apart: 32 pixels become 15.


@blocks.channels_last
def shallow(
    units: int = 4000,
    bottleneck: int | None = 1200,
    filters: int = 128,
    kernel_size: int = 5,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds a shallow network: one convolution, one wide hidden layer, logits.

    A convolution, ReLU, 3x3 max pooling with stride 2; a linear layer of `bottleneck` units, in
    place of one matrix from the pooled maps to the hidden layer, which would be large and slow to
    train; a hidden layer of `units` with ReLU; logits. After training,
    `kdzoo.models.absorb_bottleneck` multiplies the bottleneck and the hidden layer into one.
    Layers to tap: `stage1` (after pooling), `bottleneck`, `stage2` (the hidden layer, after ReLU),
    `features` (the hidden layer under another name, before dropout) and `logits`.

    With 30,000 units it has 70,900,938 parameters on CIFAR-10, with 64 filters 53,616,074: the
    paper's 128c-p-1200L-30k (about 70M) and 64c-p-1200L-30k (about 54M). Without the bottleneck
    128 filters and 30,000 units have 864,339,738, and 2,000 units 57,631,738.

    Args:
        units: Units of the hidden layer, at least 1.
        bottleneck: Units of the linear layer before it, at least 1; `None` for no such layer.
        filters: Filters of the convolution, at least 1; the paper has 64 and 128.
        kernel_size: Side of the filters, at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout after the hidden layer, in [0, 1). The paper has some on the net
            that learns from labels and none on those that mimic.
        name: Name of the model; `"shallow_"` and the units when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = shallow(units=200, bottleneck=50, filters=16)
    >>> model.get_layer("stage1").output.shape
    (None, 15, 15, 16)

    Reference:
        Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?", arXiv:1312.6184, section 2.3
        and table 2. The table states filters, bottleneck and units; its counts hold for padded
        filters and 15x15 positions, from which the pooling is inferred. The side of the filters
        and the initial weights are not stated.
    """
    units = blocks.check_count("units", units)
    if bottleneck is not None:
        bottleneck = blocks.check_count("bottleneck", bottleneck)
    filters = blocks.check_count("filters", filters)
    kernel_size = blocks.check_count("kernel_size", kernel_size)
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    inputs = keras.Input(blocks.check_image_shape(input_shape), name="image")
    x = layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name="stage1_conv",
    )(inputs)
    x = layers.MaxPooling2D(POOL_SIZE, strides=2, name="stage1")(x)
    x = layers.Reshape((math.prod(x.shape[1:]),), name="flatten")(x)
    if bottleneck:
        x = layers.Dense(bottleneck, kernel_initializer="lecun_normal", name="bottleneck")(x)
    x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name="stage2")(x)
    x = layers.Activation("linear", name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, blocks.logits(classes)(x), name=name or f"shallow_{units}")
