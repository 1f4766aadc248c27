"""Activations of Keras 2 that Keras 3 computes otherwise under the same name."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("kdzoo")
class HardSigmoidOfKeras2(keras.layers.Layer):
    """`clip(0.2 * x + 0.5, 0, 1)`, Keras 2's `hard_sigmoid`; Keras 3's has slope 1/6.

    It computes in the type of its inputs, whatever its own is, as an activation function does.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Returns numbers in [0, 1], of the shape and type of the inputs."""
        return keras.ops.clip(0.2 * inputs + 0.5, 0.0, 1.0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of the inputs."""
        return input_shape

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Returns the shape and type of the inputs."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)
