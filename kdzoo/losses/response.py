"""Losses on logits."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from kdzoo.losses.base import (
    DistillationLoss,
    LayerPaths,
    Softened,
    check_temperature,
    is_symbolic,
    mean_over_positions,
)
from kdzoo.losses.divergence import kl_divergence, logits_pair
from kdzoo.utils import check_choice, check_numeric_array, shown
from kdzoo.utils.types import Tensor, TensorLike

Target = Literal["logits", "probabilities", "kl"]


def soft_targets(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    temperature: float | keras.Variable = 1.0,
) -> Tensor:
    """Cross-entropy of softened outputs, less the teacher's entropy: T² · KL(teacher ‖ student).

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² keeps the gradients' size when the temperature changes. The authors minimize the
    cross-entropy; the teacher's entropy is constant in the student, so the gradients are equal,
    and the loss is 0 where the student agrees.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`.
        student_logits: Float tensor of the teacher's shape.
        temperature: Divisor T of the logits, above 0.

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
    """The loss of `soft_targets` before the mean over positions, `(batch, ...)`."""
    temperature = check_temperature(temperature)
    teacher, student = logits_pair(teacher_logits, student_logits)
    return temperature**2 * kl_divergence(teacher, student, temperature)


def logit_regression(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    target: Target = "logits",
    mean: TensorLike = 0.0,
    std: TensorLike = 1.0,
) -> Tensor:
    """Regression of the student on the teacher's outputs, in one of three forms of Ba & Caruana.

    * `"logits"`: `½ ‖(z − g) / std‖²`, z the teacher's logits and g the student's. With
      `mean` and `std` this is the regression on normalized logits. The mean cancels: both sides
      are normalized, so that the student's output stays a logit (the authors normalize the
      targets alone).
    * `"probabilities"`: `½ ‖softmax(z) − softmax(g)‖²`.
    * `"kl"`: `KL(softmax(z) ‖ softmax(g))`.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`.
        student_logits: Float tensor of the teacher's shape.
        target: `"logits"`, `"probabilities"` or `"kl"`.
        mean: Number, `(classes,)` or `(1, classes)`: the mean of every logit over the training
            set.
        std: Number, `(classes,)` or `(1, classes)`, above 0: the standard deviation of every logit
            over the training set.

    Returns:
        Float32 tensor `(batch,)`: summed over the classes, averaged over the positions of a
        sample if it has several.

    Raises:
        ValueError: If `target` is unknown, the numbers of classes differ, `std` is not above 0, or
            a number is not finite.

    Reference: Ba & Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv:1312.6184,
    equation 1 and section 2.2.
    """
    mean, std = _statistics(mean, std)
    return mean_over_positions(_logit_regression(teacher_logits, student_logits, target, mean, std))


def _logit_regression(teacher_logits, student_logits, target, mean, std):
    """The loss of `logit_regression` before the mean over positions, `(batch, ...)`."""
    check_choice("target", target, LogitRegression.TARGETS)
    teacher, student = logits_pair(teacher_logits, student_logits)
    if target == "kl":
        return kl_divergence(teacher, student)
    if target == "probabilities":
        teacher, student = ops.softmax(teacher), ops.softmax(student)
    else:
        _check_classes(teacher.shape[-1], mean, std)
        teacher, student = (teacher - mean) / std, (student - mean) / std
    return 0.5 * ops.sum(ops.square(teacher - student), axis=-1)


def logit_statistics(logits: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every logit over a data set, for normalized regression.

    Args:
        logits: The teacher's logits, array `(examples, classes)`.

    Returns:
        Two float32 arrays `(classes,)`: `mean` and `std`. Pass them to `LogitRegression`.

    Raises:
        ValueError: If they are no such array, or a logit is the same for every example, so that it
            cannot be normalized.
    """
    logits = check_numeric_array("logits", logits).astype("float64")
    if logits.ndim != 2 or not logits.size:
        raise ValueError(
            f"Expected logits of shape (examples, classes). Received: shape {logits.shape}"
        )
    mean, std = logits.mean(axis=0), logits.std(axis=0)
    if not (std > 0).all():
        constant = np.flatnonzero(~(std > 0)).tolist()
        raise ValueError(
            "Expected logits that vary over the examples. Received: constant or NaN logits of "
            f"classes {constant}; use the unnormalized `LogitRegression()`."
        )
    return mean.astype("float32"), std.astype("float32")


