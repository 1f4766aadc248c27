"""Models that end in probabilities, and the same models ending in logits."""

import keras

from kdzoo.utils import finalize_states, shown

_STRIPPED = ("softmax", "sigmoid")
# Other names of the same functions.
_ALIASES = {"softmax_v2": "softmax"}
# Layers that hand on what they are given, in another shape or type.
_PASSING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)


def final_activation(model):
    """Names the activation that turns a model's logits into probabilities.

    Args:
        model: A `keras.Model`.

    Returns:
        `"softmax"` or `"sigmoid"` if an output of the model is one; `None` if no output is, or
        the model is subclassed and cannot be looked into.
    """
    if isinstance(model, keras.Sequential):
        layers = [layer for layer in model.layers if not _passes(layer)]
        return _activation(layers[-1]) if layers else None
    for tensor in keras.tree.flatten(getattr(model, "outputs", None) or []):
        if name := _activation(_maker(tensor)):
            return name
    return None


def _passes(operation):
    """Whether an operation hands its input on: a reshape, or the identity."""
    identity = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return identity or isinstance(operation, _PASSING)


def _maker(tensor):
    """The operation that made the values of a tensor, whatever reshaped them since."""
    operation = tensor._keras_history.operation
    while _passes(operation) and len(operation._inbound_nodes) == 1:
        operation = keras.tree.flatten(operation.input)[0]._keras_history.operation
    return operation


def as_logits(model):
    """Returns a copy of a classifier that gives logits instead of probabilities, weights kept.

    A softmax or sigmoid at the end becomes the identity, be it the activation of the last layer, a
    layer of its own or inside a nested model; everything else stays. The copy shares no weights
    with the original, which is not changed.

    Args:
        model: A functional or Sequential `keras.Model`.

    Returns:
        A new `keras.Model`, or `model` itself if it ends in neither.

    Raises:
        ValueError: If the model is subclassed, or ends in the function `keras.ops.softmax` or
            `keras.ops.sigmoid`, or uses its last layer in another place as well.

    Example:

    ```python
    teacher = kdzoo.as_logits(keras.applications.MobileNetV2())
    ```
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional or Sequential model. Received: "
            f"{shown(model)} of type {type(model).__name__}; give its last layer `activation=None`."
        )
    if final_activation(model) is None:
        return model
    last = {id(operation) for operation in _final_operations(model)}

    def without_activation(layer):
        if id(layer) not in last:
            return layer.__class__.from_config(layer.get_config())
        if isinstance(layer, keras.Model):
            return as_logits(layer)
        if isinstance(layer, keras.layers.Softmax):
            return keras.layers.Activation("linear", name=layer.name, dtype=layer.dtype_policy)
        config = layer.get_config()
        inner = config["layer"]["config"] if isinstance(layer, keras.layers.Wrapper) else config
        inner["activation"] = "linear"
        return layer.__class__.from_config(config)

    for operation in _final_operations(model):
        _check_strippable(operation)
    if not isinstance(model, keras.Sequential):
        outputs = keras.tree.map_structure(_before_softmax, model.output)
        model = keras.Model(model.input, outputs, name=model.name)
    copy = keras.models.clone_model(model, clone_function=without_activation)
    copy.set_weights(model.get_weights())
    finalize_states(copy)
    return copy


def _before_softmax(tensor):
    """What goes into the softmax layer that made the tensor; the tensor itself if none did."""
    softmax, operation = _maker(tensor), tensor._keras_history.operation
    if not isinstance(softmax, keras.layers.Softmax):
        return tensor
    after = []
    while operation is not softmax:
        after.append(operation)
        operation = operation.input._keras_history.operation
    logits = softmax.input
    for layer in reversed(after):
        logits = layer.__class__.from_config(layer.get_config())(logits)
    return logits


def _final_operations(model):
    if isinstance(model, keras.Sequential):
        return [layer for layer in model.layers if not _passes(layer)][-1:]
    operations = [_maker(tensor) for tensor in keras.tree.flatten(model.outputs)]
    return [operation for operation in operations if _activation(operation)]


def _activation(operation):
    """The name of the probability-giving activation that an operation ends in, or `None`."""
    if isinstance(operation, keras.Model):
        return final_activation(operation)
    if isinstance(operation, keras.layers.Wrapper):
        return _activation(operation.layer)
    last = getattr(operation, "activation", None) or operation
    name = getattr(last, "__name__", type(last).__name__.lower())
    name = _ALIASES.get(name, name)
    return name if name in _STRIPPED else None


def _check_strippable(operation):
    if not isinstance(operation, keras.layers.Layer):
        name = type(operation).__name__.lower()
        raise ValueError(
            f"Expected the model to end in a layer. Received: the function `keras.ops.{name}`; "
            "make the model without it: `keras.Model(model.inputs, logits)`."
        )
    if len(operation._inbound_nodes) > 1:
        raise ValueError(
            f"Expected the last layer, {operation.name!r}, to be used once. Received: "
            f"{len(operation._inbound_nodes)} uses; build the model with a separate last layer."
        )
