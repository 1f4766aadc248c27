"""How the parts of a batch are told apart, and how many losses become one number."""

from typing import NamedTuple

import keras
from keras import ops

from kdzoo.losses.base import mean_over_positions

# The key of a model's own outputs beside those of its taps; no layer has this name.
OUTPUT = ""
# The same in data that carry a teacher's answers.
_OUTPUT_IN_DATA = "logits"
_PARTS = {"label", "teacher", "index"}


class _MeanOfSamples(keras.losses.Loss):
    """Keras's own weighting and averaging of losses, without what the mask of `y_pred` hides."""

    def call(self, y_true, y_pred):
        return y_true


_mean_of_samples = _MeanOfSamples(name="mean_of_samples", dtype="float32")


def reduce_loss(loss, teacher, student, targets, names=None):
    """Returns the mean of one distillation loss over the batch, summed over the outputs.

    Args:
        loss: The `DistillationLoss`.
        teacher: What it takes of the teacher: a tensor, or a structure for several outputs.
        student: The same of the student.
        targets: The `Targets` of the batch. Weights, for each output or for all, weigh as in
            Keras: the weighted sum over the number of samples, or of positions where there is a
            weight for each. Positions that the student's mask leaves out, padding for example, do
            not count, as in Keras, where the loss has a value for each.
        names: The names of the student's outputs, by which labels and weights may be given.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: If the loss takes indices and the data carry none, or there are weights for
            each position and the loss has one value for each sample.
    """
    label, sample_weight = targets.label, targets.sample_weight
    more = _indices(loss, targets) if loss.takes_indices else {}
    flatten = keras.tree.flatten
    if loss.takes_structures or not keras.tree.is_nested(student):
        rows = [(teacher, student, label, _one_weight(sample_weight))]
    else:
        students = flatten(student)
        labels, weights = (flatten(_in_order(each, names)) for each in (label, sample_weight))
        labels = labels if len(labels) == len(students) else [None] * len(students)
        weights = weights if len(weights) == len(students) else weights[:1] * len(students)
        rows = zip(flatten(teacher), students, labels, weights, strict=True)
    total = 0.0
    for teacher_part, student_part, labels_part, weight in rows:
        values = loss(teacher_part, student_part, labels=labels_part, **more)
        carries_mask = values
        if _has_one_for_each_position(values, student_part):
            carries_mask = student_part
        elif weight is None or len(weight.shape) < len(values.shape):
            values = carries_mask = mean_over_positions(values)
        total = total + _mean_of_samples(values, carries_mask, _fitting(weight, values, loss))
    return total


def _has_one_for_each_position(values, student):
    """Whether a loss has a value for each position of a sequence (batch, positions, classes)."""
    if keras.tree.is_nested(student):
        return False
    return len(values.shape) == 2 and len(student.shape) == 3


def _in_order(parts, names):
    """What is given by output name as a list in the order of the outputs; the rest as it is."""
    if isinstance(parts, dict) and names and set(parts) <= set(names):
        return [parts.get(name) for name in names]
    return parts


def _fitting(weight, values, loss):
    """The weights in the shape of the values."""
    if weight is None:
        return None
    weight = ops.cast(weight, "float32")
    while len(weight.shape) > len(values.shape) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    while len(weight.shape) < len(values.shape):
        weight = ops.expand_dims(weight, -1)
    if len(weight.shape) > len(values.shape):
        raise ValueError(
            f"Expected one weight for each sample, as {loss.name!r} has one value for each. "
            f"Received: sample_weight of shape {tuple(weight.shape)}; average it over positions."
        )
    return weight


def _indices(loss, targets):
    """What a loss that takes indices is given by name."""
    if targets.indices is None:
        raise ValueError(
            f"Expected the positions of the examples, which {loss.name!r} needs. Received: data "
            "without them; take `split.batches(..., indices=True)`, or pass "
            '`(x, {"label": y, "index": positions})`.'
        )
    return {"indices": targets.indices}


