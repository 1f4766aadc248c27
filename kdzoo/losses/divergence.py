"""The divergence of two distributions, in a form that loses no digits in float32."""

import math

from keras import ops

from kdzoo.losses.base import float32_pair
from kdzoo.utils.types import Tensor, TensorLike

# Difference of logits up to which the exponential is summed as it is.
_NEAR = 10.0


def logits_pair(
    teacher_logits: TensorLike, student_logits: TensorLike, least_rank: int = 2
) -> tuple[Tensor, Tensor]:
    """Returns both as float32 tensors, or raises if samples or classes are not the same."""
    pair = float32_pair(teacher_logits, student_logits, "logits", least_rank)
    teacher_logits, student_logits = pair
    if teacher_logits.shape[1:] != student_logits.shape[1:]:
        raise ValueError(
            "Expected logits of the same classes from teacher and student. Received: "
            f"teacher {tuple(teacher_logits.shape)}, student {tuple(student_logits.shape)}; "
            "build the student with the teacher's number of classes."
        )
    return teacher_logits, student_logits


def kl_divergence(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    """Returns KL(softmax(teacher / T) ‖ softmax(student / T)) in nats, over the last axis.

    With u the difference student − teacher, less its mean under the teacher's p, the divergence is
    log E_p[exp(u)]. At high temperatures u is small, and the usual Σ p (log p − log q) loses
    digits to cancellation that this form keeps; far from there the usual form is used.

    A class whose logit is −inf in the teacher has no part in the sum.

    Args:
        teacher_logits: Float32 tensor `(batch, ..., classes)`.
        student_logits: Float32 tensor of the teacher's shape.
        temperature: Divisor T of the logits.

    Returns:
        Float32 tensor `(batch, ...)`; infinite where the student excludes a class to which the
        teacher gives a probability above 0 in float32; NaN where all classes of one are excluded,
        or a logit is NaN or +inf.
    """
    teacher, student = soften(teacher_logits, temperature), soften(student_logits, temperature)
    is_excluded = teacher == -math.inf
    teacher_log_probs = ops.log_softmax(teacher, axis=-1)
    student_log_probs = ops.log_softmax(student, axis=-1)
    probs = ops.exp(teacher_log_probs)
    # One comparison that is false of NaN, which must stay.
    is_absent = ops.logical_or(is_excluded, probs <= 0)
    gap = ops.where(is_absent, 0.0, teacher_log_probs - student_log_probs)
    usual = ops.sum(probs * gap, axis=-1)
    excess = ops.where(is_excluded, 0.0, student - teacher)
    mean = ops.sum(probs * ops.where(is_absent, 0.0, excess), axis=-1, keepdims=True)
    excess = excess - mean
    # A class that the teacher alone excludes is lacking in E_p[exp(u)].
    is_near = ops.where(is_excluded, student == -math.inf, excess < _NEAR)
    is_near = ops.all(is_near, axis=-1, keepdims=True)
    excess = ops.where(is_near, excess, 0.0)  # Else the slope of what is not chosen is NaN.
    near = ops.log1p(ops.sum(probs * ops.expm1(excess), axis=-1))
    return ops.where(ops.squeeze(is_near, -1), near, usual)


def bernoulli_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Returns KL(sigmoid(teacher) ‖ sigmoid(student)) in nats of each logit, in their shape.

    With z and g the two logits of the outcome that the teacher takes for the unlikelier one, and p
    its probability, the divergence is softplus(g) − softplus(z) − p (g − z), which loses no digits
    to large logits if softplus(g) − p g is taken as softplus(−|g|) + (1 − p) max(g, 0) +
    p max(−g, 0). Where the logits are near each other, so that its terms cancel, it is computed as
    log E[exp(u)], as `kl_divergence` does. Logits may be infinite, and so may the divergence be.
    """
    sign = ops.where(teacher_logits > 0, -1.0, 1.0)
    teacher, student = sign * teacher_logits, sign * student_logits
    probs, rest = ops.sigmoid(teacher), ops.sigmoid(-teacher)
    excess = student - teacher
    # A probability of 0 is one of an infinite logit, or as good as that.
    likely, unlikely = ops.maximum(student, 0.0), ops.maximum(-student, 0.0)
    entropy = ops.softplus(teacher) - probs * ops.where(probs > 0, teacher, 0.0)
    usual = ops.softplus(-ops.abs(student)) + rest * likely - entropy
    usual = usual + probs * ops.where(probs > 0, unlikely, 0.0)
    is_near = ops.abs(excess) < _NEAR
    # Elsewhere a number whose slopes are finite, so that theirs do not count.
    excess = ops.where(is_near, excess, 0.0)
    near = probs * ops.expm1(rest * excess) + rest * ops.expm1(-probs * excess)
    return ops.where(is_near, ops.log1p(near), usual)


def binary_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Returns KL(teacher ‖ student) of independent binary outputs, summed over the last axis.

    Args:
        teacher_logits: Float32 tensor `(batch, ..., outputs)`, or `(batch,)`.
        student_logits: Float32 tensor of the teacher's shape.
    """
    values = bernoulli_divergence(teacher_logits, student_logits)
    return ops.sum(values, axis=-1) if len(values.shape) > 1 else values


def soften(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Returns logits over the temperature, such that the largest of a sample is 0.

    What all logits of a sample have in common cancels in a softmax. It is taken away before the
    division, whose rounding grows with the size of the logits.

    Args:
        logits: Float32 tensor `(batch, ..., classes)`.
        temperature: Divisor of the logits.
    """
    largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    return (logits - largest) / temperature
