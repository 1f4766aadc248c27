"""A generalist and its specialists as one model: Hinton et al. 2015, section 5."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.graph.exportable import Exportable, ExportsByGraph, shape_model
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.outputs import remember_types
from kdzoo.utils import check_name, check_positive_integer, is_integer, shown
from kdzoo.utils.field_checks import check_fields, is_name
from kdzoo.utils.types import Tensor

_TURNS = 160
_TINY = 1e-30


def specialist_distribution(
    generalist_probs: Tensor,
    specialist_probs: Sequence[Tensor],
    classes: Sequence[Sequence[int]],
    most_probable: int = 1,
) -> Tensor:
    """Returns the distribution over all classes that generalist and specialists agree on best.

    For each sample it is the q that minimizes KL(p_g, q) + Σ KL(p_m, q), where the sum goes over
    the specialists m that have one of the generalist's most probable classes among theirs, and
    where q is compared with a specialist's p_m by the classes of that specialist and by the sum
    over all others, its dustbin. The problem is convex. It is solved for all samples at once by
    expectation maximization: what a specialist gives its dustbin is dealt to the classes in it as q
    has them, and q becomes the mean of all; extrapolation makes that fast.

    Args:
        generalist_probs: Probabilities of all classes, (batch, classes).
        specialist_probs: Of each specialist those of its own classes, and of all others, the
            dustbin, in the last place: (batch, its classes + 1).
        classes: The classes of each specialist in the order of its outputs, integers.
        most_probable: By how many of the generalist's most probable classes specialists are chosen.

    Returns:
        Probabilities (batch, classes) in float32. Where no specialist has one of these classes,
        they are the generalist's.

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, equation 5, which the paper solves
    by gradient descent on the logits of q; the extrapolation is that of Varadhan & Roland, 2008,
    Scandinavian Journal of Statistics 35.
    """
    probs = ops.cast(generalist_probs, "float32")
    count = probs.shape[-1]
    members = np.zeros((len(classes), count), "float32")
    for row, its_classes in zip(members, classes, strict=True):
        row[list(its_classes)] = 1
    top = ops.top_k(probs, most_probable)[1]
    is_top = ops.max(ops.one_hot(top, count), axis=1)
    active = ops.cast(ops.matmul(is_top, members.T) > 0, "float32")
    own, dustbins = ops.zeros_like(probs), []
    for number, (part, its_classes) in enumerate(zip(specialist_probs, classes, strict=True)):
        part = ops.cast(part, "float32")
        places = np.eye(count, dtype="float32")[list(its_classes)]
        own = own + active[:, number : number + 1] * ops.matmul(part[:, :-1], places)
        dustbins.append(active[:, number] * part[:, -1])
    dealt, others = ops.stack(dustbins, axis=-1), 1 - members
    problem = (probs + own, dealt, ops.convert_to_tensor(others))
    return ops.fori_loop(0, _TURNS, lambda _, q: _nearer(q, *problem), probs)


def _nearer(q: Tensor, own: Tensor, dealt: Tensor, others: Tensor) -> Tensor:
    """A distribution that is nearer to the solution, or is it.

    Two turns of expectation maximization, and from where they lead as far ahead as their lengths
    suggest (Varadhan & Roland 2008, step length S3), if that is a better distribution.

    Args:
        q: Distributions (batch, classes).
        own: What generalist and specialists give each class, summed, (batch, classes).
        dealt: What each specialist that is asked gives its dustbin, (batch, specialists).
        others: Whether a class is in the dustbin of a specialist, (specialists, classes).
    """
    total = ops.sum(own, axis=-1, keepdims=True) + ops.sum(dealt, axis=-1, keepdims=True)

    def in_dustbins(q: Tensor) -> Tensor:
        return ops.maximum(ops.matmul(q, ops.transpose(others)), _TINY)

    def turn(q: Tensor) -> Tensor:
        return (own + q * ops.matmul(dealt / in_dustbins(q), others)) / total

    def fit(q: Tensor) -> Tensor:
        """What is maximized: the negative of equation 5, up to a constant."""
        logs = own * ops.log(ops.maximum(q, _TINY))
        of_dustbins = dealt * ops.log(in_dustbins(q))
        return ops.sum(logs, -1, keepdims=True) + ops.sum(of_dustbins, -1, keepdims=True)

    def norm(x: Tensor) -> Tensor:
        return ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))

    first = turn(q)
    second = turn(first)
    change, bend = first - q, second - 2 * first + q
    length = ops.maximum(norm(change) / ops.maximum(norm(bend), _TINY), 1.0)
    ahead = q + 2 * length * change + length**2 * bend
    is_better = ops.min(ahead, axis=-1, keepdims=True) > 0
    ahead = ops.where(is_better, ahead, second)
    # What is maximized says something of distributions alone, and rounding leaves them.
    ahead = ahead / ops.sum(ahead, axis=-1, keepdims=True)
    is_better = ops.logical_and(is_better, fit(ahead) >= fit(second))
    return turn(ops.where(is_better, ahead, second))


@keras.saving.register_keras_serializable("kdzoo")
class SpecialistEnsemble(ExportsByGraph, Exportable, keras.Model):
    """A generalist and specialists for classes that it confuses, as one classifier or teacher.

    Args:
        generalist: A built `keras.Model` that gives logits of all classes.
        specialists: At least one built `keras.Model`, each giving logits of its own classes and, in
            the last place, of all others, the dustbin. `kdzoo.schemes.specialists` trains them.
        classes: The classes of each specialist in the order of its outputs, lists of integers.
        most_probable: By how many of the generalist's most probable classes specialists are chosen
            for a sample.
        name: Name of the model.

    Returns:
        When called on inputs `(batch, ...)`, the logarithms of the probabilities that
        `specialist_distribution` gives, `(batch, classes)` in float32, which are logits.

    Raises:
        ValueError: If there is no specialist, a model is none or ends in a softmax, or its outputs
            and its classes do not fit.

    Example:

    ```python
    teacher = kdzoo.schemes.SpecialistEnsemble(generalist, [cats, cars], [[3, 5], [1, 9]])
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 5.
    """

    def __init__(
        self,
        generalist: keras.Model,
        specialists: Sequence[keras.Model],
        classes: Sequence[Sequence[int]],
        most_probable: int = 1,
        name: str | None = "specialist_ensemble",
    ):
        super().__init__(name=check_name(name), autocast=False)
        if not isinstance(specialists, list | tuple) or not specialists:
            raise ValueError(
                "Expected a list of one or more specialists. Received: "
                f"specialists={shown(specialists)}"
            )
        for model in (generalist, *specialists):
            _check_gives_logits(model)
        count = _outputs_of(generalist)
        check_classes(classes, count)
        for model, its_classes in zip(specialists, classes, strict=False):
            if len(classes) != len(specialists) or _outputs_of(model) != len(its_classes) + 1:
                raise ValueError(
                    "Expected a list of classes for each specialist, one fewer than it has "
                    f"outputs. Received: {len(specialists)} specialists and {len(classes)} lists; "
                    f"{model.name!r} with {_outputs_of(model)} outputs for {len(its_classes)}"
                )
        self.most_probable = check_positive_integer("most_probable", most_probable, count)
        self.generalist = generalist
        self.specialists = list(specialists)
        self.classes = [[int(label) for label in part] for part in classes]
        remember_types(self, ["classes"])
        self.built = all(model.built for model in (generalist, *specialists))

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        def probabilities(model: keras.Model) -> Tensor:
            return ops.softmax(ops.cast(model(inputs, training=training), "float32"), axis=-1)

        found = specialist_distribution(
            probabilities(self.generalist),
            [probabilities(model) for model in self.specialists],
            self.classes,
            self.most_probable,
        )
        return ops.log(ops.maximum(found, _TINY))

    @property
    def graph(self) -> keras.Model | None:
        """The generalist, whose inputs and outputs are the ensemble's, if it has a graph."""
        return self.generalist if shape_model(self.generalist) is not None else None

    def graph_model(self) -> keras.Model | None:
        return shape_model(self.generalist)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.generalist.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        save = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "generalist": save(self.generalist),
            "specialists": [save(model) for model in self.specialists],
            "classes": self.classes,
            "most_probable": self.most_probable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpecialistEnsemble":
        if cls is SpecialistEnsemble:  # A subclass may have arguments of its own.
            check_fields(cls.__name__, config, _FIELDS, optional=("name", "most_probable"))
        restore = keras.saving.deserialize_keras_object
        models = {
            "generalist": restore(config["generalist"]),
            "specialists": [restore(part) for part in config["specialists"]],
        }
        return cls(**{**config, **models})


_FIELDS = {
    "name": is_name,
    "generalist": lambda value: isinstance(value, dict),
    "specialists": lambda value: isinstance(value, list),
    "classes": lambda value: isinstance(value, list),
    "most_probable": lambda value: is_integer(value, least=1),
}
"""Name of a field of a configuration -> whether a value of a file fits it."""


def check_classes(classes: Any, count: int) -> None:
    """Raises `ValueError` unless these are lists of classes, each of one or more and not of all.

    Args:
        classes: What was given.
        count: Number of all classes.
    """
    is_list = isinstance(classes, list | tuple) and bool(classes)
    if not is_list or not all(isinstance(part, list | tuple) and part for part in classes):
        raise ValueError(
            f"Expected a list of classes for each specialist. Received: classes={shown(classes)}"
        )
    for part in classes:
        are_classes = all(is_integer(label, 0, count - 1) for label in part)
        if not are_classes or len({int(label) for label in part}) != len(part):
            raise ValueError(
                f"Expected different classes from 0 to {count - 1} for a specialist. Received: "
                f"{shown(part)}"
            )
        if len(part) == count:
            raise ValueError(
                "Expected specialists for some of the classes. Received: one for all "
                f"{count} classes"
            )


def _check_gives_logits(model: Any) -> None:
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"Expected a built keras.Model. Received: {shown(model)}")
    if activation := final_activation(model):
        raise ValueError(
            f"Expected models that give logits. Received: {model.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(model)`."
        )
    graph = shape_model(model)
    if graph is None or len(graph.outputs) != 1 or len(graph.outputs[0].shape) != 2:
        raise ValueError(
            "Expected models with a graph and one output of logits, (batch, classes). Received: "
            f"{model.name!r}"
        )


def _outputs_of(model: keras.Model) -> int:
    graph: Any = shape_model(model)
    return graph.outputs[0].shape[-1]
