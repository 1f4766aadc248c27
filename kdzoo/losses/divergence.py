"""The divergence of two distributions, in a form that loses no digits in float32."""

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


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Returns KL(softmax(teacher) ‖ softmax(student)) in nats, over the last axis: `(batch, ...)`.

    With u the difference student − teacher, less its mean under the teacher's p, the divergence is
    log E_p[exp(u)]. At high temperatures u is small, and the usual Σ p (log p − log q) loses
    digits to cancellation that this form keeps; far from there the usual form is used.
    """
    teacher_log_probs = ops.log_softmax(teacher_logits, axis=-1)
    student_log_probs = ops.log_softmax(student_logits, axis=-1)
    probs = ops.exp(teacher_log_probs)
    usual = ops.sum(probs * (teacher_log_probs - student_log_probs), axis=-1)
    excess = student_logits - teacher_logits
    excess = excess - ops.sum(probs * excess, axis=-1, keepdims=True)
    is_near = ops.max(excess, axis=-1) < _NEAR
    near = ops.log1p(ops.sum(probs * ops.expm1(ops.minimum(excess, _NEAR)), axis=-1))
    return ops.where(is_near, near, usual)


def bernoulli_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Returns KL(sigmoid(teacher) ‖ sigmoid(student)) in nats of each logit, in their shape.

    With z and g the two logits of the outcome that the teacher takes for the unlikelier one, and p
    its probability, the divergence is softplus(g) − softplus(z) − p (g − z), which loses no digits
    to large logits. Where the logits are near each other, so that its terms cancel, it is computed
    as log E[exp(u)], as `kl_divergence` does. A teacher's logit may be infinite.
    """
    sign = ops.where(teacher_logits > 0, -1.0, 1.0)
    teacher, student = sign * teacher_logits, sign * student_logits
    probs, rest = ops.sigmoid(teacher), ops.sigmoid(-teacher)
    excess = student - teacher
    usual = ops.softplus(student) - ops.softplus(teacher)
    usual = usual - ops.where(probs > 0, probs * excess, 0.0)
    is_near = ops.abs(excess) < _NEAR
    # Elsewhere a number whose slopes are finite, so that theirs do not count.
    excess = ops.where(is_near, excess, 0.0)
    near = probs * ops.expm1(rest * excess) + rest * ops.expm1(-probs * excess)
    return ops.where(is_near, ops.log1p(near), usual)
