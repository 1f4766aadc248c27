"""What TF-MOT cannot quantize: which layer, by its name in the user's model, and what to do."""

import re

from kdzoo.compression.tfmot.config_checks import nothing_runs
from kdzoo.compression.tfmot.library import load_tfmot


def refused_layer(model, annotated, scheme, message):
    """Returns the tf_keras layer that TF-MOT could not quantize, or None if none is to blame.

    Args:
        model: The twin.
        annotated: Function that marks a layer.
        scheme: The scheme.
        message: What TF-MOT said, which names the layer or does not.
    """
    import tf_keras

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


def refusal(twin, layer):
    """The error for a tf_keras layer that TF-MOT cannot quantize: its path, and a remedy."""
    remedy = (
        "leave it in float32 by `quantize_annotate_layer` on the others and "
        "`quantize_apply`, or quantize after training, with "
        "`kdzoo.export.to_litert(model, path, 'int8', representative_data)`"
    )
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        remedy = "pass `fold_batch_normalization(model)`, as it follows no convolution"
    path = twin.path_of(layer.name)
    if path != layer.name and layer.name not in {*twin.names.values(), *twin.sources}:
        kind += " that its activation consists of"
    activation = layer.get_config().get("activation", "linear")
    if activation not in ("linear", "relu", "softmax"):
        kind += f" with activation {activation!r}"
        if activation == "relu6":
            remedy = "give it no activation and put a `keras.layers.ReLU(6)` after it"
    return ValueError(
        f"Expected layers that TF-MOT can quantize. Received: {path!r}, a {kind}; {remedy}."
    )
