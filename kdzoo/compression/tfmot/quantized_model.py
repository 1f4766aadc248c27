"""A model that is trained aware of its quantization."""

import copy
import re
from typing import Any

import keras

from kdzoo.compression.tfmot import bias_rounding, preserve_schemes
from kdzoo.compression.tfmot.config_checks import Checks, nothing_runs
from kdzoo.compression.tfmot.library import (
    load_tf_keras,
    load_tfmot,
    output_config,
)
from kdzoo.compression.tfmot.own_quantization import (
    in_integer_form,
    own_config,
    stays_in_float,
)
from kdzoo.compression.tfmot.quantize_configs import check_attributes
from kdzoo.compression.tfmot.quantize_schemes import as_scheme, scheme_as_fields
from kdzoo.compression.tfmot.tf_keras_weights import unwrapped
from kdzoo.compression.tfmot.unsupported_layers import cannot_quantize, find_refused_layer
from kdzoo.compression.tfmot.wrapped_model import WrappedModel
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils.field_checks import is_boolean

_RANGES_AT_FIRST = {0.0, 6.0}  # What TF-MOT's quantizers start from, without the sign.


@keras.saving.register_keras_serializable("kdzoo")
class QuantizedModel(WrappedModel):
    """A model that is trained aware of its quantization; `quantize_model` makes it.

    Args:
        model: The `keras.Model`.
        prefix: What the wrapped layers' names begin with.
        scheme: A scheme of TF-MOT, see `quantize_apply`, or its serialized form; None for 8 bits.
        annotated_only: Whether layers that are not annotated stay in float32.
        kernels: Of a model that keeps clusters and is loaded: how many values its kernels had when
            it was made.
        name: Name of the model.
        allow_float: Whether layers that cannot be quantized stay in float32.
    """

    def __init__(
        self,
        model: keras.Model,
        prefix: str = "quant_",
        scheme: Any = None,
        annotated_only: bool = False,
        kernels: dict[str, dict[str, Any]] | None = None,
        name: str | None = None,
        *,
        allow_float: bool = False,
    ):
        halves = [
            layer.name
            for layer in flatten_layers(model, include_self=False)
            if layer.weights and layer.dtype_policy.compute_dtype != "float32"
        ]
        if halves:
            raise ValueError(
                "Expected layers that compute in float32, as TF-MOT quantizes no others. Received: "
                f"{halves[0]!r} in {model.name!r}; build the model under "
                "`keras.config.set_dtype_policy('float32')` and copy the weights."
            )
        if not _is_prefix(prefix):
            raise ValueError(
                "Expected a quantized_layer_name_prefix of letters, digits, '_', '.' and '-'. "
                f"Received: {prefix!r}"
            )
        self._prefix, self._annotated_only = prefix, annotated_only
        self._allow_float, self._unquantized = allow_float, ()
        self._scheme, self._kernels = as_scheme(scheme), kernels
        super().__init__(model, name)

    _quantizes = True

    @property
    def scheme(self) -> Any:
        """The scheme, an object of TF-MOT."""
        return self._scheme

    def round_biases(self) -> list[str]:
        """Rounds the biases to what int8 arithmetic adds, in place, so that the file agrees more.

        To be called when training is over. TF-MOT trains with biases in float32, and a converter
        rounds them to multiples of the input's step times the weights'; the rare value that then
        falls the other way is carried on from layer to layer. After this call the model adds what
        its file adds.

        Returns:
            The names of the layers whose biases, or the shifts of the normalization after them,
            were rounded, a list. Left alone are layers with several inputs, after layers in
            float32, and with quantizers of other than 8 bits.
        """
        return bias_rounding.round_biases(self.wrapped)

    def _computed(self, wrapped):
        layers = preserve_schemes.preserving_layers(wrapped)
        return [
            kernel for _, kernel, variables in layers if preserve_schemes.has_clusters(variables)
        ]

    def _further_variables(self, wrapped):
        return preserve_schemes.own_masks(wrapped)

    def _wrap(self, clone):
        if not preserve_schemes.keeps_clusters(self._scheme):
            self._kernels = None
        elif self._kernels is None:
            self._kernels = preserve_schemes.describe_kernels(clone.model)
        else:
            preserve_schemes.set_stand_ins(clone.model, self._kernels)
        tools, tf_keras = load_tfmot().quantization.keras, load_tf_keras()

        for name, config in clone.annotations.items():
            check_attributes(clone.model.get_layer(name), config, clone.path_of(name))

        in_float: dict[str, str] = {}

        def annotated(layer):
            config = clone.annotations.get(layer.name)
            if self._annotated_only and layer.name not in clone.annotations:
                return layer
            if config is None:
                layer = in_integer_form(layer)
                config = own_config(layer)
            if config is None and self._allow_float and stays_in_float(layer, self._scheme):
                in_float[layer.name] = clone.path_of(layer.name)
                config = output_config()
            return tools.quantize_annotate_layer(layer, config)

        try:
            with tools.quantize_scope(*_custom(clone.annotations)), nothing_runs():
                marked = tf_keras.models.clone_model(clone.model, clone_function=annotated)
                made = tools.quantize_apply(marked, self._scheme, self._prefix)
        except (RuntimeError, TypeError, ValueError) as error:
            refused = find_refused_layer(clone.model, annotated, self._scheme, str(error))
            if refused is None:
                raise
            raise cannot_quantize(clone, refused) from error
        self._unquantized = tuple(in_float.values())
        return made

    @property
    def is_quantization_aware(self) -> bool:
        """True: the export needs no data to find the ranges of the activations."""
        return True

    @property
    def has_seen_data(self) -> bool:
        """Whether it has learned ranges, of inputs or outputs, as it does while it is trained."""
        ranges = [
            abs(float(weight))
            for layer in self.wrapped.layers
            for weight in layer.weights
            if weight.shape.rank == 0 and re.search("_(min|max):0$", weight.name)
        ]
        return not set(ranges) <= _RANGES_AT_FIRST or not ranges

    @property
    def layers_in_float(self) -> list[str]:
        """The paths of the layers that stay in float32, in the file too; a list.

        Layers without kernels are among them where `allow_float` left them in float32.
        """
        # TF-MOT also wraps the layer before an annotated one, for its output alone.
        quantized = {
            unwrapped(layer).name
            for layer in self.wrapped.layers
            if getattr(layer, "_weight_vars", None)
        }
        return list(dict.fromkeys([*self.left_out(quantized), *self._unquantized]))

    @classmethod
    def checks_of_fields(cls) -> Checks:
        return {
            **super().checks_of_fields(),
            "prefix": _is_prefix,
            "scheme": lambda value: value is None or isinstance(value, dict),
            "annotated_only": is_boolean,
            "kernels": preserve_schemes.is_description,
            "allow_float": is_boolean,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "prefix": self._prefix,
            "scheme": scheme_as_fields(self._scheme),
            "annotated_only": self._annotated_only,
            "kernels": copy.deepcopy(self._kernels),
            **({"allow_float": True} if self._allow_float else {}),
        }


def _is_prefix(value):
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}|", value)


def _custom(annotations):
    """The user's own configurations by name, for the scope in which TF-MOT copies layers."""
    configs = [config for config in annotations.values() if config is not None]
    return [{type(config).__name__: type(config) for config in configs}]
