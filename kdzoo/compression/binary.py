"""Weights of one bit: BinaryConnect, deterministic and stochastic, and XNOR-Net's scaled signs."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kdzoo.graph.layer_chains import (
    Chain,
    check_layers,
    layers_with_kernels,
    why_left,
    with_chains,
)
from kdzoo.utils import check_choice, check_flag, check_integer

Binarization = Literal["deterministic", "stochastic", "xnor"]

_METHODS = ("deterministic", "stochastic", "xnor")


@dataclasses.dataclass(frozen=True)
class BinaryReport:
    """What `binarize` made of a model.

    Attributes:
        layers: Path of each layer whose kernel is binary -> how many numbers that has.
        left: Path of each other layer that has a kernel -> why it was left.
        real: How many numbers of the model's weights are not binary.
    """

    layers: dict[str, int]
    left: dict[str, str]
    real: int


def binarize(
    model: keras.Model,
    *,
    layers: Collection[str] | None = None,
    method: Binarization = "deterministic",
    seed: int | None = None,
) -> tuple[keras.Model, BinaryReport]:
    """Makes dense layers and convolutions compute with binary weights, and learn real ones.

    A layer keeps a latent kernel w, of which it computes with

    - `"deterministic"`: sign(w), where sign(0) = 1;
    - `"stochastic"`: in training 1 with the chance (w + 1) / 2, else -1, drawn anew at each call;
      in inference w itself;
    - `"xnor"`: α · sign(w), with α the mean of |w| for each output.

    The gradient goes through the sign as it is. By BinaryConnect w is clipped to [-1, 1], and kept
    multiplied by the layer's Glorot coefficient √(1.5 / (inputs + outputs)), which scales learning
    rates as the paper does: by its inverse for Adam and the like, by the square of that for SGD.
    It starts at the model's kernel over twice the coefficient: from a fresh Glorot-uniform
    initialization, at uniform numbers in [-1, 1]. Where outputs become sums of ±1, a
    normalization has to follow. By XNOR w is the model's kernel.

    The new model trains with any loss and optimizer, and as the student of a `Distiller`.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        layers: Paths of the layers (names joined by "/" through nested models); None for every
            `Dense` and `Conv2D` that can be. XNOR-Net leaves the first and the last.
        method: How weights become binary.
        seed: Where the draws of `"stochastic"` begin; None for anywhere.

    Returns:
        A new model, compiled as the model was, and a `BinaryReport`. `strip_binarization` makes
        plain layers of it.

    Raises:
        ValueError: If the model has no graph, the method is unknown, or a layer in `layers` does
            not exist or cannot be binary.

    Example:

    ```python
    binary, report = kdzoo.compression.binarize(student)
    distiller = kdzoo.Distiller(teacher, binary, kdzoo.losses.SoftTargets(4.0))
    ...
    report = kdzoo.save_compressed(kdzoo.compression.strip_binarization(binary), "student.kdz")
    ```

    References: Courbariaux, Bengio & David, "BinaryConnect", 2015, arXiv:1511.00363, sections 2.3,
    2.4 and 3.1; Rastegari et al., "XNOR-Net", 2016, arXiv:1603.05279, section 3.1 (real inputs).
    """
    check_choice("method", method, _METHODS)
    if seed is not None:
        check_integer("seed", seed, 0, (1 << 32) - 1)
    known = layers_with_kernels(model)
    plain = (keras.layers.Dense, keras.layers.Conv2D)
    left = {path: why for path, layer in known.items() if (why := why_left(layer, plain))}
    paths = check_layers(layers, known, left)
    chains = {
        path: _binary(known[path], method, None if seed is None else seed + number)
        for number, path in enumerate(paths)
    }
    made = with_chains(model, chains, known)
    counts = {path: math.prod(known[path].kernel.shape) for path in paths}
    for path in known.keys() - counts.keys() - left.keys():
        left[path] = "not among the layers that were named"
    real = made.count_params() - sum(counts.values())
    return made, BinaryReport(counts, {path: left[path] for path in known if path in left}, real)


def strip_binarization(model: keras.Model, *, real_valued: bool = False) -> keras.Model:
    """Returns a model of plain layers that have the binary weights for kernels.

    It can be exported, or saved by `save_compressed`, at one bit a weight.

    Args:
        model: What `binarize` made, trained or not. It is not changed.
        real_valued: Whether kernels are the latent weights instead, with which the stochastic
            method computes in inference.

    Returns:
        A new model, compiled as the model was. Its outputs are those of the model in inference, of
        the stochastic method only with `real_valued`.

    Raises:
        ValueError: If the model has no graph, or no binary layer.
    """
    check_flag("real_valued", real_valued)
    known = layers_with_kernels(model)
    chains = {
        path: _plain(layer, real_valued)
        for path, layer in known.items()
        if isinstance(layer, _Binary)
    }
    if not chains:
        raise ValueError(
            "Expected a model that `binarize` made. Received: "
            f"{model.name!r}, without binary layers"
        )
    return with_chains(model, chains, known)


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


class _Binary(keras.layers.Layer):
    """What binary layers add to Keras's: what the kernel is that they compute with."""

    def __init__(
        self,
        *args: Any,
        binarization: str = "deterministic",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.binarization = check_choice("binarization", binarization, _METHODS)
        self.seed = seed
        if binarization == "stochastic":
            self.seed_generator = keras.random.SeedGenerator(seed)

    def binary_kernel(self, training: bool | None = None) -> Any:
        """Returns the kernel to compute with; its gradient is that of the latent one."""
        kernel = ops.convert_to_tensor(self.kernel)
        if self.binarization == "xnor":
            axes = tuple(range(len(kernel.shape) - 1))
            return ops.mean(ops.abs(kernel), axes, keepdims=True) * _through(_signs(kernel), kernel)
        latent = kernel / glorot_coefficient(kernel.shape)
        if self.binarization == "deterministic":
            return _through(_signs(latent), latent)
        if not training:
            return latent
        drawn = keras.random.uniform(kernel.shape, dtype=kernel.dtype, seed=self.seed_generator)
        return _through(_signs((latent + 1) / 2 - drawn), latent)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "binarization": self.binarization, "seed": self.seed}


