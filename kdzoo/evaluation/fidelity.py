"""How closely the outputs of a student follow those of its teacher, right or wrong."""

import dataclasses
import itertools
from typing import Any

import numpy as np

from kdzoo.evaluation.labelled_batches import (
    check_finite_outputs,
    labelled_batches,
    predictor,
)
from kdzoo.evaluation.meaning import Scale, check_measurable, known_output_type
from kdzoo.graph.number_agreement import NOISE, by_column
from kdzoo.graph.outputs import OutputType, is_one_column
from kdzoo.graph.predictions import is_positive, log_probabilities
from kdzoo.utils import is_number, shown

_REMEDY = "`fidelity(...).relative_error`"


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How two models agree on the same samples.

    Attributes:
        agreement: Fraction, in [0, 1], of samples with the same largest output, or of outputs
            of binary labels that say the same; at each position of outputs that have several.
        kl_divergence: Mean KL(teacher || student) of the softened outputs, in nats: a mean over
            samples and positions, the sum over the binary labels of several columns.
        samples: The number of samples.
        relative_error: Of plain numbers, the root of Σ (student - teacher)² / Σ (teacher - its mean
            over the samples)²: 0 for equal outputs, 1 for a student that gives the mean. Of up to
            16 columns, which may be of different units, it is that of the worst; of more that of
            all together. A column that does not vary is measured over Σ teacher². Agreement and
            divergence are NaN then, as they have no meaning. None for other outputs.
    """

    agreement: float
    kl_divergence: float
    samples: int
    relative_error: float | None = None


def fidelity(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    temperature: float = 1.0,
    batch_size: int = 128,
    check_images: bool = True,
    output_type: OutputType | None = None,
    from_logits: bool | tuple[bool | None, bool | None] | None = None,
) -> Fidelity:
    """Compares the outputs of a student with those of its teacher.

    agreement = mean of [argmax t = argmax s]; kl = mean of Σ_c p_c (log p_c - log q_c), where
    p = softmax(t / temperature) and q = softmax(s / temperature) are computed in float64 from
    logits t and s; of probabilities, the logarithms are logits. A binary output is that of
    two classes, with the logits 0 and t; several columns of them add up. Of plain numbers the error
    is given in relation to the spread of the teacher's.

    Args:
        teacher: A Keras model, or any object with `predict(x)`, that returns logits or
            probabilities `(samples, ..., columns)`.
        student: A Keras model, or any object with `predict(x)`, that returns outputs of the same
            shape and meaning, logits or probabilities.
        data: Array `(samples, ...)`, or a dataset of batches `x` or `(x, y)`; labels are not used.
        temperature: Positive number that softens both outputs for the divergence.
        batch_size: Samples in one step when `data` is an array.
        check_images: Whether images in [0, 255] are a warning, unless both models may rescale them.
        output_type: `"classes"`, `"binary"` or `"numbers"`. None finds it out: from the losses that
            the models were compiled with, from their final activations; otherwise several columns
            are classes, and one column is binary if `from_logits` is given, else an error.
        from_logits: Whether the outputs of both models are logits, not probabilities, or a pair
            for (teacher, student). None finds it out, from the final activations or from all of
            the values.

    Returns:
        A `Fidelity`.

    Raises:
        ValueError: If there is no sample, the shapes differ, nothing tells what one column means,
            it is in doubt whether outputs are logits, or inputs or outputs are NaN.

    Example:

    ```python
    print(kdzoo.evaluation.fidelity(teacher, student, test_images).agreement)
    ```

    Reference: Stanton et al., "Does Knowledge Distillation Really Work?", 2021, arXiv:2106.05945,
    equations 3 and 4.
    """
    if not is_number(temperature) or not 0 < temperature < float("inf"):
        raise ValueError(f"Expected temperature > 0. Received: temperature={shown(temperature)}")
    comparison = _Comparison(teacher, student, output_type, from_logits, temperature)
    comparison.run(data, batch_size, check_images)
    if comparison.output_type == "numbers":
        nan = float("nan")
        return Fidelity(nan, nan, comparison.samples, comparison.relative_error())
    same, divergence = comparison.decided()
    return Fidelity(
        agreement=same / comparison.predictions,
        kl_divergence=divergence / comparison.positions,
        samples=comparison.samples,
    )


def agreement(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    batch_size: int = 128,
    check_images: bool = True,
    output_type: OutputType | None = None,
    from_logits: bool | tuple[bool | None, bool | None] | None = None,
) -> float:
    """Returns the fraction of samples on which two models have the same largest output.

    Of binary labels, it is the fraction of outputs that say the same.

    Args:
        teacher: A Keras model, or any object with `predict(x)`, that returns logits or
            probabilities `(samples, ..., columns)`.
        student: A Keras model, or any object with `predict(x)`, that returns outputs of the same
            shape and meaning, logits or probabilities.
        data: Array `(samples, ...)`, or a dataset of batches `x` or `(x, y)`; labels are not used.
        batch_size: Samples in one step when `data` is an array.
        check_images: Whether images in [0, 255] are a warning, unless both models may rescale them.
        output_type: `"classes"` or `"binary"`. None finds it out: from the losses that the models
            were compiled with, from their final activations; otherwise several columns are
            classes, and one column is binary if `from_logits` is given, else an error.
        from_logits: For binary labels, whether the outputs of both models are logits, not
            probabilities, or a pair for (teacher, student). None finds it out, from the final
            activations or from all of the values.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: If there is no sample, the shapes differ, the outputs are plain numbers or one
            column of unknown meaning, it is in doubt whether they are logits, or inputs or outputs
            are NaN.
    """
    comparison = _Comparison(teacher, student, output_type, from_logits)
    comparison.run(data, batch_size, check_images)
    found = {same for same, _ in comparison.open_sums()}
    same = found.pop() if len(found) == 1 else comparison.decided()[0]
    return same / comparison.predictions


class _Comparison:
    """Sums over the batches of two models' outputs, for each scale that they may be on.

    Whether outputs are logits or probabilities may be known only once all were seen.
    """

    def __init__(self, teacher, student, output_type, from_logits, temperature=None):
        pair = from_logits if isinstance(from_logits, tuple) else (from_logits, from_logits)
        if len(pair) != 2:
            raise ValueError(
                "Expected from_logits to be one, or a pair for (teacher, student). Received: "
                f"from_logits={shown(from_logits)}"
            )
        self.models, self.temperature, self.told = (teacher, student), temperature, pair
        self.scales = [Scale(model, told) for model, told in zip(self.models, pair, strict=True)]
        known = [known_output_type(model, output_type) for model in self.models]
        self.output_type = known[0] or known[1]
        self.sums = {}
        self.predictions = self.positions = self.samples = 0
        self.first = self.sum = self.squares = self.values = self.errors = 0.0

    def run(self, data, batch_size, check_images):
        """Looks at all data."""
        outputs_of = [predictor(model, check_images) for model in self.models]
        for inputs, _ in labelled_batches(data, batch_size=batch_size):
            self._add(*(predict(inputs) for predict in outputs_of))

    def _add(self, teacher, student):
        if teacher.shape != student.shape:
            raise ValueError(
                "Expected teacher and student with the same classes. Received: outputs of shape "
                f"{teacher.shape} and {student.shape}."
            )
        self.output_type = self.output_type or self._type_by_columns(teacher.shape)
        self.samples += len(teacher)
        if self.output_type == "numbers" and self.temperature is not None:
            for model, outputs in zip(self.models, (teacher, student), strict=True):
                check_finite_outputs(outputs, model, masks_classes=False)
            self._add_numbers(teacher.astype("float64"), student.astype("float64"))
            return
        check_measurable(self.output_type, teacher.shape, _REMEDY)
        for scale, outputs in zip(self.scales, (teacher, student), strict=True):
            scale.look(outputs, self.output_type)
        for choice in itertools.product(*(scale.choices for scale in self.scales)):
            found = self._compare(teacher, student, *choice)
            self.sums[choice] = self.sums.get(choice, 0.0) + np.array(found)
        is_binary = self.output_type == "binary"
        positions = teacher.shape[:-1] if teacher.ndim > 1 else teacher.shape
        self.predictions += teacher.size if is_binary else int(np.prod(positions))
        self.positions += int(np.prod(positions))

    def _type_by_columns(self, shape):
        """What outputs of unknown meaning are: classes; one column on a known scale binary."""
        if not is_one_column(shape):
            return "classes"
        if any(told is not None for told in self.told):
            return "binary"
        raise ValueError(
            "Expected output_type for one column of unknown meaning. Received: outputs of shape "
            f"{shape}: pass output_type='binary' if each value is a binary label, or "
            "output_type='numbers' to `fidelity` for plain numbers."
        )

    def _add_numbers(self, teacher, student):
        """Adds up errors, and what the spread of the teacher's numbers is computed from."""
        if self.samples == len(teacher):
            self.first = teacher[0]  # Near the mean, so that little cancels out.
        self.errors = self.errors + by_column((student - teacher) ** 2)
        self.values = self.values + by_column(teacher**2)
        self.sum = self.sum + (teacher - self.first).sum(axis=0)
        self.squares = self.squares + by_column((teacher - self.first) ** 2)

    def relative_error(self):
        """Returns the error of the worst column of numbers over the spread of the teacher's."""
        spread = self.squares - by_column(np.square(self.sum)[None]) / self.samples
        scale = np.where(spread > NOISE**2 * self.values, spread, self.values)
        with np.errstate(divide="ignore"):
            lost = np.divide(self.errors, scale, out=np.zeros_like(scale), where=self.errors > 0)
        return float(np.sqrt(lost.max()))

    def _compare(self, teacher, student, teacher_from_logits, student_from_logits):
        """How many predictions of a batch are the same, and the sum of the divergences."""
        is_binary = self.output_type == "binary"
        if is_binary:
            in_teacher = is_positive(teacher, teacher_from_logits)
            same = np.sum(in_teacher == is_positive(student, student_from_logits))
        else:
            same = np.sum(teacher.argmax(axis=-1) == student.argmax(axis=-1))
        if self.temperature is None:
            return same, 0.0
        log_p, log_q = (
            log_probabilities(
                outputs, self.temperature, from_logits=from_logits, is_binary=is_binary
            )
            for outputs, from_logits in (
                (teacher, teacher_from_logits),
                (student, student_from_logits),
            )
        )
        p = np.exp(log_p)
        log_ratio = np.subtract(log_p, log_q, out=np.zeros_like(p), where=p > 0)  # Not -inf - -inf.
        return same, np.sum(p * log_ratio)

    def open_sums(self):
        """Returns the sums for every scale that is not ruled out."""
        choices = itertools.product(*(scale.choices for scale in self.scales))
        return [tuple(map(float, self.sums[choice])) for choice in choices]

    def decided(self):
        """Returns the sums for the scales that the outputs are on, or raises if in doubt."""
        choice = tuple(scale.decide(self.output_type) for scale in self.scales)
        return tuple(map(float, self.sums[choice]))
