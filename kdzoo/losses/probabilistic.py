"""Probabilistic knowledge transfer: how likely samples of a batch are each other's neighbours."""

from typing import Any

import keras
from keras import ops

from kdzoo.losses.base import DistillationLoss, flat_rows, float32_pair, unit_rows
from kdzoo.losses.divergence import kl_divergence
from kdzoo.utils.types import Tensor, TensorLike

_EPSILON = 1e-7  # The authors'.


def probabilistic_transfer(teacher_features: TensorLike, student_features: TensorLike) -> Tensor:
    """Divergence of the neighbourhoods that two networks see in a batch (PKT).

    `mean_j p(j | i) log (p(j | i) / q(j | i))` for each sample i, over all samples j of the batch,
    itself included. `p(j | i)` is the teacher's similarity of j and i over the sum of the
    similarities of all samples and i, `q(j | i)` the student's. The similarity is
    `(1 + cos(i, j)) / 2`, of the cosine of the two samples' features.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`, of any width.

    Returns:
        Float32 tensor `(batch,)`. Its mean is that of the authors' code over all pairs, so that
        it is the divergence in nats over the size of the batch. Its weight in RepDistiller is
        30000. As in their code j = i counts, which the paper leaves out, and 1e-7 is added to
        probabilities; here these are then made to sum to 1 again. Theirs is added to norms, too.

    Raises:
        ValueError: If they are no numbers, or of different numbers of samples.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> [round(float(value), 4) for value in probabilistic_transfer(teacher, student)]
    [0.0283, 0.0283]

    Reference: Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", 2018, arXiv:1803.10837, and the authors' code (probabilistic_kt, `nn/pkt.py`).
    """
    pair = float32_pair(teacher_features, student_features, least_rank=1)
    teacher, student = (_log_probabilities(flat_rows(features)) for features in pair)
    count = ops.cast(ops.shape(student)[0], "float32")
    return kl_divergence(teacher, student) / count


def _log_probabilities(rows):
    """Logarithms `(batch, batch)` of the probabilities of each row's neighbours."""
    rows = unit_rows(rows)
    similarities = ops.maximum((1 + ops.matmul(rows, ops.transpose(rows))) / 2, 0.0)
    return ops.log(similarities / ops.sum(similarities, axis=-1, keepdims=True) + _EPSILON)


@keras.saving.register_keras_serializable("kdzoo")
class ProbabilisticTransfer(DistillationLoss):
    """Probabilistic knowledge transfer (PKT) of Passalis & Tefas.

    `mean_j p(j | i) log (p(j | i) / q(j | i))` for each sample i, where p and q say how likely
    sample j is a neighbour of i to the teacher and to the student, by the cosines of their
    features; see `probabilistic_transfer`. The loss of a sample depends on the other samples of
    its batch; over replicas, of its replica's part of it. The authors tap the layer before the
    logits.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"features"`; `None` for
            its output.
        student_layer: Layer that gives the student's features; `None` for its output.
        name: Name of the loss.

    Example:

    ```python
    transfer = kdzoo.losses.ProbabilisticTransfer("features", "features")
    kdzoo.Distiller(teacher, student, [soft_targets, transfer], [1.0, 30000.0])
    ```

    Reference: Passalis & Tefas, 2018, arXiv:1803.10837.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return probabilistic_transfer(teacher, student)
