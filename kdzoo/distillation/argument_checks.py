"""Checks of the models, losses and numbers that a Distiller is given, each with its remedy."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kdzoo.graph.exportable import shape_model
from kdzoo.graph.keras_internals import flatten_layers, functional_of, nodes_of
from kdzoo.losses import DistillationLoss, KerasDistillation
from kdzoo.utils import is_number, shown

_LARGEST_WEIGHT = 1e18  # Of a loss, well within float32.


def check_model(role: str, model: Any) -> None:
    """Raises unless `model` is a `keras.Model`."""
    if any(part.__module__.partition(".")[0] == "tf_keras" for part in type(model).__mro__):
        raise ValueError(
            f"Expected `{role}` to be a `keras.Model` of Keras 3. Received: {model.name!r} of "
            "tf_keras, which is Keras 2; build it in Keras 3 and give it the weights "
            "(`model.set_weights`), or let the data carry its outputs: `teacher=None`, "
            '`(x, {"label": y, "teacher": model.predict(x)})`.'
        )
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected `{role}` to be a `keras.Model`. Received: {role}={shown(model)} of type "
            f"{type(model).__name__}"
        )


def check_student_loss_weight(student_loss_weight: Any) -> float:
    """Returns the weight as a float, or raises unless it is a number between 0 and 1."""
    if not is_number(student_loss_weight) or not 0.0 <= student_loss_weight <= 1.0:
        raise ValueError(
            "Expected `student_loss_weight` to be a number between 0 (teacher only) and 1 (labels "
            f"only). Received: student_loss_weight={shown(student_loss_weight)}"
        )
    return float(student_loss_weight)


def check_teacher_transform(function: Any) -> Callable[[Any], Any] | None:
    """Returns a function from the student's inputs to the teacher's, or None, or raises."""
    if function is not None and not callable(function):
        raise ValueError(
            "Expected `teacher_transform` to be a function from the student's inputs to the "
            f"teacher's, or None. Received: teacher_transform={shown(function)}"
        )
    return function


def check_teacher_weight(given: Any) -> tuple[float, float]:
    """Returns the first and last weight of a loss, or raises unless both are at least 0."""
    pair = tuple(given) if isinstance(given, tuple | list) else ()
    if len(pair) != 2 or not all(map(_is_weight, pair)):
        raise ValueError(
            "Expected `teacher_weight` to be the first and the last weight, two numbers of at "
            f"least 0. Received: teacher_weight={shown(given)}"
        )
    return float(pair[0]), float(pair[1])


def check_loss_is_given(student_loss_weight: float, loss: Any) -> None:
    """Raises if labels have a weight and there is no loss on them."""
    if loss is None and student_loss_weight > 0:
        raise ValueError(
            "Expected `loss`, the student's loss on the labels. Received: loss=None with "
            f"student_loss_weight={student_loss_weight}; pass a loss, or "
            "`student_loss_weight=0` to learn from the teacher alone."
        )


def check_student_loss(loss: Any) -> None:
    """Raises unless `loss` is a loss, or losses, that Keras knows."""
    is_saved = isinstance(loss, dict) and "class_name" in loss
    parts = [loss] if is_saved else _leaves(loss)
    if not parts or not all(
        part is None or callable(part) or _is_known(keras.losses.get, part) for part in parts
    ):
        raise ValueError(
            "Expected `loss` to be the name of a loss of Keras, a loss or a function, or a list or "
            f"dictionary of them. Received: loss={shown(loss)}"
        )


def check_optimizer(given: Any) -> None:
    """Raises unless `given` is an optimizer, or the name of one that Keras knows."""
    is_optimizer = given is None or isinstance(given, keras.optimizers.Optimizer)
    if not is_optimizer and not _is_known(keras.optimizers.get, given):
        raise ValueError(
            "Expected `optimizer` to be the name of an optimizer of Keras, or an optimizer. "
            f"Received: optimizer={shown(given)}"
        )


def _is_known(find, given):
    """Whether a function of Keras, `find`, finds what a name or a configuration stands for."""
    if not isinstance(given, str | dict):
        return False
    try:
        return find(given) is not None
    except (KeyError, TypeError, ValueError):
        return False


def _leaves(parts):
    """What a list or a dictionary holds; of something else that alone."""
    return keras.tree.flatten(parts) if isinstance(parts, list | tuple | dict) else [parts]


def as_losses(losses: Any) -> list[DistillationLoss]:
    """Returns a list of `DistillationLoss`, with those of `keras.distillation` wrapped."""
    losses = list(losses) if isinstance(losses, list | tuple) else [losses]
    if not losses or any(loss is None for loss in losses):
        raise ValueError(
            "Expected at least one distillation loss, such as `kdzoo.losses.SoftTargets(4.0)`. "
            f"Received: distillation_losses={shown(losses)}"
        )
    return [
        loss if isinstance(loss, DistillationLoss) else KerasDistillation(loss) for loss in losses
    ]


def as_one_loss(loss: Any) -> DistillationLoss:
    """Returns the one distillation loss that was given, or raises."""
    first, *others = as_losses(loss)
    if others:
        raise ValueError(
            "Expected `distillation_loss` to be one distillation loss. Received: "
            f"distillation_loss={shown(loss)}"
        )
    return first


def check_loss_weights(loss_weights: Any, losses: Sequence[DistillationLoss]) -> list[float]:
    """Returns a weight of at least 0 for each loss, 1 if none is given, or raises."""
    if loss_weights is None:
        return [1.0] * len(losses)
    given = list(loss_weights) if isinstance(loss_weights, list | tuple) else [loss_weights]
    if len(given) != len(losses) or not all(map(_is_weight, given)):
        raise ValueError(
            f"Expected `distillation_loss_weights` to hold {len(losses)} numbers of at least 0, "
            f"one for each loss. Received: distillation_loss_weights={shown(loss_weights)}"
        )
    return [float(weight) for weight in given]


def _is_weight(value):
    return is_number(value) and 0 <= value <= _LARGEST_WEIGHT


def check_teacher(model: Any, student: keras.Model, transform: Callable[[Any], Any] | None) -> None:
    """Raises unless a teacher is None, or a trained model that can take what the student takes."""
    if model is None:
        return
    check_model("teacher", model)
    if model is student:
        raise ValueError(
            "Expected two models. Received: the same object as teacher and student; make the "
            "student with `keras.models.clone_model`."
        )
    if not model.built:
        raise ValueError(
            f"Expected a trained teacher. Received: {model.name!r}, which has no weights yet; call "
            "it on a batch and load its weights first."
        )
    check_nothing_shared(model, student)
    if transform is None:
        _check_same_inputs(model, student)


def check_nothing_shared(teacher: keras.Model | None, student: keras.Model) -> None:
    """Raises if training the student would change the teacher, unless one model gives both outputs.

    Args:
        teacher: The teacher, or None.
        student: The student. It may hold layers of the teacher that are not trainable; or the
            teacher's outputs may be tensors of its graph, and it trains itself.
    """
    if teacher is None:
        return
    shared = _trained_in_both(teacher, student)
    if not shared or _is_part_of(teacher, student):
        return
    raise ValueError(
        "Expected a student whose training leaves the teacher as it is. Received: layers of "
        f"{teacher.name!r} that {student.name!r} would train, {', '.join(sorted(shared)[:3])}"
        f"{' …' if len(shared) > 3 else ''}; copy them (`keras.models.clone_model` and "
        "`set_weights`), set their `trainable` to False, or let the student be a model that gives "
        "the teacher's outputs too."
    )


def _trained_in_both(teacher, student):
    """The paths of the teacher's variables and normalizations that the student's training moves."""
    layers = {id(layer) for layer in flatten_layers(teacher)}
    variables = {id(variable) for variable in teacher.variables}
    return {
        *(v.path for v in student.trainable_variables if id(v) in variables),
        *(
            layer.path
            for layer in flatten_layers(student)
            if isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and id(layer) in layers
        ),
    }


def _is_part_of(teacher, student):
    """Whether the teacher's outputs are tensors of the student's graph."""
    graphs = functional_of(teacher), functional_of(student)
    if None in graphs:
        return False
    made = {id(tensor) for node in nodes_of(graphs[1]) for tensor in node.outputs}
    return all(id(tensor) in made for tensor in keras.tree.flatten(graphs[0].outputs))


def _check_same_inputs(teacher, student):
    """Raises if both models are graphs and their inputs do not fit each other."""
    graphs = shape_model(student), shape_model(teacher)
    if None in graphs:
        return
    ours, theirs = (graph.inputs for graph in graphs)
    if not take_the_same(*graphs):
        raise ValueError(
            "Expected teacher and student to take the same inputs. Received: teacher "
            f"{[tuple(t.shape) for t in theirs]}, student {[tuple(t.shape) for t in ours]}; pass "
            "`teacher_transform=`, a function from the student's inputs to the teacher's."
        )


def take_the_same(one: keras.Model, other: keras.Model) -> bool:
    """Returns whether two graphs have inputs of the same shapes, as far as their sizes are known.

    Args:
        one: A functional or sequential model.
        other: Another.
    """

    def fit(shape, other_shape):
        return len(shape) == len(other_shape) and all(
            a is None or b is None or a == b
            for a, b in zip(shape[1:], other_shape[1:], strict=True)
        )

    pairs = zip(one.inputs, other.inputs, strict=False)
    return len(one.inputs) == len(other.inputs) and all(fit(a.shape, b.shape) for a, b in pairs)
