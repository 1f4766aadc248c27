"""One step of a `Distiller`: the passes of teacher and student, and the loss on their outputs."""

import contextlib
from typing import Any

import keras
from keras import ops

from kdzoo.distillation.batch_targets import (
    OUTPUT,
    Targets,
    as_outputs_of_student,
    names_of_labels,
    select_outputs,
    split_targets,
)
from kdzoo.distillation.loss_names import track, tracker_names
from kdzoo.distillation.probabilities import ProbabilitiesRefused
from kdzoo.distillation.reduction import reduce_loss
from kdzoo.distillation.settings import DistillationSettings
from kdzoo.distillation.told_types import told_types
from kdzoo.graph import acceleration, taps
from kdzoo.graph.keras_internals import additional_loss, compile_loss
from kdzoo.losses.base import DistillationLoss
from kdzoo.utils.types import Tensor


class DistillationStep(ProbabilitiesRefused, DistillationSettings):
    """A model that trains its `student` with its `teacher`, one forward pass of each in a step.

    `Distiller` is the class to use.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the student's outputs.

        Args:
            inputs: What the student takes.
            training: Whether the student runs as in training.

        Returns:
            The outputs; in training with tapped layers a dictionary of the outputs, under `""`, and
            the outputs of the tapped layers by their paths.
        """
        with self._accelerated(self.student):
            if not (training and self._student_taps):
                return self.student(inputs, training=training)
            with taps.tapping(self.student, self._student_taps) as tapped:
                outputs = self.student(inputs, training=training)
        return {**tapped, OUTPUT: outputs}

    def train_step(self, *args: Any) -> Any:
        # (data,), and on JAX (state, data).
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        teacher = self.teacher
        if teacher is not None and self._uses_teacher:
            targets = self._split_targets(y, sample_weight)
            with self._state_scope(*state):
                y = targets.with_teacher_outputs(self._run_teacher(teacher, x))
            sample_weight = targets.sample_weight
        return super().train_step(*state, (x, y, sample_weight))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        targets = self._split_targets(y, sample_weight)
        outputs, tapped = self._split_predictions(y_pred)
        # Keras's sum, which counts them once over all replicas.
        regularizers = [additional_loss(self, ops.cast(loss, "float32")) for loss in self.losses]
        if not training:
            return sum([self._student_loss(targets, outputs), *regularizers], ops.zeros(()))
        parts, weight = [], self._student_weight.variable
        if self._uses_labels or (targets.label is not None and compile_loss(self) is not None):
            student_loss = self._student_loss(targets, outputs)
            track(self._loss_trackers, "student_loss", student_loss, outputs)
            parts += [weight * student_loss] if self._uses_labels else []
        if self._uses_teacher:
            distillation_loss = self._distillation_loss(targets, outputs, tapped)
            track(self._loss_trackers, "distillation_loss", distillation_loss, outputs)
            parts.append((1 - weight) * distillation_loss)
        return sum([*parts[1:], *regularizers], parts[0])

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        targets = self._split_targets(y, sample_weight)
        outputs, tapped = self._split_predictions(y_pred)
        logs = super().compute_metrics(x, targets.label, outputs, targets.sample_weight)
        # Keras on JAX also calls this to build weights, on outputs without those of tapped layers.
        is_step = not self._validating and (tapped or not self._student_taps)
        if not (is_step and self._uses_teacher):
            return logs
        return {**logs, **self._flags_of_probabilities(targets, outputs, tapped)}

    def get_metrics_result(self) -> dict[str, Any]:
        # Keras reads all replicas' samples where a step's logs have the names of what is returned
        # here, and else averages over the replicas, of which one may have fewer samples.
        logs = super().get_metrics_result()
        if self._validating:
            return {name: value for name, value in logs.items() if name not in self._loss_trackers}
        return logs

    def _accelerated(self, model: keras.Model) -> contextlib.AbstractContextManager[None]:
        """Context in which the model's layers are quicker."""
        layers = acceleration.quicker_layers(model, self.fuse_batch_norm)
        return acceleration.accelerated(layers)

    def _run_teacher(self, teacher: keras.Model, x: Any) -> Any:
        """The teacher's outputs, or a dictionary of them and its tapped layers' if there are."""
        if self.teacher_transform is not None:
            x = self.teacher_transform(x)
        with self._accelerated(teacher), taps.tapping(teacher, self._teacher_taps) as tapped:
            outputs = teacher(x, training=False)
        if self._teacher_taps:
            outputs = {**tapped, OUTPUT: outputs}
        return keras.tree.map_structure(ops.stop_gradient, outputs)

    def _split_targets(self, y: Any, sample_weight: Any) -> Targets:
        names = names_of_labels(self.student, getattr(self, "loss", None))
        return split_targets(y, sample_weight, names)

    def _split_predictions(self, y_pred: Any) -> tuple[Any, dict[str, Any]]:
        """The student's outputs and its tapped layers', from what `call` returned."""
        if isinstance(y_pred, dict) and self._student_taps:
            expected = {OUTPUT, *self._student_taps}
            if set(y_pred) == expected:
                return y_pred[OUTPUT], y_pred
        return y_pred, {}

    def _student_loss(self, targets: Targets, outputs: Any) -> Tensor:
        compute = compile_loss(self)
        if compute is None:
            return ops.zeros(())
        if targets.label is None:
            raise ValueError(
                "Expected labels for the student's loss. Received: data without labels; pass "
                "`(x, y)`, or train on the teacher alone with `student_loss_weight=0` and "
                "`loss=None`."
            )
        return compute(targets.label, outputs, targets.sample_weight)

    def _distillation_loss(self, targets: Targets, outputs: Any, tapped: dict[str, Any]) -> Tensor:
        """The weighted sum of the distillation losses, each tracked where there are several."""
        if targets.teacher_outputs is None:
            raise ValueError(
                "Expected a teacher. Received: teacher=None and data without the teacher's "
                "outputs; set `distiller.teacher` or pass `(x, {'label': y, 'teacher': logits})`."
            )
        total: Tensor = 0.0
        losses = self.distillation_losses
        names = tracker_names(losses)
        self._types = tuple(self._told_types(loss, targets, outputs) for loss in losses)
        parts = zip(losses, self._distillation_weights, names, self._types, strict=True)
        for loss, weight, name, types in parts:
            teacher, student = self._inputs_of_loss(loss, targets, outputs, tapped)
            value = reduce_loss(loss, teacher, student, targets, self.output_names, types)
            track(self._loss_trackers, name, value, outputs)
            total = total + weight.variable * value
        return total

    def _told_types(self, loss, targets, outputs):
        """What each output that a loss takes is told to mean, a tuple."""
        models = self.teacher, self.student, getattr(self, "loss", None)
        theirs = None
        if self.teacher is not None:
            theirs = select_outputs(targets.teacher_outputs, None, self._teacher_taps, outputs)
        return tuple(told_types(loss, *models, outputs, theirs, self.output_names))

    def _inputs_of_loss(
        self, loss: DistillationLoss, targets: Targets, outputs: Any, tapped: dict[str, Any]
    ) -> tuple[Any, Any]:
        """What a loss takes of the teacher's outputs and of the student's."""
        teacher = select_outputs(
            targets.teacher_outputs, loss.teacher_layer, self._teacher_taps, outputs
        )
        tapped = {**tapped, OUTPUT: outputs}
        student = select_outputs(tapped, loss.student_layer, list(tapped))
        if loss.teacher_layer is None and loss.student_layer is None:
            teacher = as_outputs_of_student(teacher, student, self.output_names)
        return teacher, student
