"""Fully connected networks: Hinton's teacher and students on MNIST."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import check_flag, is_number, shown


@blocks.channels_last
def mlp(
    hidden: Sequence[int] = (1200, 1200),
    classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    max_norm: float | None = None,
    name: str | None = None,
    *,
    batch_norm: bool = False,
) -> keras.Model:
    """Builds a fully connected network with ReLU hidden layers.

    Layers to tap: `stage1` … `stageN` (the hidden layers, after ReLU), `features` (the last of
    them under another name, before dropout) and `logits`. Weight decay is left to the optimizer.

    Args:
        hidden: Units of each hidden layer, at least one layer, each at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image.
        dropout: Rate of dropout after each hidden layer, in [0, 1).
        input_dropout: Rate of dropout on the pixels, in [0, 1).
        max_norm: Largest L2 norm of the weights into a hidden unit, above 0; `None` for any. The
            paper's teacher has such a bound.
        name: Name of the model; `"mlp_"` and the hidden units when None.
        batch_norm: Whether a batch normalization follows each dense layer, the last one included,
            none of which has a bias then; binary weights want that.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = mlp(hidden=(800, 800), dropout=0.5, input_dropout=0.2)
    >>> model.count_params() == 784 * 800 + 800 + 800 * 800 + 800 + 800 * 10 + 10
    True

    Reference:
        Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network",
        arXiv:1503.02531, section 3: a teacher of two layers of 1200 units, students of 800.
    """
    if not isinstance(hidden, list | tuple) or not hidden or not all(map(blocks.is_count, hidden)):
        raise ValueError(
            "Expected hidden to hold the units of at least one layer, positive integers. "
            f"Received: hidden={shown(hidden)}"
        )
    hidden = tuple(map(int, hidden))
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    blocks.check_rate("input_dropout", input_dropout)
    check_flag("batch_norm", batch_norm)
    if max_norm is not None and not (is_number(max_norm) and max_norm > 0):
        raise ValueError(
            f"Expected max_norm above 0, or None. Received: max_norm={shown(max_norm)}"
        )
    shape = blocks.check_image_shape(input_shape, least=1)
    inputs = keras.Input(shape, name="image")
    x = layers.Reshape((math.prod(shape),), name="flatten")(inputs)
    if input_dropout:
        x = layers.Dropout(input_dropout, name="input_dropout")(x)
    for stage, units in enumerate(hidden, start=1):
        x = _hidden(x, units, max_norm, f"stage{stage}", batch_norm)
        if stage == len(hidden):
            x = layers.Activation("linear", name="features")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"stage{stage}_dropout")(x)
    if batch_norm:
        dense = layers.Dense(classes, use_bias=False, dtype="float32", name="logits_dense")
        norm = layers.BatchNormalization(momentum=0.9, dtype="float32", name="logits")
        outputs = norm(dense(x))
    else:
        outputs = blocks.logits(classes)(x)
    return keras.Model(inputs, outputs, name=name or "_".join(["mlp", *map(str, hidden)]))


def _hidden(x, units, max_norm, name, batch_norm):
    """A hidden layer; BinaryConnect's initial weights where a normalization follows."""
    bound = None if max_norm is None else keras.constraints.MaxNorm(max_norm)
    options = {"kernel_constraint": bound}
    if not batch_norm:
        dense = layers.Dense(units, "relu", kernel_initializer="he_normal", name=name, **options)
        return dense(x)
    x = layers.Dense(units, use_bias=False, name=f"{name}_dense", **options)(x)
    return layers.ReLU(name=name)(blocks.batch_norm(name=f"{name}_norm")(x))
