"""A single layer as TF-MOT wrapped it, inside a Keras 3 layer."""

import copy
import inspect
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.clone_agreement import build_alone, check_layers_agree
from kdzoo.compression.tfmot.config_checks import Checks
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.tf_keras_layers import clone_of_layer
from kdzoo.compression.tfmot.tf_keras_weights import adopt, plain_weights
from kdzoo.graph.exportable import Exportable
from kdzoo.graph.keras_internals import (
    input_shape_argument,
    outside_of_traces,
    set_input_shape_argument,
)
from kdzoo.graph.surgery import copy_of
from kdzoo.utils import check_name, heavy_libraries, shown
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

    prunes = False

    def __init__(self, layer: keras.layers.Layer, name: str | None = None, **kwargs: Any):
        load_tfmot()
        super().__init__(name=name, dtype=layer.dtype_policy, autocast=False, **kwargs)
        self._original = _Original(layer)
        self.supports_masking = layer.supports_masking
        set_input_shape_argument(self, input_shape_argument(layer))
        self.supports_jit = False

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        names = list(inspect.signature(self._original.layer.call).parameters)[1:]
        kwargs |= dict(zip(names, args, strict=False))
        others = [kwargs[name] for name in ("value", "key") if kwargs.get(name) is not None]
        if others and not self.built:  # Keras would tell `build` of the first.
            self.build([tuple(tensor.shape) for tensor in (inputs, *others)])
        return super().__call__(inputs, **kwargs)

    def build(self, input_shape: Any) -> None:
        several = bool(input_shape) and isinstance(input_shape[0], list | tuple)
        shapes = [tuple(shape) for shape in (input_shape if several else [input_shape])]
        # TF-MOT reads the weights, so they must be there, though a model around it is traced.
        with heavy_libraries.tensorflow().init_scope(), outside_of_traces():
            self._build(shapes)

    def _build(self, shapes):
        original = self._original
        original.layer.build(*shapes)
        if original.weights is not None:
            original.layer.set_weights(original.weights)
        clone = clone_of_layer(original.layer)
        build_alone(clone, shapes)
        clone.set_weights(original.layer.get_weights())
        check_layers_agree(original.layer, clone, shapes)
        pairs = zip(original.layer.weights, clone.weights, strict=True)
        originals = {theirs.name: ours for ours, theirs in pairs}
        original.order = [weight.name for weight in clone.weights]
        original.wrapped = self._wrap(clone)
        original.wrapped.build(shapes[0])
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

    def start_pruning(self) -> None:
        """Lets the schedule of a layer that is pruned begin, now or when the layer is built."""

    def _before_training(self):
        """Raises if a training step would fail; called when one is traced."""

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

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: Any = None,
        value: Any = None,
        key: Any = None,
        initial_state: Any = None,
        attention_mask: Any = None,
        **options: Any,
    ) -> Any:
        """Computes what the wrapped layer computes.

        Args:
            inputs: The inputs; of a `MultiHeadAttention` the query.
            training: Whether the layer is being trained.
            mask: Which steps count.
            value: Of a `MultiHeadAttention`, as are `key` and `attention_mask`.
            key: The keys; the values when None.
            initial_state: The states that a recurrent layer begins with, a list.
            attention_mask: Which values each query sees.
            **options: Further arguments of the layer, none of them a tensor.
        """
        if training:
            self._before_training()
        tensors = _given(value, key, initial_state, attention_mask) | _given(mask=mask)
        # Where data of unknown length end, a step begins without any: it must not count as one.
        with heavy_libraries.tensorflow().control_dependencies(keras.tree.flatten(inputs)):
            return self.wrapped(inputs, training=bool(training), **tensors, **options)

    def compute_output_spec(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: Any = None,
        value: Any = None,
        key: Any = None,
        initial_state: Any = None,
        attention_mask: Any = None,
        **options: Any,
    ) -> Any:
        tensors = _given(value, key, initial_state, attention_mask)
        return self._original.layer.compute_output_spec(inputs, **tensors, **options)

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


def _given(
    value: Any = None,
    key: Any = None,
    initial_state: Any = None,
    attention_mask: Any = None,
    mask: Any = None,
) -> dict[str, Any]:
    """The arguments that are not None, by their names."""
    return {name: argument for name, argument in locals().items() if argument is not None}


class _Original:
    """What a wrapped layer knows of the original, where Keras does not look."""

    def __init__(self, layer: keras.layers.Layer):
        self.layer = copy_of(layer)
        self.weights = layer.get_weights() if layer.built else None
        self.wrapped: Any = None
        self.order: list[str] = []
