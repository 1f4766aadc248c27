"""Contrastive representation distillation: examples told apart by the features of both models."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike

from kdzoo.graph.replicas import gather_over_replicas
from kdzoo.losses.base import (
    DistillationLoss,
    LayerPaths,
    as_float32,
    check_positive,
    flat_rows,
    float32_pair,
    of_same_samples,
    unit_rows,
)
from kdzoo.utils import check_integer, check_number, check_numeric_array, check_positive_integer
from kdzoo.utils.types import Shape, Tensor, TensorLike

_MOST = 2**31 - 1  # Examples that indices in int32 can count.

_EPSILON = 1e-7  # The authors'.
# With more examples than this for each negative, a CPU fetches the negatives' rows of the bank
# faster than it multiplies all of it. Measured on loss and gradient: about 33 at batch 128 and 128
# dimensions on 10,000 and 50,000 examples; from 10 (32 dimensions) to 36 (512) elsewhere.
_FETCHING = 30


def noise_contrastive(log_scores: TensorLike, examples: int) -> Tensor:
    """Noise-contrastive loss of one positive among many negatives.

    `−log(s₀ / (s₀ + K/n + ε)) − Σₖ log((K/n) / (sₖ + K/n + ε))` with s₀ the positive's score and
    s₁ … s_K the negatives', computed from their logarithms: float32 may not hold the scores.

    Args:
        log_scores: Float tensor `(batch, 1 + negatives)`: logarithms of the scores, which are
            unnormalized likelihoods, the positive first.
        examples: Number n of examples that the negatives are drawn from.

    Returns:
        Float32 tensor `(batch,)`. Its mean equals the authors' `ContrastLoss`.

    Raises:
        ValueError: If there are no negatives or no examples.

    Reference: Tian, Krishnan & Isola, "Contrastive Representation Distillation", 2020,
    arXiv:1910.10699, equation 18, and the authors' code (RepDistiller, `crd/criterion.py`).
    """
    examples = check_integer("examples", examples)
    log_scores = as_float32("log_scores", log_scores)
    negatives = log_scores.shape[1] - 1
    if negatives < 1 or examples < 1 or len(log_scores.shape) != 2:
        raise ValueError(
            "Expected scores of one positive and at least one negative, drawn from at least one "
            f"example. Received: log_scores of shape {tuple(log_scores.shape)}, examples={examples}"
        )
    noise = negatives / examples
    log_noise = math.log(noise + _EPSILON)
    right = ops.softplus(log_noise - log_scores[:, 0])
    wrong = ops.softplus(log_scores[:, 1:] - log_noise) + math.log1p(_EPSILON / noise)
    return right + ops.sum(wrong, axis=-1)


@keras.saving.register_keras_serializable("kdzoo")
class ContrastiveRepresentation(DistillationLoss):
    """Contrastive representation distillation (CRD) of Tian et al.

    The features of both models are projected linearly to `dimensions` and normalized. A bank for
    each model keeps a projection of every example of the training set; a batch moves the
    projections of its examples by `momentum`. The student's projection of an example is compared
    with the teacher's bank, in which it is to match the same example and not `negatives` others,
    and the teacher's projection is compared with the student's bank; the loss is the sum of the two
    `noise_contrastive` losses of `exp(⟨a, b⟩ / temperature) / Z`. Z is set from the first batch and
    kept. Projections and banks are saved with the distiller and no part of the student. Only the
    last step, `noise_contrastive`, is also a function: the others have a state.

    The data must say which examples a batch holds: `split.batches(..., indices=True)`. The banks
    take `2 · examples · dimensions` float32 numbers. A step takes up to `2 · batch · examples`
    more for the scores of all examples; where there are more than 30 examples for each negative, it
    fetches the rows of the negatives instead and takes `2 · batch · (1 + negatives) · dimensions`.

    Args:
        examples: The labels of the training set, integers `(examples,)` or `(examples, 1)` in the
            order of the indices: negatives are then of other classes, as in the authors' code. Or
            the number of examples: negatives are then any examples.
        teacher_layer: Layer that gives the teacher's features; the authors take the one before
            the logits, `"features"`. One path, as the loss has weights for one pair of layers.
        student_layer: Layer that gives the student's features: one path.
        dimensions: Width of the projections, at least 1.
        negatives: Number of negatives for each sample, at least 1.
        temperature: Divisor of the inner products, above 0.
        momentum: Fraction of the old projection in the bank's new one, in [0, 1).
        seed: Integer that decides the negatives and the bank's first content.
        name: Name of the loss.

    Raises:
        ValueError: If an argument is out of range or of another type, or the data carry no indices,
            or indices of other examples.

    Example:

    ```python
    data = kdzoo.data.load("cifar100")
    contrast = kdzoo.losses.ContrastiveRepresentation(
        data.train.arrays()[1], "features", "features"
    )
    distiller = kdzoo.Distiller(
        teacher,
        student,
        [kdzoo.losses.SoftTargets(4.0), contrast],
        distillation_loss_weights=[1.0, 0.8],
    )
    distiller.compile("sgd", cross_entropy)
    distiller.fit(data.train.batches(64, shuffle=True, indices=True), epochs=240, shuffle=False)
    ```

    Reference: Tian et al., 2020, arXiv:1910.10699. The defaults are those of the authors' code.
    Deviation: negatives are drawn with replacement, so that some come twice. The authors draw
    negatives of other classes without replacement, unless there are fewer than `negatives`.
    """

    takes_indices = True
    examples: int

    def __init__(
        self,
        examples: ArrayLike,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        dimensions: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(teacher_layer, student_layer, name)
        self.labels = _as_labels(examples)
        count = examples if self.labels is None else len(self.labels)
        self.examples = check_positive_integer("examples", count, _MOST)
        self.dimensions = check_positive_integer("dimensions", dimensions, _MOST)
        self.negatives = check_positive_integer("negatives", negatives, _MOST)
        self.temperature = check_positive("temperature", temperature)
        self.momentum = check_number("momentum", momentum)
        self.seed = check_integer("seed", seed, 0, _MOST)
        self._check()
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self._groups = None if self.labels is None else _group(self.labels)

    def _check(self):
        if self.examples < 2:
            raise ValueError(
                f"Expected `examples` to be at least 2. Received: examples={self.examples}"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"Expected `momentum` to lie in [0, 1). Received: momentum={self.momentum}"
            )
        if self.labels is not None and len(np.unique(self.labels)) < 2:
            raise ValueError(
                "Expected labels of several classes, as negatives come from other classes. "
                f"Received: one class; pass the number of examples, {self.examples}."
            )

    def build(self, teacher_shape: Shape, student_shape: Shape) -> None:
        self.projections: dict[str, keras.layers.Layer] = {}
        self.banks: dict[str, keras.Variable] = {}
        self.normalizers: dict[str, keras.Variable] = {}
        shapes: dict[str, Any] = {"teacher": teacher_shape, "student": student_shape}
        width = 1 / np.sqrt(self.dimensions / 3)
        for place, (role, shape) in enumerate(shapes.items()):
            size = math.prod(shape[1:])
            projection = layers.Dense(self.dimensions, dtype="float32", name=f"{role}_projection")
            projection.build((None, size))
            self.projections[role] = projection
            self.banks[role] = self.add_weight(
                shape=(self.examples, self.dimensions),
                initializer=keras.initializers.RandomUniform(-width, width, self.seed + place),
                trainable=False,
                name=f"{role}_bank",
            )
            # The logarithm of Z; infinite until the first batch sets it.
            self.normalizers[role] = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(math.inf),
                trainable=False,
                name=f"{role}_normalizer",
            )
        self.built = True

    def call(self, teacher: Any, student: Any, labels: Any = None, indices: Any = None) -> Tensor:
        indices = _positions(indices)
        teacher, student = float32_pair(teacher, student)
        indices = of_same_samples(teacher, indices, "rows", ("teacher", "indices"))
        chosen = ops.concatenate([indices[:, None], self.draw_negatives(indices)], axis=1)
        embeddings = {
            "teacher": self._project("teacher", teacher),
            "student": self._project("student", student),
        }
        losses = []
        for role, other in (("student", "teacher"), ("teacher", "student")):
            scores = _scores(embeddings[role], self.banks[other], chosen) / self.temperature
            losses.append(noise_contrastive(self._normalize(role, scores), self.examples))
        for role, embedding in embeddings.items():
            self._remember(role, indices, ops.stop_gradient(embedding))
        return losses[0] + losses[1]

    def _project(self, role, features):
        """Normalized projections `(batch, dimensions)`."""
        return unit_rows(self.projections[role](flat_rows(features)))

    def draw_negatives(self, indices: Tensor) -> Tensor:
        """Returns random examples to compare the examples of a batch with.

        Args:
            indices: The batch's examples, int32 `(batch,)`.

        Returns:
            Indices `(batch, negatives)` in int32, of examples of other classes where the loss has
            labels.
        """
        shape = (ops.shape(indices)[0], self.negatives)
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        if self._groups is None:
            return _scale_to_integers(uniform, self.examples)
        order, start, size = (ops.convert_to_tensor(part) for part in self._groups)
        start = ops.take(start, indices)[:, None]
        size = ops.take(size, indices)[:, None]
        place = _scale_to_integers(uniform, self.examples - size)
        return ops.take(order, ops.where(place < start, place, place + size))

    def _normalize(self, role, scores):
        """`log(exp(scores) / Z)`; Z is such that the mean over the first batch is 1 / examples."""
        total = gather_over_replicas(ops.reshape(ops.logsumexp(scores), (1,)))
        count = ops.sum(gather_over_replicas(ops.reshape(ops.size(scores), (1,))))
        first = ops.logsumexp(total) + ops.log(self.examples / ops.cast(count, "float32"))
        kept = ops.convert_to_tensor(self.normalizers[role])
        normalizer = ops.stop_gradient(ops.where(ops.isfinite(kept), kept, first))
        self.normalizers[role].assign(normalizer)
        return scores - normalizer

    def _remember(self, role, indices, embedding):
        """Moves the bank's rows of the batch towards the new projections.

        Of an example that comes twice in a batch, one of the projections counts. Every replica
        remembers the examples of all, so that all keep one bank.
        """
        indices, embedding = gather_over_replicas(indices), gather_over_replicas(embedding)
        bank = ops.convert_to_tensor(self.banks[role])
        rows = self.momentum * ops.take(bank, indices, axis=0) + (1 - self.momentum) * embedding
        self.banks[role].assign(ops.scatter_update(bank, indices[:, None], unit_rows(rows)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "examples": self.examples if self.labels is None else self.labels.tolist(),
            "dimensions": self.dimensions,
            "negatives": self.negatives,
            "temperature": self.temperature,
            "momentum": self.momentum,
            "seed": self.seed,
        }


def _as_labels(examples):
    """The labels as a vector, or `None` where there is but a number of examples."""
    if isinstance(examples, list | tuple):
        examples = check_numeric_array("examples", examples)
    if not getattr(examples, "shape", ()):
        return None
    labels = np.asarray(examples)
    if labels.dtype.kind not in "iu" or labels.shape[1:] not in ((), (1,)):
        raise ValueError(
            "Expected `examples` to be integer labels of shape (examples,) or (examples, 1), or "
            f"the number of examples. Received: {labels.dtype} of shape {labels.shape}; "
            "`labels.argmax(-1)` numbers the classes of one-hot labels."
        )
    return labels.reshape(-1)


def _positions(indices):
    """The indices of a batch as int32 `(batch,)`; `(batch, 1)` is taken too."""
    if indices is None:
        raise ValueError(
            "Expected `indices`, the positions of the batch's examples. Received: indices=None; "
            "take `split.batches(..., indices=True)`."
        )
    indices = ops.convert_to_tensor(indices)
    dtype = keras.backend.standardize_dtype(indices.dtype)
    if not keras.backend.is_int_dtype(dtype):
        raise ValueError(f"Expected `indices` to be integers. Received: indices of type {dtype}")
    indices = ops.cast(indices, "int32")
    return ops.squeeze(indices, -1) if len(indices.shape) == 2 else indices


def _group(labels):
    """The examples by class; for each example where its class starts and how large it is."""
    order = np.argsort(labels, kind="stable").astype("int32")
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    return order, starts[classes].astype("int32"), counts[classes].astype("int32")


def _scale_to_integers(uniform, count):
    """Integers in [0, count) from numbers in [0, 1)."""
    count = ops.cast(count, "int32")
    scaled = ops.cast(ops.floor(uniform * ops.cast(count, "float32")), "int32")
    return ops.minimum(scaled, count - 1)


def _scores(embeddings, bank, chosen):
    """Inner products `(batch, chosen)` of each embedding with its rows of a bank."""
    bank = ops.stop_gradient(ops.convert_to_tensor(bank))
    examples = bank.shape[0]
    if examples <= _FETCHING * (chosen.shape[1] - 1):
        # From the flattened scores: the gradient of take_along_axis takes several times longer.
        scores = ops.reshape(ops.matmul(embeddings, ops.transpose(bank)), (-1,))
        return ops.take(scores, chosen + examples * ops.arange(ops.shape(chosen)[0])[:, None])
    rows = ops.take(bank, chosen, axis=0)
    return ops.squeeze(ops.matmul(rows, embeddings[:, :, None]), -1)
