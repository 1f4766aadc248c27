"""Which weights of a model can be masked, and which of them are the smallest."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kdzoo.compression.masked_layer import MaskedLayer, Masks, check_masks, weights_by_name
from kdzoo.graph.final_activation import operations_before_outputs
from kdzoo.graph.finite_weights import check_finite_weights
from kdzoo.graph.keras_internals import functional_of
from kdzoo.graph.layer_chains import layers_with_kernels
from kdzoo.utils import check_choice, check_fraction, unknown_name

_SCOPES = ("layer", "global")
_NO_KERNELS = ("bias", "gamma", "beta", "alpha", "scale")  # Whatever axes they have.


def masks_after_rounds(
    model: keras.Model,
    rounds: int,
    masks: Mapping[str, np.ndarray],
    begun: Mapping[str, np.ndarray],
    *,
    fraction: float,
    output_fraction: float | None = None,
    scope: Literal["layer", "global"] = "layer",
) -> Masks:
    """Returns masks without as many of the smallest weights as some rounds take together.

    Of n weights before the first round, round((1 - (1 - fraction) ** rounds) · n) are gone then. So
    what a round loses by rounding comes with a later one, and many rounds of few weights arrive.

    Args:
        model: What the round before has left. It is not changed.
        rounds: How many rounds there have been with this one, at least 1.
        masks: Those of the round before, whose zeros stay.
        begun: Those before the first round, whose zeros do not count.
        fraction: As `magnitude_masks` takes it, of each round.
        output_fraction: As `magnitude_masks` takes it.
        scope: As `magnitude_masks` takes it.

    Raises:
        ValueError: As `magnitude_masks` does.
    """
    fraction = check_fraction("fraction", fraction)
    check_choice("scope", scope, _SCOPES)
    kernels = kernels_of(model)
    check_finite_weights(model)
    before, first = checked_masks(masks, kernels), checked_masks(begun, kernels)
    rates = dict.fromkeys(kernels, fraction)
    of_outputs: list[str] = []
    if output_fraction is not None:
        of_outputs = _of_outputs(model, kernels)
        rates |= dict.fromkeys(of_outputs, check_fraction("output_fraction", output_fraction))
    values = {name: _magnitudes(weight) for name, (_, weight) in kernels.items()}
    others = [name for name in kernels if name not in of_outputs]
    together = scope == "global" and others
    groups = [others, *([name] for name in of_outputs)] if together else [[n] for n in kernels]
    made: Masks = {}
    for names in groups:
        kept = np.concatenate([before[name].ravel() for name in names])
        found = np.concatenate([values[name].ravel() for name in names])
        whole = sum(int(first[name].sum()) for name in names)
        count = min(_left(whole, rates[names[0]], rounds), int(kept.sum()))
        kept = _with_smallest_gone(found, kept, count)
        ends = np.cumsum([before[name].size for name in names])[:-1]
        for name, part in zip(names, np.split(kept, ends), strict=True):
            made[name] = part.reshape(before[name].shape)
    return {name: made[name] for name in kernels}


def _left(whole: int, fraction: float, rounds: int) -> int:
    """How many weights are left after some rounds, at least one."""
    # 1 - (1 - fraction) ** rounds, which after one round is exactly the fraction.
    gone = fraction * sum((1 - fraction) ** number for number in range(rounds))
    return max(whole - round(gone * whole), 1)


def kernels_of(model: keras.Model) -> dict[str, tuple[keras.layers.Layer, keras.Variable]]:
    """Returns name -> layer and weight, of all weights of a model that can be masked.

    Args:
        model: A functional or built sequential `keras.Model`.

    Raises:
        ValueError: If the model has no graph, or no kernels.
    """
    found = {}
    for path, layer in layers_with_kernels(model).items():
        layer = layer.layer if isinstance(layer, MaskedLayer) else layer
        trained = {id(weight) for weight in layer.trainable_weights}
        for name, weight in weights_by_name(layer).items():
            is_kernel = len(weight.shape) > 1 and weight.name not in _NO_KERNELS
            if is_kernel and id(weight) in trained:
                found[f"{path}/{name}"] = layer, weight
    if not found:
        raise ValueError(
            "Expected a model with kernels: trainable weights of two axes or more. Received: "
            f"{model.name!r} without any"
        )
    return found


def _of_outputs(model: keras.Model, kernels: Mapping[str, Any]) -> list[str]:
    """The names of the kernels of the layers that give a model's outputs."""
    waiting, last = [model], set()
    while waiting:
        for operations in operations_before_outputs(waiting.pop()):
            if operations and functional_of(operations[-1]) is not None:
                waiting.append(operations[-1])
            elif operations:
                layer = operations[-1]
                last.add(id(layer.layer if isinstance(layer, MaskedLayer) else layer))
    found = [name for name, (layer, _) in kernels.items() if id(layer) in last]
    if not found:
        raise ValueError(
            "Expected a model that ends in a layer with a kernel, or output_fraction=None. "
            f"Received: {model.name!r}, which ends in another one"
        )
    return found


def _magnitudes(weight: keras.Variable) -> np.ndarray:
    values = ops.convert_to_numpy(weight)
    return np.abs(values.astype("float64" if values.dtype == "float64" else "float32"))


def _with_smallest_gone(magnitudes: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """A mask that keeps so many of the weights that another one kept, all of them flat arrays."""
    left = np.flatnonzero(kept)
    kept = kept.copy()
    kept[left[np.argsort(magnitudes[left], kind="stable")[: len(left) - count]]] = False
    return kept


def as_mask(name: str, mask: Any) -> np.ndarray:
    """Returns a mask as an array.

    Args:
        name: Name of its weight, for the error.
        mask: What was given.

    Raises:
        ValueError: If it has no booleans.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(
            f"Expected a mask of booleans. Received: one in {mask.dtype.name} for {name!r}"
        )
    return mask


def checked_masks(masks: Any, kernels: Mapping[str, tuple[Any, keras.Variable]]) -> Masks:
    """Returns a mask for each kernel, all true where none was given.

    Args:
        masks: What was given.
        kernels: What `kernels_of` returned.

    Raises:
        ValueError: If one is of no kernel, of another shape, or not of booleans.
    """
    checked = {name: np.ones(tuple(weight.shape), bool) for name, (_, weight) in kernels.items()}
    for name, mask in check_masks(masks).items():
        if name not in kernels:
            raise unknown_name("kernel", name, kernels)
        mask, shape = as_mask(name, mask), checked[name].shape
        if mask.shape != shape:
            raise ValueError(
                f"Expected a mask of shape {shape} for {name!r}. Received: shape {mask.shape}"
            )
        checked[name] = mask
    return checked
