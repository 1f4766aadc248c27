"""A layer that computes with zeros in the place of some of its weights."""

import base64
import binascii
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.graph.surgery import copy_of
from kdzoo.utils import shown, unknown_name

Masks = dict[str, np.ndarray]
"""Name of a weight -> boolean array of its shape, true where the weight is kept."""


@keras.saving.register_keras_serializable("kdzoo")
class MaskedLayer(keras.layers.Wrapper):
    """A layer that computes with zeros in the place of some weights; `apply_masks` makes it.

    Args:
        layer: The layer.
        masks: Name of a weight of it, such as `"kernel"`, -> the bits of its mask, in base64.
        name: Name of this layer; the layer's when None.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        masks: Mapping[str, str],
        name: str | None = None,
        **kwargs: Any,
    ):
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(f"Expected a keras.layers.Layer. Received: layer={shown(layer)}")
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, name=layer.name if name is None else name, **kwargs)
        self.supports_masking = layer.supports_masking
        self._given = dict(check_masks(masks))
        if layer.built:
            self._hold()

    def _hold(self) -> None:
        """Unpacks the masks, and lets optimizers keep the zeros where they would not."""
        weights = weights_by_name(self.layer)
        self._masks = {}
        for name, bits in self._given.items():
            if name not in weights:
                raise unknown_name(f"weight of {self.layer.name!r}", name, weights)
            weight = weights[name]
            self._masks[name] = mask = _unpacked(name, bits, tuple(weight.shape))
            weight.constraint = functools.partial(_constrained, mask, weight.constraint)

    def build(self, *args: Any, **kwargs: Any) -> None:
        if not self.layer.built:
            super().build(*args, **kwargs)
            self._hold()

    @property
    def masks(self) -> Masks:
        """Name of a weight of the layer -> boolean array, true where the weight is kept."""
        return dict(self._masks)

    def masked(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns weights of the layer with zeros where the masks say so.

        Args:
            weights: Arrays in the order of the layer's weights.
        """
        names = weights_by_name(self.layer)
        return [
            np.where(self._masks[name], weight, np.zeros((), weight.dtype))
            if name in self._masks
            else weight
            for name, weight in zip(names, weights, strict=True)
        ]

    def call(self, *args: Any, **kwargs: Any) -> Any:
        masks = {id(weights_by_name(self.layer)[name]): mask for name, mask in self._masks.items()}
        variables = self.layer.variables
        values = [(v, _zeroed(masks[id(v)], v) if id(v) in masks else v.value) for v in variables]
        with keras.StatelessScope(values, collect_losses=True) as scope:
            before = [scope.get_current_value(variable) for variable in variables]
            outputs = self.layer(*args, **kwargs)
        for variable, value in zip(variables, before, strict=True):
            if scope.get_current_value(variable) is not value:  # Such as a dropout's seed.
                variable.assign(scope.get_current_value(variable))
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "masks": dict(self._given)}


def weights_by_name(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Returns name -> weight, in the order of the weights.

    Args:
        layer: The layer. A name that several of its weights have gets the number of the weight.
    """
    names = [weight.name for weight in layer.weights]
    return {
        weight.name if names.count(weight.name) == 1 else f"{weight.name}_{number}": weight
        for number, weight in enumerate(layer.weights)
    }


def check_masks(masks: Any) -> Mapping[str, Any]:
    """Returns what was given for masks.

    Args:
        masks: What was given.

    Raises:
        ValueError: If it is no dictionary of names.
    """
    if not isinstance(masks, Mapping) or not all(isinstance(name, str) for name in masks):
        raise ValueError(
            "Expected masks as a dictionary: name of a weight to a mask. Received: "
            f"masks={shown(masks)}"
        )
    return masks


def built_copy(layer: keras.layers.Layer, path: str) -> keras.layers.Layer:
    """Returns a layer of the same configuration, with variables of its own.

    Args:
        layer: The built layer.
        path: Where it is in its model.

    Raises:
        ValueError: If it does not say by which shapes it was built.
    """
    copy, built_by = copy_of(layer), layer.get_build_config()
    if built_by:
        copy.build_from_config(built_by)
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if [tuple(weight.shape) for weight in copy.weights] != shapes:
        raise ValueError(
            "Expected layers that can be built again from the shape of their inputs. Received: "
            f"{path!r} of type {type(layer).__name__}"
        )
    return copy


def packed(mask: np.ndarray) -> str:
    """Returns the bits of a mask in base64, as a `MaskedLayer` takes them.

    Args:
        mask: The boolean array.
    """
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


def _unpacked(name: str, bits: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of its bits in base64."""
    count = math.prod(shape)
    try:
        content = base64.b64decode(bits, validate=True)
    except (TypeError, ValueError, binascii.Error):
        content = b""
    if len(content) != -(-count // 8):
        raise ValueError(
            f"Expected the bits of a mask of shape {shape} in base64 for {name!r}. Received: "
            f"{shown(bits)}"
        )
    return np.unpackbits(np.frombuffer(content, "uint8"), count=count).astype(bool).reshape(shape)


def _zeroed(mask: np.ndarray, weight: Any) -> Any:
    """A weight, with zeros where a mask says so; their gradients are zero, whatever comes after."""
    value = ops.convert_to_tensor(weight)
    return ops.where(mask, value, ops.zeros((), value.dtype))


def _constrained(mask: np.ndarray, constraint: Callable | None, weight: Any) -> Any:
    """What a weight's own constraint makes of it where a mask keeps it, and zeros elsewhere."""
    value = _zeroed(mask, weight)
    return value if constraint is None else _zeroed(mask, constraint(value))
