"""Networks of `keras.applications`, with fresh weights, as students and subjects of recipes."""

from typing import Literal

import keras

from kdzoo.utils import check_positive_integer


def keras_application(
    network: Literal["MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"],
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    size: int | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a network of `keras.applications` that scales pixels itself, with fresh weights.

    Args:
        network: Its name there: of MobileNetV3, EfficientNet, EfficientNetV2 or ConvNeXt, which
            take pixels in [0, 255].
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image.
        size: Height and width that the network sees: images are enlarged by the whole number of
            times that fits, each pixel repeated. None for images as they are.
        name: Name of the model; that of the network when None.

    Returns:
        A functional `keras.Model`, from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes).

    Raises:
        ValueError: If there is no such network, or the images are larger than `size`.
    """
    known = ("MobileNetV3", "EfficientNet", "ConvNeXt")
    build = getattr(keras.applications, network, None)
    if build is None or not network.startswith(known):
        raise ValueError(
            f"Expected a network of keras.applications whose name begins with one of {known}. "
            f"Received: {network!r}"
        )
    inputs = keras.Input(input_shape, name="image")
    x = inputs
    if size is not None:
        times = check_positive_integer("size", size) // max(input_shape[:2])
        if times < 1:
            raise ValueError(
                f"Expected a size of at least {max(input_shape[:2])}, that of the images. "
                f"Received: size={size}"
            )
        if times > 1:
            x = keras.layers.UpSampling2D(times, name="enlarged")(x)
    x = keras.layers.Rescaling(255.0, name="pixels")(x)
    made = build(weights=None, input_tensor=x, classes=classes, classifier_activation=None)
    return keras.Model(inputs, made.output, name=name or network)
