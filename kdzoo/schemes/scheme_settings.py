"""How the models of a scheme are compiled and taught, and what of it identifies a run."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.copies import check_metrics, new_metrics, new_optimizer
from kdzoo.distillation.distiller import Distiller
from kdzoo.graph.acceleration import accelerate
from kdzoo.graph.calls import graph_of
from kdzoo.graph.surgery import rebuild
from kdzoo.losses import SoftTargets
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model


class Compiling(NamedTuple):
    """Compiles the models of a scheme, each with an optimizer and metrics of its own.

    Attributes:
        optimizer: The name of an optimizer of Keras, or an optimizer, whose settings are taken.
        loss: The loss on the labels, or None.
        metrics: Metrics of Keras, functions or names.
    """

    optimizer: Any
    loss: Any
    metrics: Sequence[Any]

    def check(self, student_loss_weight: float) -> None:
        """Raises `ValueError` unless Keras knows them, and there is a loss if labels count.

        Args:
            student_loss_weight: The weight of the loss on the labels.
        """
        new_optimizer(self.optimizer)
        argument_checks.check_student_loss(self.loss)
        argument_checks.check_loss_is_given(student_loss_weight, self.loss)
        check_metrics(self.metrics)

    def compiled(self, model: keras.Model) -> keras.Model:
        """Returns a model, compiled.

        Args:
            model: The model, such as a `Distiller`.
        """
        metrics = new_metrics(self.metrics)
        model.compile(new_optimizer(self.optimizer), self.loss, metrics=metrics)
        return model

    def described(self) -> dict[str, Any]:
        """Returns what of them identifies a run: optimizer and loss, JSON-able."""
        loss = keras.losses.get(self.loss) if isinstance(self.loss, str) else self.loss
        return {"optimizer": describe(new_optimizer(self.optimizer)), "loss": describe(loss)}


class Teaching:
    """Who teaches all networks of a scheme, and how.

    Args:
        teacher: The teacher; `"recorded"` where the data carry its outputs; None where the networks
            learn from the labels alone.
        distillation_loss: What is learnt of it, one distillation loss; None for `SoftTargets(4.0)`.
        student_loss_weight: Weight of the loss on the labels beside it.

    Attributes:
        student_loss_weight: The same; 1.0 without a teacher.

    Raises:
        ValueError: If one of them is something else.
    """

    def __init__(self, teacher: Any, distillation_loss: Any, student_loss_weight: Any) -> None:
        if isinstance(teacher, str) and teacher != "recorded":
            raise ValueError(
                "Expected teacher to be a keras.Model, 'recorded' or None. Received: "
                f"teacher={teacher!r}"
            )
        given = SoftTargets(4.0) if distillation_loss is None else distillation_loss
        self._teacher, self._loss = teacher, argument_checks.as_one_loss(given)
        weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self.student_loss_weight = 1.0 if teacher is None else float(weight)

    def check(self, model: keras.Model) -> None:
        """Raises `ValueError` if a model cannot learn from the teacher.

        Args:
            model: The model; it is not changed.
        """
        if self._teacher is not None:
            self.trainee(rebuild(model))

    def trainee(self, student: keras.Model) -> keras.Model:
        """Returns the model whose training is that of a student, which itself is not compiled.

        Args:
            student: The student.
        """
        if self._teacher is None:
            graph = graph_of(student)
            trainee = keras.Model(graph.input, graph.output)
            accelerate(trainee)  # A `Distiller` does it for itself.
            return trainee
        own = type(self._loss).from_config(self._loss.get_config())
        teacher = None if isinstance(self._teacher, str) else self._teacher
        return Distiller(teacher, student, own, student_loss_weight=self.student_loss_weight)

    def described(self) -> Any:
        """Returns what of it identifies a run, the teacher's weights among it, JSON-able."""
        if self._teacher is None:
            return None
        is_recorded = isinstance(self._teacher, str)
        teacher = self._teacher if is_recorded else fingerprint_of_model(self._teacher)
        return [teacher, describe(self._loss), self.student_loss_weight]


def describe(given: Any) -> Any:
    """Returns a JSON-able description of an object that is equal in every process.

    Args:
        given: A loss, optimizer, activation or other setting, or several. Of an object that has a
            configuration, it counts without names; of a function its name alone.

    Example:

    >>> describe(keras.activations.relu), describe(keras.regularizers.L1(0.5))
    ('relu', ['L1', {'l1': 0.5}])
    """
    if isinstance(given, list | tuple):
        return [describe(part) for part in given]
    if isinstance(given, dict):
        return {str(name): describe(part) for name, part in given.items()}
    if given is None or isinstance(given, str | int | float):
        return given
    if dataclasses.is_dataclass(given):
        config = dataclasses.asdict(cast(Any, given))
    elif hasattr(given, "get_config"):
        try:
            config = given.get_config()
        except Exception:  # An object of the user's own may fail in any way.
            config = None
    elif hasattr(given, "tolist"):
        return given.tolist()
    elif callable(given):
        return getattr(given, "__qualname__", type(given).__name__)
    else:
        return type(given).__name__
    return [type(given).__name__, _without_names(json.loads(json.dumps(config, default=describe)))]


def _without_names(config: Any) -> Any:
    """A configuration without the names of objects and modules, and without code."""
    if isinstance(config, list):
        return [_without_names(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "__lambda__":  # Its code holds the path of its file.
        return "<lambda>"
    return {
        name: _without_names(part)
        for name, part in config.items()
        if name not in ("name", "module", "registered_name", "build_config")
    }


def optimizer_for(given: Any, length: int) -> Any:
    """Returns the optimizer of a training.

    Args:
        given: A name or an optimizer, or a function from the length of a training to one.
        length: The epochs or steps of the training.
    """
    is_optimizer = isinstance(given, keras.optimizers.Optimizer | type)
    return given(length) if callable(given) and not is_optimizer else given
