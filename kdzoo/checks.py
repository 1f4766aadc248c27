"""What a Distiller asks of its models and losses before it trains, each with its remedy."""

import numbers
import warnings

import keras
import numpy as np

from kdzoo.losses import DistillationLoss, KerasDistillation
from kdzoo.models.logits import final_activation
from kdzoo.taps import find_layer, tapped_shapes

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


def is_model(role, model):
    """Raises unless `model` is a `keras.Model`."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected `{role}` to be a `keras.Model`. Received: {role}={model!r} of type "
            f"{type(model).__name__}"
        )


def share(student_loss_weight):
    """Returns the weight as a float, or raises unless it is a number between 0 and 1."""
    number = isinstance(student_loss_weight, numbers.Real)
    if not number or not 0.0 <= student_loss_weight <= 1.0:
        raise ValueError(
            "Expected `student_loss_weight` to be a number between 0 (teacher only) and 1 (labels "
            f"only). Received: student_loss_weight={student_loss_weight!r}"
        )
    return float(student_loss_weight)


def as_losses(losses):
    """Returns a list of `DistillationLoss`, with those of `keras.distillation` wrapped."""
    losses = list(losses) if isinstance(losses, (list, tuple)) else [losses]
    if not losses or None in losses:
        raise ValueError(
            "Expected at least one distillation loss, such as `kdzoo.losses.SoftTargets(4.0)`. "
            f"Received: distillation_losses={losses}"
        )
    return [
        each if isinstance(each, DistillationLoss) else KerasDistillation(each) for each in losses
    ]


def weights(loss_weights, losses):
    """Returns one finite weight for each loss."""
    if loss_weights is None:
        return [1.0] * len(losses)
    given = list(loss_weights) if isinstance(loss_weights, (list, tuple)) else [loss_weights]
    numbers_only = all(
        isinstance(weight, numbers.Real) and 0 <= weight < float("inf") for weight in given
    )
    if len(given) != len(losses) or not numbers_only:
        raise ValueError(
            f"Expected `distillation_loss_weights` to hold {len(losses)} numbers of at least 0, "
            f"one for each loss. Received: distillation_loss_weights={loss_weights}"
        )
    return [float(weight) for weight in given]


def teacher(model, student, transform):
    """Raises unless the teacher is a trained model that can take what the student takes."""
    if model is None:
        return
    is_model("teacher", model)
    if model is student:
        raise ValueError(
            "Expected two models. Received: the same object as teacher and student; make the "
            "student with `keras.models.clone_model`."
        )
    if not model.built:
        raise ValueError(
            f"Expected a trained teacher. Received: {model.name!r}, which has no weights yet; call "
            "it on a batch and load its weights first."
        )
    if transform is None:
        _same_inputs(model, student)


def _same_inputs(model, student):
    """Raises if both models are graphs and their inputs do not fit each other."""
    ours, theirs = getattr(student, "inputs", None), getattr(model, "inputs", None)
    if not ours or not theirs:
        return

    def fit(one, other):
        return len(one) == len(other) and all(
            a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True)
        )

    pairs = zip(ours, theirs, strict=False)
    if len(ours) != len(theirs) or not all(fit(a.shape, b.shape) for a, b in pairs):
        raise ValueError(
            "Expected teacher and student to take the same inputs. Received: teacher "
            f"{[tuple(t.shape) for t in theirs]}, student {[tuple(t.shape) for t in ours]}; pass "
            "`teacher_transform=`, a function from the student's inputs to the teacher's."
        )


def outputs(model, student, losses):
    """Raises if a loss cannot be computed on what the models give."""
    for loss in losses:
        for role, each, paths in (
            ("teacher", model, loss.teacher_layers),
            ("student", student, loss.student_layers),
        ):
            if each is None:
                continue
            for path in paths:
                find_layer(each, path)
            if not paths and loss.expects_logits:
                _ends_in_logits(role, each)
        if model is not None and loss.expects_logits:
            _same_classes(
                tapped_shapes(model, loss.teacher_layer), tapped_shapes(student, loss.student_layer)
            )


def _ends_in_logits(role, model):
    activation = final_activation(model)
    if activation:
        raise ValueError(
            f"Expected the {role} to give logits. Received: {model.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits({role})`, which strips it."
        )


def _same_classes(of_teacher, of_student):
    if of_teacher is None or of_student is None:
        return
    if [shape[-1] for shape in of_teacher] != [shape[-1] for shape in of_student]:
        raise ValueError(
            "Expected teacher and student to have the same classes. Received: teacher outputs "
            f"{of_teacher}, student outputs {of_student}; build the student with the teacher's "
            "number of classes."
        )


def warn_unless_on_logits(loss, student):
    """Warns if a cross-entropy that expects probabilities is given to a student of logits."""
    if final_activation(student) is not None or not getattr(student, "inputs", None):
        return
    for each in keras.tree.flatten(loss):
        name = each if isinstance(each, str) else getattr(each, "name", "")
        expects_probabilities = isinstance(each, str) or not _from_logits(each)
        if "crossentropy" in str(name) and expects_probabilities:
            warnings.warn(
                f"The loss {name!r} expects probabilities, but {student.name!r} gives logits: the "
                "value is not the cross-entropy. Pass the loss as an object with "
                "`from_logits=True`, such as "
                "`keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.",
                stacklevel=3,
            )
            return


def data(x, y, student, loss):
    """Raises if arrays are empty or raw pixels, or labels are no class of the student."""
    for leaf in keras.tree.flatten(x):
        if _length(leaf) == 0:
            raise ValueError("Expected data to train on. Received: an empty data set.")
        is_array = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiu"
        if is_array and looks_like_pixels(leaf[:_LOOKED_AT]) and not rescales(student):
            raise ValueError(
                "Expected images in [0, 1]. Received: values up to "
                f"{leaf[:_LOOKED_AT].max():g}; divide the images by 255, or begin the student with "
                "`keras.layers.Rescaling(1 / 255)`."
            )
    labels = y.get("label") if isinstance(y, dict) else y
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


def _from_logits(loss):
    """Whether a Keras loss object was made with `from_logits=True`."""
    return getattr(loss, "get_config", dict)().get("from_logits", True)
