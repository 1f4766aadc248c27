"""Hinton's correction of biases: of classes that a student never saw, or saw too often."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import Split
from kdzoo.evaluation.labelled_batches import labelled_batches
from kdzoo.graph.logits_layer import logits_layer
from kdzoo.graph.raw_pixels import warn_of_raw_pixels
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.utils import (
    check_flag,
    check_numeric_array,
    check_positive_integer,
    is_integer,
    is_number,
    shown,
)

_STEPS = 100
_TOLERANCE = 1e-7  # Of mean probabilities; below what a sample more or less changes.


@dataclasses.dataclass(frozen=True)
class BiasReport:
    """What `calibrate_biases` changed.

    Attributes:
        offsets: What was added to the bias of each class, float64 (classes,).
        before: The mean predicted distribution of the model as it was, float64 (classes,).
        after: That of the new model.
        prior: The distribution that it was to have; None where the offsets were given by hand.
    """

    offsets: np.ndarray
    before: np.ndarray
    after: np.ndarray
    prior: np.ndarray | None

    def __str__(self) -> str:
        lines = ["class   offset   before    after"]
        rows = zip(self.offsets, self.before, self.after, strict=True)
        lines += [
            f"{label:5} {offset:8.3f} {old:8.4f} {new:8.4f}"
            for label, (offset, old, new) in enumerate(rows)
        ]
        return "\n".join(lines)


def calibrate_biases(
    model: keras.Model,
    images: ArrayLike | Split | Iterable[Any],
    prior: ArrayLike | None = None,
    *,
    classes: Iterable[int] | None = None,
    offsets: Mapping[int, float] | None = None,
    batch_size: int = 256,
    check_images: bool = True,
) -> tuple[keras.Model, BiasReport]:
    """Corrects the class biases of a classifier, so that its mean prediction is a given one.

    A student whose transfer set had no sample of a class gives that class too low a logit at every
    input, though it has learned from the teacher what it looks like. The offsets b that mend this
    are found from unlabelled inputs: those for which the mean of softmax(logits + b) over the
    inputs is the prior. They are unique up to a constant, and have the mean 0. With `classes` only
    these are moved, until each of them is as frequent as in the prior, and the others keep their
    biases: where the student saw the other classes in their proportions, which the prior may miss.

    Args:
        model: A functional or sequential `keras.Model` that ends in a `Dense` layer and gives
            logits, (batch, classes). It is not changed.
        images: The inputs, in the proportions of the prior; no labels are needed. An array (n, ...)
            as `model.predict` takes it; a `kdzoo.data.Split`; or a dataset or iterable of batches,
            arrays or tuples (inputs, labels, ...), such as a `tf.data.Dataset`. They are predicted
            batch by batch, a `Split` without a float32 copy of all its images.
        prior: How frequent each class is, (classes,), with a sum of 1: above 0 where offsets are to
            be found, of the others at least 0, but not all 0; None for classes that are all as
            frequent.
        classes: The classes whose biases are found, fewer than all; None for all.
        offsets: What is added to the biases of some classes, class -> offset, in place of finding
            them.
        batch_size: Inputs in a step; an iterable of batches keeps its own.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.

    Returns:
        A new model with other biases, not compiled, and a `BiasReport`.

    Raises:
        ValueError: If the model does not end in logits of a `Dense` layer, there is no input, the
            prior is none, or a class does not exist.

    Example:

    ```python
    student, report = kdzoo.calibrate_biases(student, data.validation)
    print(report)
    without_3, _ = kdzoo.calibrate_biases(student, images, classes=[3])
    raised, _ = kdzoo.calibrate_biases(student, images, offsets={3: 3.5})
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 3, where the offset was
    chosen by the test errors.
    """
    layer = logits_layer(model)
    batch_size = check_positive_integer("batch_size", batch_size)
    logits = _logits(model, images, batch_size, check_flag("check_images", check_images))
    count = logits.shape[-1]
    wanted = None
    if offsets is None:
        moved = _check_classes(classes, count)
        wanted = _check_prior(prior, count, moved)
        found = _offsets_for(logits, wanted, moved)
    else:
        if prior is not None or classes is not None:
            other = "prior" if prior is not None else "classes"
            raise ValueError(f"Expected {other} or offsets. Received: both")
        found = _check_offsets(offsets, count)
    report = BiasReport(found, _mean(logits), _mean(logits + found), wanted)
    return _with_offsets(model, layer, found), report


def _logits(model: keras.Model, images: Any, batch_size: int, check_images: bool) -> np.ndarray:
    """The logits of all inputs in float64."""
    parts = []
    for batch in _batches(model, images, batch_size):
        if isinstance(batch, Mapping) and len(batch) == 1:
            (batch,) = batch.values()  # By the name of the one input.
        batch = check_numeric_array("images", batch)
        if check_images:
            check_images = not warn_of_raw_pixels(batch, model, "check_images=False", 3)
        wanted = model.input_shape
        is_one = isinstance(wanted, tuple) and len(wanted) == batch.ndim
        if not is_one or any(
            size not in (None, given) for size, given in zip(wanted, batch.shape, strict=True)
        ):
            raise ValueError(
                f"Expected inputs of {model.name!r} as one array of the shape {wanted}. Received: "
                f"images of shape {batch.shape} as a batch"
            )
        parts.append(keras.ops.convert_to_numpy(model(batch, training=False)))
    logits = np.concatenate(parts).astype("float64")
    if logits.ndim != 2 or logits.shape[-1] < 2 or not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits of two or more classes, (batch, classes). Received: outputs of "
            f"shape {logits.shape} from {model.name!r}"
        )
    return logits


def _batches(model: keras.Model, images: Any, batch_size: int) -> Iterator[Any]:
    """The inputs batch by batch."""
    if isinstance(images, Split):
        images = images.batches(batch_size)
    elif isinstance(images, list | tuple):
        first = images[0] if images else None
        rank = len(getattr(first, "shape", ()))
        if not isinstance(first, tuple) and rank != len(model.input_shape):
            images = check_numeric_array("images", images)  # Of lists of numbers.
        elif isinstance(images, list):
            images = iter(images)  # A list of arrays would be several inputs.
    shape = getattr(images, "shape", None)
    if shape is not None and not (len(shape) and shape[0]):
        raise ValueError(
            f"Expected at least one input to find biases by. Received: images of shape {shape}"
        )
    return (batch for batch, _ in labelled_batches(images, None, batch_size))


def _check_prior(prior: Any, classes: int, moved: np.ndarray) -> np.ndarray:
    if prior is None:
        return np.full(classes, 1 / classes)
    prior = check_numeric_array("prior", prior).astype("float64")
    if prior.shape != (classes,) or not (prior >= 0).all() or abs(prior.sum() - 1) > 1e-6:
        raise ValueError(
            f"Expected prior to give each of {classes} classes a probability of at least 0, with a "
            f"sum of 1. Received: prior={shown(prior.tolist())} of shape {prior.shape} with the "
            f"sum {prior.sum():.6g}"
        )
    if not (prior[moved] > 0).all() or (len(moved) < classes and prior[moved].sum() >= 1 - 1e-9):
        raise ValueError(
            "Expected prior to be above 0 for each class whose bias is found, and for one of the "
            f"others. Received: prior={shown(prior.tolist())} for the classes "
            f"{shown(moved.tolist())}"
        )
    return prior / prior.sum()


def _check_classes(classes: Any, count: int) -> np.ndarray:
    """The indices of the classes that are moved."""
    if classes is None:
        return np.arange(count)
    chosen = list(classes) if isinstance(classes, Iterable) else []
    if not all(is_integer(label, 0, count - 1) for label in chosen) or not (
        0 < len(chosen) == len(set(chosen)) < count
    ):
        raise ValueError(
            f"Expected fewer than {count} different classes from 0 to {count - 1}. Received: "
            f"classes={shown(classes)}"
        )
    return np.array(chosen)


def _check_offsets(offsets: Any, classes: int) -> np.ndarray:
    found = np.zeros(classes)
    if not isinstance(offsets, Mapping):
        raise ValueError(f"Expected offsets as class -> offset. Received: offsets={shown(offsets)}")
    for label, offset in offsets.items():
        if not is_integer(label, 0, classes - 1):
            raise ValueError(
                f"Expected offsets of classes from 0 to {classes - 1}. Received: {shown(label)}"
            )
        if not is_number(offset) or not np.isfinite(offset):
            raise ValueError(f"Expected finite offsets. Received: {shown(offset)} for {label}")
        found[label] = offset
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _mean(logits: np.ndarray) -> np.ndarray:
    return _softmax(logits).mean(0)


def _offsets_for(logits: np.ndarray, prior: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The offsets at which the mean softmax is the prior in the moved classes, by Newton's method.

    They minimize mean(logsumexp(logits + b)) - prior · b, which is convex; its gradient is what the
    mean prediction is above the prior.
    """
    is_whole = len(moved) == len(prior)

    def objective(offsets: np.ndarray) -> float:
        shifted = logits + offsets
        top = shifted.max(-1)
        sums = np.exp(shifted - top[:, None]).sum(-1)
        return float(np.mean(top + np.log(sums)) - prior @ offsets)

    offsets, value = np.zeros(len(prior)), objective(np.zeros(len(prior)))
    for _ in range(_STEPS):
        probs = _softmax(logits + offsets)
        gradient = (probs.mean(0) - prior)[moved]
        if np.abs(gradient).max() < _TOLERANCE:
            break
        curvature = np.diag(probs.mean(0)) - probs.T @ probs / len(probs)
        # Certain predictions curve nothing: a small multiple of the identity bounds the step.
        damped = curvature[np.ix_(moved, moved)]
        damped += (np.abs(gradient).max() * 1e-2 + 1e-12) * np.eye(len(moved))
        step, rate = np.zeros(len(prior)), 1.0
        step[moved] = np.linalg.solve(damped, gradient)
        decrease = 1e-4 * (gradient @ step[moved])
        while rate >= 1e-10 and objective(offsets - rate * step) > value - rate * decrease:
            rate /= 2
        if rate < 1e-10:
            break
        offsets = offsets - rate * step
        value = objective(offsets)
    return offsets - offsets.mean() if is_whole else offsets


def _with_offsets(
    model: keras.Model, layer: keras.layers.Dense, offsets: np.ndarray
) -> keras.Model:
    """A copy of the model whose last layer has other biases."""
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else 0.0
    weights = [kernel, (bias + offsets).astype(kernel.dtype)]

    def replace(operation: keras.Operation, path: str) -> Any:
        return (copy_of(layer, use_bias=True), weights) if operation is layer else None

    return rebuild(model, replace)
