"""What of a teacher helps: its confidence alone, or its probabilities without their classes."""

import math
from typing import Any

import keras
from keras import ops

from kdzoo.graph.outputs import OutputType
from kdzoo.graph.replicas import gather_over_replicas
from kdzoo.losses.base import LayerPaths, as_float32, check_temperature, of_same_samples
from kdzoo.losses.divergence import kl_divergence, logits_pair, soften
from kdzoo.losses.labels import as_classes
from kdzoo.losses.output_types import EXCLUSIVE, OfClasses, type_of_logits
from kdzoo.utils import check_integer
from kdzoo.utils.types import Tensor, TensorLike

_MOST = 2**31 - 1  # Of a seed.


def confidence_weighted_labels(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    labels: TensorLike | None,
    temperature: float | keras.Variable = 1.0,
) -> Tensor:
    """Cross-entropy on the labels, each sample weighted by the teacher's confidence.

    `−wₛ log q_label` with `wₛ = max p / mean over the batch of max p`, where
    `p = softmax(teacher / T)` and `q = softmax(student)`. The teacher's distribution over the other
    classes has no part in it.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.
        labels: Integer `(batch,)` or `(batch, 1)`, or one-hot `(batch, classes)`.
        temperature: Divisor T of the teacher's logits, above 0; the paper has 1.

    Returns:
        Float32 tensor `(batch,)`, in nats, whose mean is the paper's loss: its weights sum to 1
        over the batch. A batch that is divided over replicas counts as a whole.

    Raises:
        ValueError: If there are no labels, the numbers of classes differ, there is but one, the
            temperature is not above 0, or a label is no class. Within a compiled step, which does
            not know the labels beforehand, the loss of a sample whose label is no class is NaN.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[9.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    >>> [round(float(loss), 3) for loss in confidence_weighted_labels(teacher, student, [0, 1])]
    [0.924, 0.462]

    Reference: Furlanello et al., "Born-Again Neural Networks", 2018, arXiv:1805.04770, equation 8
    (CWTM).
    """
    if labels is None:
        raise ValueError(
            "Expected labels beside the images, which the teacher's confidence weights. Received: "
            "labels=None; use `SoftTargets` on unlabelled data."
        )
    temperature = check_temperature(temperature)
    teacher, student = logits_pair(teacher_logits, student_logits)
    type_of_logits("confidence_weighted_labels", teacher.shape, None, accepted=EXCLUSIVE)
    labels, is_class = as_classes(labels, student, "each label is weighted by one confidence")
    # The largest softened logit is 0.
    confidence = 1 / ops.sum(ops.exp(soften(teacher, temperature)), axis=-1)
    weights = ops.stop_gradient(confidence / ops.mean(gather_over_replicas(confidence)))
    is_label = ops.cast(ops.one_hot(labels, student.shape[-1]), "bool")
    log_prob = ops.sum(ops.where(is_label, ops.log_softmax(student, axis=-1), 0.0), axis=-1)
    return ops.where(is_class, -weights * log_prob, math.nan)