def _statistics(mean, std):
    """Mean and standard deviation as float32, checked; within a step their values are unknown."""
    if is_symbolic(mean) or is_symbolic(std):
        return ops.cast(mean, "float32"), ops.cast(std, "float32")
    mean, std = check_numeric_array("mean", mean), check_numeric_array("std", std)
    with np.errstate(over="ignore"):
        mean, std = mean.astype("float32"), std.astype("float32")
    if not (std > 0).all() or not np.isfinite([*mean.flat, *std.flat]).all():
        raise ValueError(
            "Expected `std` to be above 0, and `mean` and `std` finite, for every class. "
            f"Received: mean={shown(mean)}, std={shown(std)}"
        )
    # Means that were taken with `keepdims=True` have axes of 1 before that of the classes.
    mean, std = (
        array.reshape(-1) if array.ndim > 1 and array.size == array.shape[-1] else array
        for array in (mean, std)
    )
    if max(mean.ndim, std.ndim) > 1 or not mean.size * std.size:
        raise ValueError(
            "Expected `mean` and `std` to be numbers, or one for each class. Received: "
            f"mean={shown(mean)}, std={shown(std)}"
        )
    return mean, std


def _check_classes(classes, mean, std):
    """Raises unless there is one mean and deviation for all classes, or one for each."""
    for name, values in (("mean", mean), ("std", std)):
        if isinstance(values, np.ndarray) and values.size not in (1, classes):
            raise ValueError(
                f"Expected `{name}` to hold one number, or one for each of {classes} classes. "
                f"Received: {values.size}"
            )


@keras.saving.register_keras_serializable("kdzoo")
class SoftTargets(Softened):
    """Soft targets of Hinton et al.: T² · KL(teacher ‖ student) at a raised temperature.

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² is included, so `student_loss_weight` keeps its meaning at every temperature.

    Args:
        temperature: Divisor T of the logits, above 0. The paper uses 1 to 20; 2 to 5 suits small
            students.
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

    def __init__(
        self,
        temperature: float = 4.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return _soft_targets(teacher, student, self._temperature.variable)


@keras.saving.register_keras_serializable("kdzoo")
class LogitRegression(DistillationLoss):
    """Mimic learning of Ba & Caruana: the student regresses the teacher's logits.

    * `"logits"`: `½ ‖(z − g) / std‖²`, z the teacher's logits and g the student's.
    * `"probabilities"`: `½ ‖softmax(z) − softmax(g)‖²`.
    * `"kl"`: `KL(softmax(z) ‖ softmax(g))`.

    Args:
        target: `"logits"` (the authors' choice), `"probabilities"` or `"kl"`.
        mean: Number or sequence of `classes` numbers: the mean of every logit of the teacher over
            the training set, for the normalized variant. `logit_statistics` computes it.
        std: Number or sequence of `classes` numbers, above 0: the standard deviation of every logit
            of the teacher over the training set.
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

    TARGETS: tuple[Target, ...] = ("logits", "probabilities", "kl")
    expects_logits = True

    def __init__(
        self,
        target: Target = "logits",
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        check_choice("target", target, self.TARGETS)
        self.target = target
        self.mean, self.std = _statistics(mean, std)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return _logit_regression(teacher, student, self.target, self.mean, self.std)

    def get_config(self) -> dict[str, Any]:
        config = {"target": self.target, "mean": self.mean.tolist(), "std": self.std.tolist()}
        return {**super().get_config(), **config}
