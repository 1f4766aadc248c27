"""VGG networks for small images, with batch normalization: teachers and students on CIFAR-100."""

from collections.abc import Sequence

import keras
from keras import layers

from kdzoo.models import blocks
from kdzoo.utils import shown

LARGE = 64  # Images of this side are halved once more, before the last stage.


@blocks.channels_last
def vgg(
    stages: Sequence[Sequence[int]] = ((64,), (128,), (256,), (512,), (512,)),
    classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds a VGG network for small images, with batch normalization and one dense layer.

    Stages of 3x3 convolutions, each with norm and ReLU; 2x2 max pooling after each of the first
    three stages, and after the fourth where the shorter side of the image has 64 pixels or more;
    average, logits.
    Layers to tap: `stage1` … `stageN` (the last ReLU of each stage, before pooling), `features`,
    `logits`. Weight decay is left to the optimizer.

    The zoo's `vgg_8` and `vgg_13` are those of RepDistiller. On CIFAR-100 they have 3,963,556 and
    9,459,236 trainable parameters: its 3,965,028 and 9,462,180 without the biases of the
    convolutions, which a norm makes void.

    Args:
        stages: For each stage, at least two, the filters of its convolutions, each at least 1.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image, height and width at least 8.
        dropout: Rate of dropout before the logits, in [0, 1).
        name: Name of the model; `"vgg_"` and the number of layers with weights, as the papers count
            them with three dense layers, when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If an argument is outside its range.

    Example:

    >>> model = vgg(classes=100)
    >>> model.name, model.get_layer("stage5").output.shape
    ('vgg_8', (None, 4, 4, 512))

    Reference:
        Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", arXiv:1409.1556, whose three dense layers are one here, and the code of Tian
        et al. 2020, arXiv:1910.10699 (RepDistiller, `models/vgg.py`).
    """
    if not isinstance(stages, list | tuple) or len(stages) < 2 or not all(stages):
        raise ValueError(
            "Expected stages to hold the filters of the convolutions of at least two stages. "
            f"Received: stages={shown(stages)}"
        )
    stages = [blocks.check_counts("stages", stage) for stage in stages]
    classes = blocks.check_classes(classes)
    blocks.check_rate("dropout", dropout)
    shape = blocks.check_image_shape(input_shape)
    inputs = x = keras.Input(shape, name="image")
    halved = range(2, 5 if min(shape[:2]) < LARGE else 6)  # The stages that begin with pooling.
    for stage, filters in enumerate(stages, start=1):
        if stage in halved:
            x = blocks.max_pool(x, 2, name=f"stage{stage}_pool")
        for layer, count in enumerate(filters, start=1):
            relu = f"stage{stage}" if layer == len(filters) else None
            x = blocks.convolution_norm_relu(x, count, f"stage{stage}_layer{layer}", relu)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    name = name or f"vgg_{sum(map(len, stages)) + 3}"
    return keras.Model(inputs, blocks.logits(classes)(x), name=name)