def permuted_soft_targets(
    teacher_logits: TensorLike,
    student_logits: TensorLike,
    order: TensorLike,
    temperature: float | keras.Variable = 1.0,
) -> Tensor:
    """Soft targets whose probabilities, but for the largest of a sample, change their classes.

    `T² · KL(p' ‖ q)`, where `p'` has the values of `p = softmax(teacher / T)`: the largest at its
    class, and the others shared out anew among the other classes. So the student learns how sure
    the teacher is and how it divides the rest, and not which classes are like each other.

    Args:
        teacher_logits: Float tensor `(batch, classes)`.
        student_logits: Float tensor `(batch, classes)`.
        order: Float tensor `(batch, classes)`, which decides the permutation: the i-th of the other
            classes gets the probability of the one of them whose number here is the i-th smallest.
            Uniform random numbers make all permutations equally likely.
        temperature: Divisor T of the logits, above 0; the paper has 1.

    Returns:
        Float32 tensor `(batch,)`: nats times T². The paper minimizes the cross-entropy, whose
        gradient is the same.

    Raises:
        ValueError: If the numbers of classes or of samples differ, there is but one class, or the
            temperature is not above 0.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[5.0, 1.0, 2.0]]), np.array([[5.0, 2.0, 1.0]])
    >>> [
    ...     float(permuted_soft_targets(teacher, student, order)[0]) > 1e-6
    ...     for order in (np.array([[0.0, 0.5, 0.7]]), np.array([[0.0, 0.7, 0.5]]))
    ... ]
    [True, False]

    Reference: Furlanello et al., "Born-Again Neural Networks", 2018, arXiv:1805.04770, equation 9
    (DKPP).
    """
    temperature = check_temperature(temperature)
    teacher, student = logits_pair(teacher_logits, student_logits)
    type_of_logits("permuted_soft_targets", teacher.shape, None, accepted=EXCLUSIVE)
    order = of_same_samples(teacher, as_float32("order", order), "rows", ("logits", "order"))
    if order.shape[1:] != teacher.shape[1:]:
        raise ValueError(
            "Expected a number of `order` for each logit. Received: order of shape "
            f"{tuple(order.shape)}, logits {tuple(teacher.shape)}"
        )
    return temperature**2 * kl_divergence(_permuted(teacher, order), student, temperature)


def _permuted(logits, order):
    """The logits of each sample, all but the largest in another order."""
    classes = logits.shape[-1]
    is_largest = ops.cast(ops.one_hot(ops.argmax(logits, axis=-1), classes), "bool")
    # Both list the other classes first, and the largest last.
    taken = ops.argsort(ops.where(is_largest, math.inf, order), axis=-1)
    places = ops.arange(classes, dtype="float32")
    given = ops.argsort(ops.where(is_largest, float(classes), places), axis=-1)
    return ops.take_along_axis(
        ops.take_along_axis(logits, taken, axis=-1), ops.argsort(given, axis=-1), axis=-1
    )


@keras.saving.register_keras_serializable("kdzoo")
class ConfidenceWeightedLabels(OfClasses):
    """Labels weighted by the teacher's confidence: CWTM of Furlanello et al.

    `−wₛ log q_label` with `wₛ = max p / mean over the batch of max p`, where
    `p = softmax(teacher / T)` and `q = softmax(student)`. Needs labels. It stands in the place of
    the loss on labels: give the `Distiller` `student_loss_weight=0`.

    Args:
        temperature: Divisor T of the teacher's logits, above 0; the paper has 1.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.

    Raises:
        ValueError: If the temperature is not above 0; when it is called, if the logits are
            independent binary labels.

    Example:

    ```python
    loss = kdzoo.losses.ConfidenceWeightedLabels()
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0)
    ```

    Reference: Furlanello et al., 2018, arXiv:1805.04770, equation 8.
    """

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        self.check_type(teacher, output_type)
        return confidence_weighted_labels(teacher, student, labels, self._temperature.variable)


@keras.saving.register_keras_serializable("kdzoo")
class PermutedSoftTargets(OfClasses):
    """Soft targets with the classes permuted: DKPP of Furlanello et al.

    `T² · KL(p' ‖ q)`, where `p'` has the values of `p = softmax(teacher / T)`: the largest at its
    class, and the others permuted at random, anew for each sample and step.

    Args:
        temperature: Divisor T of the logits, above 0; the paper has 1.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        seed: Integer of at least 0 that decides the permutations; a checkpoint keeps their state.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.

    Raises:
        ValueError: If the temperature is not above 0 or the seed is no such integer; when it is
            called, if the logits are independent binary labels.

    Example:

    ```python
    loss = kdzoo.losses.PermutedSoftTargets()
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0)
    ```

    Reference: Furlanello et al., 2018, arXiv:1805.04770, equation 9.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        seed: int = 0,
        output_type: OutputType | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name, output_type=output_type)
        self.seed = check_integer("seed", seed, 0, _MOST)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def call(
        self,
        teacher: Any,
        student: Any,
        labels: Any = None,
        output_type: OutputType | None = None,
    ) -> Tensor:
        self.check_type(teacher, output_type)
        order = keras.random.uniform(ops.shape(teacher), seed=self.seed_generator, dtype="float32")
        return permuted_soft_targets(teacher, student, order, self._temperature.variable)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
