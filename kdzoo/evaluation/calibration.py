"""How well the confidence of a classifier fits its accuracy."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.evaluation.labelled_batches import labelled_batches, predictor
from kdzoo.evaluation.meaning import (
    Scale,
    check_measurable,
    known_output_type,
    type_by_labels,
)
from kdzoo.graph.outputs import OutputType, is_one_column
from kdzoo.graph.predictions import (
    binary_labels,
    class_indices,
    log_probabilities,
)
from kdzoo.utils import check_positive_integer

_MOST_BINS = 1_000_000
_REMEDY = "a calibration of intervals or quantiles, which kdzoo does not have"


def calibration_error(
    model: Any,
    x: Any,
    y: ArrayLike | None = None,
    *,
    bins: int = 15,
    batch_size: int = 128,
    check_images: bool = True,
    output_type: OutputType | None = None,
    from_logits: bool | None = None,
) -> float:
    """Returns the expected calibration error of a classifier, in [0, 1].

    The samples are put into bins of equal width, (k / bins, (k + 1) / bins], by their confidence,
    the largest of softmax(logits): ECE = Σ_b |B_b| / n · |accuracy(B_b) - confidence(B_b)|.
    Outputs that are probabilities are taken as they are. Each position of outputs that have
    several, as of pixels, counts as a sample, and so does each binary output, whose
    confidence is the probability of what it predicts.

    Args:
        model: A Keras model, or any object with `predict(x)`, that returns logits or probabilities
            `(samples, ..., classes)` of at least two classes, or binary outputs.
        x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
        y: Labels. Of classes: integers `(samples, ...)` or `(samples, ..., 1)` in [0, classes), or
            one-hot `(samples, ..., classes)`. Of binary labels: zeros and ones in the shape of the
            outputs. None when `x` is a dataset.
        bins: Number of bins.
        batch_size: Samples in one step when `x` is an array.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.
        output_type: `"classes"` or `"binary"`. None finds it out: from the loss that the model was
            compiled with or its final activation; otherwise several columns are classes, and one
            column must be said.
        from_logits: Whether the outputs are logits, not probabilities. None finds it out, from the
            final activation or from all of the values.

    Returns:
        A float.

    Raises:
        ValueError: If there is no sample, labels are missing or of other classes, the outputs are
            plain numbers or one column of which nothing is known, or it is in doubt whether they
            are logits.

    Reference: Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks",
    arXiv:1706.04599, equation 3.
    """
    bins, outputs_of = (
        check_positive_integer("bins", bins, _MOST_BINS),
        predictor(model, check_images),
    )
    scale, known = Scale(model, from_logits), known_output_type(model, output_type)
    meaning: OutputType = "classes"
    sums, counts = {choice: np.zeros(bins) for choice in scale.choices}, 0
    for inputs, labels in labelled_batches(x, y, batch_size=batch_size):
        if labels is None:
            raise ValueError("Expected labels beside the samples. Received: y=None")
        outputs = outputs_of(inputs)
        known = known or _by_columns(outputs.shape)
        meaning = output_type or type_by_labels(known, outputs.shape, labels)
        check_measurable(meaning, outputs.shape, _REMEDY)
        scale.look(outputs, meaning)
        for choice in scale.choices:
            right, confidence = _right_and_confidence(outputs, labels, meaning, choice)
            bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
            sums[choice] += np.bincount(bin_of, right - confidence, minlength=bins)
        counts += len(right)
    return float(np.abs(sums[scale.decide(meaning)]).sum() / counts)


def _by_columns(shape: tuple[int, ...]) -> OutputType:
    """What outputs mean of which only the shape is known."""
    if not is_one_column(shape):
        return "classes"
    raise ValueError(
        "Expected logits (samples, classes) of at least two classes. Received: shape "
        f"{shape}; pass output_type='binary' if they are binary labels."
    )


def _right_and_confidence(outputs, labels, output_type, from_logits):
    """Of each sample, position or binary label whether it is right, and how sure the model is."""
    is_binary = output_type == "binary"
    likely = np.exp(log_probabilities(outputs, from_logits=from_logits, is_binary=is_binary))
    if is_binary:
        expected = binary_labels(labels, outputs.shape).astype(int)
    else:
        expected = class_indices(labels, outputs.shape)
    return (likely.argmax(axis=-1) == expected).ravel(), likely.max(axis=-1).ravel()
