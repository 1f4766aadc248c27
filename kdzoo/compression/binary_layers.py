"""Layers that compute with binary kernels, and learn real ones."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.utils import check_choice
from kdzoo.utils.compression_arguments import BINARIZATIONS


def signs(x: Any) -> Any:
    """Returns 1 where x is at least 0, else -1, in its type."""
    return ops.where(x >= 0, ops.ones_like(x), -ops.ones_like(x))


def through(value: Any, x: Any) -> Any:
    """Returns a value, exactly, with the gradient of x."""
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x))


def glorot_coefficient(shape: Sequence[int]) -> float:
    """Returns √(1.5 / (inputs + outputs)), what a latent weight of 1 is kept as.

    Args:
        shape: That of the kernel.
    """
    *field, inputs, outputs = shape
    return math.sqrt(1.5 / (math.prod(field) * (inputs + outputs)))


@keras.saving.register_keras_serializable("kdzoo")
class GlorotClip(keras.constraints.Constraint):
    """Keeps a kernel within its layer's Glorot coefficient, which stands for [-1, 1]."""

    def __call__(self, w: Any) -> Any:
        limit = glorot_coefficient(w.shape)
        return ops.clip(w, -limit, limit)


class BinaryLayer(keras.layers.Layer):
    """What binary layers add to Keras's: what the kernel is that they compute with."""

    def __init__(
        self,
        *args: Any,
        binarization: str = "deterministic",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.binarization = check_choice("binarization", binarization, BINARIZATIONS)
        self.seed = seed
        if binarization == "stochastic":
            self.seed_generator = keras.random.SeedGenerator(seed)

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a weight; a kernel stays in its own type, whatever the layer computes in."""
        is_kernel = "kernel" in (kwargs.get("name"), *args[:1])
        return super().add_weight(*args, **({**kwargs, "autocast": False} if is_kernel else kwargs))

    def binary_kernel(self, training: bool | None = None) -> Any:
        """Returns the kernel to compute with; its gradient is that of the latent one."""
        return ops.cast(self.unrounded_kernel(training), self.compute_dtype)

    def unrounded_kernel(self, training: bool | None = None) -> Any:
        """Returns the kernel to compute with, in the type of the weights."""
        kernel = ops.convert_to_tensor(self.kernel)
        if self.binarization == "xnor":
            axes = tuple(range(len(kernel.shape) - 1))
            scale = ops.mean(ops.abs(kernel), axes, keepdims=True)
            return scale * through(signs(kernel), ops.clip(kernel, -1.0, 1.0))
        latent = kernel / glorot_coefficient(kernel.shape)
        if self.binarization == "deterministic":
            return through(signs(latent), latent)
        if not training:  # An average of weights, of an optimizer, may lie outside.
            return ops.clip(latent, -1.0, 1.0)
        drawn = keras.random.uniform(kernel.shape, dtype=kernel.dtype, seed=self.seed_generator)
        return through(signs((latent + 1) / 2 - drawn), latent)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "binarization": self.binarization, "seed": self.seed}


@keras.saving.register_keras_serializable("kdzoo")
class BinaryDense(BinaryLayer, keras.layers.Dense):
    """A `Dense` layer that computes with a binary kernel; `binarize` makes it."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = ops.matmul(inputs, self.binary_kernel(training))
        outputs = ops.add(outputs, self.bias) if self.use_bias else outputs
        return self.activation(outputs)


@keras.saving.register_keras_serializable("kdzoo")
class BinaryConv2D(BinaryLayer, keras.layers.Conv2D):
    """A `Conv2D` that computes with a binary kernel; `binarize` makes it."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = self.convolution_op(inputs, self.binary_kernel(training))
        if self.use_bias:
            is_last = self.data_format == "channels_last"
            shape = (1, 1, 1, self.filters) if is_last else (1, self.filters, 1, 1)
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return self.activation(outputs)
