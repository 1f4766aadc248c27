"""What models ask of the data they are given, where they can be looked at for nothing."""

import contextlib
import re
import traceback

import keras
import numpy as np

from kdzoo.data.image_checks import are_probabilities
from kdzoo.graph.taps import tapped_shapes
from kdzoo.models.ensemble import Ensemble
from kdzoo.utils import check_numeric_array, shown

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
# Keras, what it runs on, and kdzoo, where Keras leaves out its own part of a traceback.
_LIBRARIES = {"kdzoo", "keras", "tensorflow", "jax", "optree", "numpy"}
# Of the pages of Keras and TensorFlow: colours, a sentence of kdzoo's, and what says nothing.
_COLOURS = re.compile(r"\x1b\[\d+m")
_OWN_SENTENCE = re.compile(r"(Expected|Unknown) [^\n]+(Received: |\. )[^\n]+")
_OF_KERAS = ("Exception encountered", "Graph execution error", "in user code", "Detected at")
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
    check_arrays(x, y, distiller.student)
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


def check_arrays(x, y, model):
    """Raises if data are none, and arrays unless they fit each other and a model's inputs.

    Args:
        x: As in `keras.Model.fit`.
        y: The same.
        model: The `keras.Model`.

    Raises:
        ValueError: If they do not.
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
    check_fits(x, model, "x")
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


def check_fits(x, model, name="x"):
    """Raises unless arrays have the shapes that a model takes, as far as both are known.

    Args:
        x: Array, or a list or dictionary of them.
        model: The `keras.Model`; of a subclassed one nothing is known.
        name: What the caller calls the arrays.

    Raises:
        ValueError: If they do not fit; the error says which shape is expected.
    """
    model = getattr(model, "student", model)
    model = model.graph or model if isinstance(model, Ensemble) else model
    inputs = getattr(model, "inputs", None) if isinstance(model, keras.Model) else None
    if not inputs:
        return
    if isinstance(x, dict):
        structure = getattr(model, "_inputs_struct", None)  # A sequential one has none.
        by_key = structure if isinstance(structure, dict) else {each.name: each for each in inputs}
        inputs = [tensor for key, tensor in by_key.items() if is_array(tensor) and key in x]
        arrays = [x[key] for key, tensor in by_key.items() if is_array(tensor) and key in x]
    else:
        arrays = keras.tree.flatten(x) if isinstance(x, list | tuple) else [x]
        if len(arrays) != len(inputs):
            raise ValueError(
                f"Expected an array for each of the {len(inputs)} inputs of {model.name!r}. "
                f"Received: {len(arrays)} arrays as {name}"
            )
    for array, tensor in zip(arrays, inputs, strict=False):
        if array is not None:
            _check_shape(array, tensor, model, name)


def _check_shape(array, tensor, model, name):
    """Raises unless an array fits an input; Keras adds or drops a last axis of 1."""
    expected, shape = tuple(tensor.shape[1:]), tuple(array.shape[1:])
    longer = max(expected, shape, key=len)
    differ_by_one = abs(len(expected) - len(shape)) == 1 and longer[-1] == 1
    rank_fits = bool(array.shape) and (len(expected) == len(shape) or differ_by_one)
    pairs = zip(expected, shape, strict=False)
    if not rank_fits or any(size is not None and size != given for size, given in pairs):
        sizes = ", ".join(["samples", *("any" if n is None else str(n) for n in expected)])
        raise ValueError(
            f"Expected {name} of shape ({sizes}), as {model.name!r} takes. Received: "
            f"{name} of shape {tuple(array.shape)}"
        )
    if isinstance(array, np.ndarray) and tensor.dtype != "string":
        check_numeric_array(name, array)


def is_array(value):
    """Returns whether this is an array or a tensor, of any library."""
    return getattr(value, "shape", None) is not None


def _is_data(x):
    """Whether Keras can take something as data: arrays, or what gives batches."""
    if isinstance(x, str | bytes) or x is None:
        return False
    return is_array(x) or hasattr(x, "__iter__") or hasattr(x, "__getitem__")


@contextlib.contextmanager
def plain_errors():
    """Turns what a step says of streamed data, pages long, into one sentence.

    What a callback raises, or a function of the user's, stays as it is.
    """
    try:
        with _whole_tracebacks():
            yield
    except Exception as error:
        if _is_of_callback(error):
            raise
        found = re.search(r"Received a label value of (-?\d+) which is outside", str(error))
        if found:
            raise ValueError(
                "Expected labels that are classes of the student, counted from 0. Received: label "
                f"{found[1]}; number the classes from 0, or build the student with more classes."
            ) from error
        if _OUT_OF_RANGE.search(str(error)) and (
            _OF_CONTRAST.search(str(error)) or "kdzoo.losses.contrastive" in _modules(error)
        ):
            raise ValueError(
                "Expected indices of the examples that `ContrastiveRepresentation` was made for, "
                "counted from 0. Received: an index outside of them; give the loss the labels, or "
                "the number, of all training examples."
            ) from error
        # What batches raise comes from TensorFlow between tracebacks.
        said = _SENTENCE.search(str(error)) if not isinstance(error, ValueError) else None
        if said:
            raise ValueError(said[1]) from error
        if isinstance(error, ValueError | TypeError) and is_of_keras(error):
            raise ValueError(plain_sentence(error)) from error
        raise


@contextlib.contextmanager
def _whole_tracebacks():
    """Lets errors keep the frames within Keras, which tell where they come from."""
    was_enabled = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if was_enabled:
            keras.config.enable_traceback_filtering()


def _is_of_callback(error):
    """Whether an error passed through a callback, of Keras or of the user."""
    return any(name.startswith("keras.src.callbacks") for name in _modules(error))


def _modules(error):
    """The names of the modules that an error passed through, the one that raised it last."""
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals.get("__name__") or "" for frame, _ in frames]


def is_of_keras(error):
    """Returns whether Keras, or what it runs on, made an error or added pages to one of kdzoo's.

    What a callback or a function of the user's raises is none of these.
    """
    raised_in = _modules(error)[-1].partition(".")[0]
    text = str(error).strip()
    is_own = text.startswith(("Expected", "Unknown")) and "\n" not in text
    return raised_in in _LIBRARIES and not is_own


def plain_sentence(error):
    """Returns what is wrong, in one sentence, from an error that Keras added pages to.

    Args:
        error: The error.
    """
    text = _COLOURS.sub("", str(error))
    found = _OWN_SENTENCE.search(text)
    if found:
        return found[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_OF_KERAS)] or lines
    said = lines[0] if lines else type(error).__name__
    return f"Expected data and a loss that fit the model. Received: {said[:300]}"


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
