"""Soft targets: the divergence of softened outputs."""

from typing import Any

import keras

from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import (
    LayerPaths,
    Softened,
    check_temperature,
    mean_over_positions,
)
from kdzoo.losses.divergence import kl_divergence, logits_pair, sum_of_answers
from kdzoo.losses.output_types import check_output_type, config_of_type, type_of_logits
from kdzoo.utils.types import Tensor, TensorLike


def soft_targets(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    temperature: float | keras.Variable = 1.0,
    *,
    output_type: OutputType | None = None,
) -> Tensor:
    """Cross-entropy of softened outputs, less the teacher's entropy: T² · KL(teacher ‖ student).

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² keeps the gradients' size when the temperature changes. The authors minimize the
    cross-entropy; the teacher's entropy is constant in the student, so the gradients are equal,
    and the loss is 0 where the student agrees.

    Of independent yes or no answers p and q are sigmoids, and the sum is over each answer's two
    outcomes and all answers:
    `T² Σᵢ (pᵢ log (pᵢ / qᵢ) + (1 − pᵢ) log ((1 − pᵢ) / (1 − qᵢ)))`.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`; of yes or no answers
            `(batch, ..., answers)`, such as `(batch, height, width, 1)` for a mask, or `(batch,)`.
        student_logits: Float tensor of the teacher's shape.
        temperature: Divisor T of the logits, above 0.
        output_type: `"classes"` if a softmax over the last axis belongs to the logits, `"binary"`
            if each has a sigmoid of its own; `None` for classes, which must be several.

    Returns:
        Float32 tensor `(batch,)`: nats times T², averaged over the positions of a sample if it
        has several.

    Raises:
        ValueError: If the numbers of classes differ, the temperature is not above 0, or there is
            one column and `output_type` does not say what it is.

    Example:

    >>> import numpy as np
    >>> loss = soft_targets(np.array([[1.0, 2.0, 5.0]]), np.array([[0.5, 2.5, 0.0]]), 3.0)
    >>> round(float(loss[0]), 4)
    3.1942
    >>> loss = soft_targets(np.array([[3.0]]), np.array([[-2.0]]), output_type="binary")
    >>> round(float(loss[0]), 4)
    1.8412

    Reference: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015,
    arXiv:1503.02531, section 2.
    """
    given = check_output_type("soft_targets", output_type, SoftTargets.OUTPUT_TYPES)
    return mean_over_positions(
        _soft_targets("soft_targets", teacher_logits, student_logits, temperature, given)
    )


def _soft_targets(name, teacher_logits, student_logits, temperature, given, told=None):
    """The loss of `soft_targets` before the mean over positions, `(batch, ...)`."""
    temperature = check_temperature(temperature)
    teacher, student = logits_pair(teacher_logits, student_logits, least_rank=1)
    if type_of_logits(name, teacher.shape, given, told) == "binary":
        divergence = sum_of_answers(teacher / temperature, student / temperature)
    else:
        divergence = kl_divergence(teacher, student, temperature)
    return temperature**2 * divergence


@keras.saving.register_keras_serializable("kdzoo")
class SoftTargets(Softened):
    """Soft targets of Hinton et al.: T² · KL(teacher ‖ student) at a raised temperature.

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² is included, so `student_loss_weight` keeps its meaning at every temperature.

    Of independent yes or no answers, be it one, several labels or a mask with one for each pixel,
    p and q are sigmoids, and the divergences of the answers are summed over the last axis. In a
    `Distiller` the loss that is compiled for an output tells which of the two it is, or else the
    activation that `as_logits` took from the student or the teacher. Otherwise several columns are
    exclusive classes, and what one column is must be said.

    Args:
        temperature: Divisor T of the logits, above 0. The paper uses 1 to 20; 2 to 5 suits small
            students.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` or `"binary"`: what the logits are. `None` to find out.

    Raises:
        ValueError: If the temperature is not above 0 or `output_type` is unknown; when it is
            called, if the outputs are numbers, or one column of which nothing is known.

    Example:

    ```python
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(temperature=4.0))
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.
    """

    OUTPUT_TYPES: tuple[OutputType, ...] = ("classes", "binary")

    def __init__(
        self,
        temperature: float = 4.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name)
        self.output_type = check_output_type("SoftTargets", output_type, self.OUTPUT_TYPES)

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        temperature = self._temperature.variable
        types = self.output_type, output_type
        return _soft_targets("SoftTargets", teacher, student, temperature, *types)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **config_of_type(self.output_type)}
