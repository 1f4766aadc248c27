"""Marks on layers that are to be quantized, as TF-MOT's `quantize_annotate_layer` sets them."""

import warnings
from typing import Any

import keras

from kdzoo.compression.tfmot.library import check_model
from kdzoo.compression.tfmot.quantize_configs import as_quantize_config, quantize_config_as_fields
from kdzoo.compression.tfmot.wrapped_layer import wrapper_name
from kdzoo.graph.calls import graph_of
from kdzoo.graph.keras_internals import input_shape_argument, set_input_shape_argument
from kdzoo.graph.quantizable import as_quantizable
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.utils import shown


def quantize_annotate_layer(
    to_annotate: keras.layers.Layer, quantize_config: Any = None
) -> "QuantizeAnnotate":
    """Returns a layer that marks another one for `quantize_apply`, and computes what it computes.

    Args:
        to_annotate: A `keras.layers.Layer`.
        quantize_config: A `QuantizeConfig` of TF-MOT that says how the layer is quantized; None for
            the default of its class.

    Raises:
        ValueError: If it is no layer, or the configuration is none of TF-MOT's.

    Example:

    ```python
    def annotated(layer):  # Dense layers are quantized, others stay in float32.
        return quantize_annotate_layer(layer) if isinstance(layer, keras.layers.Dense) else layer


    model = keras.models.clone_model(base, clone_function=annotated)
    quantized = quantize_apply(model)
    ```
    """
    _check_layer(to_annotate)
    return QuantizeAnnotate(to_annotate, quantize_config)


def _check_layer(to_annotate):
    is_layer = isinstance(to_annotate, keras.layers.Layer)
    if not is_layer or isinstance(to_annotate, keras.Model):
        raise ValueError(
            "Expected a `keras.layers.Layer`; for models there is `quantize_model`. Received: "
            f"to_annotate={shown(to_annotate)} of type {type(to_annotate).__name__}"
        )


def quantize_annotate_model(to_annotate: keras.Model) -> "AnnotatedModel":
    """Returns a copy of a model that marks all of its layers for `quantize_apply`.

    `quantize_model` does both; this is for a scheme of one's own.

    Args:
        to_annotate: The functional or sequential `keras.Model`; it is not changed. Layers that
            `quantize_annotate_layer` annotated keep their own configuration.

    Raises:
        ValueError: If the model has no graph.

    Warns:
        UserWarning: Names `Lambda` layers, which are left out.

    Example:

    ```python
    annotated = quantize_annotate_model(strip_pruning(pruned))
    quantized = quantize_apply(annotated, Default8BitPrunePreserveQuantizeScheme())
    ```
    """
    check_model("to_annotate", to_annotate)
    functions = []

    def replace(layer: keras.Operation, path: str) -> keras.layers.Layer | None:
        if isinstance(layer, keras.layers.Lambda):
            functions.append(path)
        return copy_of_annotated(layer, path)

    quantizable = as_quantizable(to_annotate, replace=copy_of_annotated)
    graph = graph_of(rebuild(quantizable, replace))
    if functions:
        warnings.warn(
            f"Not marked in {to_annotate.name!r}: {', '.join(functions)} (a Lambda, whose function "
            "`quantize_apply` cannot carry over; put a layer in its place before that).",
            stacklevel=2,
        )
    return AnnotatedModel(graph.input, graph.output, name=to_annotate.name)


def copy_of_annotated(layer: keras.Operation, path: str) -> "QuantizeAnnotate | None":
    """Returns a copy of a marked layer, with its very configuration; None of others.

    The class of a configuration may be known to its maker alone.

    Args:
        layer: The layer, of any class.
        path: Its path, which does not matter.
    """
    if not isinstance(layer, QuantizeAnnotate):
        return None
    return QuantizeAnnotate(
        copy_of(layer.layer),
        layer.quantize_config,
        layer.name,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )


@keras.saving.register_keras_serializable("kdzoo")
class AnnotatedModel(keras.Model):
    """A model of which all layers are to be quantized; `quantize_annotate_model` makes it."""


@keras.saving.register_keras_serializable("kdzoo")
class QuantizeAnnotate(keras.layers.Wrapper):
    """Marks a layer for quantization; `quantize_annotate_layer` makes it.

    Args:
        layer: The layer.
        quantize_config: A `QuantizeConfig` of TF-MOT, or its serialized form, or None.
        name: Name of this layer.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        quantize_config: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        name = wrapper_name(layer, name, "quantize_annotate")
        _check_layer(layer)
        super().__init__(layer, name=name, **kwargs)
        set_input_shape_argument(self, input_shape_argument(layer))
        self.quantize_config = as_quantize_config(quantize_config)

    @property
    def annotated_layer(self) -> keras.layers.Layer:
        """The layer that is marked; the tf_keras clone has it in the place of this one."""
        return self.layer

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layer(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = quantize_config_as_fields(self.quantize_config)
        return {**super().get_config(), "quantize_config": config}