@keras.saving.register_keras_serializable("kdzoo")
class BinaryDense(_Binary, keras.layers.Dense):
    """A `Dense` layer that computes with a binary kernel; `binarize` makes it."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = ops.matmul(inputs, self.binary_kernel(training))
        outputs = ops.add(outputs, self.bias) if self.use_bias else outputs
        return self.activation(outputs)


@keras.saving.register_keras_serializable("kdzoo")
class BinaryConv2D(_Binary, keras.layers.Conv2D):
    """A `Conv2D` that computes with a binary kernel; `binarize` makes it."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = self.convolution_op(inputs, self.binary_kernel(training))
        if self.use_bias:
            is_last = self.data_format == "channels_last"
            shape = (1, 1, 1, self.filters) if is_last else (1, self.filters, 1, 1)
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return self.activation(outputs)


def _signs(x):
    return ops.where(x >= 0, ops.ones_like(x), -ops.ones_like(x))


def _through(value, x):
    """A value, exactly, with the gradient of x."""
    return ops.stop_gradient(value) + (x - ops.stop_gradient(x))


def _binary(layer: keras.layers.Layer, method: str, seed: int | None) -> Chain:
    """The binary layer in the place of a plain one, and its weights."""
    kernel, *bias = layer.get_weights()
    made_of = BinaryDense if isinstance(layer, keras.layers.Dense) else BinaryConv2D
    config = {**layer.get_config(), "binarization": method, "seed": seed}
    if method != "xnor":
        config["kernel_constraint"] = keras.constraints.serialize(GlorotClip())
        limit = glorot_coefficient(kernel.shape)
        kernel = np.clip(kernel / 2, -limit, limit).astype(kernel.dtype)
    return [(made_of.from_config(config), [kernel, *bias])]


def _plain(layer: "BinaryDense | BinaryConv2D", real_valued: bool) -> Chain:
    """The plain layer in the place of a binary one, and its weights."""
    kernel, *bias = layer.get_weights()
    values = kernel.astype("float32")
    signs = np.where(values >= 0, 1, -1)
    if layer.binarization == "xnor":
        axes = tuple(range(kernel.ndim - 1))
        binary = np.abs(values).mean(axes, keepdims=True) * signs
    else:
        values = values / glorot_coefficient(kernel.shape)
        binary = signs
    config = layer.get_config()
    for name in ("binarization", "seed"):
        del config[name]
    made_of = keras.layers.Dense if isinstance(layer, keras.layers.Dense) else keras.layers.Conv2D
    made = made_of.from_config({**config, "kernel_constraint": None})
    return [(made, [(values if real_valued else binary).astype(kernel.dtype), *bias])]
