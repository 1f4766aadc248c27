"""The fraction of samples that a classifier gets right."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.evaluation.labelled_batches import labelled_batches, predictor
from kdzoo.graph.outputs import class_indices, predicted_classes


def accuracy(
    model: Any,
    x: Any,
    y: ArrayLike | None = None,
    *,
    batch_size: int = 128,
    check_images: bool = True,
) -> float:
    """Returns the fraction of samples whose largest output is the label.

    Logits and probabilities give the same result. A model with one output is a binary classifier:
    it predicts class 1 where the logit is above 0.

    Args:
        model: A Keras model on any backend, or any object with `predict(x)` that returns an array
            `(samples, classes)`, such as `kdzoo.export.LiteRTModel`. A `Distiller` is measured by
            its student.
        x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
        y: Labels: integers `(samples,)` or `(samples, 1)` in [0, classes), or one-hot
            `(samples, classes)`. None when `x` is a dataset.
        batch_size: Samples in one step when `x` is an array.
        check_images: Whether images in [0, 255] are refused, unless the model rescales them.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: If there is no sample or label, a label is out of range, inputs or outputs are
            NaN, or images are in [0, 255].

    Example:

    ```python
    top1 = kdzoo.evaluation.accuracy(student, test_images, test_labels)
    ```
    """
    outputs_of = predictor(model, check_images)
    right = total = 0
    for inputs, labels in labelled_batches(x, y, batch_size):
        if labels is None:
            raise ValueError("Expected data with labels, (x, y). Received: samples without labels.")
        outputs = outputs_of(inputs)
        expected = class_indices(labels, outputs.shape)
        right += int(np.sum(predicted_classes(outputs) == expected))
        total += len(expected)
    return right / total
