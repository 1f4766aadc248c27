"""Training of a network of several exits: jointly, by its own last exit, or by a teacher."""

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
from kdzoo.dynamic.exit_graph import exit_graph
from kdzoo.dynamic.scaled_gradients import with_equal_gradients
from kdzoo.graph import acceleration
from kdzoo.graph.exportable import TrainsStudent
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.keras_internals import additional_loss, compile_loss
from kdzoo.graph.outputs import OutputType, told_output_types, type_of_loss
from kdzoo.graph.replicas import count_replicas
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.losses import DistillationLoss, SoftTargets
from kdzoo.losses.base import check_weight
from kdzoo.utils import check_flag, onednn, shown
from kdzoo.utils.types import Tensor


class ExitLearner(TrainsStudent, TeacherKept):
    """Trains all exits of a network at once: `compile`, `fit`, take `student`.

    The loss is the sum over the exits of the exit's weight times

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    plus the network's regularizers. Without a teacher the last exit teaches the others by its
    outputs, which are not differentiated, and learns from the labels alone. Each exit's
    `sample_weight` is that of the batch. In the logs, `exit1_loss` is the loss of the first exit on
    the labels, `exit1_distillation_loss` what it learns from its teacher, before the weights, and
    `loss` the whole. In validation only the losses on the labels count, and no teacher runs.

    Args:
        student: A functional `keras.Model` of two or more exits, its outputs, from the first to the
            last, which give logits; such as `add_exits` returns.
        teacher: A built `keras.Model` of one output, which teaches all exits; it is not trained.
            None: the last exit teaches.
        student_loss_weight: Weight of the loss on the labels, from 0 to 1, in exits that have a
            teacher. 1: nothing is distilled.
        distillation_loss: A `kdzoo.losses.DistillationLoss` of logits; soft targets at a
            temperature of 3 when None.
        exit_weights: A number of at least 0 for each exit; 1 for all when None.
        equal_gradients: Whether gradients are scaled so that each of the exits behind a layer has
            the same part in it, and early exits do not disturb the last one.

    Raises:
        ValueError: If the student has one output or no graph, an exit ends in a softmax, the
            teacher's classes are others, or a number is out of range.

    Example:

    ```python
    exits = kdzoo.dynamic.add_exits(model, at=["stage1", "stage2"])
    learner = kdzoo.dynamic.ExitLearner(exits, teacher)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    learner.fit(images, labels, epochs=10)
    learner.student.save("exits.keras")
    ```

    References: Teerapittayanon et al., "BranchyNet", 2016, arXiv:1709.01686; Li et al., "Improved
    techniques for training adaptive deep networks", 2019, arXiv:1908.06294.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        student_loss_weight: float = 0.5,
        distillation_loss: DistillationLoss | None = None,
        exit_weights: Sequence[float] | None = None,
        equal_gradients: bool = True,
    ):
        argument_checks.check_model("student", student)
        count = len(exit_graph(student).outputs)
        if activation := final_activation(student):
            raise ValueError(
                f"Expected exits that give logits. Received: {student.name!r}, whose exits end in "
                f"a {activation}"
            )
        # The student casts for itself; the policy here only decides on loss scaling.
        super().__init__(name="exit_learner", autocast=False, dtype=student.dtype_policy)
        self.student = student
        self.equal_gradients = check_flag("equal_gradients", equal_gradients)
        self.student_loss_weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self.exit_weights = _exit_weights(exit_weights, count)
        (self.distillation_loss,) = argument_checks.as_losses(
            [SoftTargets(3.0) if distillation_loss is None else distillation_loss]
        )
        self._set_teacher(teacher)
        self.exit_names = [f"exit{number}" for number in range(1, count + 1)]
        self._trackers = {
            name: keras.metrics.Mean(name=name)
            for exit_name in self.exit_names
            for name in (f"{exit_name}_loss", f"{exit_name}_distillation_loss")
        }
        # Of the student's own layers.
        self._trained = Untracked(with_equal_gradients(student) if equal_gradients else student)
        self._output_type: OutputType | None = None
        self.built = True

    def _set_teacher(self, teacher):
        if teacher is not None:
            argument_checks.check_model("teacher", teacher)
            outputs = getattr(teacher, "outputs", None)
            classes = self.student.outputs[-1].shape[-1]
            if outputs and (len(outputs) != 1 or outputs[0].shape[-1] != classes):
                raise ValueError(
                    f"Expected a teacher of one output of {classes} classes. Received: "
                    f"{teacher.name!r} with {[tuple(tensor.shape) for tensor in outputs]}"
                )
            if activation := final_activation(teacher):
                raise ValueError(
                    f"Expected a teacher that gives logits. Received: {teacher.name!r}, which ends "
                    f"in a {activation}; pass `kdzoo.as_logits(teacher)`."
                )
        self._teacher_reference = Untracked(teacher)

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, or None where the last exit teaches."""
        return self._teacher_reference.model

    def compile(
        self, optimizer: Any = "adam", loss: Any = None, metrics: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        """Configures training as `keras.Model.compile` does.

        Args:
            optimizer: An optimizer of Keras, or its name.
            loss: The loss of each exit on the labels: a `keras.losses.Loss`, a function or a name.
            metrics: Metrics of each exit's outputs, Keras metrics or names, a list.
            **kwargs: Further arguments of `keras.Model.compile`, such as `jit_compile`.

        Raises:
            ValueError: If there is no loss, or Keras knows none of that name.
        """
        if loss is None or isinstance(loss, list | tuple | dict):
            raise ValueError(
                "Expected `loss`, one loss on the labels for all exits. Received: "
                f"loss={shown(loss)}"
            )
        argument_checks.check_student_loss(loss)
        argument_checks.check_optimizer(optimizer)
        output_checks.warn_unless_on_logits(loss, self.student)
        told = told_output_types(self.student)
        known = (type_of_loss(loss), *(told[:1] if told else ()))
        self._output_type = next((kind for kind in known if kind is not None), None)
        check_metrics(metrics)
        by_exit = {name: new_metrics(metrics) for name in self.exit_names} if metrics else None
        super().compile(optimizer=optimizer, loss=loss, metrics=by_exit, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> list[Tensor]:
        """Returns the outputs of the exits, from the first to the last.

        Args:
            inputs: What the student takes.
            training: Whether the student runs as in training.
        """
        model = self._trained.model if training else self.student
        with acceleration.accelerated(acceleration.fusible_layers(self.student)):
            return keras.tree.flatten(model(inputs, training=training))  # type: ignore[misc]

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains all exits, as `keras.Model.fit` does.

        Args:
            *args: Arguments of `keras.Model.fit`.
            **kwargs: Arguments of `keras.Model.fit`.
        """
        onednn.warn_if_off()
        with untuned_passes(), self._put_back():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics of the exits on labels, as `keras.Model.evaluate` does.

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
            with self._state_scope(*state):
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
        if targets.label is None:
            raise ValueError("Expected labels beside the inputs. Received: data without labels.")
        losses = [
            weight * self._loss_of_exit(place, y_pred, targets, training)
            for place, weight in enumerate(self.exit_weights)
        ]
        # Keras's sum, which counts them once over all replicas.
        losses += [additional_loss(self, ops.cast(loss, "float32")) for loss in self.losses]
        return sum(losses[1:], losses[0])

    def _loss_of_exit(self, place, outputs, targets, training):
        """The loss of one exit, before its weight."""
        name, own = self.exit_names[place], outputs[place]
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
        by_name = dict(zip(self.exit_names, y_pred, strict=True))
        labels = dict.fromkeys(self.exit_names, targets.label)
        weights = targets.sample_weight
        weights = None if weights is None else dict.fromkeys(self.exit_names, weights)
        return super().compute_metrics(x, labels, by_name, weights)

    def _track(self, name, value, outputs):
        self._trackers[name].update_state(
            value * count_replicas(), sample_weight=ops.shape(outputs)[0]
        )


def _exit_weights(given, count):
    """The weights of the exits as a list of floats."""
    if given is None:
        return [1.0] * count
    if not isinstance(given, list | tuple) or len(given) != count:
        raise ValueError(
            f"Expected a weight for each of {count} exits. Received: exit_weights={shown(given)}"
        )
    weights = [check_weight("exit_weights", weight) for weight in given]
    if not any(weights):
        raise ValueError(f"Expected an exit that counts. Received: exit_weights={shown(given)}")
    return weights
