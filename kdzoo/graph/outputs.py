"""What the outputs of a model mean: exclusive classes, yes or no, or plain numbers."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.graph.exportable import exportable, shape_model, student_of
from kdzoo.graph.keras_internals import functional_of, nodes_of
from kdzoo.utils import check_choice

OutputType = Literal["classes", "binary", "numbers"]
"""What an output means.

* `"classes"`: exclusive classes, a softmax over the last axis.
* `"binary"`: independent yes or no answers, a sigmoid each: one unit, several labels of a sample,
  or a mask with a value for each pixel.
* `"numbers"`: plain numbers, as of a regression: embeddings and images too.
"""

OUTPUT_TYPES: tuple[OutputType, ...] = ("classes", "binary", "numbers")

# What the losses of Keras say of the outputs that they are on, by their names as functions.
_TYPES_OF_LOSSES: dict[str, OutputType] = {
    "sparse_categorical_crossentropy": "classes",
    "categorical_crossentropy": "classes",
    "categorical_focal_crossentropy": "classes",
    "categorical_hinge": "classes",
    "kl_divergence": "classes",
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "mean_squared_error": "numbers",
    "mean_absolute_error": "numbers",
    "mean_absolute_percentage_error": "numbers",
    "mean_squared_logarithmic_error": "numbers",
    "huber": "numbers",
    "log_cosh": "numbers",
    "poisson": "numbers",
    "cosine_similarity": "numbers",
}
_TYPES_OF_ACTIVATIONS: dict[str, OutputType] = {"softmax": "classes", "sigmoid": "binary"}
_ACTIVATIONS = ("softmax", "sigmoid")
# The attribute in which a model keeps what the activations said that it had.
_LEFT_BY_AS_LOGITS = "_kdzoo_output_types"
# Other names of the same functions.
_ALIASES = {"softmax_v2": "softmax"}
# Layers that hand on what they are given, in another shape or type.
_PASSING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)
# How far the sums of a softmax lie from 1, in half precision too.
_SUM_TOLERANCE = 2e-3


def output_types(
    model: keras.Model, given: Any = None, loss: Any = None, outputs: Any = None
) -> list[OutputType | None]:
    """Returns what each output of a model means.

    The caller's word comes before the loss that the model was compiled with, and that before the
    final activation, also one that `as_logits` took away. Otherwise several columns are exclusive
    classes, and of one column nothing is known.

    Args:
        model: A `keras.Model`.
        given: What the caller says: an `OutputType` for all outputs, a list with one for each, or a
            dictionary by the outputs' names; None for what he does not say.
        loss: The loss on the outputs, as `compile` takes it; None for that of `model`.
        outputs: What the model gave, in its structure, where it is no graph whose outputs are
            known; only their shapes are looked at.

    Returns:
        A list with an `OutputType` for each output, in the order of `keras.tree.flatten`; None
        where nothing tells.

    Raises:
        ValueError: If `given` holds something else.

    Example:

    >>> inputs = keras.Input((4,))
    >>> output_types(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
    ['classes']
    """
    _, shapes = _names_and_shapes(model, outputs)
    told = told_output_types(model, given, loss, outputs)
    return [
        known or (None if shape is None or is_one_column(shape) else "classes")
        for known, shape in zip(told, shapes, strict=True)
    ]


def told_output_types(
    model: keras.Model, given: Any = None, loss: Any = None, outputs: Any = None
) -> list[OutputType | None]:
    """Returns what the caller, a loss or a final activation says of each output of a model.

    Args:
        model: A `keras.Model`.
        given: What the caller says, as `output_types` takes it.
        loss: The loss on the outputs, as `compile` takes it; None for that of `model`.
        outputs: What the model gave, in its structure, or None.

    Returns:
        A list with an `OutputType` for each output; None where at most the columns tell.

    Raises:
        ValueError: If `given` holds something else.
    """
    names, shapes = _names_and_shapes(model, outputs)
    said = _for_each_output("output_type", given, names, len(shapes))
    losses = losses_by_output(model, loss, outputs)
    by_activation = types_by_activation(model)
    by_activation = by_activation if len(by_activation) == len(shapes) else [None] * len(shapes)
    return [
        _check_output_type(word) or type_of_loss(part) or by_end
        for word, part, by_end in zip(said, losses, by_activation, strict=True)
    ]


def losses_by_output(model: keras.Model, loss: Any = None, outputs: Any = None) -> list[Any]:
    """Returns the loss on each output of a model, None where there is none or it is unknown.

    Args:
        model: A `keras.Model`.
        loss: The loss on the outputs, as `compile` takes it; None for that of `model`.
        outputs: What the model gave, in its structure, or None.
    """
    names, shapes = _names_and_shapes(model, outputs)
    loss = getattr(model, "loss", None) if loss is None else loss
    return _for_each_output("loss", loss, names, len(shapes))


def types_by_activation(model: keras.Model) -> list[OutputType | None]:
    """Returns what the final activation says of each output of a model, None where there is none.

    Args:
        model: A `keras.Model`; `as_logits` leaves in its copies what the activation said.
    """
    model = student_of(model) or model
    graph = exportable(model).graph_model() or functional_of(model)
    for part in (model, graph):
        left = getattr(part, _LEFT_BY_AS_LOGITS, None)
        if left is not None:
            return list(left)
    if graph is None:
        return [_TYPES_OF_ACTIVATIONS.get(final_activation(model) or "")]
    makers = final_makers(graph)
    return [_TYPES_OF_ACTIVATIONS.get((maker and _activation(maker)) or "") for maker in makers]


def remember_types(model: keras.Model, types: Sequence[OutputType | None]) -> None:
    """Lets a model without a final activation say what one would say of each of its outputs.

    It lasts as long as the object: a `.keras` file does not carry it.

    Args:
        model: The `keras.Model`.
        types: An `OutputType`, or None, for each output.
    """
    setattr(model, _LEFT_BY_AS_LOGITS, tuple(types))


def is_one_column(shape: Sequence[int | None]) -> bool:
    """Whether outputs of this shape hold one value for each sample, or for each position.

    Args:
        shape: That of the outputs, the batch included: `(batch,)` or `(batch, ..., columns)`.
    """
    return len(shape) < 2 or shape[-1] == 1


def type_of_loss(loss: Any) -> OutputType | None:
    """Returns what an output means that a loss of Keras is on, or None for other losses.

    Args:
        loss: The name of a loss, a function, or a `keras.losses.Loss`.

    Example:

    >>> type_of_loss("mse"), type_of_loss(keras.losses.BinaryCrossentropy())
    ('numbers', 'binary')
    """
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None
    function = getattr(loss, "fn", loss)
    return _TYPES_OF_LOSSES.get(getattr(function, "__name__", ""))


def _names_and_shapes(model, outputs):
    """The names of a model's outputs, none where they have none, and their shapes.

    Where the outputs are a dictionary, its keys are their names. A shape is None if it is unknown.
    """
    graph = shape_model(model)
    if outputs is None and graph is None:
        return [], [None]
    graph = functional_of(graph) if graph is not None else None
    outputs = graph.output if outputs is None else outputs
    shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(outputs)]
    if isinstance(outputs, dict):
        names = sorted(outputs)
    else:
        names = list(graph.output_names) if graph is not None else []
    return names if len(names) == len(shapes) else [], shapes


def _check_output_type(given):
    """Returns an output type, or None, or raises."""
    return None if given is None else check_choice("output_type", given, OUTPUT_TYPES)


def _for_each_output(name, given, names, count):
    """What is given for all outputs, or in a list or by their names, as one for each output."""
    if isinstance(given, dict):
        if name == "output_type" and not set(given) <= set(names):
            raise ValueError(
                f"Expected `{name}` by the names of the outputs, {names}. Received: {given}"
            )
        return [given.get(output) for output in names] or [None] * count
    if isinstance(given, list | tuple):
        if len(given) == count:
            return list(given)
        if name == "output_type":
            raise ValueError(
                f"Expected `{name}` to be one, or one for each of {count} outputs. "
                f"Received: {given}"
            )
        return [None] * count
    return [given] * count


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


def _only_activates(operation):
    """Whether an operation is a softmax or sigmoid and nothing else."""
    if isinstance(operation, keras.layers.Layer):
        kinds = (keras.layers.Activation, keras.layers.Softmax)
        return isinstance(operation, kinds) and _activation(operation) is not None
    return _activation(operation) is not None


def hands_on(operation: keras.Operation) -> bool:
    """Whether an operation hands its input on: a reshape, a cast, or the identity."""
    identity = isinstance(operation, keras.layers.Activation) and (
        operation.activation is keras.activations.linear
    )
    return identity or isinstance(operation, _PASSING) or type(operation).__name__ == "Cast"


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
    if isinstance(last, keras.layers.Softmax):  # One that was derived from it, too.
        return "softmax"
    name = getattr(last, "__name__", type(last).__name__.lower())
    name = _ALIASES.get(name, name)
    return name if name in _ACTIVATIONS else None


def gives_probabilities(operation: keras.Operation) -> bool:
    """Whether a layer or operation ends in a softmax or sigmoid.

    Args:
        operation: The `keras.Operation`.
    """
    return _activation(operation) is not None


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
