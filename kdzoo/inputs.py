"""What a Distiller asks of the data it is given, where they can be looked at for nothing."""

import contextlib
import re

import keras
import numpy as np

from kdzoo.data.checks import are_probabilities
from kdzoo.taps import tapped_shapes

# Layers, and arithmetic inside a graph, by which a model may rescale what it is given.
_RESCALING = (
    "Rescaling",
    "Normalization",
    "Lambda",
    "TrueDivide",
    "Divide",
    "Multiply",
    "Subtract",
)
# Images that are looked at for raw pixels: enough to tell, few enough to cost nothing.
_LOOKED_AT = 256
# What TensorFlow says of an index out of range, and where it says that it happened.
_OUT_OF_RANGE = re.compile(r"indices\[[\d,]+\] = \S+ (is not in|does not index into)")
_OF_CONTRAST = re.compile(r"losses.contrastive\.py|ContrastiveRepresentation\.call")
# What was raised where batches are made, in what TensorFlow makes of it.
_SENTENCE = re.compile(r"^ValueError: (Expected .*)$", re.MULTILINE)


def check_data(x, y, distiller):
    """Raises if data are empty or raw pixels, labels or indices out of range, answers no logits.

    Looked at are arrays, and the first batch of a `keras.utils.PyDataset`. Other data are streams,
    whose first batch may cost a pass over all of them.

    Args:
        x: As in `keras.Model.fit`.
        y: The same.
        distiller: The `Distiller`.
    """
    for leaf in keras.tree.flatten(x):
        if _length(leaf) == 0:
            raise ValueError("Expected data to train on. Received: an empty data set.")
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
        x, y = batch[0], batch[1] if len(batch) > 1 else None
    for leaf in keras.tree.flatten(x):
        _check_images(leaf, distiller.student)
    carried = y if isinstance(y, dict) else {}
    _check_labels(carried.get("label") if carried else y, distiller.student, distiller.loss)
    _check_indices(carried.get("index"), distiller.distillation_losses)
    if any(
        loss.expects_logits and not loss.teacher_layers for loss in distiller.distillation_losses
    ):
        _check_answers(distiller.teacher, x, carried.get("teacher"), distiller.teacher_transform)


@contextlib.contextmanager
def plain_errors():
    """Turns what a step says of streamed data, pages long, into one sentence."""
    try:
        yield
    except Exception as error:
        found = re.search(r"Received a label value of (-?\d+) which is outside", str(error))
        if found:
            raise ValueError(
                "Expected labels that are classes of the student, counted from 0. Received: label "
                f"{found[1]}; number the classes from 0, or build the student with more classes."
            ) from error
        if _OF_CONTRAST.search(str(error)) and _OUT_OF_RANGE.search(str(error)):
            raise ValueError(
                "Expected indices of the examples that `ContrastiveRepresentation` was made for, "
                "counted from 0. Received: an index outside of them; give the loss the labels, or "
                "the number, of all training examples."
            ) from error
        # What batches raise comes from TensorFlow between tracebacks.
        said = _SENTENCE.search(str(error)) if not isinstance(error, ValueError) else None
        if said:
            raise ValueError(said[1]) from error
        raise


def _check_images(images, student):
    """Raises if images are raw pixels and the student does nothing about it."""
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "fiu":
        return
    images = images[:_LOOKED_AT]
    if looks_like_pixels(images) and not rescales(student):
        raise ValueError(
            f"Expected images in [0, 1]. Received: values up to {images.max():g}; divide the "
            "images by 255, or begin the student with `keras.layers.Rescaling(1 / 255)`."
        )


def _check_labels(labels, student, loss):
    """Raises if a label is no class of the student."""
    shapes = tapped_shapes(student, None) or []
    is_integer = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.size
    is_sparse = is_integer and (labels.ndim == 1 or labels.shape[1:] == (1,))
    ignored = getattr(loss, "get_config", dict)().get("ignore_class")
    if len(shapes) != 1 or len(shapes[0]) != 2 or not is_sparse or ignored is not None:
        return
    classes = shapes[0][-1]
    if classes > 1 and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, one for each class of the student. "
            f"Received: labels from {labels.min()} to {labels.max()}; number the classes from 0, "
            "or build the student with more classes."
        )


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


def _check_answers(teacher, x, answers, transform):
    """Raises if a teacher that cannot be looked into, or the data, answer in probabilities."""
    opaque = teacher is not None and not getattr(teacher, "inputs", None)
    if opaque and isinstance(x, np.ndarray):
        some = x[:8] if transform is None else transform(x[:8])
        answers = teacher(some, training=False)
    if answers is None or keras.tree.is_nested(answers):
        return
    answers = np.asarray(keras.ops.convert_to_numpy(answers[:_LOOKED_AT]), "float32")
    if are_probabilities(answers):
        raise ValueError(
            "Expected the teacher's logits. Received: probabilities, which sum to 1; take the "
            "teacher without its softmax (`kdzoo.as_logits`), or the logarithm of what it gives."
        )


def looks_like_pixels(array):
    """Whether an array looks like images in [0, 255] where [0, 1] is expected.

    True for rank 4, nothing negative, and a largest value in (32, 255]: normalized images reach
    about 3, and raw pixels of any real batch pass 32.
    """
    return bool(array.ndim == 4 and array.size and array.min() >= 0 and 32 < array.max() <= 255)


def rescales(model):
    """Whether a model may bring raw pixels to its own range: by a layer for it, or arithmetic."""
    layers = model._flatten_layers(include_self=True) if hasattr(model, "_flatten_layers") else ()
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    steps = [step for layer in layers for step in getattr(layer, "operations", [layer])]
    first = next((layer for layer in layers if not hasattr(layer, "layers")), None)
    return any(type(step).__name__ in _RESCALING for step in steps) or isinstance(
        first, keras.layers.BatchNormalization
    )


def _length(leaf):
    """Number of examples or batches, or `None` where that is not known."""
    try:
        return len(leaf)
    except TypeError:
        return None
