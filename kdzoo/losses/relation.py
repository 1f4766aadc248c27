"""Losses on relations between the samples of a batch, for features of any width."""

from typing import Any

import keras
from keras import ops

from kdzoo.graph.keras_internals import compiles_by_xla
from kdzoo.losses.base import (
    DistillationLoss,
    flat_rows,
    float32_pair,
    positive_or_one,
    unit_rows,
)
from kdzoo.utils.types import Tensor, TensorLike

# Squared distances below this fraction of the two samples' squared norms are rounding errors, in
# float32 and in float64.
_NOISE, _NOISE_64 = 1e-6, 1e-14
# Numbers of the largest tensor that the angles of some samples take.
_CHUNK = 1 << 22


def relational_distance(teacher_features: TensorLike, student_features: TensorLike) -> Tensor:
    """Difference of two networks in the distances between samples, in units of their mean.

    `mean_j huber(d_S(i, j) − d_T(i, j))` for each sample i, over all samples j of the batch, itself
    included. `d(i, j)` is the Euclidean distance of the features over the mean of all distances
    between two samples of the batch, and `huber` is `½ x²` up to 1 and `|x| − ½` from there.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is that of the authors' code over all pairs. 0 for a
        batch of one. Its weight in RepDistiller is 25.

    Raises:
        ValueError: If they are no numbers, or of different numbers of samples.

    Reference: Park et al., "Relational Knowledge Distillation", 2019, arXiv:1904.05068,
    equations 5 to 8, and the authors' code (RKD, `metric/loss.py`).
    """
    teacher, student = map(_relative_distances, _pair(teacher_features, student_features))
    return ops.mean(_huber(student - teacher), axis=-1)


def relational_angle(teacher_features: TensorLike, student_features: TensorLike) -> Tensor:
    """Difference of two networks in the angles between samples of a batch.

    `mean_jk huber(cos_S(j, i, k) − cos_T(j, i, k))` for each sample i, over all j and k. `cos` is
    the cosine of the angle at i between the directions to j and to k, 0 where j or k is at i, and
    `huber` is `½ x²` up to 1 and `|x| − ½` from there.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is that of the authors' code over all triplets. Its
        weight in RepDistiller is 50. Takes time for batch³ angles, and memory for some millions of
        them at a time.

    Raises:
        ValueError: If they are no numbers, or of different numbers of samples.

    Reference: Park et al., 2019, arXiv:1904.05068, equations 9 and 10, and the authors' code.
    """
    prepare = _centred_products if _has_float64() else flat_rows
    teacher, student = map(prepare, _pair(teacher_features, student_features))
    return _in_chunks(_angle_losses, teacher, student)


def similarity_preserving(teacher_features: TensorLike, student_features: TensorLike) -> Tensor:
    """Difference of two networks in which samples of a batch resemble one another.

    `Σ_j (G_T(i, j) − G_S(i, j))² / batch` for each sample i. G is the matrix of the inner products
    of the batch's features, each row divided by its L2 norm.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is the paper's `‖G_T − G_S‖² / batch²`. The authors
        give it the weight 3000.

    Raises:
        ValueError: If they are no numbers, or of different numbers of samples.

    Reference: Tung & Mori, "Similarity-Preserving Knowledge Distillation", 2019,
    arXiv:1907.09682, equations 1 to 4.
    """
    teacher, student = map(_similarities, _pair(teacher_features, student_features))
    return ops.mean(ops.square(teacher - student), axis=-1)