def _one_weight(sample_weight):
    """One array of weights from weights that may be given for each output."""
    given = [weight for weight in keras.tree.flatten(sample_weight) if weight is not None]
    if len(given) < 2:
        return given[0] if given else None
    return sum(mean_over_positions(ops.cast(weight, "float32")) for weight in given) / len(given)


def pick_answer(answer, layer, layers, outputs=None):
    """Returns what a loss takes of the teacher's answer.

    Args:
        answer: The teacher's outputs, or a dictionary of them and the taps.
        layer: Path of the layer that the loss taps, a list of them, or `None` for the outputs.
        layers: All the paths that are tapped; without any, the answer is the outputs.
        outputs: The student's, to tell data that carry more than the logits from outputs by name.

    Raises:
        ValueError: If the answer lacks what is asked for.
    """
    if isinstance(layer, (list, tuple)):
        return [pick_answer(answer, each, layers) for each in layer]
    if not layers and (isinstance(outputs, dict) or _OUTPUT_IN_DATA not in _names(answer)):
        return answer
    keys = [layer] if layer is not None else [OUTPUT, _OUTPUT_IN_DATA]
    for key in keys:
        if isinstance(answer, dict) and key in answer:
            return answer[key]
    raise ValueError(
        f"Expected the teacher's answer to be a dictionary with {keys[-1]!r}, which a loss takes. "
        f"Received: {sorted(answer) if isinstance(answer, dict) else 'a tensor'}"
    )


def _names(answer):
    return answer if isinstance(answer, dict) else ()


def carried_answer(data, y=None):
    """Returns the teacher's answer in data that carry it, arrays or what stands for them.

    Args:
        data: What `fit` takes: arrays, with `y` beside them, a `tf.data.Dataset`, of which the
            shapes alone are looked at, or a `keras.utils.PyDataset`, whose first batch is read.
        y: What `fit` takes as `y`.

    Returns:
        What is under `"teacher"`, or None where there is nothing or nothing to be known.
    """
    if hasattr(data, "element_spec"):
        batch = data.element_spec
    else:
        batch = data[0] if isinstance(data, keras.utils.PyDataset) else (data, y)
    targets = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    return targets.get("teacher") if isinstance(targets, dict) else None


class Targets(NamedTuple):
    """What a batch carries beside its images: labels, the teacher's answer, indices, weights."""

    label: object = None
    answer: object = None
    indices: object = None
    sample_weight: object = None

    def with_answer(self, answer):
        """Returns the `y` that carries this answer too."""
        y = {"label": self.label, "teacher": answer}
        return y if self.indices is None else {**y, "index": self.indices}


def split_targets(y, sample_weight):
    """Returns the `Targets` in `y`: labels, or `{"label": ..., "teacher": ..., "index": ...}`."""
    if not (isinstance(y, dict) and y and set(y) <= _PARTS):
        return Targets(y, sample_weight=sample_weight)
    if isinstance(sample_weight, dict) and set(sample_weight) == set(y):
        # Keras repeats the weights for every part of a structured `y`.
        part = "label" if "label" in y else next(iter(y))
        weights = sample_weight[part]
        sample_weight = weights if part == "label" else keras.tree.flatten(weights)[0]
    return Targets(y.get("label"), y.get("teacher"), y.get("index"), sample_weight)


def replicas():
    """Returns the number of replicas among which Keras has divided the loss."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def tracker_names(losses):
    """Returns `<name>_loss` for each loss, numbered where names repeat."""
    names = []
    for loss in losses:
        name, number = f"{loss.name}_loss", 2
        while name in names:
            name, number = f"{loss.name}_{number}_loss", number + 1
        names.append(name)
    return names


def make_trackers(losses):
    """Returns name -> `keras.metrics.Mean` for what the logs show of the losses."""
    names = ["student_loss", "distillation_loss"]
    names += tracker_names(losses) if len(losses) > 1 else []
    return {name: keras.metrics.Mean(name=name) for name in names}
