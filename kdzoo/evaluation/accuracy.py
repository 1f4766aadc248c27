"""The fraction of samples, or of predictions, that a model gets right."""

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
from kdzoo.graph.outputs import OutputType
from kdzoo.graph.predictions import (
    binary_labels,
    class_indices,
    is_positive,
)

_REMEDY = "`model.evaluate` with metrics such as keras.metrics.MeanAbsoluteError or R2Score"


def accuracy(
    model: Any,
    x: Any,
    y: ArrayLike | None = None,
    *,
    batch_size: int = 128,
    check_images: bool = True,
    output_type: OutputType | None = None,
    from_logits: bool | None = None,
) -> float:
    """Returns the fraction of samples that a model gets right, or of predictions where it has many.

    Of exclusive classes, the largest output must be the label: at each position of outputs
    `(samples, ..., classes)`, as of pixels and tokens, and as `keras.metrics.CategoricalAccuracy`
    counts. Of binary outputs, each counts by itself, as in `keras.metrics.BinaryAccuracy`: it is
    positive where its probability is above 0.5, its logit above 0.

    Args:
        model: A Keras model on any backend, or any object with `predict(x)` that returns an array
            `(samples, ...)`, such as `kdzoo.export.LiteRTModel`. A `Distiller` is measured by
            its student.
        x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
        y: Labels. Of classes: integers `(samples, ...)` or `(samples, ..., 1)` in [0, classes), or
            one-hot `(samples, ..., classes)`. Of binary labels: zeros and ones in the shape of the
            outputs, whose last axis of 1 may be missing. None when `x` is a dataset.
        batch_size: Samples in one step when `x` is an array.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.
        output_type: `"classes"` or `"binary"`. None finds it out: from the loss that the model was
            compiled with, from its final activation, from labels that only classes can have;
            otherwise several columns are classes, and one column is binary.
        from_logits: Whether binary outputs are logits, not probabilities. None finds
            it out, from the final activation or from all of the values.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: If there is no sample or label, a label is out of range or a row of labels not
            one-hot, the outputs are plain numbers, it is in doubt whether they are logits, or
            inputs or outputs are NaN.

    Example:

    ```python
    top1 = kdzoo.evaluation.accuracy(student, test_images, test_labels)
    ```
    """
    outputs_of = predictor(model, check_images)
    scale, known = Scale(model, from_logits), known_output_type(model, output_type)
    right, total = {True: 0, False: 0}, 0
    meaning: OutputType = "binary"
    for inputs, labels in labelled_batches(x, y, batch_size):
        if labels is None:
            raise ValueError("Expected data with labels, (x, y). Received: samples without labels.")
        outputs = outputs_of(inputs)
        meaning = output_type or type_by_labels(known, outputs.shape, labels)
        check_measurable(meaning, outputs.shape, _REMEDY)
        if meaning == "classes":
            expected = class_indices(labels, outputs.shape)
            right[True] += int(np.sum(outputs.argmax(axis=-1) == expected))
        else:
            expected = binary_labels(labels, outputs.shape)
            scale.look(outputs, meaning)
            for choice in scale.choices:
                right[choice] += int(np.sum(is_positive(outputs, choice) == expected))
        total += expected.size
    is_either = len(scale.choices) > 1 and right[True] == right[False]
    if meaning == "classes" or is_either:
        return right[True] / total
    return right[scale.decide(meaning)] / total
