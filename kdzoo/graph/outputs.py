"""What the outputs of a model mean: exclusive classes, binary labels, or plain numbers."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from kdzoo.graph.exportable import exportable, shape_model, student_of
from kdzoo.graph.final_activation import activation_of, ends_of_outputs, final_activation
from kdzoo.graph.keras_internals import functional_of
from kdzoo.utils import check_choice

OutputType = Literal["classes", "binary", "numbers"]
"""What an output means.

* `"classes"`: exclusive classes, a softmax over the last axis.
* `"binary"`: independent binary labels, a sigmoid each: one unit, several labels of a sample,
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
    "hinge": "binary",
    "squared_hinge": "binary",
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
# The attribute in which a model keeps what the activations said that it had.
_LEFT_BY_AS_LOGITS = "_kdzoo_output_types"


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
            dictionary by the outputs' names; None for what they do not say.
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
    types: list[OutputType | None] = []
    for output, ends in zip(graph.outputs, ends_of_outputs(graph), strict=True):
        found = {None if end is None else _type_of_end(end) for end in ends}
        known = found.pop() if len(found) == 1 else None
        types.append(None if known == "classes" and is_one_column(output.shape) else known)
    return types


def _type_of_end(end):
    """What a final activation says, or said, of a tensor of a graph, or None."""
    if isinstance(end.operation, keras.Model):
        types = types_by_activation(end.operation)
        return types[end.position] if end.position < len(types) else None
    return _TYPES_OF_ACTIVATIONS.get(activation_of(end) or "")


def remember_types(model: keras.Model, types: Sequence[OutputType | None]) -> None:
    """Lets a model without a final activation say what one would say of each of its outputs.

    It lasts as long as the object: a `.keras` file does not carry it.

    Args:
        model: The `keras.Model`.
        types: An `OutputType`, or None, for each output.
    """
    setattr(model, _LEFT_BY_AS_LOGITS, tuple(types))


def remember_types_of(model: keras.Model, original: keras.Model) -> None:
    """Lets a model remember what another one does, if that remembers something.

    Args:
        model: The `keras.Model`.
        original: The model that it has the outputs of.
    """
    left = getattr(original, _LEFT_BY_AS_LOGITS, None)
    if left is not None:
        remember_types(model, left)


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
