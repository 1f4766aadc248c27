"""Weights of one bit: BinaryConnect, XNOR-Net's scaled signs, and BinaryNet's sign activations."""

import dataclasses
import math
from collections.abc import Collection

import keras
import numpy as np

from kdzoo.compression.binary_layers import (
    BinaryConv2D,
    BinaryDense,
    BinaryLayer,
    GlorotClip,
    glorot_coefficient,
)
from kdzoo.compression.sign_activations import (
    activations_read_by,
    binary_sign,
    is_sign,
    plain_sign,
    with_sign,
)
from kdzoo.graph.calls import nodes_within
from kdzoo.graph.layer_chains import (
    Chain,
    check_layers,
    layers_with_kernels,
    left_with_reasons,
    why_left,
    with_chains,
)
from kdzoo.graph.surgery import copy_of
from kdzoo.utils import check_choice, check_flag, check_integer
from kdzoo.utils.compression_arguments import BINARIZATIONS, Binarization


@dataclasses.dataclass(frozen=True)
class BinaryReport:
    """What `binarize` made of a model.

    Attributes:
        layers: Path of each layer whose kernel is binary -> how many numbers that has.
        left: Path of each other layer that has a kernel -> why it was left.
        real: How many numbers of the model's weights are not binary.
        signs: Names of the layers and operations whose activation became a sign.
        real_inputs: Paths of the binary layers whose inputs are no signs, as far as signs were
            wanted.
    """

    layers: dict[str, int]
    left: dict[str, str]
    real: int
    signs: tuple[str, ...] = ()
    real_inputs: tuple[str, ...] = ()


def binarize(
    model: keras.Model,
    *,
    layers: Collection[str] | None = None,
    method: Binarization = "deterministic",
    seed: int | None = None,
    sign_activations: bool = False,
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
    normalization has to follow. By XNOR w is the model's kernel, and the gradient goes through the
    sign where |w| is at most 1.

    With `sign_activations` layers also read signs, as in BinaryNet: the activation before a binary
    layer, if it is a ReLU or alike, becomes sign(x), whose gradient is that of clip(x, -1, 1).
    Pooling of maxima, dropout and reshapes may lie between them. The first layer reads the images.

    The new model trains with any loss and optimizer, and as the student of a `Distiller`.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        layers: Paths of the layers (names joined by "/" through nested models); None for every
            `Dense` and `Conv2D` that can be. XNOR-Net leaves the first and the last.
        method: How weights become binary.
        seed: Where the draws of `"stochastic"` begin; None for anywhere.
        sign_activations: Whether activations become signs, too.

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
    2.4 and 3.1; Rastegari et al., "XNOR-Net", 2016, arXiv:1603.05279, section 3.1 (real inputs);
    Courbariaux, Hubara et al., "Binarized Neural Networks", 2016, arXiv:1602.02830, section 1.
    """
    check_choice("method", method, BINARIZATIONS)
    if seed is not None:
        check_integer("seed", seed, 0, (1 << 32) - 1)
    check_flag("sign_activations", sign_activations)
    known = layers_with_kernels(model)
    plain = (keras.layers.Dense, keras.layers.Conv2D)
    left = {path: why for path, layer in known.items() if (why := why_left(layer, plain))}
    paths = check_layers(layers, known, left)
    chains = {
        path: _binary(known[path], method, None if seed is None else seed + number)
        for number, path in enumerate(paths)
    }
    changed: dict[str, keras.Operation] = {path: known[path] for path in paths}
    readers = [known[path] for path in paths] if sign_activations else []
    signed, real_inputs = activations_read_by(model, readers)
    _add_signs(chains, changed, signed)
    made = with_chains(model, chains, changed)
    counts = {path: math.prod(known[path].kernel.shape) for path in paths}
    return made, BinaryReport(
        counts,
        left_with_reasons(known, left, paths),
        made.count_params() - sum(counts.values()),
        tuple(operation.name for operation in signed),
        tuple(path for path in paths if known[path] in real_inputs),
    )


def _add_signs(chains, changed, signed):
    """Adds what takes the place of activations to the binary layers, some of which have them."""
    paths = {id(layer): path for path, layer in changed.items()}
    for number, operation in enumerate(signed):
        path = paths.get(id(operation))
        if path is None:
            chains[f"sign {number}"], changed[f"sign {number}"] = with_sign(operation), operation
        else:
            ((layer, weights),) = chains[path]
            chains[path] = [(copy_of(layer, activation=binary_sign), weights)]


def strip_binarization(model: keras.Model, *, real_valued: bool = False) -> keras.Model:
    """Returns a model of plain layers that have the binary weights for kernels.

    It can be exported, or saved by `save_compressed`, at one bit a weight, and by XNOR a scale for
    each output.

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
    known = {str(number): node.operation for number, node in enumerate(nodes_within(model))}
    chains = {path: _plain(layer, real_valued) for path, layer in known.items() if _is_made(layer)}
    if not any(isinstance(known[path], BinaryLayer) for path in chains):
        raise ValueError(
            "Expected a model that `binarize` made. Received: "
            f"{model.name!r}, without binary layers"
        )
    return with_chains(model, chains, known)


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


def _is_made(operation):
    """Whether `binarize` made a layer of a model, a binary one or a sign."""
    return isinstance(operation, BinaryLayer) or (
        isinstance(operation, keras.layers.Layer) and is_sign(operation)
    )


def _plain(layer: keras.layers.Layer, real_valued: bool) -> Chain:
    """Plain layers in the place of one that `binarize` made, and their weights."""
    if type(layer) is keras.layers.Activation:
        return plain_sign(layer.name, layer.dtype_policy)
    if isinstance(layer, BinaryLayer):
        config = {**layer.get_config(), "kernel_constraint": None}
        for name in ("binarization", "seed"):
            del config[name]
        is_dense = isinstance(layer, keras.layers.Dense)
        made_of = keras.layers.Dense if is_dense else keras.layers.Conv2D
        weights = _plain_weights(layer, real_valued)
    else:
        config, made_of, weights = layer.get_config(), type(layer), layer.get_weights()
    if not is_sign(layer):
        return [(made_of.from_config(config), weights)]
    made = made_of.from_config({**config, "activation": "linear"})
    return [(made, weights), *plain_sign(f"{layer.name}_sign", layer.dtype_policy)]


def _plain_weights(layer, real_valued):
    """The weights of a binary layer, with the kernel that it computes with, or the latent one."""
    kernel, *bias = layer.get_weights()
    if real_valued == (layer.binarization == "stochastic"):
        # What it computes with, to the last bit: a sign after it may turn on that.
        made = keras.ops.convert_to_numpy(layer.unrounded_kernel())
    elif not real_valued:
        made = np.where(kernel >= 0, 1, -1)
    elif layer.binarization == "xnor":
        made = kernel
    else:
        made = np.clip(kernel.astype("float32") / glorot_coefficient(kernel.shape), -1, 1)
    return [made.astype(kernel.dtype), *bias]
