"""How closely the outputs of a student follow those of its teacher, right or wrong."""

import dataclasses
from typing import Any

import numpy as np

from kdzoo.evaluation.labelled_batches import labelled_batches, predictor
from kdzoo.graph.outputs import log_probabilities, predicted_classes
from kdzoo.utils import is_number, shown


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How two models agree on the same samples.

    Attributes:
        agreement: Fraction of samples, in [0, 1], with the same largest output.
        kl_divergence: Mean KL(teacher || student) of the softened outputs, in nats.
        samples: The number of samples.
    """

    agreement: float
    kl_divergence: float
    samples: int


def fidelity(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    temperature: float = 1.0,
    batch_size: int = 128,
    check_images: bool = True,
) -> Fidelity:
    """Compares the outputs of a student with those of its teacher.

    agreement = mean of [argmax t = argmax s]; kl = mean of Σ_c p_c (log p_c - log q_c), where
    p = softmax(t / temperature) and q = softmax(s / temperature) are computed in float64.

    Args:
        teacher: A Keras model, or any object with `predict(x)`, that returns logits
            `(samples, classes)`.
        student: A Keras model, or any object with `predict(x)`, that returns logits of the same
            classes.
        data: Array `(samples, ...)`, or a dataset of batches `x` or `(x, y)`; labels are not used.
        temperature: Positive number that softens both outputs for the divergence.
        batch_size: Samples in one step when `data` is an array.
        check_images: Whether images in [0, 255] are refused, unless both models rescale them.

    Returns:
        A `Fidelity`.

    Raises:
        ValueError: If there is no sample, the classes differ, outputs have further axes, inputs or
            outputs are NaN, or images are in [0, 255].

    Example:

    ```python
    print(kdzoo.evaluation.fidelity(teacher, student, test_images).agreement)
    ```

    Reference: Stanton et al., "Does Knowledge Distillation Really Work?", 2021, arXiv:2106.05945,
    equations 3 and 4. With one output, agreement is that of the logits' signs and the divergence is
    between two Bernoulli distributions.
    """
    if not is_number(temperature) or not 0 < temperature < float("inf"):
        raise ValueError(f"Expected temperature > 0. Received: temperature={shown(temperature)}")
    teacher_outputs_of = predictor(teacher, check_images)
    student_outputs_of = predictor(student, check_images)
    divergence = 0.0
    same = total = 0
    for inputs, _ in labelled_batches(data, batch_size=batch_size):
        teacher_logits, student_logits = teacher_outputs_of(inputs), student_outputs_of(inputs)
        if teacher_logits.shape != student_logits.shape:
            raise ValueError(
                "Expected teacher and student with the same classes. Received: outputs of shape "
                f"{teacher_logits.shape} and {student_logits.shape}."
            )
        if teacher_logits.ndim != 2:
            raise ValueError(
                "Expected one row of logits for each sample, (samples, classes). Received: outputs "
                f"of shape {teacher_logits.shape}; fold other axes into the samples."
            )
        same += int(np.sum(predicted_classes(teacher_logits) == predicted_classes(student_logits)))
        log_p = log_probabilities(teacher_logits, temperature)
        log_q = log_probabilities(student_logits, temperature)
        divergence += float(np.sum(np.exp(log_p) * (log_p - log_q)))
        total += len(teacher_logits)
    return Fidelity(agreement=same / total, kl_divergence=divergence / total, samples=total)


def agreement(
    teacher: Any, student: Any, data: Any, *, batch_size: int = 128, check_images: bool = True
) -> float:
    """Returns the fraction of samples on which two models have the same largest output.

    Args:
        teacher: A Keras model, or any object with `predict(x)`, that returns logits
            `(samples, classes)`.
        student: A Keras model, or any object with `predict(x)`, that returns logits of the same
            classes.
        data: Array `(samples, ...)`, or a dataset of batches `x` or `(x, y)`; labels are not used.
        batch_size: Samples in one step when `data` is an array.
        check_images: Whether images in [0, 255] are refused, unless both models rescale them.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: If there is no sample, the classes differ, outputs have further axes, inputs or
            outputs are NaN, or images are in [0, 255].
    """
    found = fidelity(teacher, student, data, batch_size=batch_size, check_images=check_images)
    return found.agreement
