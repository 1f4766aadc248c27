"""Whether a model's weights are numbers, before any of them are judged by their sizes."""

import keras
import numpy as np


def check_finite_weights(model: keras.Model) -> None:
    """Raises `ValueError` if a weight of a model has NaN or infinite values, and names it.

    Args:
        model: Any built model.
    """
    for weight in model.weights:
        if "float" in weight.dtype:
            array = keras.ops.convert_to_numpy(weight).astype("float32")
            if not np.isfinite(array).all():
                raise ValueError(
                    f"Expected finite weights. Received: {model.name!r}, whose {weight.path!r} "
                    "has NaN or infinite values"
                )
