"""Soft targets in two parts: the true class against the rest, and the rest among themselves."""

import math
from typing import Any

import keras
from keras import ops

from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import (
    LayerPaths,
    check_temperature,
    check_weight,
)
from kdzoo.losses.divergence import kl_divergence, logits_pair
from kdzoo.losses.labels import as_classes
from kdzoo.losses.output_types import EXCLUSIVE, OfClasses, type_of_logits
from kdzoo.utils.types import Tensor, TensorLike

_WHY = "decoupled soft targets weight the one true class of a sample"


def decoupled_soft_targets(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    labels: TensorLike | None,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
    temperature: float | keras.Variable = 4.0,
) -> Tensor:
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
        temperature: Divisor of the logits, above 0.

    Returns:
        Float32 tensor `(batch,)`. Its mean equals the authors' code, which divides the sum by the
        batch size. Their code also ramps the whole loss up over the first 20 epochs; that is a
        schedule and left to the caller.

    Raises:
        ValueError: If there are no labels, the numbers of classes differ, there is but one, the
            temperature is not above 0, or a label is no class. Within a compiled step, which does
            not know the labels beforehand, the loss of a sample whose label is no class is NaN.

    Reference: Zhao et al., "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679,
    equation 7.
    """
    if labels is None:
        raise ValueError(
            "Expected labels beside the images: `DecoupledSoftTargets` treats the true class apart."
            " Received: labels=None; use `SoftTargets` on unlabelled data."
        )
    temperature = check_temperature(temperature)
    target_weight = check_weight("target_weight", target_weight)
    non_target_weight = check_weight("non_target_weight", non_target_weight)
    teacher, student = logits_pair(teacher_logits, student_logits)
    type_of_logits("decoupled_soft_targets", teacher.shape, None, accepted=EXCLUSIVE)
    labels, is_class = as_classes(labels, teacher, _WHY)
    is_label = ops.cast(ops.one_hot(labels, teacher.shape[-1]), "bool")
    target_part = kl_divergence(
        _label_or_rest(teacher, is_label, temperature),
        _label_or_rest(student, is_label, temperature),
    )
    other_part = kl_divergence(
        _without_label(teacher, is_label), _without_label(student, is_label), temperature
    )
    loss = temperature**2 * (target_weight * target_part + non_target_weight * other_part)
    return ops.where(is_class, loss, math.nan)


@keras.saving.register_keras_serializable("kdzoo")
class DecoupledSoftTargets(OfClasses):
    """Decoupled soft targets of Zhao et al.: the true class and the rest, each with its weight.

    `T² (target_weight · KL(b_T ‖ b_S) + non_target_weight · KL(p̂_T ‖ p̂_S))`, where
    `b = (p_label, 1 − p_label)` and `p̂` is the softmax over all classes but the label's. Needs
    labels.

    Args:
        target_weight: Weight of the first part, at least 0 (the paper's α).
        non_target_weight: Weight of the second part, at least 0 (the paper's β); the authors take 8
            on CIFAR-100 for most pairs.
        temperature: Divisor T of the logits, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.

    Raises:
        ValueError: If the temperature is not above 0, or a weight is below 0; when it is called, if
            the logits are independent binary labels.

    Reference: Zhao et al., "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """

    def __init__(
        self,
        target_weight: float = 1.0,
        non_target_weight: float = 8.0,
        temperature: float = 4.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name, output_type=output_type)
        self.target_weight = check_weight("target_weight", target_weight)
        self.non_target_weight = check_weight("non_target_weight", non_target_weight)

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        self.check_type(teacher, output_type)
        weights = self.target_weight, self.non_target_weight
        temperature = self._temperature.variable
        return decoupled_soft_targets(teacher, student, labels, *weights, temperature)

    def get_config(self) -> dict[str, Any]:
        config = {
            "target_weight": self.target_weight,
            "non_target_weight": self.non_target_weight,
        }
        return {**super().get_config(), **config}


def _without_label(logits, is_label):
    """The logits with the label's class taken out of every softmax."""
    return ops.where(is_label, -math.inf, logits)


def _label_or_rest(logits, is_label, temperature):
    """Softened logits `(batch, 2)` of the two events: the label's class, and any other."""
    rest = _without_label(logits, is_label)
    # Not the largest of all: the label's may be so far above that the rest would lose its digits.
    largest = ops.stop_gradient(ops.max(rest, axis=-1, keepdims=True))
    label = ops.sum(ops.where(is_label, (logits - largest) / temperature, 0.0), axis=-1)
    rest = ops.logsumexp((rest - largest) / temperature, axis=-1)
    return ops.stack([label, rest], axis=-1)
