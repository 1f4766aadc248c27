"""Plain convolutional networks: teachers, assistants and students of teacher assistants."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown


@blocks.channels_last
def plain_cnn(
    stages: Sequence[Sequence[int]] = ((16,), (16,)),
    hidden: Sequence[int] = (),
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds a plain convolutional network: no shortcuts, fully connected at the end.

    Stages of 3x3 convolutions, each with norm and ReLU, and 2x2 max pooling after each stage; the
    maps as a vector; fully connected hidden layers with ReLU; logits.
    Layers to tap: `stage1` … `stageN` (the stages after pooling, then the hidden layers after
    ReLU), `features` (the last of them as a vector) and `logits`. Weight decay is left to the
    optimizer.

    The zoo's `plain_cnn_2` … `plain_cnn_10` are the paper's networks for CIFAR-10, named after
    their convolutions, with 13,114, 37,434, 83,002, 328,442 and 2,489,322 parameters on its images,
    the biases of the convolutions left out, which a norm makes void. For CIFAR-100 the authors
    double the channels of the four smaller ones (`stages=((32,), (32,))` and so on).

    Args:
        stages: For each stage, at least one, the filters of its convolutions, each at least 1.
        hidden: Units of each hidden layer, each at least 1; `()` for none.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout before the logits, in [0, 1).
        name: Name of the model; `"plain_cnn_"` and the number of convolutions when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = plain_cnn(stages=((16, 16), (32, 32)))
    >>> model.name, model.get_layer("features").output.shape
    ('plain_cnn_4', (None, 2048))

    Reference:
        Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant",
        arXiv:1902.03393, and the authors' code (`plain_cnn_cifar.py`).
    """
    if not isinstance(stages, list | tuple) or not stages or not all(stages):
        raise ValueError(
            "Expected stages to hold the filters of the convolutions of at least one stage. "
            f"Received: stages={shown(stages)}"
        )
    stages = [blocks.check_counts("stages", stage) for stage in stages]
    hidden = blocks.check_counts("hidden", hidden)
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    inputs = x = keras.Input(blocks.check_image_shape(input_shape), name="image")
    for stage, filters in enumerate(stages, start=1):
        for layer, count in enumerate(filters, start=1):
            x = blocks.convolution_norm_relu(x, count, f"stage{stage}_layer{layer}")
        x = blocks.max_pool(x, 2, name=f"stage{stage}")
    vector = "flatten" if hidden else "features"
    x = layers.Reshape((math.prod(x.shape[1:]),), name=vector)(x)
    for stage, units in enumerate(hidden, start=len(stages) + 1):
        x = layers.Dense(
            units, activation="relu", kernel_initializer="he_normal", name=f"stage{stage}"
        )(x)
    if hidden:
        x = layers.Activation("linear", name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    name = name or f"plain_cnn_{sum(map(len, stages))}"
    return keras.Model(inputs, blocks.logits(classes)(x), name=name)
