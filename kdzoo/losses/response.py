"""Losses on what the networks answer: their logits."""

import keras
import numpy as np
from keras import ops

from kdzoo.adjustable import Adjustable
from kdzoo.losses.base import DistillationLoss, check_positive, mean_over_positions
from kdzoo.losses.divergence import float32_pair, kl_divergence
from kdzoo.utils import unknown_name

# Stands for minus infinity where an infinity would turn into NaN (inf - inf, 0 * inf).
_EXCLUDED = -1e30


class _Softened(DistillationLoss):
    """A loss on softened logits, whose temperature may change while it is in use."""

    expects_logits = True

    def __init__(self, temperature, teacher_layer, student_layer, name):
        super().__init__(teacher_layer, student_layer, name)
        self._temperature = Adjustable(check_positive("temperature", temperature))

    @property
    def temperature(self):
        """The softening. Set it to go on with another one; nothing is compiled again."""
        return self._temperature.value

    @temperature.setter
    def temperature(self, temperature):
        self._temperature.set(check_positive("temperature", temperature))

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


def soft_targets(teacher_logits, student_logits, temperature=1.0):
    """Cross-entropy of softened answers, less the teacher's entropy: T² · KL(teacher ‖ student).

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² keeps the gradients' size when the temperature changes. The authors minimize the
    cross-entropy; the teacher's entropy is constant in the student, so the gradients are equal,
    and the loss is 0 where the student agrees.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`.
        student_logits: Float tensor of the same shape.
        temperature: Softening, above 0, without unit.

    Returns:
        Float32 tensor `(batch,)`: nats times T², averaged over the positions of a sample if it
        has several.

    Raises:
        ValueError: If the numbers of classes differ or the temperature is not above 0.

    Example:

    >>> import numpy as np
    >>> loss = soft_targets(np.array([[1.0, 2.0, 5.0]]), np.array([[0.5, 2.5, 0.0]]), 3.0)
    >>> round(float(loss[0]), 4)
    3.1942

    Reference: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015,
    arXiv:1503.02531, section 2.
    """
    return mean_over_positions(_soft_targets(teacher_logits, student_logits, temperature))


def _soft_targets(teacher_logits, student_logits, temperature):
    """`soft_targets` of every position, `(batch, ...)`."""
    temperature = _check_temperature(temperature)
    teacher, student = float32_pair(teacher_logits, student_logits)
    return temperature**2 * kl_divergence(teacher / temperature, student / temperature)


def logit_regression(teacher_logits, student_logits, target="logits", mean=0.0, std=1.0):
    """Regression of the student on the teacher's answer, in one of the forms Ba & Caruana compare.

    * `"logits"`: `½ ‖(z − g) / std‖²`, z the teacher's logits and g the student's. With
      `mean` and `std` this is the regression on normalized logits. The mean cancels: both sides
      are normalized, so that the student's output stays a logit (the authors normalize the
      targets alone).
    * `"probabilities"`: `½ ‖softmax(z) − softmax(g)‖²`.
    * `"kl"`: `KL(softmax(z) ‖ softmax(g))`.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`.
        student_logits: Float tensor of the same shape.
        target: `"logits"`, `"probabilities"` or `"kl"`.
        mean: Number or `(classes,)`: each logit's mean over the training set.
        std: Number or `(classes,)`, above 0: each logit's standard deviation.

    Returns:
        Float32 tensor `(batch,)`: summed over the classes, averaged over the positions of a
        sample if it has several.

    Raises:
        ValueError: If `target` is unknown or the numbers of classes differ.

    Reference: Ba & Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv:1312.6184,
    equation 1 and section 2.2.
    """
    return mean_over_positions(_logit_regression(teacher_logits, student_logits, target, mean, std))


def _logit_regression(teacher_logits, student_logits, target, mean, std):
    """`logit_regression` of every position, `(batch, ...)`."""
    teacher, student = float32_pair(teacher_logits, student_logits)
    if target == "kl":
        return kl_divergence(teacher, student)
    if target == "probabilities":
        teacher, student = ops.softmax(teacher), ops.softmax(student)
    elif target == "logits":
        teacher, student = (teacher - mean) / std, (student - mean) / std
    else:
        raise unknown_name("target", target, LogitRegression.TARGETS)
    return 0.5 * ops.sum(ops.square(teacher - student), axis=-1)


