"""Regression distillation: a student that gives plain numbers learns those of its teacher."""

from typing import Any, Literal

import keras
from keras import ops

from kdzoo.losses.base import (
    DistillationLoss,
    LayerPaths,
    check_positive,
    float32_pair,
    mean_over_positions,
)
from kdzoo.utils import check_choice
from kdzoo.utils.types import Tensor, TensorLike

Regression = Literal["mse", "huber"]
_LOSSES: tuple[Regression, ...] = ("mse", "huber")


def output_regression(
    teacher_outputs: TensorLike,
    student_outputs: TensorLike,
    loss: Regression = "mse",
    delta: float = 1.0,
) -> Tensor:
    """Regression of the student's outputs on the teacher's, numbers of any meaning.

    With e the difference, the mean over a sample's outputs of e² (`"mse"`), or of ½ e² where
    |e| ≤ delta and delta · (|e| − ½ delta) elsewhere (`"huber"`).

    Args:
        teacher_outputs: Float tensor `(batch,)` or `(batch, ...)`: quantities, embeddings, images.
        student_outputs: Float tensor of the teacher's shape.
        loss: `"mse"` or `"huber"`, which a few samples that the teacher is far off on pull less.
        delta: Where Huber's loss turns from a square into a line, above 0, in the outputs' unit.

    Returns:
        Float32 tensor `(batch,)`, equal to what `keras.losses.MeanSquaredError` and
        `keras.losses.Huber` give for each sample.

    Raises:
        ValueError: If the shapes differ, `loss` is unknown or `delta` is not above 0.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 2.0]]), np.array([[1.0, 5.0]])
    >>> float(output_regression(teacher, student)[0])
    4.5
    >>> float(output_regression(teacher, student, "huber")[0])
    1.25

    Reference: Huber, "Robust Estimation of a Location Parameter", 1964, for `"huber"`.
    """
    return mean_over_positions(_output_regression(teacher_outputs, student_outputs, loss, delta))


def _output_regression(teacher_outputs, student_outputs, loss, delta):
    """The loss of `output_regression` for each position, `(batch, ...)` without the last axis."""
    check_choice("loss", loss, _LOSSES)
    delta = check_positive("delta", delta)
    teacher, student = float32_pair(teacher_outputs, student_outputs, "outputs", least_rank=1)
    if teacher.shape[1:] != student.shape[1:]:
        raise ValueError(
            "Expected outputs of one shape from teacher and student. Received: teacher "
            f"{tuple(teacher.shape)}, student {tuple(student.shape)}; build the student with the "
            "teacher's outputs."
        )
    difference = student - teacher
    if loss == "mse":
        values = ops.square(difference)
    else:
        size = ops.abs(difference)
        part = ops.minimum(size, delta)
        values = part * (size - 0.5 * part)  # In a form that cannot overflow.
    return ops.mean(values, axis=-1) if len(values.shape) > 1 else values


@keras.saving.register_keras_serializable("kdzoo")
class OutputRegression(DistillationLoss):
    """Regression distillation: the student learns the teacher's numbers, whatever they mean.

    With e the difference of the outputs, the mean of e² (`"mse"`), or of Huber's loss, which is
    ½ e² where |e| ≤ delta and delta · (|e| − ½ delta) elsewhere (`"huber"`). For quantities,
    embeddings and images, of models that end in any activation.

    Args:
        loss: `"mse"` or `"huber"`, which a few samples that the teacher is far off on pull less.
        delta: Where Huber's loss turns from a square into a line, above 0, in the outputs' unit.
        teacher_layer: Layer that gives the teacher's numbers; `None` for its output.
        student_layer: Layer that gives the student's numbers; `None` for its output.
        name: Name of the loss.

    Raises:
        ValueError: If `loss` is unknown or `delta` is not above 0.

    Example:

    ```python
    loss = kdzoo.losses.OutputRegression("huber", delta=0.5)
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.3)
    distiller.compile("adam", "mse")
    ```

    Reference: Ba & Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv:1312.6184, who
    regress logits so.
    """

    LOSSES = _LOSSES

    def __init__(
        self,
        loss: Regression = "mse",
        delta: float = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        check_choice("loss", loss, self.LOSSES)
        self.loss = loss
        self.delta = check_positive("delta", delta)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return _output_regression(teacher, student, self.loss, self.delta)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": self.loss, "delta": self.delta}
