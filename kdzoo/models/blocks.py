"""What the families share: the checks of their arguments, batch normalization and the head."""

import numbers

import keras


def is_count(value, least=1):
    """Says whether `value` is an integer (and no boolean) of at least `least`."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least


def check_classes(classes):
    """Raises `ValueError` unless `classes` is an integer of at least 2."""
    if not is_count(classes, 2):
        raise ValueError(
            f"Expected classes to be an integer of at least 2. Received: classes={classes!r}"
        )


def check_rate(argument, rate):
    """Raises `ValueError` unless `rate`, the value of `argument`, lies in [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
        raise ValueError(f"Expected {argument} to lie in [0, 1). Received: {argument}={rate!r}")


def check_image_shape(input_shape, least=8):
    """Returns `input_shape` as a tuple of three integers.

    Args:
        input_shape: (height, width, channels) of one image, without the batch axis.
        least: The smallest height and width allowed.

    Returns:
        `(height, width, channels)`.

    Raises:
        ValueError: If it is anything else, or the image is smaller than `least`.
    """
    shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else ()
    if len(shape) != 3 or not all(map(is_count, shape)) or min(shape[:2]) < least:
        raise ValueError(
            "Expected input_shape to be (height, width, channels), height and width at least "
            f"{least}, without the batch axis. Received: input_shape={input_shape!r}"
        )
    return tuple(int(size) for size in shape)


def batch_norm(epsilon=1e-5, name=None):
    """Batch normalization that averages over about ten batches, as these small images want."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)


def logits(classes):
    """The last layer of every family: one float32 logit for each class, in any dtype policy."""
    return keras.layers.Dense(classes, dtype="float32", name="logits")
