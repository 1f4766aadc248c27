"""Losses on how the samples of a batch stand to each other, whatever the features' widths."""

import keras
from keras import ops

from kdzoo.losses.base import (
    DistillationLoss,
    flat_rows,
    float32_pair,
    positive_or_one,
    unit_rows,
)

# Share of two samples' squared norms below which their squared distance is rounding, not distance.
_NOISE = 1e-6


def relational_distance(teacher_features, student_features):
    """How far apart the samples of a batch are, in units of their mean distance, compared.

    `mean_j huber(d_S(i, j) − d_T(i, j))` for each sample i, over all samples j of the batch, itself
    included. `d(i, j)` is the Euclidean distance of the features over the mean of all distances
    between two samples of the batch, and `huber` is `½ x²` up to 1 and `|x| − ½` from there.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is that of the authors' code over all pairs. 0 for a
        batch of one. The authors weigh it with 25 (RepDistiller's setting).

    Raises:
        ValueError: If they are no numbers, or of other samples.

    Reference: Park et al., "Relational Knowledge Distillation", 2019, arXiv:1904.05068,
    equations 5 to 8, and the authors' code (RKD, `metric/loss.py`).
    """
    teacher, student = map(_relative_distances, _pair(teacher_features, student_features))
    return ops.mean(_huber(student - teacher), axis=-1)


def relational_angle(teacher_features, student_features):
    """The angles that the samples of a batch form, compared.

    `mean_jk huber(cos_S(j, i, k) − cos_T(j, i, k))` for each sample i, over all j and k. `cos` is
    the cosine of the angle at i between the directions to j and to k, 0 where one of them is
    none, and `huber` is as in `relational_distance`.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is that of the authors' code over all triplets. Takes
        memory of batch³ numbers. The authors weigh it with 50 (RepDistiller's setting).

    Raises:
        ValueError: If they are no numbers, or of other samples.

    Reference: Park et al., 2019, arXiv:1904.05068, equations 9 and 10, and the authors' code.
    """
    teacher, student = map(_cosines, _pair(teacher_features, student_features))
    return ops.mean(_huber(student - teacher), axis=(1, 2))


def similarity_preserving(teacher_features, student_features):
    """Which samples of a batch resemble each other, compared.

    `Σ_j (G_T(i, j) − G_S(i, j))² / batch` for each sample i. G is the matrix of the inner products
    of the batch's features, each row divided by its L2 norm.

    Args:
        teacher_features: Float tensor `(batch, ...)`; a sample's features are flattened.
        student_features: Float tensor `(batch, ...)`.

    Returns:
        Float32 tensor `(batch,)`. Its mean is the paper's `‖G_T − G_S‖² / batch²`. The authors
        weigh it with 3000.

    Raises:
        ValueError: If they are no numbers, or of other samples.

    Reference: Tung & Mori, "Similarity-Preserving Knowledge Distillation", 2019,
    arXiv:1907.09682, equations 1 to 4.
    """
    teacher, student = map(_similarities, _pair(teacher_features, student_features))
    return ops.mean(ops.square(teacher - student), axis=-1)


@keras.saving.register_keras_serializable("kdzoo")
class RelationalDistance(DistillationLoss):
    """Distance-wise relational distillation of Park et al.

    See `relational_distance` for the formula. The relation is one of a batch: its value depends on
    which samples come together.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"features"`; `None` for
            its output.
        student_layer: The same for the student.
        name: Name of the loss.

    Example:

    ```python
    distance = kdzoo.losses.RelationalDistance("features", "features")
    angle = kdzoo.losses.RelationalAngle("features", "features")
    kdzoo.Distiller(teacher, student, [soft_targets, distance, angle], [1.0, 25.0, 50.0])
    ```

    Reference: Park et al., 2019, arXiv:1904.05068.
    """

    def call(self, teacher, student, labels=None):
        return relational_distance(teacher, student)


@keras.saving.register_keras_serializable("kdzoo")
class RelationalAngle(DistillationLoss):
    """Angle-wise relational distillation of Park et al.

    See `relational_angle` for the formula, and `RelationalDistance` for an example.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"features"`; `None` for
            its output.
        student_layer: The same for the student.
        name: Name of the loss.

    Reference: Park et al., 2019, arXiv:1904.05068.
    """

    def call(self, teacher, student, labels=None):
        return relational_angle(teacher, student)


@keras.saving.register_keras_serializable("kdzoo")
class SimilarityPreserving(DistillationLoss):
    """Similarity-preserving distillation of Tung & Mori.

    See `similarity_preserving` for the formula. The authors tap the last convolutional stage,
    before the pooling.

    Args:
        teacher_layer: Layer that gives the teacher's features, such as `"stage3"`; `None` for its
            output.
        student_layer: The same for the student.
        name: Name of the loss.

    Example:

    ```python
    similarity = kdzoo.losses.SimilarityPreserving("stage3", "stage3")
    kdzoo.Distiller(teacher, student, [soft_targets, similarity], [1.0, 3000.0])
    ```

    Reference: Tung & Mori, 2019, arXiv:1907.09682.
    """

    def call(self, teacher, student, labels=None):
        return similarity_preserving(teacher, student)


def _pair(teacher, student):
    """The features of both models; a model of one number a sample may give no axis for it."""
    return float32_pair(teacher, student, least_rank=1)


def _centred_products(features):
    """Inner products `(batch, batch)` of the features less their mean, and the squared norms.

    Distances and angles between samples do not change with the origin; near it, float32 keeps
    more of their digits. The norms are the products' own diagonal: where a GPU multiplies with
    fewer digits (TF32) the two are rounded alike, and a sample is at 0 from itself.
    """
    rows = flat_rows(features)
    rows = rows - ops.stop_gradient(ops.mean(rows, axis=0, keepdims=True))
    products = ops.matmul(rows, ops.transpose(rows))
    return products, ops.diagonal(products)


def _squared_distances(products, norms):
    """Squared distances `(batch, batch)`; samples closer than float32 can tell are at 0."""
    scale = norms[:, None] + norms[None, :]
    squares = scale - 2 * products
    return ops.where(squares > _NOISE * scale, squares, 0.0)


def _relative_distances(features):
    """Distances over the mean of those between two samples, `(batch, batch)`."""
    squares = _squared_distances(*_centred_products(features))
    distances = ops.where(squares > 0, ops.sqrt(positive_or_one(squares)), 0.0)
    total = ops.sum(distances)
    batch = ops.cast(ops.shape(distances)[0], "float32")
    return ops.where(total > 0, distances * batch * (batch - 1) / positive_or_one(total), 0.0)


def _cosines(features):
    """Cosines `(batch, batch, batch)` of the angle at i between the directions to j and to k.

    ⟨j − i, k − i⟩ is had from the inner products, so the cost does not grow with the features.
    """
    products, norms = _centred_products(features)
    squares = _squared_distances(products, norms)
    inverse = ops.where(squares > 0, ops.rsqrt(positive_or_one(squares)), 0.0)
    inner = products[None] - products[:, :, None] - products[:, None, :] + norms[:, None, None]
    return inner * inverse[:, :, None] * inverse[:, None, :]


def _similarities(features):
    """Inner products of the batch, each row divided by its norm, `(batch, batch)`."""
    rows = flat_rows(features)
    return unit_rows(ops.matmul(rows, ops.transpose(rows)))


def _huber(differences):
    """½ x² up to |x| = 1, |x| − ½ from there."""
    size = ops.abs(differences)
    return ops.where(size < 1, 0.5 * ops.square(differences), size - 0.5)
