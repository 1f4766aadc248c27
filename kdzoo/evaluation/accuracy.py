"""The share of right answers."""

import numpy as np

from kdzoo.evaluation.batches import labelled_batches, predictor
from kdzoo.utils import check_numeric_array


def accuracy(model, x, y=None, *, batch_size=128, check_images=True):
    """Returns the share of samples whose largest output is the label.

    Logits and probabilities give the same answer. A model with one output is binary: its answer is
    1 where the logit is above 0.

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
        right += int(np.sum(decisions(outputs) == expected))
        total += len(expected)
    return right / total


def decisions(outputs):
    """Returns the class that each row of outputs `(samples, classes)` stands for.

    Args:
        outputs: Logits or probabilities, or one logit `(samples, 1)`.

    Returns:
        Integer array `(samples,)`.
    """
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0).astype("int64")
    return np.argmax(outputs, axis=-1)


def class_indices(labels, shape):
    """Returns labels as class indices `(samples,)`, checked against the outputs' shape.

    Args:
        labels: Integers `(samples,)` or `(samples, 1)`, or one-hot `(samples, classes)`.
        shape: `(samples, classes)` of the outputs.

    Returns:
        Integer array `(samples,)`.

    Raises:
        ValueError: If shapes do not fit, or a label is out of range.
    """
    labels = check_numeric_array("labels", labels)
    samples, classes = shape[0], shape[-1]
    if classes > 1 and labels.shape == (samples, classes):
        return np.argmax(labels, axis=-1)
    if labels.shape not in ((samples,), (samples, 1)) or len(shape) != 2:
        raise ValueError(
            f"Expected labels of shape ({samples},) or ({samples}, {classes}) for outputs of shape "
            f"{tuple(shape)}. Received: shape={labels.shape}."
        )
    labels = labels.reshape(samples)
    highest = max(classes, 2) - 1
    fits = (labels >= 0) & (labels <= highest) & (labels == np.floor(labels))
    if not np.all(fits):
        raise ValueError(
            f"Expected integer labels from 0 to {highest}, as the model has {classes} outputs. "
            f"Received: label={labels[~fits][0]}: renumber the labels, or build the model with "
            "more classes."
        )
    return labels.astype("int64")
