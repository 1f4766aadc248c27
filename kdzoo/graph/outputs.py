"""What the outputs of a model mean: logits or probabilities, of several classes or of one."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.graph.exportable import exportable
from kdzoo.graph.keras_internals import functional_of, nodes_of
from kdzoo.utils import check_numeric_array

_ACTIVATIONS = ("softmax", "sigmoid")
# Other names of the same functions.
_ALIASES = {"softmax_v2": "softmax"}
# Layers that hand on what they are given, in another shape or type.
_PASSING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)
# How far the sums of a softmax lie from 1, in half precision too.
_SUM_TOLERANCE = 2e-3


def final_activation(model: keras.Model) -> str | None:
    """Names the activation that turns a model's logits into probabilities.

    Args:
        model: A `keras.Model`.

    Returns:
        `"softmax"` or `"sigmoid"` if an output of the model is one, that of the first such output;
        `None` if no output is, or the model is subclassed and cannot be looked into.
    """
    last = final_operations(model)
    return _activation(last[0]) if last else None


def final_operations(model: keras.Model) -> list[keras.Operation]:
    """Returns the layers and operations that give a model's probabilities.

    Args:
        model: A `keras.Model`.

    Returns:
        Those whose activation is a softmax or sigmoid and whose outputs are the model's, reshaped
        perhaps. After a nested model come those within it. Empty if the model gives no
        probabilities, or cannot be looked into.
    """
    graph = exportable(model).graph_model() or functional_of(model)
    if graph is not None:
        found = final_makers(graph)
    elif isinstance(model, keras.Sequential):  # Not built yet.
        found = [layer for layer in model.layers if not hands_on(layer)][-1:]
        found = [layer for layer in found if _activation(layer)]
    else:
        return []
    last = list({id(operation): operation for operation in found if operation}.values())
    inner = [operation for operation in last if isinstance(operation, keras.Model)]
    return last + [operation for part in inner for operation in final_operations(part)]


def final_makers(graph: keras.Model) -> list[keras.Operation | None]:
    """Returns for each output of a functional model what gives its probabilities, None for others.

    Args:
        graph: The functional `keras.Model`.
    """
    nodes = {id(tensor): node for node in nodes_of(graph) for tensor in node.outputs}
    makers = [_maker(tensor, nodes) for tensor in graph.outputs]
    return [maker if maker and _activation(maker) else None for maker in makers]


def hands_on(operation: keras.Operation) -> bool:
    """Whether an operation hands its input on: a reshape, or the identity."""
    identity = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return identity or isinstance(operation, _PASSING)


def _maker(tensor, makers):
    """The operation that made the values of a tensor, whatever reshaped them since, or None."""
    node = makers.get(id(tensor))
    while node is not None and hands_on(node.operation):
        node = makers.get(id(node.inputs[0]))
    return node and node.operation


def _activation(operation):
    """The name of the probability-giving activation that an operation ends in, or `None`."""
    if isinstance(operation, keras.Model):
        return final_activation(operation)
    if isinstance(operation, keras.layers.Wrapper):
        return _activation(operation.layer)
    last = getattr(operation, "activation", None) or operation
    name = getattr(last, "__name__", type(last).__name__.lower())
    name = _ALIASES.get(name, name)
    return name if name in _ACTIVATIONS else None


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether what a model gave for some samples are probabilities of several classes.

    Args:
        outputs: Array (samples, ..., classes).

    Example:

    >>> are_probabilities(np.array([[0.25, 0.75]])), are_probabilities(np.array([[0.5, 2.0]]))
    (True, False)
    """
    sums = outputs.sum(axis=-1)
    is_several = outputs.shape[-1] > 1 and (outputs >= 0).all()
    return bool(is_several and (abs(sums - 1) < _SUM_TOLERANCE).all())


def predicted_classes(outputs: np.ndarray) -> np.ndarray:
    """Returns the class that each row of outputs `(..., classes)` predicts.

    Args:
        outputs: Logits or probabilities, or one logit `(..., 1)`, whose sign decides.

    Returns:
        Integer array `(...)`.
    """
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0).astype("int64")
    return np.argmax(outputs, axis=-1)


def class_indices(labels: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """Returns labels as class indices `(samples,)`, checked against the outputs' shape.

    Args:
        labels: Integers `(samples,)` or `(samples, 1)`, or one-hot `(samples, classes)`.
        shape: `(samples, classes)` of the outputs; one column has two classes.

    Returns:
        Integer array `(samples,)`.

    Raises:
        ValueError: If shapes do not fit, or a label is out of range.
    """
    labels = check_numeric_array("labels", labels)
    samples, classes = shape[0], shape[-1]
    if classes > 1 and labels.shape == (samples, classes):
        return np.argmax(labels, axis=-1)
    if labels.shape not in ((samples,), (samples, 1)) or len(shape) != 2:
        raise ValueError(
            f"Expected labels of shape ({samples},) or ({samples}, {classes}) for outputs of shape "
            f"{tuple(shape)}. Received: shape={labels.shape}."
        )
    labels = labels.reshape(samples)
    highest = max(classes, 2) - 1
    fits = (labels >= 0) & (labels <= highest) & (labels == np.floor(labels))
    if not np.all(fits):
        raise ValueError(
            f"Expected integer labels from 0 to {highest}, as the model has {classes} outputs. "
            f"Received: label={labels[~fits][0]}: renumber the labels, or build the model with "
            "more classes."
        )
    return labels.astype("int64")


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns log-softmax of logits / temperature in float64; one column becomes two classes.

    Args:
        logits: Array (samples, classes).
        temperature: Above 0.

    Returns:
        Array (samples, classes), of at least two classes.
    """
    scaled = logits.astype("float64") / temperature
    if scaled.shape[-1] == 1:
        scaled = np.concatenate([np.zeros_like(scaled), scaled], axis=-1)
    scaled -= scaled.max(axis=-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
