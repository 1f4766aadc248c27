"""Masks: weights that are held at zero, exactly, in training.

The numbers that a mask leaves out are zero wherever the layer computes, so their gradients are
zero, too. Momentum, weight decay, averages of weights and accumulated gradients then stay zero.
"""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.compression.masked_layer import MaskedLayer, Masks, built_copy, check_masks, packed
from kdzoo.compression.smallest_weights import (
    as_mask,
    checked_masks,
    kernels_of,
    masks_after_rounds,
)
from kdzoo.graph.keras_internals import input_shape_argument, set_input_shape_argument
from kdzoo.graph.layer_chains import layers_with_kernels
from kdzoo.graph.surgery import compile_like, copy_of, rebuild
from kdzoo.utils import check_integer, shown


def magnitude_masks(
    model: keras.Model,
    fraction: float = 0.2,
    *,
    output_fraction: float | None = None,
    scope: Literal["layer", "global"] = "layer",
    masks: Mapping[str, np.ndarray] | None = None,
) -> Masks:
    """Returns masks that leave out the smallest weights of those that are left.

    The kernels of a model are masked: trainable weights of two axes or more; biases and
    normalizations are not. Of n weights that are left, the round(fraction · n) of the least
    magnitude go, of equal ones those that come first.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        fraction: Of the weights that are left, how many go, in [0, 1).
        output_fraction: The fraction in the layers that give the outputs; None for `fraction`. The
            paper has half of it.
        scope: `"layer"`: of the weights of each kernel, of which one at least stays. `"global"`: of
            those of all kernels together, but for the layers of the outputs where they have a
            fraction of their own.
        masks: Masks of before, whose zeros stay. None for those that the model has, if
            `apply_masks` made it.

    Returns:
        A dictionary: path of the layer and name of the weight, such as `"stage1/kernel"`, to a
        boolean array of the weight's shape, true where the weight stays.

    Raises:
        ValueError: If the model has no graph or no kernels, no layer of its outputs has one and
            there is an `output_fraction`, a fraction is out of range, or masks do not fit.

    Example:

    ```python
    sparse = apply_masks(model, magnitude_masks(model, 0.8))
    sparse.compile("adamw", loss)
    sparse.fit(x, y)  # Or as the student of a Distiller.
    strip_masks(sparse).save("sparse.keras")
    ```

    Reference: Frankle & Carbin, "The Lottery Ticket Hypothesis", 2019, arXiv:1803.03635, section 2
    and appendix G. Their code takes one weight more, and all that are as small as that one.
    """
    masks = masks_of(model) if masks is None else masks
    how: dict[str, Any] = {"fraction": fraction, "output_fraction": output_fraction, "scope": scope}
    return masks_after_rounds(model, 1, masks, masks, **how)


def random_masks(masks: Mapping[str, np.ndarray], seed: int = 0) -> Masks:
    """Returns masks of as many weights in each kernel, at random places.

    Args:
        masks: Name of a weight -> boolean array, as `magnitude_masks` returns them.
        seed: Integer of at least 0 that decides the places.

    Raises:
        ValueError: If they are no masks, or the seed is none.

    Example:

    >>> mask = np.array([[True, False], [False, False]])
    >>> int(random_masks({"logits/kernel": mask})["logits/kernel"].sum())
    1
    """
    check_integer("seed", seed, least=0)
    masks = {name: as_mask(name, mask) for name, mask in check_masks(masks).items()}
    return {
        name: np.random.default_rng([seed, number]).permutation(mask.ravel()).reshape(mask.shape)
        for number, (name, mask) in enumerate(masks.items())
    }


def apply_masks(model: keras.Model, masks: Mapping[str, np.ndarray]) -> keras.Model:
    """Returns a model in which the weights that masks leave out are zero, and stay zero.

    That holds in `fit`, alone or as the student of a `Distiller`, whatever the optimizer, but for
    the two that are named below: Muon with `use_ema`, and Adafactor at its usual `epsilon_1`. The
    layers are wrapped in layers of kdzoo, with which the model is saved and loaded; the weights are
    as many as before. `strip_masks` makes plain layers of them.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        masks: Name of a weight -> boolean array of its shape, as `magnitude_masks` returns them. A
            model that has masks gets these in their place.

    Returns:
        A new model, compiled as the model was. What it computes with is exactly zero where the
        masks say so, in and between steps. So is what `get_weights` returns, but in one case: an
        optimizer that averages weights (`use_ema`) and moves weights whose gradients are zero, as
        Muon does; `strip_masks` takes the zeros. Keras's Adafactor divides by zero where a whole
        row and a whole column of a kernel have gradients of zero, unless its `epsilon_1` is larger
        than usual, such as 1e-15.

    Raises:
        ValueError: If the model has no graph or no kernels, or a mask is of no kernel of it, of
            another shape, or not of booleans.

    Example:

    ```python
    sparse = apply_masks(model, magnitude_masks(model, 0.9))
    distiller = kdzoo.Distiller(teacher, sparse, kdzoo.losses.SoftTargets(4.0))
    ```
    """
    kernels = kernels_of(model)
    checked_masks(masks, kernels)
    of_layers: dict[int, dict[str, np.ndarray]] = {}
    for name, mask in masks.items():
        layer, _ = kernels[name]
        of_layers.setdefault(id(layer), {})[name.rpartition("/")[2]] = as_mask(name, mask)

    def replace(layer: keras.Operation, path: str) -> Any:
        inner = layer.layer if isinstance(layer, MaskedLayer) else layer
        if id(inner) not in of_layers:
            return _plain(layer)
        bits = {name: packed(mask) for name, mask in of_layers[id(inner)].items()}
        made = MaskedLayer(built_copy(inner, path), bits, trainable=layer.trainable)
        set_input_shape_argument(made, input_shape_argument(layer))
        return made, made.masked(inner.get_weights())

    return compile_like(rebuild(model, replace), model)


def strip_masks(model: keras.Model) -> keras.Model:
    """Returns a model of plain layers, whose weights are zero where the masks say so.

    Args:
        model: What `apply_masks` made, trained or not. It is not changed.

    Returns:
        A new model, compiled as the model was, which needs nothing but Keras; further training
        would fill the zeros.

    Raises:
        ValueError: If the model has no graph, or no masks.
    """
    if not masks_of(model):
        raise ValueError(
            f"Expected a model that `apply_masks` made. Received: {shown(model)}, without masks"
        )
    return compile_like(rebuild(model, lambda layer, path: _plain(layer)), model)


def masks_of(model: keras.Model) -> Masks:
    """Returns the masks that a model has, in the form of `magnitude_masks`; none is empty.

    Args:
        model: A functional or built sequential `keras.Model`.

    Raises:
        ValueError: If the model has no graph.
    """
    return {
        f"{path}/{name}": mask.copy()
        for path, layer in layers_with_kernels(model).items()
        if isinstance(layer, MaskedLayer)
        for name, mask in layer.masks.items()
    }


def _plain(layer: keras.Operation) -> Any:
    """The layer and its weights in the place of a masked one; None for another one."""
    if not isinstance(layer, MaskedLayer):
        return None
    copy = copy_of(layer.layer, trainable=layer.trainable)
    return copy, layer.masked(layer.layer.get_weights())