def logit_statistics(logits):
    """Mean and standard deviation of each logit over a data set, for normalized regression.

    Args:
        logits: The teacher's logits, array `(examples, classes)`.

    Returns:
        Two float32 arrays `(classes,)`: `mean` and `std`. Pass them to `LogitRegression`.

    Raises:
        ValueError: If a logit is the same for every example, so that it cannot be normalized.
    """
    logits = np.asarray(logits, "float64")
    mean, std = logits.mean(axis=0), logits.std(axis=0)
    if not (std > 0).all():
        constant = np.flatnonzero(~(std > 0)).tolist()
        raise ValueError(
            "Expected logits that vary over the examples. Received: constant or NaN logits of "
            f"classes {constant}; use the unnormalized `LogitRegression()`."
        )
    return mean.astype("float32"), std.astype("float32")


def decoupled_soft_targets(
    teacher_logits,
    student_logits,
    labels,
    target_weight=1.0,
    non_target_weight=8.0,
    temperature=4.0,
):
    """Soft targets in two parts: the true class against the rest, and the rest among themselves.

    `T² (target_weight · KL(b_T ‖ b_S) + non_target_weight · KL(p̂_T ‖ p̂_S))`, where
    `b = (p_label, 1 − p_label)` and `p̂` is the softmax over all classes but the label's.
    Ordinary soft targets are this with weights 1 and `1 − p_label` of the teacher.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.
        labels: Integer `(batch,)` or `(batch, 1)`, or one-hot `(batch, classes)`.
        target_weight: Weight of the first part (the paper's α).
        non_target_weight: Weight of the second part (the paper's β).
        temperature: Softening, above 0.

    Returns:
        Float32 tensor `(batch,)`. Its mean equals the authors' code, which divides the sum by the
        batch size. Their code also ramps the whole loss up over the first 20 epochs; that is a
        schedule and left to the caller.

    Raises:
        ValueError: If there are no labels, the numbers of classes differ or the temperature is
            not above 0.

    Reference: Zhao et al., "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679,
    equation 7.
    """
    if labels is None:
        raise ValueError(
            "Expected labels beside the images: `DecoupledSoftTargets` treats the true class apart."
            " Received: labels=None; use `SoftTargets` on unlabelled data."
        )
    temperature = _check_temperature(temperature)
    teacher, student = float32_pair(teacher_logits, student_logits)
    teacher, student = teacher / temperature, student / temperature
    is_label = _label_mask(labels, classes=teacher.shape[-1])
    target_part = kl_divergence(
        _label_or_rest(teacher, is_label), _label_or_rest(student, is_label)
    )
    other_part = kl_divergence(_without_label(teacher, is_label), _without_label(student, is_label))
    return temperature**2 * (target_weight * target_part + non_target_weight * other_part)


@keras.saving.register_keras_serializable("kdzoo")
class SoftTargets(_Softened):
    """Soft targets of Hinton et al.: T² · KL(teacher ‖ student) at a raised temperature.

    See `soft_targets` for the formula. The factor T² is included, so `student_loss_weight` keeps
    its meaning at every temperature.

    Args:
        temperature: Softening, above 0. The paper uses 1 to 20; 2 to 5 suits small students.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.

    Raises:
        ValueError: If the temperature is not above 0.

    Example:

    ```python
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(temperature=4.0))
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.
    """

    def __init__(self, temperature=4.0, teacher_layer=None, student_layer=None, name=None):
        super().__init__(temperature, teacher_layer, student_layer, name)

    def call(self, teacher, student, labels=None):
        return _soft_targets(teacher, student, self._temperature.variable)


