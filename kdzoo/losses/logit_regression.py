"""Regression on logits, or on the probabilities or divergence that belong to them."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from kdzoo.graph.outputs import OUTPUT_TYPES, OutputType
from kdzoo.losses.base import DistillationLoss, LayerPaths, is_symbolic, mean_over_positions
from kdzoo.losses.divergence import binary_divergence, kl_divergence, logits_pair
from kdzoo.losses.output_types import check_output_type, config_of_type, type_of_logits
from kdzoo.utils import check_choice, check_numeric_array, shown
from kdzoo.utils.types import Tensor, TensorLike

Target = Literal["logits", "probabilities", "kl"]

# What the targets can be on that take probabilities.
_WITH_PROBABILITIES: tuple[OutputType, ...] = ("classes", "binary")


def logit_regression(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    target: Target = "logits",
    mean: TensorLike = 0.0,
    std: TensorLike = 1.0,
    *,
    output_type: OutputType | None = None,
) -> Tensor:
    """Regression of the student on the teacher's outputs, in one of three forms of Ba & Caruana.

    * `"logits"`: `½ ‖(z − g) / std‖²`, z the teacher's logits and g the student's. With
      `mean` and `std` this is the regression on normalized logits. The mean cancels: both sides
      are normalized, so that the student's output stays a logit (the authors normalize the
      targets alone).
    * `"probabilities"`: `½ ‖softmax(z) − softmax(g)‖²`.
    * `"kl"`: `KL(softmax(z) ‖ softmax(g))`.

    Of independent binary labels the probabilities are sigmoids, and the divergence is the sum
    of the labels' own.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`, or `(batch,)` where one column would
            do.
        student_logits: Float tensor of the teacher's shape.
        target: `"logits"`, `"probabilities"` or `"kl"`.
        mean: Number, `(classes,)` or `(1, classes)`: the mean of every logit over the training
            set.
        std: Number, `(classes,)` or `(1, classes)`, above 0: the standard deviation of every logit
            over the training set.
        output_type: `"classes"` if a softmax over the last axis belongs to the logits, `"binary"`
            if each has a sigmoid of its own, `"numbers"` for neither; `None` for classes where it
            makes a difference, which must be several.

    Returns:
        Float32 tensor `(batch,)`: summed over the classes, averaged over the positions of a
        sample if it has several.

    Raises:
        ValueError: If `target` is unknown, the numbers of classes differ, `std` is not above 0, a
            number is not finite, or the target takes probabilities of one column and
            `output_type` does not say what it is.

    Reference: Ba & Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv:1312.6184,
    equation 1 and section 2.2.
    """
    mean, std = _statistics(mean, std)
    given = _check_regression("logit_regression", target, output_type)
    return mean_over_positions(
        _logit_regression(
            "logit_regression", teacher_logits, student_logits, target, mean, std, given
        )
    )


def _logit_regression(name, teacher_logits, student_logits, target, mean, std, given, told=None):
    """The loss of `logit_regression` before the mean over positions, `(batch, ...)`."""
    teacher, student = logits_pair(teacher_logits, student_logits, least_rank=1)
    if target == "logits":
        _check_classes(1 if len(teacher.shape) < 2 else teacher.shape[-1], mean, std)
        teacher, student = (teacher - mean) / std, (student - mean) / std
    else:
        is_binary = type_of_logits(name, teacher.shape, given, told) == "binary"
        if target == "kl":
            divergence = binary_divergence if is_binary else kl_divergence
            return divergence(teacher, student)
        activation = ops.sigmoid if is_binary else ops.softmax
        teacher, student = activation(teacher), activation(student)
    values = 0.5 * ops.square(teacher - student)
    return ops.sum(values, axis=-1) if len(values.shape) > 1 else values


def _check_regression(name, target, output_type):
    """Returns what a caller says of logits, or raises unless the target can be on them."""
    check_choice("target", target, LogitRegression.TARGETS)
    accepted = OUTPUT_TYPES if target == "logits" else _WITH_PROBABILITIES
    return check_output_type(name, output_type, accepted)


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
        output_type: `"classes"` or `"binary"`: whether probabilities are softmaxes or sigmoids;
            with the target `"logits"` also `"numbers"`, for models that end in any activation.
            `None` to find out: from the loss that a `Distiller` compiles for the output, or the
            activation that `as_logits` took away; otherwise several columns are classes.

    Raises:
        ValueError: If `target` is unknown, `std` is not above 0, a number is not finite or
            `output_type` does not fit the target; when it is called, if probabilities are taken of
            one column of which nothing is known.

    Example:

    ```python
    mean, std = kdzoo.losses.logit_statistics(teacher.predict(x_train))
    loss = kdzoo.losses.LogitRegression(mean=mean, std=std)
    ```

    Reference: Ba & Caruana, 2014, arXiv:1312.6184.
    """

    TARGETS: tuple[Target, ...] = ("logits", "probabilities", "kl")

    def __init__(
        self,
        target: Target = "logits",
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        self.output_type = _check_regression("LogitRegression", target, output_type)
        self.target = target
        self.mean, self.std = _statistics(mean, std)

    @property
    def expects_logits(self) -> bool:  # type: ignore[override]
        return self.output_type != "numbers"

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        settings = self.target, self.mean, self.std, self.output_type, output_type
        return _logit_regression("LogitRegression", teacher, student, *settings)

    def get_config(self) -> dict[str, Any]:
        config = {"target": self.target, "mean": self.mean.tolist(), "std": self.std.tolist()}
        return {**super().get_config(), **config, **config_of_type(self.output_type)}
