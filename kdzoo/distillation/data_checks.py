"""Checks of the data that a Distiller is trained or evaluated on, where looking costs nothing."""

from typing import Any

import keras
import numpy as np

from kdzoo.distillation.batch_targets import names_of_labels, split_targets
from kdzoo.distillation.told_types import type_read
from kdzoo.graph.input_shape_checks import check_input_shapes, is_array
from kdzoo.graph.outputs import told_output_types
from kdzoo.graph.predictions import look_like_probabilities
from kdzoo.graph.raw_pixels import warn_of_raw_pixels
from kdzoo.graph.taps import tapped_shapes
from kdzoo.losses import DecoupledSoftTargets
from kdzoo.utils import check_numeric_array, shown

# Examples that are looked at: enough to tell pixels and probabilities, few enough to cost nothing.
_LOOKED_AT = 256


def check_data(x: Any, y: Any, distiller: Any) -> None:
    """Raises unless data can be trained or validated on.

    Looked at are arrays, and the first batch of a `keras.utils.PyDataset`. Other data are streams,
    whose first batch may cost a pass over all of them.

    Args:
        x: What `keras.Model.fit` takes as `x`.
        y: What `keras.Model.fit` takes as `y`.
        distiller: The `Distiller`.

    Raises:
        ValueError: If data are empty, labels or indices are out of range, or the teacher's outputs
            are probabilities where a loss takes logits.

    Warns:
        UserWarning: If images look like raw pixels.
    """
    check_arrays(x, y, distiller.student)
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
        x, y = batch[0], batch[1] if len(batch) > 1 else None
    if distiller.check_values:
        for leaf in keras.tree.flatten(x):
            _warn_of_pixels(leaf, distiller.student)
    targets = split_targets(y, None, names_of_labels(distiller.student, distiller.loss))
    losses = distiller.distillation_losses
    _check_labels(targets.label, distiller.student, distiller.loss, losses)
    _check_indices(targets.indices, losses)
    told = told_output_types(distiller.student, loss=distiller.loss)
    if distiller.check_values and any(
        type_read(loss, told[0]) == "classes" and not loss.teacher_layers for loss in losses
    ):
        _check_teacher_outputs(targets.teacher_outputs)


def check_arrays(x: Any, y: Any, model: keras.Model) -> None:
    """Raises unless `x` is data, and arrays fit each other and a model's inputs.

    Args:
        x: What `keras.Model.fit` takes as `x`.
        y: What `keras.Model.fit` takes as `y`.
        model: The `keras.Model`.

    Raises:
        ValueError: If they do not fit, or there is no sample.
    """
    is_structure = isinstance(x, list | tuple | dict)
    leaves = keras.tree.flatten(x) if is_structure else [x]
    leaves = [leaf for leaf in leaves if leaf is not None] if is_structure else leaves  # Optional.
    if any(_length(leaf) == 0 for leaf in leaves):
        raise ValueError("Expected data to train on. Received: an empty data set.")
    if not _is_data(x) or not leaves or not all(map(is_array, leaves if is_structure else [])):
        raise ValueError(
            "Expected x to be an array, a list or dictionary of arrays, or a data set of batches. "
            f"Received: x={shown(x)}; `numpy.asarray` makes an array of numbers in lists."
        )
    if not all(map(is_array, leaves)):  # Batches.
        return
    check_input_shapes(x, model, "x")
    parts = keras.tree.flatten(y) if isinstance(y, list | tuple | dict) else [y]
    parts = [part for part in parts if part is not None]  # An output that no loss is on.
    if y is not None and not (parts and all(map(is_array, parts))):
        raise ValueError(
            "Expected y to be an array, a list or dictionary of arrays, or None. Received: "
            f"y={shown(y)}; `numpy.asarray` makes an array of numbers in lists."
        )
    lengths = {part.shape[0] for part in [*leaves, *parts] if len(part.shape)}
    if len(lengths) > 1:
        raise ValueError(
            "Expected as many labels as samples, and as many of each array. Received: arrays of "
            f"{', '.join(map(str, sorted(lengths)))}"
        )
    for part in parts:
        if isinstance(part, np.ndarray):
            check_numeric_array("y", part)


def _is_data(x):
    """Whether Keras can take something as data: arrays, or what gives batches."""
    if isinstance(x, str | bytes) or x is None:
        return False
    return is_array(x) or hasattr(x, "__iter__") or hasattr(x, "__getitem__")


def _warn_of_pixels(images, student):
    """Warns if images look like raw pixels and the student does nothing about it."""
    if isinstance(images, np.ndarray) and images.dtype.kind in "fiu":
        silence = "Distiller(..., check_values=False)"
        warn_of_raw_pixels(images[:_LOOKED_AT], student, silence, stacklevel=4)


def _check_labels(labels, student, loss, distillation_losses):
    """Raises if a label is no class of the student, and a loss takes labels as classes."""
    shapes = tapped_shapes(student, None) or []
    is_integer = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.size
    is_sparse = is_integer and (labels.ndim == 1 or labels.shape[1:] == (1,))
    ignored = getattr(loss, "get_config", dict)().get("ignore_class")
    if len(shapes) != 1 or len(shapes[0]) != 2 or not is_sparse or ignored is not None:
        return
    if not (_counts_classes(loss) or any(map(_takes_classes, distillation_losses))):
        return
    classes = shapes[0][-1]
    if classes > 1 and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, one for each class of the student. "
            f"Received: labels from {labels.min()} to {labels.max()}; number the classes from 0, "
            "or build the student with more classes."
        )


def _counts_classes(loss):
    """Whether a loss of Keras takes integers as the classes of its outputs."""
    parts = keras.tree.flatten(loss) if isinstance(loss, list | tuple | dict) else [loss]
    try:
        parts = [keras.losses.get(part) if isinstance(part, str) else part for part in parts]
    except ValueError:
        return False
    functions = [getattr(part, "fn", part) for part in parts]
    return keras.losses.sparse_categorical_crossentropy in functions


def _takes_classes(loss):
    return isinstance(loss, DecoupledSoftTargets)


def _check_indices(indices, losses):
    """Raises if indices are no positions of the examples that a loss keeps something for."""
    counts = [loss.examples for loss in losses if loss.takes_indices and loss.examples]
    if not counts or not (isinstance(indices, np.ndarray) or keras.ops.is_tensor(indices)):
        return
    indices, examples = keras.ops.convert_to_numpy(indices), min(counts)
    expected = f"Expected indices that are integers from 0 to {examples - 1}"
    if indices.dtype.kind not in "iu" or indices.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{expected}, one for each example. Received: {indices.dtype} of shape {indices.shape}"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= examples):
        raise ValueError(
            f"{expected}. Received: indices from {indices.min()} to {indices.max()}; give the loss "
            "the labels, or the number, of all training examples."
        )


def _check_teacher_outputs(outputs: Any) -> None:
    """Raises if data carry probabilities in place of the teacher's logits."""
    if outputs is None or keras.tree.is_nested(outputs):
        return
    outputs = np.asarray(keras.ops.convert_to_numpy(outputs[:_LOOKED_AT]), "float32")
    if look_like_probabilities(outputs, "classes"):
        raise ValueError(
            "Expected the teacher's logits. Received: probabilities, which sum to 1; take the "
            "teacher without its softmax (`kdzoo.as_logits`), or the logarithm of its outputs. If "
            "they are logits, pass `Distiller(..., check_values=False)`."
        )


def _length(leaf):
    """Number of examples or batches, or `None` where that is not known."""
    try:
        return len(leaf)
    except TypeError:
        return None