@keras.saving.register_keras_serializable("kdzoo")
class LogitRegression(DistillationLoss):
    """Mimic learning of Ba & Caruana: the student regresses the teacher's logits.

    See `logit_regression` for the formulas.

    Args:
        target: `"logits"` (the authors' choice), `"probabilities"` or `"kl"`.
        mean: Number or sequence of `classes` numbers: each teacher logit's mean over the training
            set, for the normalized variant. `logit_statistics` computes it.
        std: The same for the standard deviation, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.

    Raises:
        ValueError: If `target` is unknown, `std` is not above 0, or a number is not finite.

    Example:

    ```python
    mean, std = kdzoo.losses.logit_statistics(teacher.predict(x_train))
    loss = kdzoo.losses.LogitRegression(mean=mean, std=std)
    ```

    Reference: Ba & Caruana, 2014, arXiv:1312.6184.
    """

    TARGETS = ("logits", "probabilities", "kl")
    expects_logits = True

    def __init__(
        self,
        target="logits",
        mean=0.0,
        std=1.0,
        teacher_layer=None,
        student_layer=None,
        name=None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        if target not in self.TARGETS:
            raise unknown_name("target", target, self.TARGETS)
        self.target = target
        self.mean = np.asarray(mean, "float32")
        self.std = np.asarray(std, "float32")
        if not (self.std > 0).all() or not np.isfinite([*self.mean.flat, *self.std.flat]).all():
            raise ValueError(
                "Expected `std` to be above 0, and `mean` and `std` finite, for every class. "
                f"Received: mean={mean}, std={std}"
            )

    def call(self, teacher, student, labels=None):
        return _logit_regression(teacher, student, self.target, self.mean, self.std)

    def get_config(self):
        config = {"target": self.target, "mean": self.mean.tolist(), "std": self.std.tolist()}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("kdzoo")
class DecoupledSoftTargets(_Softened):
    """Decoupled soft targets of Zhao et al.: target class and the rest weighted apart.

    See `decoupled_soft_targets` for the formula. Needs labels.

    Args:
        target_weight: Weight of the target class's part (the paper's α).
        non_target_weight: Weight of the other classes' part (the paper's β); the authors take 8
            on CIFAR-100 for most pairs.
        temperature: Softening, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.

    Raises:
        ValueError: If the temperature is not above 0.

    Reference: Zhao et al., 2022, arXiv:2203.08679.
    """

    def __init__(
        self,
        target_weight=1.0,
        non_target_weight=8.0,
        temperature=4.0,
        teacher_layer=None,
        student_layer=None,
        name=None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name)
        for part, weight in (("target", target_weight), ("non_target", non_target_weight)):
            if not 0 <= weight < float("inf"):
                raise ValueError(
                    f"Expected `{part}_weight` to be a number of at least 0. Received: {weight}"
                )
        self.target_weight = float(target_weight)
        self.non_target_weight = float(non_target_weight)

    def call(self, teacher, student, labels=None):
        weights = self.target_weight, self.non_target_weight
        temperature = self._temperature.variable
        return decoupled_soft_targets(teacher, student, labels, *weights, temperature)

    def get_config(self):
        config = {
            "target_weight": self.target_weight,
            "non_target_weight": self.non_target_weight,
        }
        return {**super().get_config(), **config}


def _check_temperature(temperature):
    """Returns a variable as it is, and a number as a float above 0."""
    if isinstance(temperature, keras.Variable):
        return temperature
    return check_positive("temperature", temperature)


def _label_mask(labels, classes):
    """Boolean `(batch, classes)`: true at each sample's label."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2 and labels.shape[-1] == classes and classes > 1:
        labels = ops.argmax(labels, axis=-1)
    return ops.cast(ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes), "bool")


def _without_label(logits, is_label):
    """The logits with the label's class taken out of every softmax."""
    return ops.where(is_label, _EXCLUDED, logits)


def _label_or_rest(logits, is_label):
    """Logits `(batch, 2)` of the two events: the label's class, and any other."""
    label = ops.sum(ops.where(is_label, logits, 0.0), axis=-1)
    rest = ops.logsumexp(_without_label(logits, is_label), axis=-1)
    return ops.stack([label, rest], axis=-1)
