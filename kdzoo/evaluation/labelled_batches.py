"""Data in batches and models as functions, checked, for every measure that looks at predictions."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdzoo.graph.input_shape_checks import check_input_shapes, is_array
from kdzoo.graph.predictions import what_is_not_finite
from kdzoo.graph.raw_pixels import warn_of_raw_pixels
from kdzoo.utils import check_flag, check_numeric_array, check_positive_integer, shown
from kdzoo.utils.keras_errors import is_from_keras, plain_sentence


def labelled_batches(x: Any, y: Any = None, batch_size: int = 128) -> Iterator[tuple[Any, Any]]:
    """Yields `(x, y)` batches of arrays or of a dataset.

    Args:
        x: Array `(samples, ...)`, a list or dict of such arrays, or, when `y` is None, an iterable
            of batches `(x, y, ...)`: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator,
            or one tuple `(x, y)` of arrays.
        y: Array of labels, or None.
        batch_size: Samples in a batch of arrays; a dataset keeps its own.

    Yields:
        Tuples `(x, y)`; `y` is None where an element has no labels.

    Raises:
        ValueError: If `x` and `y` differ in length, or there is no sample.
    """
    batch_size = check_positive_integer("batch_size", batch_size)
    if y is None and isinstance(x, tuple) and len(x) > 1:
        x, y = x[0], x[1]
    y = None if y is None else check_numeric_array("y", y)
    if y is not None and not y.ndim:
        raise ValueError(f"Expected a label for each sample. Received: y={y}")
    count = 0
    elements = _slices(x, y, batch_size) if _is_arrays(x) else _elements(x)
    for part, labels in elements:
        count += _length(part)
        yield part, labels
    if not count:
        raise ValueError("Expected at least one sample. Received: empty data.")


def predictor(model: Any, check_images: bool = True) -> Callable[[Any], np.ndarray]:
    """Returns a function from a batch to a float array of outputs `(samples, ...)`.

    Args:
        model: A Keras model on any backend, or any object with `predict(x)`.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.

    Returns:
        A function `x -> array`, which raises `ValueError` if inputs or outputs are NaN or infinite;
        logits of -inf, as of masked classes, may stand beside finite ones.

    Raises:
        ValueError: If `model` is neither a Keras model nor has `predict`.
    """
    check_images = check_flag("check_images", check_images)
    predict = getattr(model, "predict_on_batch", None) or getattr(model, "predict", None)
    if predict is None:
        raise ValueError(
            "Expected a Keras model or an object with predict(x), such as "
            f"kdzoo.export.LiteRTModel(path). Received: {type(model).__name__}."
        )
    unwarned = [check_images]

    def outputs_of(x):
        check_input_shapes(x, model, "samples")
        for array in map(np.asarray, _leaves(x)):
            _check_finite(array)
            if unwarned[0]:
                unwarned[0] = not warn_of_raw_pixels(array, model, "check_images=False", 4)
        try:
            outputs = predict(x)
        except ValueError as error:
            if not is_from_keras(error):
                raise
            raise ValueError(plain_sentence(error)) from error
        if isinstance(outputs, (dict, list, tuple)) and len(outputs) == 1:
            (outputs,) = outputs.values() if isinstance(outputs, dict) else outputs
        if isinstance(outputs, (dict, list, tuple)):
            raise ValueError(
                "Expected a model with one output. "
                f"Received: {len(outputs)} outputs: make a model of the one to be measured."
            )
        outputs = check_numeric_array("the model's outputs", outputs).astype("float32")
        check_finite_outputs(outputs, model)
        return outputs

    return outputs_of


def check_inputs(x: Any, model: Any) -> None:
    """Raises `ValueError` unless a batch has the shape that a model takes, and finite values.

    Args:
        x: The batch: an array, or a list or dict of arrays.
        model: The Keras model.
    """
    check_input_shapes(x, model, "samples")
    arrays = [check_numeric_array("samples", leaf) for leaf in _leaves(x)]
    ranks = sorted(len(tensor.shape) for tensor in model.inputs)
    if sorted(array.ndim for array in arrays) != ranks:
        raise ValueError(
            f"Expected samples of {ranks} axes, as the model takes. Received: shapes "
            f"{[array.shape for array in arrays]}"
        )
    for array in arrays:
        _check_finite(array)


def check_finite_outputs(outputs: np.ndarray, model: Any, masks_classes: bool = True) -> None:
    """Raises `ValueError` if outputs are NaN or infinite.

    Args:
        outputs: Array `(samples, ...)`.
        model: The model that gave them.
        masks_classes: Whether a logit may be -inf, as of a masked class, beside a finite one.
    """
    wrong = what_is_not_finite(outputs, masks_classes)
    if wrong is not None:
        raise ValueError(
            f"Expected finite outputs. Received: {wrong} values from {type(model).__name__}: look "
            f"for {wrong} values in its weights, or for inputs on which its outputs are not "
            "defined."
        )


def _check_finite(array):
    """Raises if a batch has values that are not finite."""
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise ValueError(
            "Expected finite inputs. Received: a batch with NaN or infinite values: remove or "
            "repair those samples."
        )


def _is_arrays(x):
    """Whether `x` is an array, or a list or dict of arrays, rather than a dataset."""
    if isinstance(x, (list, dict)):
        leaves = list(_leaves(x))
        return bool(leaves) and all(hasattr(leaf, "__array__") for leaf in leaves)
    return hasattr(x, "__array__") and hasattr(x, "shape")


def _leaves(x):
    """Yields the arrays of a batch."""
    if isinstance(x, dict):
        yield from x.values()
    elif isinstance(x, (list, tuple)):
        yield from x
    else:
        yield x


def _length(x):
    return len(next(iter(_leaves(x))))


def _slices(x, y, batch_size):
    """Yields the arrays `batch_size` samples at a time."""
    count = _length(x)
    lengths = [len(leaf) for leaf in _leaves(x)] + ([] if y is None else [len(y)])
    if set(lengths) != {count}:
        raise ValueError(f"Expected as many labels as samples. Received: lengths={lengths}.")
    for start in range(0, count, batch_size):
        rows = slice(start, start + batch_size)
        if isinstance(x, dict):
            part = {name: array[rows] for name, array in x.items()}
        else:
            part = [array[rows] for array in x] if isinstance(x, list) else x[rows]
        yield part, None if y is None else y[rows]


def _elements(data):
    """Yields `(x, y)` for each element of a dataset, as NumPy where it holds tensors."""
    if isinstance(data, str | bytes):
        elements = None
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, dict):
        elements = (data[index] for index in range(len(data)))
    elif hasattr(data, "__iter__"):
        elements = data
    else:
        elements = None
    if elements is None:
        raise ValueError(
            f"Expected arrays or a dataset of (x, y). Received: data of type {type(data).__name__}."
        )
    for element in elements:
        part, *others = element if isinstance(element, tuple) and element else (element,)
        if not all(is_array(leaf) and leaf.shape for leaf in _leaves(part)):
            raise ValueError(
                "Expected arrays or a dataset of batches (x, y). Received: a batch of "
                f"{shown(part)}; `numpy.asarray` makes an array of numbers in lists."
            )
        yield part, others[0] if others else None
