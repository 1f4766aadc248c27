"""A single layer as TF-MOT wrapped it, inside a Keras 3 layer."""

import copy
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.clone_agreement import check_layers_agree
from kdzoo.compression.tfmot.config_checks import Checks
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.tf_keras_layers import clone_of_layer
from kdzoo.compression.tfmot.tf_keras_weights import adopt, plain_weights
from kdzoo.graph.exportable import Exportable
from kdzoo.graph.keras_internals import input_shape_argument, set_input_shape_argument
from kdzoo.graph.surgery import copy_of
from kdzoo.utils import check_name, shown
from kdzoo.utils.field_checks import check_fields, is_boolean, is_dictionary, is_name


def wrapper_name(layer: Any, name: str | None, prefix: str) -> str:
    """Returns the name of the wrapper of a layer: the one that was given, or the layer's own.

    Args:
        layer: The layer.
        name: The name that was given, or None.
        prefix: What comes before the layer's own name.

    Raises:
        ValueError: If it is no layer, or no name.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"Expected a keras.layers.Layer. Received: layer={shown(layer)} of type "
            f"{type(layer).__name__}"
        )
    return check_name(name) or f"{prefix}_{layer.name}"


class WrappedLayer(Exportable, keras.layers.Layer):
    """A Keras 3 layer that computes as TF-MOT's wrapper around its tf_keras clone.

    A subclass says, in `_wrap`, what TF-MOT makes of the clone.

    Args:
        layer: The `keras.layers.Layer`, built or not; it is copied.
        name: Name of the new layer.
    """

    def __init__(self, layer: keras.layers.Layer, name: str | None = None, **kwargs: Any):
        load_tfmot()
        super().__init__(name=name, dtype=layer.dtype_policy, autocast=False, **kwargs)
        self._original = _Original(layer)
        self.supports_masking = layer.supports_masking
        set_input_shape_argument(self, input_shape_argument(layer))
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        original = self._original
        original.layer.build(input_shape)
        if original.weights is not None:
            original.layer.set_weights(original.weights)
        clone = clone_of_layer(original.layer)
        clone.build(input_shape)
        clone.set_weights(original.layer.get_weights())
        check_layers_agree(original.layer, clone, input_shape)
        pairs = zip(original.layer.weights, clone.weights, strict=True)
        originals = {theirs.name: ours for ours, theirs in pairs}
        original.order = [weight.name for weight in clone.weights]
        original.wrapped = self._wrap(clone)
        original.wrapped.build(input_shape)
        weights = [*original.wrapped.weights, *self._further_variables()]
        trainable = {id(variable) for variable in original.wrapped.trainable_weights}
        adopt(self, weights, trainable, originals)

    @property
    def is_being_compressed(self) -> bool:
        """True: it is no plain layer yet."""
        return True

    def _wrap(self, clone):
        """Returns the layer that TF-MOT makes of a tf_keras layer."""
        raise NotImplementedError

    def _further_variables(self):
        """What the wrapped layer computes with besides its weights, `tf.Variable`s."""
        return []

    @property
    def wrapped(self) -> Any:
        """TF-MOT's wrapper, whose variables are this layer's; `None` before it is built."""
        return self._original.wrapped

    @property
    def order(self) -> list[str]:
        """The names of the weights before TF-MOT wrapped the layer; empty before it is built."""
        return self._original.order

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        options = {} if mask is None else {"mask": mask}
        return self.wrapped(inputs, training=bool(training), **options)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return self._original.layer.compute_mask(inputs, previous_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._original.layer.compute_output_shape(input_shape)

    def plain_layer(self) -> keras.layers.Layer:
        """Returns a new layer like the original one, without weights."""
        return copy_of(self._original.layer)

    def plain_weights(self) -> list[np.ndarray]:
        """The weights of the original layer, as training left them, a list of arrays."""
        return plain_weights(self.wrapped, self.order)

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self._original.layer)
        return {"layer": layer, "name": self.name, "trainable": self.trainable}

    @classmethod
    def checks_of_fields(cls) -> Checks:
        """Returns name of a field of the configuration -> whether a value of a file fits it."""
        return {"layer": is_dictionary, "name": is_name, "trainable": is_boolean}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WrappedLayer":
        checks = cls.checks_of_fields()
        check_fields(cls.__name__, config, checks, optional=checks.keys() - {"layer"})
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(copy.deepcopy(config.pop("layer")))
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                f"Expected the layer in the configuration of a {cls.__name__}. Received: a "
                f"{type(layer).__name__}"
            )
        return cls(layer, **config)


class _Original:
    """What a wrapped layer knows of the original, where Keras does not look."""

    def __init__(self, layer: keras.layers.Layer):
        self.layer = copy_of(layer)
        self.weights = layer.get_weights() if layer.built else None
        self.wrapped: Any = None
        self.order: list[str] = []