@keras.saving.register_keras_serializable("kdzoo")
class RelationalDistance(DistillationLoss):
    """Distance-wise relational distillation of Park et al.

    `mean_j huber(d_S(i, j) − d_T(i, j))` for each sample i, where `d(i, j)` is the Euclidean
    distance of features over the mean distance in the batch; see `relational_distance`. The loss of
    a sample depends on the other samples of its batch; over replicas, of its replica's part of it.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"features"`; `None` for
            its output.
        student_layer: Layer that gives the student's features; `None` for its output.
        name: Name of the loss.

    Example:

    ```python
    distance = kdzoo.losses.RelationalDistance("features", "features")
    angle = kdzoo.losses.RelationalAngle("features", "features")
    kdzoo.Distiller(teacher, student, [soft_targets, distance, angle], [1.0, 25.0, 50.0])
    ```

    Reference: Park et al., 2019, arXiv:1904.05068.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return relational_distance(teacher, student)


@keras.saving.register_keras_serializable("kdzoo")
class RelationalAngle(DistillationLoss):
    """Angle-wise relational distillation of Park et al.

    `mean_jk huber(cos_S(j, i, k) − cos_T(j, i, k))` for each sample i, where `cos` is the cosine of
    the angle at i between the directions to j and to k; see `relational_angle`. The loss of a
    sample depends on the other samples of its batch; over replicas, of its replica's part of it.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"features"`; `None` for
            its output.
        student_layer: Layer that gives the student's features; `None` for its output.
        name: Name of the loss.

    Reference: Park et al., 2019, arXiv:1904.05068.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return relational_angle(teacher, student)


