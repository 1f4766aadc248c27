"""How well the confidence of a classifier fits its accuracy."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.evaluation.labelled_batches import labelled_batches, predictor
from kdzoo.graph.outputs import class_indices
from kdzoo.utils import check_positive_integer

_MOST_BINS = 1_000_000


def calibration_error(
    model: Any,
    x: Any,
    y: ArrayLike | None = None,
    *,
    bins: int = 15,
    batch_size: int = 128,
    check_images: bool = True,
) -> float:
    """Returns the expected calibration error of a classifier, in [0, 1].

    The samples are put into bins of equal width, (k / bins, (k + 1) / bins], by their confidence,
    the largest of softmax(logits): ECE = Σ_b |B_b| / n · |accuracy(B_b) - confidence(B_b)|.

    Args:
        model: A Keras model, or any object with `predict(x)`, that returns logits
            `(samples, classes)` of at least two classes.
        x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
        y: Labels: integers `(samples,)` or `(samples, 1)` in [0, classes), or one-hot
            `(samples, classes)`. None when `x` is a dataset.
        bins: Number of bins.
        batch_size: Samples in one step when `x` is an array.
        check_images: Whether images in [0, 255] are refused, unless the model rescales them.

    Returns:
        A float.

    Raises:
        ValueError: If there is no sample, labels are missing or of other classes, the outputs are
            not of two classes or more, or images are in [0, 255].

    Reference: Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks",
    arXiv:1706.04599, equation 3.
    """
    bins, outputs_of = (
        check_positive_integer("bins", bins, _MOST_BINS),
        predictor(model, check_images),
    )
    sums, counts = np.zeros(bins), 0
    for inputs, labels in labelled_batches(x, y, batch_size=batch_size):
        if labels is None:
            raise ValueError("Expected labels beside the samples. Received: y=None")
        logits = outputs_of(inputs).astype("float64")
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(
                "Expected logits (samples, classes) of at least two classes. Received: shape "
                f"{logits.shape}"
            )
        scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
        right = logits.argmax(axis=1) == class_indices(labels, logits.shape)
        bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        sums += np.bincount(bin_of, right - confidence, minlength=bins)
        counts += len(right)
    return float(np.abs(sums).sum() / counts)
