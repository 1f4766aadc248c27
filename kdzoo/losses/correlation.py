"""Correlations of predictions: of a sample over the classes, and of a class over the samples."""

from typing import Any

import keras
from keras import ops

from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import (
    LayerPaths,
    check_temperature,
    check_weight,
    mean_over_positions,
)
from kdzoo.losses.divergence import logits_pair, soften
from kdzoo.losses.output_types import EXCLUSIVE, OfClasses, type_of_logits
from kdzoo.utils.types import Tensor, TensorLike

_EPSILON = 1e-8  # The authors', beside which a vector of this squared length is none.
_FLAT = 1e-30


def prediction_correlation(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    inter_class_weight: float = 1.0,
    intra_class_weight: float = 1.0,
    temperature: float | keras.Variable = 1.0,
) -> Tensor:
    """How little the student's probabilities correlate with the teacher's (DIST).

    `T² (inter_class_weight · (1 − ρᵢ) + intra_class_weight · mean_c (1 − ρ_c))` for each sample i.
    ρᵢ is Pearson's correlation between teacher and student over the classes of sample i, ρ_c that
    over the samples of the batch in their probabilities of class c. Probabilities are softmaxes of
    logits over T. A correlation does not change with the scale or the origin, so that the student
    need not match the teacher's probabilities.

    Args:
        teacher_logits: Float tensor `(batch, ..., classes)`. If a sample has several positions,
            each counts as a sample, and the loss is the mean over them.
        student_logits: Float tensor of the teacher's shape.
        inter_class_weight: Weight of the correlations over the classes (the paper's β), at least 0.
        intra_class_weight: Weight of the correlations over the samples (the paper's γ), at least 0.
        temperature: Divisor T of the logits (τ in the authors' code), above 0.

    Returns:
        Float32 tensor `(batch,)`. Its mean equals the authors' code, which averages over the
        samples and over the classes. `1 − ρ_c` is divided among the samples by the squared
        differences of their standardized probabilities. As in the authors' code, 1e-8 is added to
        the product of the two norms of a correlation: what hardly varies counts as uncorrelated,
        such as a class in a batch without any sample of it. A batch of one has no correlations
        over samples; that part of its loss is 1.

    Raises:
        ValueError: If the numbers of classes differ, there is but one, a weight is below 0 or the
            temperature is not above 0.

    Example:

    >>> import numpy as np
    >>> loss = prediction_correlation(np.array([[1.0, 2.0, 5.0]]), np.array([[0.5, 2.5, 0.0]]))
    >>> round(float(loss[0]), 4)
    2.5202

    Reference: Huang et al., "Knowledge Distillation from A Stronger Teacher", 2022,
    arXiv:2205.10536, section 3, and the authors' code (DIST_KD, `dist_kd.py`).
    """
    weights = inter_class_weight, intra_class_weight
    return mean_over_positions(
        _prediction_correlation(
            "prediction_correlation", teacher_logits, student_logits, weights, temperature
        )
    )


def _prediction_correlation(
    name, teacher_logits, student_logits, weights, temperature, given=None, told=None
):
    """The loss of `prediction_correlation` before the mean over positions, `(batch, ...)`."""
    temperature = check_temperature(temperature)
    inter = check_weight("inter_class_weight", weights[0])
    intra = check_weight("intra_class_weight", weights[1])
    teacher, student = logits_pair(teacher_logits, student_logits)
    type_of_logits(name, teacher.shape, given, told, EXCLUSIVE)
    teacher = ops.softmax(soften(teacher, temperature), axis=-1)
    student = ops.softmax(soften(student, temperature), axis=-1)
    over_classes = ops.sum(_uncorrelated(teacher, student), axis=-1)
    columns = [
        ops.transpose(ops.reshape(part, (-1, ops.shape(part)[-1]))) for part in (teacher, student)
    ]
    count = ops.cast(ops.shape(columns[0])[1], "float32")
    over_samples = count * ops.mean(_uncorrelated(*columns), axis=0)
    over_samples = ops.reshape(over_samples, ops.shape(over_classes))
    return temperature**2 * (inter * over_classes + intra * over_samples)


def _uncorrelated(teacher, student):
    """Each entry's share of 1 − ρ along the last axis, at least 0, in a tensor of their shape.

    Of vectors of mean 0 and length 1, 1 − ⟨a, b⟩ is half the sum of the squared differences, which
    are 0 where the two agree and lose no digits near there.
    """
    (teacher, teacher_norms), (student, student_norms) = map(_standardized, (teacher, student))
    norms = teacher_norms * student_norms
    counted, lost = norms / (norms + _EPSILON), _EPSILON / (norms + _EPSILON)
    size = ops.cast(ops.shape(teacher)[-1], "float32")
    return counted * 0.5 * ops.square(teacher - student) + lost / size


def _standardized(values):
    """Values less their mean along the last axis, at length 1, and their length `(..., 1)`.

    Both are 0 where the values do not vary.
    """
    values = values - ops.mean(values, axis=-1, keepdims=True)
    squares = ops.sum(ops.square(values), axis=-1, keepdims=True)
    is_flat = squares <= _FLAT
    norms = ops.sqrt(ops.where(is_flat, 1.0, squares))
    return ops.where(is_flat, 0.0, values / norms), ops.where(is_flat, 0.0, norms)


@keras.saving.register_keras_serializable("kdzoo")
class PredictionCorrelation(OfClasses):
    """DIST of Huang et al.: correlations between the student's predictions and the teacher's.

    `T² (inter_class_weight · (1 − ρᵢ) + intra_class_weight · mean_c (1 − ρ_c))` for each sample i,
    where ρᵢ is Pearson's correlation between teacher and student over the classes of sample i, and
    ρ_c that over the samples of the batch in their probabilities of class c; see
    `prediction_correlation`. Meant for teachers much stronger than the student. The loss of a
    sample depends on the other samples of its batch; over replicas, of its replica's part of it.

    The authors add it to the loss on the labels, on CIFAR-100 at T = 4 and both weights at 2, on
    ImageNet at T = 1.

    Args:
        inter_class_weight: Weight of the correlations over the classes, at least 0 (the paper's β).
        intra_class_weight: Weight of the correlations over the samples, at least 0 (the paper's γ).
        temperature: Divisor T of the logits, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.

    Raises:
        ValueError: If the temperature is not above 0, or a weight is below 0; when it is called, if
            the logits are independent binary labels.

    Example:

    ```python
    dist = kdzoo.losses.PredictionCorrelation(2.0, 2.0, temperature=4.0)
    distiller = kdzoo.Distiller(teacher, student, dist, student_loss_weight=0.5)
    ```

    Reference: Huang et al., "Knowledge Distillation from A Stronger Teacher", 2022,
    arXiv:2205.10536.
    """

    def __init__(
        self,
        inter_class_weight: float = 1.0,
        intra_class_weight: float = 1.0,
        temperature: float = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name, output_type=output_type)
        self.inter_class_weight = check_weight("inter_class_weight", inter_class_weight)
        self.intra_class_weight = check_weight("intra_class_weight", intra_class_weight)

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        weights = self.inter_class_weight, self.intra_class_weight
        settings = weights, self._temperature.variable, self.output_type, output_type
        return _prediction_correlation("PredictionCorrelation", teacher, student, *settings)

    def get_config(self) -> dict[str, Any]:
        config = {
            "inter_class_weight": self.inter_class_weight,
            "intra_class_weight": self.intra_class_weight,
        }
        return {**super().get_config(), **config}
