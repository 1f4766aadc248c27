"""FitNets: the thin and deep maxout students that learn from hints."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown

# Units, side of the kernel and zeros on each side for the layers of `fitnet_mnist`, two to a stage.
MNIST_LAYERS = (
    ((16, 5, 0), (16, 3, 0)),
    ((16, 5, 3), (16, 3, 0)),
    ((12, 3, 3), (12, 3, 0)),
)


@blocks.channels_last
def fitnet(
    stages: Sequence[Sequence[int]] = ((16, 16, 16), (32, 32, 32), (48, 48, 64)),
    dense_units: int = 500,
    pieces: int = 2,
    dense_pieces: int = 2,
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds a FitNet for CIFAR: 3x3 convolutional maxout layers, many and thin.

    Stages of zero-padded 3x3 convolutional maxout layers, each but the last followed by 2x2 max
    pooling; the maximum of every map; a fully connected maxout layer; logits.
    Layers to tap: `stage1` … `stageN` (after pooling; the last before the maximum is taken),
    the fully connected layer as the next stage and, under another name, `features`; `logits`.
    The guided layer of the paper, layer 6 of FitNets 1 and 2, 8 of FitNet 3, 11 of FitNet 4, is
    `stage2`; what it learns to predict, the hint, is the teacher's `stage2` (see `maxout`).

    Of weights without biases, as the authors' script counts, `fitnet_1` … `fitnet_4` have
    249,576, 861,928, 1,503,304 and 2,544,712 (with biases 251,194, 864,122, 1,506,138 and
    2,548,602). The paper states 250K, 862K, 1.6M and 2.5M; FitNet 3 of its table 7 does not have
    the 1.6M and 392M multiplications of its table 5 but 1.5M (as table 3 says of a network of as
    many layers) and 324M. The other three agree in multiplications too: 30M, 108M and 382M.

    Args:
        stages: For each stage, at least one, the units of its layers, each at least 1.
        dense_units: Units of the fully connected maxout layer, at least 1.
        pieces: Linear functions of each convolutional unit, at least 2.
        dense_pieces: Linear functions of each fully connected unit, at least 2.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout before the logits, in [0, 1); the paper has none.
        name: Name of the model; `"fitnet_"` and the number of layers when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = fitnet(stages=((16, 32, 32), (48, 64, 80), (96, 96, 128)))
    >>> model.get_layer("stage2").output.shape
    (None, 8, 8, 80)

    Reference:
        Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, appendix A.1.2
        and table 7. Its text and the published configuration give the fully connected units five
        pieces; the stated counts hold for two (FitNet 4 would have 2,736,712 weights with
        `dense_pieces=5`). The paper starts from U(-0.005, 0.005), from which so deep a network
        learns by hints only; here the weights are larger, and labels alone can train it too.
    """
    if not isinstance(stages, list | tuple) or not stages or not all(stages):
        raise ValueError(
            "Expected stages to hold the units of the layers of at least one stage. "
            f"Received: stages={shown(stages)}"
        )
    stages = [blocks.check_counts("stages", stage) for stage in stages]
    dense_units = blocks.check_count("dense_units", dense_units)
    pieces = blocks.check_count("pieces", pieces, least=2)
    dense_pieces = blocks.check_count("dense_pieces", dense_pieces, least=2)
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    inputs = x = keras.Input(blocks.check_image_shape(input_shape), name="image")
    for stage, widths in enumerate(stages, start=1):
        final = stage == len(stages)
        for layer, units in enumerate(widths, start=1):
            ends = final and layer == len(widths)
            prefix = f"stage{stage}_layer{layer}"
            x = blocks.maxout(x, units, pieces, prefix, 3, name=f"stage{stage}" if ends else None)
        if not final:
            x = blocks.max_pool(x, 2, name=f"stage{stage}")
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    dense = f"stage{len(stages) + 1}"
    x = blocks.maxout(x, dense_units, dense_pieces, prefix=dense, name=dense)
    x = layers.Activation("linear", name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    depth = sum(map(len, stages)) + 2
    return keras.Model(inputs, blocks.logits(classes)(x), name=name or f"fitnet_{depth}_layers")


@blocks.channels_last
def fitnet_mnist(
    classes: int = 10,
    input_shape: Sequence[int] = (28, 28, 1),
    pieces: int = 2,
    dropout: float = 0.0,
    name: str | None = "fitnet_mnist",
) -> keras.Model:
    """Builds the FitNet for MNIST: six convolutional maxout layers, twice as many as its teacher.

    Layers of 16, 16, 16, 16, 12 and 12 units; every second is followed by max pooling (4x4, 4x4
    and 2x2, stride 2); logits.
    Layers to tap: `stage1`, `stage2`, `stage3` (after pooling), `features` (the last as a vector)
    and `logits`. The guided layer of the paper, layer 4, is `stage2`; what it learns to predict,
    the hint, is the teacher's `stage2` (see `maxout`): 4x4 positions both.

    It has 29,944 weights without biases, as the authors' script counts, which is the paper's 30K;
    with biases it has 30,130.

    Args:
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        pieces: Linear functions of each unit, at least 2.
        dropout: Rate of dropout before the logits, in [0, 1); the paper has none.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = fitnet_mnist()
    >>> model.get_layer("stage2").output.shape
    (None, 4, 4, 16)

    Reference:
        Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, appendix A.2;
        kernels and padding, which it does not state, are those of the authors' published
        configuration. That one has four pieces in the last two layers (35,992 weights), where the
        paper has two. Here biases are shared by all positions of a map, theirs are not.
    """
    classes = blocks.check_classes(classes)
    pieces = blocks.check_count("pieces", pieces, least=2)
    blocks.check_rate("dropout", dropout)
    inputs = x = keras.Input(blocks.check_image_shape(input_shape), name="image")
    for stage, pool_size in enumerate((4, 4, 2), start=1):
        for layer, (units, kernel_size, padding) in enumerate(MNIST_LAYERS[stage - 1], start=1):
            x = blocks.maxout(x, units, pieces, f"stage{stage}_layer{layer}", kernel_size, padding)
        x = blocks.max_pool(x, pool_size, name=f"stage{stage}")
    x = layers.Flatten(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, blocks.logits(classes)(x), name=name or "fitnet_mnist")
