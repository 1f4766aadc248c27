"""LeNets: the networks that papers on compression measure since Deep Compression."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks


@blocks.channels_last
def lenet(
    filters: Sequence[int] = (20, 50),
    hidden: Sequence[int] = (500,),
    classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds LeNet-5 in Caffe's form or, without convolutions, LeNet-300-100.

    5x5 convolutions, each followed by 2x2 max pooling and, as in Caffe, by no other nonlinearity;
    fully connected hidden layers with ReLU; logits. LeNet-300-100 is `filters=()` and
    `hidden=(300, 100)`. They have 431,080 and 266,610 parameters, the counts of Caffe and of Deep
    Compression's tables 2 and 3 (431K and 267K).
    Layers to tap: `stage1` … `stageN` (the convolutional layers after pooling, then the hidden
    layers after ReLU), `features` (the last of them under another name, before dropout) and
    `logits`. Weight decay is left to the optimizer.

    Args:
        filters: Filters of each convolutional layer, each at least 1; `()` for none.
        hidden: Units of each hidden layer, at least one layer, each at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image; with two convolutional layers height
            and width at least 13.
        dropout: Rate of dropout after each hidden layer, in [0, 1).
        name: Name of the model; `"lenet_"`, the filters and the hidden units when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range, or the images are too small.

    Example:

    >>> lenet().count_params(), lenet(filters=(), hidden=(300, 100)).count_params()
    (431080, 266610)

    Reference:
        Han, Mao & Dally 2016, "Deep Compression", arXiv:1510.00149, tables 2 and 3; LeCun et al.
        1998, "Gradient-Based Learning Applied to Document Recognition", whose LeNet-5 has six and
        sixteen filters, some of them sparsely connected, and other nonlinearities.
    """
    filters = blocks.check_counts("filters", filters)
    hidden = blocks.check_counts("hidden", hidden)
    if not hidden:
        raise ValueError(
            f"Expected hidden to hold the units of at least one layer. Received: {hidden=}"
        )
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    shape = blocks.check_image_shape(input_shape, least=4 * 2 ** len(filters) - 3)
    inputs = x = keras.Input(shape, name="image")
    for stage, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 5, kernel_initializer="lecun_normal", name=f"stage{stage}_conv")(x)
        x = blocks.max_pool(x, 2, name=f"stage{stage}")
    x = layers.Reshape((math.prod(x.shape[1:]),), name="flatten")(x)
    for stage, units in enumerate(hidden, start=len(filters) + 1):
        x = layers.Dense(
            units, activation="relu", kernel_initializer="he_normal", name=f"stage{stage}"
        )(x)
        if stage == len(filters) + len(hidden):
            x = layers.Activation("linear", name="features")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"stage{stage}_dropout")(x)
    outputs = blocks.logits(classes)(x)
    numbers = map(str, (*filters, *hidden))
    return keras.Model(inputs, outputs, name=name or "_".join(["lenet", *numbers]))
