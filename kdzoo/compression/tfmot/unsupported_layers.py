"""What tf_keras or TF-MOT cannot take over: which layer, by its path, and what to do."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdzoo.compression.tfmot.config_checks import nothing_runs
from kdzoo.compression.tfmot.library import load_tf_keras, load_tfmot

if TYPE_CHECKING:
    from kdzoo.compression.tfmot.tf_keras_clone import TfKerasClone


def cannot_clone(path: str, class_name: str, reason: str) -> ValueError:
    """Returns the error for the first layer or operation that tf_keras cannot take over.

    Args:
        path: Its path in the user's model.
        class_name: What it is, such as `"Dense"`.
        reason: Why tf_keras cannot, in words that follow a colon.
    """
    return ValueError(
        f"Expected layers that tf_keras has too, which TF-MOT works on. Received: {path!r}, a "
        f"{class_name}: {reason}. Replace it, or keep it out: compress the part before it as a "
        "model of its own."
    )


def find_refused_layer(
    model: Any, annotated: Callable[[Any], Any], scheme: Any, message: str
) -> Any | None:
    """Returns the tf_keras layer that TF-MOT could not quantize, or None if none is to blame.

    Args:
        model: The tf_keras clone.
        annotated: Function that marks a layer.
        scheme: The scheme.
        message: What TF-MOT said, which names the layer or does not.
    """
    tf_keras = load_tf_keras()
    found = re.match(r"Layer (\S+):<class ", message)
    if found:
        return model.get_layer(found[1])
    tools = load_tfmot().quantization.keras
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.InputLayer | tf_keras.layers.BatchNormalization):
            continue
        shapes = tf_keras.backend.int_shape(layer.get_input_at(0))
        shapes = shapes if isinstance(shapes, list) else [shapes]
        inputs = [tf_keras.Input(shape[1:]) for shape in shapes]
        try:
            with tools.quantize_scope(), nothing_runs():
                made = type(layer).from_config(layer.get_config())
                marked = annotated(made)
                if marked is made:  # It stays in float32.
                    continue
                outputs = marked(inputs if len(inputs) > 1 else inputs[0])
                tools.quantize_apply(tf_keras.Model(inputs, outputs), scheme)
        except (RuntimeError, TypeError, ValueError):
            return layer
    return None


def cannot_quantize(clone: "TfKerasClone", layer: Any) -> ValueError:
    """Returns the error for a tf_keras layer that TF-MOT cannot quantize: its path, and a remedy.

    Args:
        clone: The clone that it is of.
        layer: The layer.
    """
    class_name = type(layer).__name__
    # LiteRT calibrates no loop.
    is_loop = class_name in ("RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional")
    mode = "'dynamic'" if is_loop else "'int8', representative_data"
    remedy = (
        "leave it in float32 by `allow_float=True` in `quantize_model`, or by "
        "`quantize_annotate_layer` on the others and `quantize_apply`, or quantize after training, "
        "with "
        f"`kdzoo.export.to_litert(model, path, {mode})`"
    )
    if class_name == "BatchNormalization":
        remedy = "pass `fold_batch_normalization(model)`, as it follows no convolution of its own"
    path = clone.path_of(layer.name)
    if path != layer.name and layer.name not in {*clone.names.values(), *clone.sources}:
        class_name += " that its activation consists of"
    activation = layer.get_config().get("activation", "linear")
    if activation not in ("linear", "relu", "softmax"):
        class_name += f" with activation {activation!r}"
        if activation == "relu6":
            remedy = "give it no activation and put a `keras.layers.ReLU(6)` after it"
    return ValueError(
        f"Expected layers that TF-MOT can quantize. Received: {path!r}, a {class_name}; {remedy}."
    )
