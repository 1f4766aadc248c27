"""Training of the outputs of one network that cost more and more, of which the last teaches."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import argument_checks, output_checks
from kdzoo.distillation.batch_targets import Targets, split_targets
from kdzoo.distillation.reduction import reduce_loss
from kdzoo.dynamic.joint_settings import JointSettings
from kdzoo.graph import acceleration
from kdzoo.graph.keras_internals import additional_loss, compile_loss
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.utils import onednn
from kdzoo.utils.keras_errors import plain_errors
from kdzoo.utils.types import Tensor


class JointLearner(JointSettings):
    """Trains several outputs of a `student` at once, each on labels and on what a teacher gives.

    The loss is the sum over the outputs of the output's weight times

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    plus the student's regularizers. Without a teacher the last output teaches the others, and is
    not differentiated there; it learns from the labels alone. `ExitLearner` and `WidthLearner` are
    the classes to use; their `call` returns the outputs, from the cheapest to the dearest.

    `teacher`, `student_loss_weight`, `output_weights` and the temperature of `distillation_loss`
    may be set between trainings. A learner that is loaded from a `.keras` file has no teacher: to
    go on training, set `teacher` if there was one.

    Args:
        student: The model that is trained.
        shape_of: A model of the student's inputs that gives its outputs, or one of them.
        names: A name for each output, by which logs tell them apart.
        teacher: A built `keras.Model` of one output, or None.
        student_loss_weight: From 0 to 1.
        distillation_loss: The loss of logits; soft targets at a temperature of 3 when None.
        output_weights: A number of at least 0 for each output; 1 for all when None.
        name: Name of the learner.

    Raises:
        ValueError: If an output or the teacher ends in a softmax, the teacher's classes or inputs
            are others, the student would train its layers, or a number is out of range.
    """

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
        shape_of = self._shape_of.model
        self._read_loss(loss, [shape_of], "outputs")
        argument_checks.check_optimizer(optimizer)
        output_checks.warn_unless_on_logits(loss, shape_of)
        by_name = self._metrics_by_name(metrics, kwargs)
        super().compile(optimizer=optimizer, loss=loss, **by_name, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains all outputs, as `keras.Model.fit` does.

        Args:
            *args: Arguments of `keras.Model.fit`.
            **kwargs: Arguments of `keras.Model.fit`.

        Raises:
            ValueError: If the learner comes from a file, had a teacher before, and has none; in the
                first step, if the distillation loss is none for such outputs.
        """
        if self._lacks_teacher and self._uses_teacher:
            raise ValueError(
                "Expected the teacher that the learner had before it was saved. Received: none; "
                "set `learner.teacher`, to None where the last output is to teach from now on."
            )
        onednn.warn_if_off()
        with plain_errors(), untuned_passes(), self._put_back():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics of the outputs on labels, as `keras.Model.evaluate` does.

        Args:
            *args: Arguments of `keras.Model.evaluate`.
            **kwargs: Arguments of `keras.Model.evaluate`.
        """
        with plain_errors(), untuned_passes(), self._put_back(), self._in_validation():
            return super().evaluate(*args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        # (data,), and on JAX (state, data).
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.teacher is not None and self._uses_teacher:
            targets = split_targets(y, sample_weight)
            layers = acceleration.quicker_layers(self.teacher)
            with self._state_scope(*state), acceleration.accelerated(layers):
                outputs = ops.stop_gradient(only_output(self.teacher(x, training=False)))
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
            weight.variable * self._loss_of_output(place, y_pred, targets, training)
            for place, weight in enumerate(self._output_weights)
        ]
        # Keras's sum, which counts them once over all replicas.
        losses += [additional_loss(self, ops.cast(loss, "float32")) for loss in self.losses]
        return sum(losses[1:], losses[0])

    def _loss_of_output(self, place, outputs, targets, training):
        """The loss of one output, before its weight."""
        name, own = self._names[place], outputs[place]
        on_labels = compile_loss(self)(targets.label, own, targets.sample_weight)
        self._track(f"{name}_loss", on_labels, own)
        teacher = targets.teacher_outputs
        if teacher is None and place + 1 < len(outputs):
            teacher = ops.stop_gradient(outputs[-1])
        if teacher is None or not training or not self._uses_teacher:
            return on_labels
        weights = Targets(targets.label, sample_weight=targets.sample_weight)
        types = (self._output_type,)
        distilled = reduce_loss(self._distillation_loss, teacher, own, weights, types=types)
        self._track(f"{name}_distillation_loss", distilled, own)
        weight = self._student_weight.variable
        return weight * on_labels + (1 - weight) * distilled

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        targets = split_targets(y, sample_weight)
        by_name = dict(zip(self._names, y_pred, strict=True))
        return super().compute_metrics(x, targets.label, by_name, targets.sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        # The losses by a teacher, in the logs of a training that has one.
        taught = self._names if self.teacher is not None else self._names[:-1]
        taught = [] if self._validating or not self._uses_teacher else taught
        left_out = {f"{name}_distillation_loss" for name in self._names if name not in taught}
        logs = super().get_metrics_result()
        return {name: value for name, value in logs.items() if name not in left_out}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        settings = keras.saving.deserialize_keras_object(config)
        for name in ("metrics", "weighted_metrics"):
            settings[name] = next(iter((settings.get(name) or {}).values()), ())
        self.compile(**settings)
        self.optimizer.build(self.trainable_variables)


def only_output(outputs: Any) -> Tensor:
    """Returns the one tensor that a model gives, which may lie in a list or a dictionary.

    Args:
        outputs: What the model gave.

    Raises:
        ValueError: If there are several.
    """
    tensors = keras.tree.flatten(outputs)
    if len(tensors) != 1:
        raise ValueError(f"Expected a model of one output. Received: one of {len(tensors)}")
    return tensors[0]