@keras.saving.register_keras_serializable("kdzoo")
class SimilarityPreserving(DistillationLoss):
    """Similarity-preserving distillation of Tung & Mori.

    `Σ_j (G_T(i, j) − G_S(i, j))² / batch` for each sample i, where G is the matrix of the inner
    products of the batch's features, each row divided by its L2 norm. The loss of a sample
    depends on the other samples of its batch; over replicas, of its replica's part of it. The
    authors tap the last convolutional stage, before the pooling.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"stage3"`; `None` for its
            output.
        student_layer: Layer that gives the student's features; `None` for its output.
        name: Name of the loss.

    Example:

    ```python
    similarity = kdzoo.losses.SimilarityPreserving("stage3", "stage3")
    kdzoo.Distiller(teacher, student, [soft_targets, similarity], [1.0, 3000.0])
    ```

    Reference: Tung & Mori, 2019, arXiv:1907.09682.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Tensor:
        return similarity_preserving(teacher, student)


def _pair(teacher, student):
    """The features of both models; a model of one number a sample may give no axis for it."""
    return float32_pair(teacher, student, least_rank=1)


def _has_float64():
    """Whether a step can compute in float64; on JAX that is off unless the process turns it on."""
    return keras.backend.backend() == "tensorflow"


def _centred_products(features):
    """Inner products `(batch, batch)` of the features less their mean, in float64 if there is.

    Relative distances and angles change neither with the origin nor with the unit, in which the
    largest norm is 1 here. A distance that is small beside the norms is the difference of large
    products, of which float32 would keep few digits.
    """
    rows = flat_rows(features)
    rows = ops.cast(rows, "float64") if _has_float64() else rows
    rows = rows - ops.stop_gradient(ops.mean(rows, axis=0, keepdims=True))
    products = ops.matmul(rows, ops.transpose(rows))
    return products / positive_or_one(ops.stop_gradient(ops.max(ops.diagonal(products))))


def _squared_distances(products, of_anchors, anchor_norms):
    """Squared distances `(anchors, batch)`; those that are rounding errors are 0.

    The norms are taken from the diagonal of the products: where a GPU multiplies with fewer digits
    (TF32) both are rounded alike, and a sample is at distance 0 from itself.
    """
    noise = _NOISE_64 if _has_float64() else _NOISE
    scale = anchor_norms[:, None] + ops.diagonal(products)[None, :]
    squares = scale - 2 * of_anchors
    return ops.where(squares <= noise * scale, 0.0, squares)


def _relative_distances(features):
    """Distances over the mean of those between two samples, `(batch, batch)`."""
    products = _centred_products(features)
    squares = _squared_distances(products, products, ops.diagonal(products))
    squares = ops.cast(squares, "float32")  # What cancels out has done so.
    distances = ops.where(squares <= 0, 0.0, ops.sqrt(positive_or_one(squares)))
    total = ops.sum(distances)
    batch = ops.cast(ops.shape(distances)[0], distances.dtype)
    relative = distances * (batch * (batch - 1) / positive_or_one(total))
    return ops.where(total <= 0, 0.0, relative)


def _cosines(samples, anchors):
    """Cosines `(anchors, batch, batch)` of the angle at an anchor between the directions to others.

    Args:
        samples: The inner products in float64, from which ⟨j − i, k − i⟩ costs as much for any
            number of features; or the features, where there is no float64.
        anchors: Positions of samples, integers; None for all of them.
    """
    of_anchors = samples if anchors is None else ops.take(samples, anchors, axis=0)
    if not _has_float64():
        directions = unit_rows(samples[None] - of_anchors[:, None])
        return ops.matmul(directions, ops.transpose(directions, (0, 2, 1)))
    norms = ops.diagonal(samples)
    norms = norms if anchors is None else ops.take(norms, anchors)
    squares = _squared_distances(samples, of_anchors, norms)
    inverse = ops.where(squares <= 0, 0.0, ops.rsqrt(positive_or_one(squares)))
    inverse = ops.cast(inverse, "float32")
    inner = samples[None] - of_anchors[:, :, None] + (norms[:, None] - of_anchors)[:, None, :]
    return ops.cast(inner, "float32") * inverse[:, :, None] * inverse[:, None, :]


def _angle_losses(anchors, teacher, student):
    """The loss of each anchor."""
    return ops.mean(_huber(_cosines(student, anchors) - _cosines(teacher, anchors)), axis=(1, 2))


def _in_chunks(losses, teacher, student):
    """The losses of all samples, computed for some of them at a time, forwards and backwards."""
    batch, width = ops.shape(student)
    sizes = (batch, width, ops.shape(teacher)[1])

    def at_once():
        return losses(None, teacher, student)

    if all(isinstance(size, int) for size in sizes):
        chunk = max(1, min(batch, _CHUNK // (batch * max(sizes))))
        return at_once() if chunk == batch else _mapped(losses, teacher, student, batch, chunk)
    largest = ops.maximum(ops.maximum(*sizes[:2]), sizes[2])
    chunk = ops.maximum(1, ops.minimum(batch, _CHUNK // (batch * largest)))

    def in_parts():
        # TensorFlow finds what remat keeps within a condition by the tensors that were made there.
        return _mapped(losses, teacher * 1, student * 1, batch, chunk)

    # XLA cannot compile a condition whose sides hold tensors of open sizes for the gradient.
    return in_parts() if compiles_by_xla() else ops.cond(chunk >= batch, at_once, in_parts)


def _mapped(losses, teacher, student, batch, chunk):
    """The losses of all samples, computed for `chunk` of them at a time."""
    chunks = (batch + chunk - 1) // chunk
    anchors = ops.minimum(ops.arange(chunks * chunk), batch - 1)  # The last one, to fill up.

    def of_chunk(anchors):
        # Computed again for the gradient, for which all chunks would be kept otherwise.
        return keras.remat(lambda *pair: losses(anchors, *pair))(teacher, student)

    values = ops.map(of_chunk, ops.reshape(anchors, (chunks, chunk)))
    return ops.reshape(values, (-1,))[:batch]


def _similarities(features):
    """Inner products of the batch, each row divided by its norm, `(batch, batch)`."""
    rows = flat_rows(features)
    return unit_rows(ops.matmul(rows, ops.transpose(rows)))


def _huber(differences):
    """½ x² up to |x| = 1, |x| − ½ from there."""
    size = ops.abs(differences)
    return ops.where(size < 1, 0.5 * ops.square(differences), size - 0.5)
