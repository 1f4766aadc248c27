"""The variables of tf_keras layers, as Keras 3 has them, and without TF-MOT's wrappers."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.library import plain_variable
from kdzoo.graph.keras_internals import track_variable


def unwrapped(layer: Any) -> Any:
    """The layer that TF-MOT wrapped, or the layer itself if it did not."""
    is_wrapper = type(layer).__module__.startswith("tensorflow_model_optimization")
    return layer.layer if is_wrapper and hasattr(layer, "layer") else layer


def adopt(
    owner: keras.layers.Layer,
    variables: Iterable[Any],
    trainable: Collection[int],
    originals: dict[str, keras.Variable],
) -> None:
    """Makes `tf.Variable`s the own variables of a Keras 3 model or layer, without copying them.

    Args:
        owner: The model or layer.
        variables: The variables; one that comes twice counts once.
        trainable: The `id`s of those that are trained.
        originals: Name of a variable -> the Keras 3 variable whose regularizer and constraint it
            gets.
    """
    unique = {id(variable): variable for variable in variables}
    names: Counter[str] = Counter()
    for variable in unique.values():
        name = variable.name.removesuffix(":0").replace("/", "_")
        names[name] += 1
        plain = plain_variable(variable)
        ours = keras.Variable(
            plain,
            trainable=id(variable) in trainable,
            dtype=plain.dtype.name,
            # `.h5` files hold one of a name.
            name=name if names[name] == 1 else f"{name}_{names[name] - 1}",
        )
        original = originals.get(variable.name)
        if original is not None:
            ours.regularizer, ours.constraint = original.regularizer, original.constraint
            # TF-MOT's quantization would train what the user froze.
            ours.trainable = ours.trainable and original.trainable
        track_variable(owner, ours)


def plain_weights(wrapped: Any, order: list[str]) -> list[np.ndarray]:
    """The weights of a layer that TF-MOT wrapped, in an order of their names, a list of arrays."""
    values = {weight.name: weight.numpy() for weight in wrapped.weights}
    return [values[name] for name in order]
