"""The Distiller: one teacher pass, one student pass, soft and hard losses mixed."""

import keras
from keras import ops

from kdzoo.distillation import argument_checks
from kdzoo.distillation.data_checks import check_arrays, check_data, plain_errors
from kdzoo.distillation.jax_state import TeacherKept
from kdzoo.distillation.reduction import (
    OUTPUT,
    carried_answer,
    make_trackers,
    pick_answer,
    reduce_loss,
    replicas,
    split_targets,
    tracker_names,
)
from kdzoo.graph import acceleration, taps
from kdzoo.training.callbacks import StopAtNonFiniteLoss
from kdzoo.utils import check_flag, check_integer, check_name, check_positive_integer
from kdzoo.utils.adjustable import Adjustable
from kdzoo.utils.fields import (
    check_fields,
    is_boolean,
    is_dictionary,
    is_finite_number,
    is_name,
    is_plain,
)

_MOST = 2**31 - 1  # Of samples in a batch.


@keras.saving.register_keras_serializable("kdzoo")
class Distiller(TeacherKept, keras.Model):
    """Trains a student with a teacher: `compile`, `fit`, and take `distiller.student`.

    The loss is

        student_loss_weight · student_loss
        + (1 − student_loss_weight) · Σᵢ distillation_loss_weights[i] · distillation_losses[i]
        + the student's own regularizers

    A drop-in for `keras.distillation.Distiller`: same arguments, same meaning of the weights. The
    teacher is asked once a step, in inference mode and outside the gradient; it is not changed,
    not frozen, not saved with the distiller, and not run in validation. The student runs forward
    once a step, taps included. `sample_weight` and `class_weight` weigh every loss.

    In the logs, `loss` is the sum above, `student_loss` and `distillation_loss` are its two parts
    before mixing, and with several losses there is `<name>_loss` for each, before its weight.
    `evaluate` and `val_loss` show the student's own loss.

    Args:
        teacher: A trained `keras.Model` that gives logits, `kdzoo.Ensemble([...])`, or `None` when
            the data carry the teacher's answers: `(x, {"label": y, "teacher": logits})`, where
            `"teacher"` is `{"logits": ..., "<layer>": ...}` if a loss taps a layer. Such data
            need no `label` if nothing asks for it; `class_weight` does not reach them (Keras
            takes it with plain labels only). A loss that keeps something for each example is told
            which they are by `"index"`, beside the label.
        student: The `keras.Model` to train, which gives logits. Subclassed models serve where no
            layer is tapped.
        distillation_losses: A loss of `kdzoo.losses` or of `keras.distillation`, or a list. For
            models of several outputs a loss is summed over the pairs of outputs.
        distillation_loss_weights: A weight for each loss; `None` for 1 each.
        student_loss_weight: Between 0 (the teacher only) and 1 (labels only).
        name: Name of the distiller.
        teacher_transform: Function from the student's inputs to the teacher's, for a teacher of
            another image size, dtype or preprocessing. Runs inside the training step.
        fuse_batch_norm: Whether the two forward passes use TensorFlow's fused batch
            normalization, which is equal to about 1e-5 and quicker
            (`kdzoo.fuse_batch_normalization`). The models themselves are left as they are. What
            else `kdzoo.accelerate` does is done in any case.
        **kwargs: As in `keras.Model`: `trainable`, `dtype`.

    Raises:
        ValueError: If a model ends in a softmax or sigmoid where logits are needed, class counts
            or input shapes differ, a tapped layer does not exist, or a weight is out of range.

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
        teacher,
        student,
        distillation_losses,
        distillation_loss_weights=None,
        student_loss_weight=0.5,
        name="distiller",
        *,
        teacher_transform=None,
        fuse_batch_norm=True,
        **kwargs,
    ):
        argument_checks.is_model("student", student)
        # The models cast for themselves; the policy here only decides on loss scaling.
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(name=check_name(name), autocast=False, **kwargs)
        self.student = student
        self.distillation_losses = argument_checks.as_losses(distillation_losses)
        self._share = Adjustable(argument_checks.share(student_loss_weight))
        weights = argument_checks.weights(distillation_loss_weights, self.distillation_losses)
        self._soft_weights = tuple(Adjustable(weight) for weight in weights)
        self._mixes_both = self._had_transform = False
        self.fuse_batch_norm = check_flag("fuse_batch_norm", fuse_batch_norm)
        self.teacher_transform = argument_checks.transform(teacher_transform)
        self.teacher = teacher
        self._student_taps = _paths(self.distillation_losses, "student")
        self._loss_trackers = make_trackers(self.distillation_losses)
        self._validating = False
        self.built = student.built

    @property
    def teacher(self):
        """The model that is asked, or `None`. Set it to train with another one."""
        return self._teacher_reference.model

    @teacher.setter
    def teacher(self, teacher):
        if teacher is not None and self._had_transform and self.teacher_transform is None:
            raise ValueError(
                "Expected the function that the teacher's inputs went through before the distiller "
                "was saved. Received: none; set `distiller.teacher_transform` first."
            )
        argument_checks.teacher(teacher, self.student, self.teacher_transform)
        argument_checks.outputs(teacher, self.student, self.distillation_losses)
        self._teacher_reference = _Untracked(teacher)
        self._teacher_taps = _paths(self.distillation_losses, "teacher")
        taps.build_losses(self.distillation_losses, teacher, self.student)
        self._compile_anew()

    @property
    def student_loss_weight(self):
        """Between 0 (the teacher only) and 1 (labels only). Set it to go on with another one."""
        return self._share.value

    @student_loss_weight.setter
    def student_loss_weight(self, weight):
        parts, weight = (self._uses_labels, self._uses_teacher), argument_checks.share(weight)
        if self.compiled:
            argument_checks.loss_for(weight, self._compile_loss)
        self._share.set(weight)
        if (self._uses_labels, self._uses_teacher) != parts:
            self._compile_anew()

    @property
    def distillation_loss_weights(self):
        """A weight for each loss, a tuple. Set it to go on with others."""
        return tuple(weight.value for weight in self._soft_weights)

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, weights):
        weights = argument_checks.weights(weights, self.distillation_losses)
        for adjustable, weight in zip(self._soft_weights, weights, strict=True):
            adjustable.set(weight)

    def mix_both(self):
        """Makes the training step compute both parts, whatever `student_loss_weight` is.

        At 0 and 1 a step leaves out the part that counts for nothing. An annealing that passes
        there calls this before it starts, so that the step need not be compiled again.
        """
        changes = not (self._uses_labels and self._uses_teacher)
        self._mixes_both = True
        if changes:
            self._compile_anew()

    def _compile_anew(self):
        """Lets the next step be another one, also within a `fit` that has begun."""
        if self.train_function is not None:
            self.make_train_function(force=True)

    @property
    def _uses_labels(self):
        return self._mixes_both or self.student_loss_weight > 0

    @property
    def _uses_teacher(self):
        return self._mixes_both or self.student_loss_weight < 1

    def __setattr__(self, name, value):
        # Keras tracks the models that are assigned to it; the teacher is not to be trained.
        object.__setattr__(self, name, value) if name == "teacher" else super().__setattr__(
            name, value
        )

    def __dir__(self):
        # Keras saves whatever `dir` lists; a checkpoint is not to carry the teacher.
        return [name for name in super().__dir__() if name != "teacher"]

    @property
    def output_names(self):
        """The student's output names, so that `compile(loss={...})` may use them."""
        return getattr(self.student, "output_names", None)

    def _adjustables(self):
        """The numbers that may change between steps: the weights, and those of the losses."""
        of_losses = [each for loss in self.distillation_losses for each in vars(loss).values()]
        return [
            each
            for each in (self._share, *self._soft_weights, *of_losses)
            if isinstance(each, Adjustable)
        ]

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """Configures training as `keras.Model.compile` does.

        Args:
            optimizer: As in Keras.
            loss: The student's loss on the labels, as in Keras. `None` trains on the teacher
                alone and requires `student_loss_weight=0`; validation then has no loss but the
                regularizers to show.
            metrics: As in Keras.
            **kwargs: As in Keras: `loss_weights`, `jit_compile`, …

        Raises:
            ValueError: If there is no loss and `student_loss_weight` is above 0, or Keras knows no
                such optimizer or loss.

        Warns:
            UserWarning: If the loss expects probabilities and the student gives logits.
        """
        argument_checks.optimizer(optimizer)
        argument_checks.loss_on_labels(loss)
        argument_checks.loss_for(self.student_loss_weight, loss)
        argument_checks.warn_unless_on_logits(loss, self.student)
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        **kwargs,
    ):
        """Trains the student; arguments and result are those of `keras.Model.fit`.

        Raises:
            ValueError: If the data are empty; if arrays hold labels out of range, or images in
                [0, 255] for a student that rescales nothing; if the loss becomes NaN or infinite.
        """
        epochs, batch_size = check_integer("epochs", epochs, least=0), _batch_size(batch_size)
        check_data(x, y, self)
        self._check_validation(kwargs.get("validation_data"))
        self.prepare(x, y)
        stop = StopAtNonFiniteLoss()
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [*keras.tree.flatten(callbacks or []), stop]
        elif not any(isinstance(each, StopAtNonFiniteLoss) for each in callbacks.callbacks):
            callbacks.callbacks.append(stop)
            stop.set_model(self)
        with plain_errors():
            history = super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs)
        if history.epoch and not history.history:
            raise ValueError("Expected data to train on. Received: a data set without a batch.")
        return history

    def evaluate(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """Returns the student's loss and metrics, as `keras.Model.evaluate` does.

        Raises:
            ValueError: If the data are empty, or arrays do not fit each other or the student.
        """
        if "_use_cached_eval_dataset" not in kwargs:  # Keras's own, within `fit`.
            batch_size = _batch_size(batch_size)
            check_arrays(x, y, self.student)
        with plain_errors():
            return super().evaluate(x, y, batch_size, *args, **kwargs)

    def _check_validation(self, data):
        """Raises if validation data are none, or arrays in them do not fit."""
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
        if isinstance(y, dict):  # Validation asks for no indices.
            y = {name: part for name, part in y.items() if name != "index"}
        check_data(x, y, self)

    def prepare(self, data, y=None):
        """Makes what the losses train of their own, if it is not there yet, for data that carry the
        teacher's answers. `fit` does so; needed before weights are loaded into a new distiller.

        Args:
            data: What `fit` takes as `x`.
            y: What `fit` takes as `y`, if the data are arrays.
        """
        if self.teacher is None:
            answer = carried_answer(data, y)
            taps.build_losses(self.distillation_losses, None, self.student, answer)

    def call(self, inputs, training=None):
        """Returns the student's outputs; while training with taps, `{"logits": ..., path: ...}`."""
        with self._accelerated(self.student):
            if not (training and self._student_taps):
                return self.student(inputs, training=training)
            with taps.tapping(self.student, self._student_taps) as tapped:
                outputs = self.student(inputs, training=training)
        return {**tapped, OUTPUT: outputs}

    def train_step(self, *args):
        # (data,), and on JAX (state, data).
        *state, data = args
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.teacher is not None and self._uses_teacher:
            targets = split_targets(y, sample_weight)
            with self._state_scope(*state):
                y, sample_weight = targets.with_answer(self._ask_teacher(x)), targets.sample_weight
        return super().train_step(*state, (x, y, sample_weight))

    def test_step(self, *args):
        self._validating = True
        try:
            return super().test_step(*args)
        finally:
            self._validating = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        targets = split_targets(y, sample_weight)
        outputs, tapped = self._split_predictions(y_pred)
        # Keras's sum, which counts them once over all replicas.
        regularizers = [
            self._aggregate_additional_loss(ops.cast(loss, "float32")) for loss in self.losses
        ]
        if not training:
            return sum([self._student_loss(targets, outputs), *regularizers], ops.zeros(()))
        parts, share = [], self._share.variable
        if self._uses_labels or (targets.label is not None and self._compile_loss is not None):
            student_loss = self._student_loss(targets, outputs)
            self._track("student_loss", student_loss, outputs)
            parts += [share * student_loss] if self._uses_labels else []
        if self._uses_teacher:
            soft_loss = self._distillation_loss(targets, outputs, tapped)
            self._track("distillation_loss", soft_loss, outputs)
            parts.append((1 - share) * soft_loss)
        return sum([*parts[1:], *regularizers], parts[0])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        targets = split_targets(y, sample_weight)
        outputs, _ = self._split_predictions(y_pred)
        logs = super().compute_metrics(x, targets.label, outputs, targets.sample_weight)
        if self._validating:
            logs = {name: value for name, value in logs.items() if name not in self._loss_trackers}
        return logs

    def get_config(self):
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
        }

    @classmethod
    def from_config(cls, config):
        if cls is Distiller:  # A subclass may have arguments of its own.
            check_fields("Distiller", config, _FIELDS, optional=_OPTIONAL)
        config = dict(config)
        restore = keras.saving.deserialize_keras_object
        config["student"] = restore(config["student"])
        config["distillation_losses"] = [restore(each) for each in config["distillation_losses"]]
        had_transform = config.pop("has_teacher_transform", False)
        distiller = cls(teacher=None, **config)
        distiller._had_transform = had_transform
        return distiller

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def _accelerated(self, model):
        """Context in which the model's layers are quicker."""
        layers = acceleration.strided_layers(model)
        layers += acceleration.fusible_layers(model) if self.fuse_batch_norm else []
        return acceleration.accelerated(layers)

    def _ask_teacher(self, x):
        """The teacher's outputs, or a dictionary of them and its taps if there are taps."""
        if self.teacher_transform is not None:
            x = self.teacher_transform(x)
        with (
            self._accelerated(self.teacher),
            taps.tapping(self.teacher, self._teacher_taps) as tapped,
        ):
            answer = self.teacher(x, training=False)
        if self._teacher_taps:
            answer = {**tapped, OUTPUT: answer}
        return keras.tree.map_structure(ops.stop_gradient, answer)

    def _split_predictions(self, y_pred):
        """The student's outputs and its taps, from what `call` returned."""
        if isinstance(y_pred, dict) and self._student_taps:
            expected = {OUTPUT, *self._student_taps}
            if set(y_pred) == expected:
                return y_pred[OUTPUT], y_pred
        return y_pred, {}

    def _student_loss(self, targets, outputs):
        if self._compile_loss is None:
            return ops.zeros(())
        if targets.label is None:
            raise ValueError(
                "Expected labels for the student's loss. Received: data without labels; pass "
                "`(x, y)`, or train on the teacher alone with `student_loss_weight=0` and "
                "`loss=None`."
            )
        return self._compile_loss(targets.label, outputs, targets.sample_weight)

    def _distillation_loss(self, targets, outputs, tapped):
        """The weighted sum of the distillation losses, each tracked where there are several."""
        if targets.answer is None:
            raise ValueError(
                "Expected a teacher. Received: teacher=None and data without the teacher's "
                "answers; set `distiller.teacher` or pass `(x, {'label': y, 'teacher': logits})`."
            )
        total = 0.0
        losses, tapped = self.distillation_losses, {**tapped, OUTPUT: outputs}
        for loss, weight, name in zip(
            losses, self._soft_weights, tracker_names(losses), strict=True
        ):
            teacher = pick_answer(targets.answer, loss.teacher_layer, self._teacher_taps, outputs)
            student = pick_answer(tapped, loss.student_layer, tapped)
            value = reduce_loss(loss, teacher, student, targets, self.output_names)
            self._track(name, value, outputs)
            total = total + weight.variable * value
        return total

    def _track(self, name, value, outputs):
        if name in self._loss_trackers:
            batch = ops.shape(keras.tree.flatten(outputs)[0])[0]
            self._loss_trackers[name].update_state(value * replicas(), sample_weight=batch)


_FIELDS = {
    "name": is_name,
    "student": is_dictionary,
    "distillation_losses": lambda value: isinstance(value, list),
    "distillation_loss_weights": is_plain,
    "student_loss_weight": is_finite_number,
    "fuse_batch_norm": is_boolean,
    "has_teacher_transform": is_boolean,
    "trainable": is_boolean,
    "dtype": lambda value: is_name(value) or is_dictionary(value),
}
"""Name of a field of a configuration -> whether a value of a file fits it."""

_OPTIONAL = _FIELDS.keys() - {"student", "distillation_losses"}


class _Untracked:
    """Holds a model out of Keras's sight: neither trained, nor counted, nor saved."""

    def __init__(self, model):
        self.model = model


def _batch_size(given):
    """Returns a positive integer, or None for Keras's own."""
    return None if given is None else check_positive_integer("batch_size", given, _MOST)


def _paths(losses, side):
    """The layers that the losses tap in the teacher or in the student, each once."""
    return list(dict.fromkeys(p for loss in losses for p in getattr(loss, f"{side}_layers")))
