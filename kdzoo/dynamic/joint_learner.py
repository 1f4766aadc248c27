"""Training of the outputs of one network that cost more and more, of which the last teaches."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import argument_checks, output_checks
from kdzoo.distillation.batch_targets import Targets, split_targets
from kdzoo.distillation.copies import check_metrics, new_metrics
from kdzoo.distillation.jax_state import TeacherKept
from kdzoo.distillation.reduction import reduce_loss
from kdzoo.distillation.settings import Untracked
from kdzoo.graph import acceleration
from kdzoo.graph.exportable import TrainsStudent
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.keras_internals import additional_loss, compile_loss
from kdzoo.graph.outputs import OutputType, told_output_types, type_of_loss
from kdzoo.graph.replicas import count_replicas
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.losses import DistillationLoss, SoftTargets
from kdzoo.losses.base import check_weight
from kdzoo.utils import onednn, shown
from kdzoo.utils.types import Tensor


class JointLearner(TrainsStudent, TeacherKept):
    """Trains several outputs of a `student` at once, each on labels and on what a teacher gives.

    The loss is the sum over the outputs of the output's weight times

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    plus the student's regularizers. Without a teacher the last output teaches the others, and is
    not differentiated there; it learns from the labels alone. `ExitLearner` and `WidthLearner` are
    the classes to use; their `call` returns the outputs, from the cheapest to the dearest.

    Args:
        student: The model that is trained.
        shape_of: A model of the student's inputs that gives its outputs, or one of them.
        names: A name for each output, by which logs tell them apart.
        teacher: A built `keras.Model` of one output, or None.
        student_loss_weight: From 0 to 1.
        distillation_loss: The loss of logits; soft targets at a temperature of 3 when None.
        output_weights: A number of at least 0 for each output; 1 for all when None.

    Raises:
        ValueError: If an output or the teacher ends in a softmax, the teacher's classes are others,
            or a number is out of range.
    """

    def __init__(
        self,
        student: keras.Model,
        shape_of: keras.Model,
        names: Sequence[str],
        teacher: keras.Model | None,
        student_loss_weight: float,
        distillation_loss: DistillationLoss | None,
        output_weights: Sequence[float] | None,
        name: str,
    ):
        if activation := final_activation(shape_of):
            raise ValueError(
                f"Expected a model that gives logits. Received: {student.name!r}, which ends in a "
                f"{activation}; pass it without."
            )
        # The student casts for itself; the policy here only decides on loss scaling.
        super().__init__(name=name, autocast=False, dtype=student.dtype_policy)
        self.student = student
        self.student_loss_weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self.output_weights = _output_weights(output_weights, len(names))
        given = SoftTargets(3.0) if distillation_loss is None else distillation_loss
        self.distillation_loss = argument_checks.as_one_loss(given)
        self._shape_of = Untracked(shape_of)
        _check_teacher(teacher, shape_of)
        self._teacher_reference = Untracked(teacher)
        self.names_of_outputs = list(names)
        taught = names if teacher is not None else names[:-1]
        logged = [f"{own}_loss" for own in names]
        if self.student_loss_weight < 1:
            logged += [f"{own}_distillation_loss" for own in taught]
        self._trackers = {name: keras.metrics.Mean(name=name) for name in logged}
        self._output_type: OutputType | None = None
        self.built = True

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, or None where the last output teaches."""
        return self._teacher_reference.model

    def compile(
        self, optimizer: Any = "adam", loss: Any = None, metrics: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        """Configures training as `keras.Model.compile` does.

        Args:
            optimizer: An optimizer of Keras, or its name.
            loss: The loss of each output on the labels: a `keras.losses.Loss`, a function or a
                name.
            metrics: Metrics of each output, Keras metrics or names, a list.
            **kwargs: Further arguments of `keras.Model.compile`, such as `jit_compile`.

        Raises:
            ValueError: If there is no loss, or Keras knows none of that name.
        """
        if loss is None or isinstance(loss, list | tuple | dict):
            raise ValueError(
                "Expected `loss`, one loss on the labels for all outputs. Received: "
                f"loss={shown(loss)}"
            )
        argument_checks.check_student_loss(loss)
        argument_checks.check_optimizer(optimizer)
        shape_of = self._shape_of.model
        output_checks.warn_unless_on_logits(loss, shape_of)
        told = told_output_types(shape_of)
        known = (type_of_loss(loss), *(told[:1] if told else ()))
        self._output_type = next((told for told in known if told is not None), None)
        check_metrics(metrics)
        names = self.names_of_outputs if metrics else []
        by_name = {name: new_metrics(metrics) for name in names} or None
        super().compile(optimizer=optimizer, loss=loss, metrics=by_name, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains all outputs, as `keras.Model.fit` does.

        Args:
            *args: Arguments of `keras.Model.fit`.
            **kwargs: Arguments of `keras.Model.fit`.
        """
        onednn.warn_if_off()
        with untuned_passes(), self._put_back():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics of the outputs on labels, as `keras.Model.evaluate` does.

        Args:
            *args: Arguments of `keras.Model.evaluate`.
            **kwargs: Arguments of `keras.Model.evaluate`.
        """
        with untuned_passes(), self._put_back():
            return super().evaluate(*args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        # (data,), and on JAX (state, data).
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.teacher is not None and self.student_loss_weight < 1:
            targets = split_targets(y, sample_weight)
            layers = acceleration.quicker_layers(self.teacher)
            with self._state_scope(*state), acceleration.accelerated(layers):
                outputs = ops.stop_gradient(self.teacher(x, training=False))
            y, sample_weight = targets.with_teacher_outputs(outputs), targets.sample_weight
        return super().train_step(*state, (x, y, sample_weight))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        targets = split_targets(y, sample_weight)
        if targets.label is None or isinstance(targets.label, list | tuple | dict):
            received = "data without them" if targets.label is None else "a structure of labels"
            raise ValueError(
                f"Expected labels beside the inputs, once for all outputs. Received: {received}"
            )
        losses = [
            weight * self._loss_of_output(place, y_pred, targets, training)
            for place, weight in enumerate(self.output_weights)
        ]
        # Keras's sum, which counts them once over all replicas.
        losses += [additional_loss(self, ops.cast(loss, "float32")) for loss in self.losses]
        return sum(losses[1:], losses[0])

    def _loss_of_output(self, place, outputs, targets, training):
        """The loss of one output, before its weight."""
        name, own = self.names_of_outputs[place], outputs[place]
        on_labels = compile_loss(self)(targets.label, own, targets.sample_weight)
        self._track(f"{name}_loss", on_labels, own)
        teacher = targets.teacher_outputs
        if teacher is None and place + 1 < len(outputs):
            teacher = ops.stop_gradient(outputs[-1])
        if teacher is None or not training or self.student_loss_weight == 1:
            return on_labels
        weights = Targets(targets.label, sample_weight=targets.sample_weight)
        types = (self._output_type,)
        distilled = reduce_loss(self.distillation_loss, teacher, own, weights, types=types)
        self._track(f"{name}_distillation_loss", distilled, own)
        return self.student_loss_weight * on_labels + (1 - self.student_loss_weight) * distilled

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        targets = split_targets(y, sample_weight)
        by_name = dict(zip(self.names_of_outputs, y_pred, strict=True))
        labels = dict.fromkeys(self.names_of_outputs, targets.label)
        weights = targets.sample_weight
        weights = None if weights is None else dict.fromkeys(self.names_of_outputs, weights)
        return super().compute_metrics(x, labels, by_name, weights)

    def _track(self, name, value, outputs):
        self._trackers[name].update_state(
            value * count_replicas(), sample_weight=ops.shape(outputs)[0]
        )


def _check_teacher(teacher, shape_of):
    """Raises unless a teacher has the outputs' classes and gives logits."""
    if teacher is None:
        return
    argument_checks.check_model("teacher", teacher)
    outputs = getattr(teacher, "outputs", None)
    classes = shape_of.outputs[-1].shape[-1]
    if outputs and (len(outputs) != 1 or outputs[0].shape[-1] != classes):
        raise ValueError(
            f"Expected a teacher of one output of {classes} classes. Received: {teacher.name!r} "
            f"with {[tuple(tensor.shape) for tensor in outputs]}"
        )
    if activation := final_activation(teacher):
        raise ValueError(
            f"Expected a teacher that gives logits. Received: {teacher.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(teacher)`."
        )


def _output_weights(given, count):
    """The weights of the outputs as a list of floats."""
    if given is None:
        return [1.0] * count
    if not isinstance(given, list | tuple) or len(given) != count:
        raise ValueError(
            f"Expected a weight for each of {count} outputs. Received: weights={shown(given)}"
        )
    weights = [check_weight("weights", weight) for weight in given]
    if not any(weights):
        raise ValueError(f"Expected an output that counts. Received: weights={shown(given)}")
    return weights
