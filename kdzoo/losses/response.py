"""Soft targets: the divergence of softened outputs."""

from typing import Any

import keras
from keras import ops

from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import (
    LayerPaths,
    Softened,
    check_temperature,
    mean_over_positions,
    unit_rows,
)
from kdzoo.losses.divergence import binary_divergence, kl_divergence, logits_pair
from kdzoo.losses.output_types import check_output_type, config_of_type, type_of_logits
from kdzoo.utils import check_flag
from kdzoo.utils.types import Tensor, TensorLike

_NOISE = 1e-6  # Differences of logits below this fraction of them are rounding errors.


def soft_targets(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    temperature: float | keras.Variable = 1.0,
    *,
    output_type: OutputType | None = None,
    standardize: bool = False,
) -> Tensor:
    """Cross-entropy of softened outputs, less the teacher's entropy: T² · KL(teacher ‖ student).

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² keeps the gradients' size when the temperature changes. The authors minimize the
    cross-entropy; the teacher's entropy is constant in the student, so the gradients are equal,
    and the loss is 0 where the student agrees.

    Of independent binary labels p and q are sigmoids, and the sum is over each label's two
    outcomes and all labels:
    `T² Σᵢ (pᵢ log (pᵢ / qᵢ) + (1 − pᵢ) log ((1 − pᵢ) / (1 − qᵢ)))`.

    With `standardize`, the logits of each sample are first replaced by their z-scores,
    `(z − mean z) / std z` over the classes, in the teacher and in the student, so that the student
    learns their pattern at a scale of its own.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`; of binary labels
            `(batch, ..., labels)`, such as `(batch, height, width, 1)` for a mask, or `(batch,)`.
        student_logits: Float tensor of the teacher's shape.
        temperature: Divisor T of the logits, above 0.
        output_type: `"classes"` if a softmax over the last axis belongs to the logits, `"binary"`
            if each has a sigmoid of its own; `None` for classes, which must be several.
        standardize: Whether logits are standardized before they are softened. The deviation is the
            authors' code's, of `classes − 1` degrees of freedom; theirs also has 1e-7 added. Logits
            that are all equal become 0. Of two classes only their order is left.

    Returns:
        Float32 tensor `(batch,)`: nats times T², averaged over the positions of a sample if it
        has several.

    Raises:
        ValueError: If the numbers of classes differ, the temperature is not above 0, there is one
            column and `output_type` does not say what it is, or binary labels are to be
            standardized.

    Example:

    >>> import numpy as np
    >>> loss = soft_targets(np.array([[1.0, 2.0, 5.0]]), np.array([[0.5, 2.5, 0.0]]), 3.0)
    >>> round(float(loss[0]), 4)
    3.1942
    >>> loss = soft_targets(np.array([[3.0]]), np.array([[-2.0]]), output_type="binary")
    >>> round(float(loss[0]), 4)
    1.8412

    Reference: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015,
    arXiv:1503.02531, section 2. Sun et al., "Logit Standardization in Knowledge Distillation",
    2024, arXiv:2403.01427, for `standardize`.
    """
    name, is_standard = "soft_targets", check_flag("standardize", standardize)
    given = check_output_type(_called(name, is_standard), output_type, _accepted(is_standard))
    return mean_over_positions(
        _soft_targets(name, teacher_logits, student_logits, temperature, is_standard, given)
    )


def _soft_targets(name, teacher_logits, student_logits, temperature, standardize, given, told=None):
    """The loss of `soft_targets` before the mean over positions, `(batch, ...)`."""
    temperature = check_temperature(temperature)
    teacher, student = logits_pair(teacher_logits, student_logits, least_rank=1)
    what = given, told, _accepted(standardize)
    is_binary = type_of_logits(_called(name, standardize), teacher.shape, *what) == "binary"
    if standardize:
        teacher, student = _z_scores(teacher), _z_scores(student)
    if is_binary:
        divergence = binary_divergence(teacher / temperature, student / temperature)
    else:
        divergence = kl_divergence(teacher, student, temperature)
    return temperature**2 * divergence


def _z_scores(logits):
    """Logits `(batch, ..., classes)` less their mean over their deviation, zeros where equal."""
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    sizes = [ops.max(ops.abs(part), axis=-1, keepdims=True) for part in (centred, logits)]
    # What is left of equal logits are the rounding errors of their mean, whose slopes are huge.
    centred = ops.where(sizes[0] <= _NOISE * sizes[1], 0.0, centred)
    # The deviation is the norm over the root of the degrees of freedom.
    degrees = ops.cast(ops.shape(logits)[-1] - 1, "float32")
    return ops.sqrt(degrees) * unit_rows(centred)


def _called(name, standardize):
    """What errors call the loss."""
    return f"{name}(standardize=True)" if standardize else name


def _accepted(standardize):
    """What the logits may be: z-scores are of the classes of one softmax."""
    return ("classes",) if standardize else SoftTargets.OUTPUT_TYPES


@keras.saving.register_keras_serializable("kdzoo")
class SoftTargets(Softened):
    """Soft targets of Hinton et al.: T² · KL(teacher ‖ student) at a raised temperature.

    `T² Σᵢ pᵢ (log pᵢ − log qᵢ)` with `p = softmax(teacher / T)` and `q = softmax(student / T)`.
    The factor T² is included, so `student_loss_weight` keeps its meaning at every temperature.

    Of independent binary labels, be it one, several labels or a mask with one for each pixel,
    p and q are sigmoids, and the divergences of the labels are summed over the last axis. In a
    `Distiller` the loss that is compiled for an output tells which of the two it is, or else the
    activation that `as_logits` took from the student or the teacher. Otherwise several columns are
    exclusive classes, and what one column is must be said.

    With `standardize` the loss compares z-scores of the logits: the student need not reach the
    teacher's range of logits, for which it may be too small. The authors' code sets T to 2, and the
    weight to 9 beside 0.1 for the loss on the labels, which alone decides on the range:
    `student_loss_weight=0.1` and `distillation_loss_weights=10.0`.

    Args:
        temperature: Divisor T of the logits, above 0. The paper uses 1 to 20; 2 to 5 suits small
            students.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` or `"binary"`: what the logits are. `None` to find out.
        standardize: Whether the logits of each sample are standardized, `(z − mean z) / std z` over
            the classes, before they are softened; see `soft_targets`.

    Raises:
        ValueError: If the temperature is not above 0 or `output_type` is unknown; when it is
            called, if the outputs are numbers, one column of which nothing is known, or binary
            labels that are to be standardized.

    Example:

    ```python
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(temperature=4.0))

    standardized = kdzoo.losses.SoftTargets(2.0, standardize=True)
    distiller = kdzoo.Distiller(teacher, student, standardized, 10.0, student_loss_weight=0.1)
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531; Sun et al., 2024, arXiv:2403.01427,
    for `standardize`.
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
        standardize: bool = False,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name)
        self.standardize = check_flag("standardize", standardize)
        called = _called("SoftTargets", self.standardize)
        self.output_type = check_output_type(called, output_type, _accepted(self.standardize))

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        temperature = self._temperature.variable
        settings = self.standardize, self.output_type, output_type
        return _soft_targets("SoftTargets", teacher, student, temperature, *settings)

    def get_config(self) -> dict[str, Any]:
        standardize = {"standardize": True} if self.standardize else {}
        return {**super().get_config(), **config_of_type(self.output_type), **standardize}
