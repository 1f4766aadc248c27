"""The softmax or sigmoid that a model ends in, whatever reshapes, crops or pools it since."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from kdzoo.graph.exportable import exportable, shape_model
from kdzoo.graph.keras_internals import functional_of, nodes_of

_ACTIVATIONS = ("softmax", "sigmoid")
# Other names of the same functions.
_ALIASES = {"softmax_v2": "softmax"}
# Layers and operations that hand on the values that they are given, in another shape or type, or
# some of them at all classes.
_PASSING = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Dropout,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
)
_PASSING_OPERATIONS = (
    *("Cast", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Moveaxis", "Swapaxes"),
)
# Layers and operations whose values mean what those mean that they are given, and are probabilities
# if those are, but of whose logits nothing is known.
_MIXING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.Resizing,
    keras.layers.Concatenate,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)
_MIXING_OPERATIONS = (
    *("Mean", "Max", "Min", "Maximum", "Minimum", "Clip", "Concatenate", "Resize", "GetItem"),
)


class End(NamedTuple):
    """What a tensor of a graph is made of: an output of one of its operations."""

    operation: keras.Operation
    position: int  # Of the output among those of its call.


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
        or pooled perhaps. After a nested model come those within it. Empty if the model gives no
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
    makers: list[keras.Operation | None] = []
    for ends in ends_of_outputs(graph):
        found = {None if end is None else activation_of(end) for end in ends}
        is_one = len(found) == 1 and None not in found
        makers.append(ends[0].operation if is_one and ends[0] else None)
    return makers


def ends_of_outputs(
    graph: keras.Model, goes_through: Callable[[keras.Operation], bool] | None = None
) -> list[list[End | None]]:
    """Returns for each output of a functional model what its values are made of.

    Args:
        graph: The functional `keras.Model`.
        goes_through: Function of an operation: whether what it is given counts in its place. By
            default it does if that means the same: of reshapes, crops, averages and the like.

    Returns:
        Lists of an `End` each, or None for an input of the model.
    """
    goes_through = goes_through or (lambda operation: hands_on(operation) or _mixes(operation))
    nodes = {
        id(tensor): (node, index)
        for node in nodes_of(graph)
        for index, tensor in enumerate(node.outputs)
    }
    found: list[list[End | None]] = []
    for output in graph.outputs:
        waiting, seen, ends = [output], set(), []
        while waiting:
            tensor = waiting.pop(0)
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            node, index = nodes.get(id(tensor), (None, 0))
            if node is not None and node.inputs and goes_through(node.operation):
                waiting += node.inputs[:1] if hands_on(node.operation) else node.inputs
            else:
                ends.append(None if node is None else End(node.operation, index))
        found.append(ends)
    return found


def activation_of(end: End) -> str | None:
    """Returns `"softmax"` or `"sigmoid"` if that gives a tensor of a graph, else None.

    Args:
        end: What the tensor is made of.
    """
    graph = _graph(end.operation)
    if graph is None:
        return _activation(end.operation)
    makers = final_makers(graph)
    maker = makers[end.position] if end.position < len(makers) else None
    return None if maker is None else _activation(maker)


def operations_before_outputs(model: keras.Model) -> list[list[keras.Operation]]:
    """Returns for each output of a model the operations that its values, or their logits, are of.

    Args:
        model: The `keras.Model`.

    Returns:
        Lists of operations, from the output inwards: those that reshape it, its final activation
        where that is a layer of its own, and what made its logits. Empty where the model is no
        graph.
    """
    graph = shape_model(model)
    graph = None if graph is None else functional_of(graph)
    if graph is None:
        return []
    makers = {id(tensor): node for node in nodes_of(graph) for tensor in node.outputs}
    found: list[list[keras.Operation]] = []
    for tensor in graph.outputs:
        node, operations = makers.get(id(tensor)), []
        while node is not None:
            operations.append(node.operation)
            goes_on = hands_on(node.operation) or _only_activates(node.operation)
            node = makers.get(id(node.inputs[0])) if goes_on and node.inputs else None
        found.append(operations)
    return found


def hands_on(operation: keras.Operation) -> bool:
    """Whether an operation hands its input on: a reshape, a crop, a cast, or the identity.

    Args:
        operation: The layer, or operation of `keras.ops`.
    """
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__ in _PASSING_OPERATIONS
    identity = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return identity or isinstance(operation, _PASSING)


def computes_no_logarithm(operation: keras.Operation) -> bool:
    """Whether an operation is one of Keras without weights that takes no logarithm.

    What it makes of probabilities are no logits. A `Lambda` may do anything.

    Args:
        operation: The layer, or operation of `keras.ops`.
    """
    is_other = isinstance(operation, keras.Model | keras.layers.Lambda)
    if is_other or not type(operation).__module__.startswith("keras."):
        return False
    if isinstance(operation, keras.layers.Layer) and operation.weights:
        return False
    function = getattr(operation, "activation", None) or operation
    name = getattr(function, "__name__", type(function).__name__).lower()
    return _activation(operation) is None and "log" not in name and name != "<lambda>"


def _mixes(operation):
    """Whether what an operation gives means what that means which it is given."""
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, _MIXING)
    return type(operation).__name__ in _MIXING_OPERATIONS


def _only_activates(operation):
    """Whether an operation is a softmax or sigmoid and nothing else."""
    if isinstance(operation, keras.layers.Layer):
        classes = (keras.layers.Activation, keras.layers.Softmax)
        return isinstance(operation, classes) and _activation(operation) is not None
    return _activation(operation) is not None


def _graph(operation):
    """The functional model that an operation is, or None."""
    if not isinstance(operation, keras.Model):
        return None
    return exportable(operation).graph_model() or functional_of(operation)


def _activation(operation: Any) -> str | None:
    """The name of the probability-giving activation that an operation ends in, or `None`."""
    if isinstance(operation, keras.Model):
        return final_activation(operation)
    if isinstance(operation, keras.layers.Wrapper):
        return _activation(operation.layer)
    last = getattr(operation, "activation", None) or operation
    if isinstance(last, keras.layers.Softmax):  # One that was derived from it, too.
        return "softmax"
    name = getattr(last, "__name__", type(last).__name__.lower())
    name = _ALIASES.get(name, name)
    return name if name in _ACTIVATIONS else None
