"""Biases as int8 arithmetic has them: what else a quantization-aware model's file would round."""

from typing import Any

import numpy as np

# Layers without weights that hand values on as they are, and quantizers of none.
_PASSING = (
    "ActivityRegularization",
    "Cropping2D",
    "Dropout",
    "Flatten",
    "MaxPooling2D",
    "Permute",
    "Reshape",
    "SpatialDropout2D",
    "ZeroPadding2D",
)


def round_biases(wrapped: Any) -> list[str]:
    """Rounds the biases of a model of TF-MOT's 8-bit layers, in place.

    An integer kernel adds its bias as a multiple of (step of the input) · (step of the weights).
    Batch normalizations that converters fold have their shift moved by what the folded bias lacks.

    Args:
        wrapped: The tf_keras model.

    Returns:
        The names of the layers whose biases were rounded, a list.
    """
    steps: dict[str, Any] = {}
    rounded = []
    for layer in wrapped.layers:
        step = _step_of_input(layer, steps)
        weights = _step_of_weights(layer)
        if step is not None and weights is not None and _round(layer, step * weights):
            rounded.append(layer.layer.name)
        steps[layer.name] = _step_of_output(layer, step)
    return rounded


def _step_of_input(layer, steps):
    """The step of the only tensor that a layer takes; None where it takes none or several."""
    before = [node.inbound_layers for node in layer.inbound_nodes]
    if len(before) != 1 or isinstance(before[0], list):
        return None
    return steps.get(before[0].name)


def _step_of_output(layer, step):
    """The step of what a layer gives; None if it is not quantized."""
    found = _step(getattr(layer, "quantizer", None), getattr(layer, "quantizer_vars", None))
    if getattr(layer, "_output_quantizers", None):
        found = _step(layer._output_quantizers[0], layer._output_quantizer_vars)
    for activation in getattr(layer, "_quantize_activations", ()):
        for name in ("_post_activation_vars", "_pre_activation_vars"):
            if found is None and hasattr(activation, name):
                found = _step(activation.quantizer, getattr(activation, name))
    inner = type(getattr(layer, "layer", layer)).__name__
    return step if found is None and inner in _PASSING else found


def _step_of_weights(layer):
    """The step of each output channel's weights, an array; None if they are not quantized."""
    weights = getattr(layer, "_weight_vars", ())
    if len(weights) != 1:
        return None
    _, quantizer, variables = weights[0]
    step = _step(quantizer, variables)
    return None if step is None else np.ravel(step)


def _step(quantizer, variables):
    """(max - min) / levels of a quantizer of 8 or 4 bits, else None."""
    bits = getattr(quantizer, "num_bits", None)
    if bits not in (4, 8) or not variables or "min_var" not in variables:
        return None
    low, high = (variables[name].numpy().astype("float64") for name in ("min_var", "max_var"))
    return (high - low) / (2**bits - 1 - quantizer.narrow_range)


def _round(layer, step):
    """Rounds a layer's bias, or the shift of the normalization after it; False without either."""
    bias = getattr(layer.layer, "bias", None)
    norm = _norm_after(layer)
    if norm is not None and norm.beta is not None:
        scale = 1 / np.sqrt(norm.moving_variance.numpy().astype("float64") + norm.epsilon)
        scale = scale if norm.gamma is None else scale * norm.gamma.numpy()
        own = 0 if bias is None else bias.numpy().astype("float64")
        beta = norm.beta.numpy().astype("float64")
        folded = beta + (own - norm.moving_mean.numpy()) * scale
        norm.beta.assign(beta + _to_multiple(folded, step * np.abs(scale)) - folded)
    elif norm is None and bias is not None:
        bias.assign(_to_multiple(bias.numpy().astype("float64"), step))
    else:
        return False
    return True


def _norm_after(layer):
    """The batch normalization that alone takes what a layer gives, else None."""
    after = [node.outbound_layer for node in layer.outbound_nodes]
    inner = getattr(after[0], "layer", None) if len(after) == 1 else None
    return inner if type(inner).__name__.endswith("BatchNormalization") else None


def _to_multiple(values, step):
    """The nearest multiple of the step; values as they are where it is zero."""
    safe = np.where(step > 0, step, 1)
    return np.where(step > 0, np.round(values / safe) * safe, values)
