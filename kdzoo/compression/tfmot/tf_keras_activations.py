"""Which activations are carried over to tf_keras, and which are made of several layers there."""

import functools
from typing import Any

from kdzoo.compression.tfmot.library import load_tf_keras
from kdzoo.compression.tfmot.unsupported_layers import cannot_clone
from kdzoo.utils import heavy_libraries

SHARED_ACTIVATIONS = frozenset(
    {"elu", "exponential", "gelu", "leaky_relu", "linear", "mish", "relu", "relu6", "selu"}
    | {"sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"}
)
"""Activations that have one meaning in Keras 3 and in tf_keras."""

COMPOSED_ACTIVATIONS = ("hard_sigmoid", "hard_silu", "hard_swish")
"""Activations that tf_keras lacks, or has with another meaning, made of several layers."""

_ARGUMENTS = {"activation": "activation", "recurrent_activation": "recurrent activation"}
_OLD_HARD_SIGMOID = "kdzoo>HardSigmoidOfKeras2"


def take_composed_activation(config: dict[str, Any], path: str, class_name: str) -> str | None:
    """Takes one of `COMPOSED_ACTIVATIONS` out of a layer's configuration and returns it.

    Args:
        config: The configuration of the Keras 3 layer; its activation becomes "linear".
        path: Path of the layer, for errors.
        class_name: Name of the layer's class, for errors.

    Returns:
        Name of the activation, or None if the layer of tf_keras computes its own.

    Raises:
        ValueError: If tf_keras has no such activation.
    """
    composed = None
    for key, words in _ARGUMENTS.items():
        activation = config.get(key)
        if _is_of_keras_2(activation):
            config[key] = "hard_sigmoid"  # Which tf_keras has as Keras 2 had it.
        elif key == "activation" and activation in COMPOSED_ACTIVATIONS:
            config[key], composed = "linear", activation
        elif activation is not None and not _is_shared(activation):
            reason = f"tf_keras has no {words} {described(activation)}"
            raise cannot_clone(path, class_name, reason)
    return composed


def _is_shared(activation):
    return isinstance(activation, str) and activation in SHARED_ACTIVATIONS


def _is_of_keras_2(activation):
    """Whether this is the configuration of kdzoo's layer for the `hard_sigmoid` of Keras 2."""
    return isinstance(activation, dict) and activation.get("registered_name") == _OLD_HARD_SIGMOID


def described(value: Any) -> str:
    """Returns a value of a configuration for an error: its class, or its own text, shortened."""
    value = value.get("class_name") if isinstance(value, dict) else value
    return repr(value)[:80]


@functools.cache
def hard_silu_layer() -> type:
    """Returns the class of a tf_keras layer that computes x · relu6(x + 3) / 6.

    Of this form, and of no other, LiteRT's converter makes one integer operator.
    """
    tf_keras, tf = load_tf_keras(), heavy_libraries.tensorflow()

    @tf_keras.utils.register_keras_serializable("kdzoo")
    class HardSilu(tf_keras.layers.Layer):  # type: ignore[name-defined]
        def call(self, inputs):
            return inputs * tf.nn.relu6(inputs + 3.0) * (1 / 6)

    return HardSilu
