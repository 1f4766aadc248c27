"""The `Distiller`: a student trained by its teacher's outputs and by labels, mixed by a weight."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from kdzoo.distillation import argument_checks, output_checks
from kdzoo.distillation.batch_targets import carried_teacher_outputs, names_of_labels
from kdzoo.distillation.data_checks import check_arrays, check_data
from kdzoo.distillation.loss_names import make_trackers
from kdzoo.distillation.probabilities import StopAtWrongOutputs
from kdzoo.distillation.settings import tapped_paths
from kdzoo.distillation.step import DistillationStep
from kdzoo.graph import taps
from kdzoo.graph.keras_internals import CACHED_EVALUATION
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.utils import check_flag, check_integer, check_name, check_positive_integer, onednn
from kdzoo.utils.adjustable_number import Adjustable
from kdzoo.utils.field_checks import (
    check_fields,
    is_boolean,
    is_dictionary,
    is_finite_number,
    is_name,
    is_plain,
)
from kdzoo.utils.keras_errors import plain_errors

_LARGEST_BATCH = 2**31 - 1

_FIELDS = {
    "name": is_name,
    "student": is_dictionary,
    "distillation_losses": lambda value: isinstance(value, list),
    "distillation_loss_weights": is_plain,
    "student_loss_weight": is_finite_number,
    "fuse_batch_norm": is_boolean,
    "has_teacher_transform": is_boolean,
    "check_values": is_boolean,
    "trainable": is_boolean,
    "dtype": lambda value: is_name(value) or is_dictionary(value),
}
"""Name of a field of a configuration -> whether a value from a file fits it."""

_OPTIONAL = _FIELDS.keys() - {"student", "distillation_losses"}


@keras.saving.register_keras_serializable("kdzoo")
class Distiller(DistillationStep):
    """Trains a student with a teacher: `compile`, `fit`, and take `distiller.student`.

    The loss is

        student_loss_weight · student_loss
        + (1 − student_loss_weight) · Σᵢ distillation_loss_weights[i] · distillation_losses[i]
        + the student's own regularizers

    A drop-in for `keras.distillation.Distiller`: same arguments, same meaning of the weights. The
    teacher runs once a step, in inference mode and outside the gradient; it is not changed, not
    frozen, not saved with the distiller, and not run in validation. The student runs forward once a
    step, which also gives the outputs of tapped layers. `sample_weight` and `class_weight` count in
    every loss.

    In the logs, `loss` is the sum above, `student_loss` and `distillation_loss` are its two parts
    before mixing, and with several losses there is `<name>_loss` for each, before its weight.
    `evaluate` and `val_loss` show the student's own loss.

    Args:
        teacher: A trained `keras.Model` that gives logits, `kdzoo.Ensemble([...])`, or `None` when
            the data carry the teacher's outputs: `(x, {"label": y, "teacher": logits})`, where
            `"teacher"` is `{"logits": ..., "<layer>": ...}` if a loss taps a layer. Such data need
            no `label` if no loss takes labels; `class_weight` does not reach them (Keras takes it
            with plain labels only). A loss that keeps something for each example, such as
            `ContrastiveRepresentation`, needs `"index"` beside the label: the positions of the
            batch's examples in the training set.
        student: The `keras.Model` to train, which gives logits. A subclassed model serves where no
            layer is tapped.
        distillation_losses: A loss of `kdzoo.losses` or of `keras.distillation`, or a list. For
            models of several outputs a loss is summed over the pairs of outputs, each read by what
            it means: exclusive classes, binary labels, or numbers. The compiled loss of the
            output tells, else the activation that `kdzoo.as_logits` took from student or teacher,
            else several columns are classes. `SoftTargets(output_type=...)` says it.
        distillation_loss_weights: A weight for each loss, at least 0; `None` for 1 each.
        student_loss_weight: Between 0 (the teacher only) and 1 (labels only).
        name: Name of the distiller.
        teacher_transform: Function from the student's inputs to the teacher's, for a teacher of
            another image size, dtype or preprocessing. It runs inside the training step.
        fuse_batch_norm: Whether the two forward passes use TensorFlow's fused batch
            normalization, which is equal to about 1e-5 and quicker
            (`kdzoo.fuse_batch_normalization`). The models themselves are left as they are. The
            other part of `kdzoo.accelerate` is always used.
        check_values: Whether `fit` looks at values: it refuses outputs that are probabilities where
            a loss reads logits, which it sees in its first step, and warns of images that look like
            raw pixels.
        **kwargs: Arguments of `keras.Model`: `trainable`, `dtype`.

    Raises:
        ValueError: If a model ends in a softmax or sigmoid where logits are needed, class counts
            or input shapes differ, a tapped layer does not exist, a weight is out of range, or the
            student would train layers of the teacher; in the first step, if nothing tells what one
            column of outputs is and a loss depends on it. A student whose graph holds the teacher's
            outputs may train its layers: it is one model that learns from its own outputs.

    Example:

    ```python
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    distiller.fit(x_train, y_train, epochs=10, validation_data=(x_val, y_val))
    distiller.student.save("student.keras")
    ```

    A distiller that is loaded from a `.keras` file predicts and evaluates at once. To go on
    training, set `distiller.teacher`, and before it `distiller.teacher_transform` if there was one:
    neither is in the file.

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.
    """

    def __init__(
        self,
        teacher: keras.Model | None,
        student: keras.Model,
        distillation_losses: Any,
        distillation_loss_weights: float | Sequence[float] | None = None,
        student_loss_weight: float = 0.5,
        name: str | None = "distiller",
        *,
        teacher_transform: Callable[[Any], Any] | None = None,
        fuse_batch_norm: bool = True,
        check_values: bool = True,
        **kwargs: Any,
    ):
        argument_checks.check_model("student", student)
        # The models cast for themselves; the policy here only decides on loss scaling.
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(name=check_name(name), autocast=False, **kwargs)
        self.student = student
        self.distillation_losses = argument_checks.as_losses(distillation_losses)
        weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self._student_weight = Adjustable(weight)
        weights = argument_checks.check_loss_weights(
            distillation_loss_weights, self.distillation_losses
        )
        self._distillation_weights = tuple(Adjustable(weight) for weight in weights)
        self._mixes_both = self._had_transform = False
        self.fuse_batch_norm = check_flag("fuse_batch_norm", fuse_batch_norm)
        self.check_values = check_flag("check_values", check_values)
        self.teacher_transform = argument_checks.check_teacher_transform(teacher_transform)
        self.teacher = teacher
        self._student_taps = tapped_paths(self.distillation_losses, "student")
        self._loss_trackers = make_trackers(self.distillation_losses)
        self._validating = False
        self.built = student.built

    @property
    def output_names(self) -> list[str] | None:
        """The student's output names, so that `compile(loss={...})` may use them."""
        return getattr(self.student, "output_names", None)

    def compile(
        self, optimizer: Any = "adam", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configures training as `keras.Model.compile` does.

        Args:
            optimizer: A `keras.optimizers.Optimizer`, or the name of one.
            loss: The student's loss on the labels: a `keras.losses.Loss`, a function, the name of a
                loss, or a list or dictionary of them for several outputs. `None` trains on the
                teacher alone and requires `student_loss_weight=0`; the regularizers are then all of
                the validation loss.
            metrics: Metrics of the student's outputs, as `keras.Model.compile` takes them.
            **kwargs: Further arguments of `keras.Model.compile`: `loss_weights`, `jit_compile`, …

        Raises:
            ValueError: If there is no loss and `student_loss_weight` is above 0, Keras knows no
                such optimizer or loss, or the student would train layers of the teacher.

        Warns:
            UserWarning: If the loss expects probabilities and the student gives logits.
        """
        argument_checks.check_optimizer(optimizer)
        argument_checks.check_student_loss(loss)
        argument_checks.check_loss_is_given(self.student_loss_weight, loss)
        output_checks.warn_unless_on_logits(loss, self.student)
        argument_checks.check_nothing_shared(self.teacher, self.student)
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | Literal["auto"] = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the student; arguments and result are those of `keras.Model.fit`.

        Args:
            x: Arrays of inputs; or a `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator of
                batches `(x, y)` or `(x, y, sample_weight)`.
            y: The labels of `x`, if it is arrays; or a dictionary of what the class says.
            batch_size: Samples in a batch of arrays; None for 32.
            epochs: Number of the last epoch, at least 0.
            verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch.
            callbacks: Callbacks of Keras, a list.
            *args: Further arguments of `keras.Model.fit`, from `validation_split` on.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            The `keras.callbacks.History`.

        Raises:
            ValueError: If the data are empty; if arrays hold labels that are no classes; if the
                first step sees probabilities where a loss reads logits; if the loss becomes NaN or
                infinite.

        Warns:
            UserWarning: If images look like pixels in [0, 255] and the student is not known to
                rescale them; if TensorFlow computes without oneDNN where that would be quicker.
        """
        epochs, batch_size = check_integer("epochs", epochs, least=0), _check_batch_size(batch_size)
        check_data(x, y, self)
        self._check_validation(kwargs.get("validation_data"))
        self.prepare(x, y)
        stop = StopAtWrongOutputs(self)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [*keras.tree.flatten(callbacks or []), stop]
        elif not any(isinstance(inner, StopAtWrongOutputs) for inner in callbacks.callbacks):
            callbacks.callbacks.append(stop)
            stop.set_model(self)
        onednn.warn_if_off()
        with plain_errors(), untuned_passes():
            history = super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs)
        if history.epoch and not history.history:
            raise ValueError("Expected data to train on. Received: a data set without a batch.")
        return history

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Returns the student's loss and metrics, as `keras.Model.evaluate` does.

        The teacher does not run.

        Args:
            x: Arrays of inputs, or batches, as `fit` takes them.
            y: The labels of `x`, if it is arrays.
            batch_size: Samples in a batch of arrays; None for 32.
            *args: Further arguments of `keras.Model.evaluate`, from `verbose` on.
            **kwargs: Further arguments of `keras.Model.evaluate`.

        Raises:
            ValueError: If the data are empty, or arrays do not fit each other or the student.
        """
        if CACHED_EVALUATION not in kwargs:  # Keras's own, within `fit`.
            batch_size = _check_batch_size(batch_size)
            check_arrays(x, y, self.student)
        with plain_errors(), untuned_passes(), self._put_back(), self._in_validation():
            return super().evaluate(x, y, batch_size, *args, **kwargs)

    def _check_validation(self, data: Any) -> None:
        """Raises unless validation data can be read, and arrays in them fit."""
        if data is None:
            return
        if not isinstance(data, tuple | list):
            check_arrays(data, None, self.student)
            return
        if len(data) not in (1, 2, 3):
            raise ValueError(
                "Expected validation_data to be a data set of batches, (x, y) or (x, y, "
                f"sample_weight). Received: {len(data)} parts"
            )
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        # No distillation loss counts in validation: neither an index nor the teacher's outputs.
        check_data(x, self._split_targets(y, None).label, self)

    def prepare(self, data: Any, y: Any = None) -> None:
        """Makes the weights of the losses, if they are missing, for data that carry the teacher's
        outputs. `fit` does so; call it before weights are loaded into a new distiller.

        Args:
            data: What `fit` takes as `x`.
            y: What `fit` takes as `y`, if the data are arrays.
        """
        if self.teacher is None:
            names = names_of_labels(self.student, getattr(self, "loss", None))
            carried = carried_teacher_outputs(data, y, names)
            taps.build_losses(self.distillation_losses, None, self.student, carried)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "student": keras.saving.serialize_keras_object(self.student),
            "distillation_losses": [
                keras.saving.serialize_keras_object(loss) for loss in self.distillation_losses
            ],
            "distillation_loss_weights": list(self.distillation_loss_weights),
            "student_loss_weight": self.student_loss_weight,
            "fuse_batch_norm": self.fuse_batch_norm,
            "has_teacher_transform": self._had_transform or self.teacher_transform is not None,
            "check_values": self.check_values,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Distiller":
        if cls is Distiller:  # A subclass may have arguments of its own.
            check_fields("Distiller", config, _FIELDS, optional=_OPTIONAL)
        config = dict(config)
        restore = keras.saving.deserialize_keras_object
        config["student"] = restore(config["student"])
        config["distillation_losses"] = [restore(loss) for loss in config["distillation_losses"]]
        had_transform = config.pop("has_teacher_transform", False)
        distiller = cls(teacher=None, **config)
        distiller._had_transform = had_transform
        return distiller

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)


def _check_batch_size(given):
    """Returns a positive integer, or None for Keras's own."""
    return None if given is None else check_positive_integer("batch_size", given, _LARGEST_BATCH)
