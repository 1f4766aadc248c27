"""What a batch carries beside its inputs: labels, the teacher's outputs, indices, weights."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import keras

from kdzoo.graph.exportable import shape_model
from kdzoo.graph.keras_internals import functional_of

# The key of a model's own outputs beside those of its tapped layers; no layer has this name.
OUTPUT = ""
# The key of the teacher's own outputs in data that carry outputs of its layers too.
_OUTPUT_IN_DATA = "logits"
_PARTS = {"label", "teacher", "index"}


class Targets(NamedTuple):
    """What a batch carries beside its inputs; what it lacks is None.

    Attributes:
        label: The labels, a tensor or a structure of tensors.
        teacher_outputs: The teacher's outputs; a dictionary of them and of the outputs of tapped
            layers, by path, where a loss taps a layer of the teacher.
        indices: The positions of the examples in the training set, integers `(batch,)`.
        sample_weight: Weights `(batch,)` or for each position, or a structure of weights.
    """

    label: Any = None
    teacher_outputs: Any = None
    indices: Any = None
    sample_weight: Any = None

    def with_teacher_outputs(self, teacher_outputs: Any) -> dict[str, Any]:
        """Returns the `y` of a batch with these outputs of the teacher beside its labels.

        Args:
            teacher_outputs: What the attribute of this name holds.
        """
        y = {"label": self.label, "teacher": teacher_outputs}
        return y if self.indices is None else {**y, "index": self.indices}


def split_targets(y: Any, sample_weight: Any, names: Collection[str] = ()) -> Targets:
    """Returns the `Targets` of a batch.

    Args:
        y: Labels, or `{"label": ..., "teacher": ..., "index": ...}`, each of them optional.
        sample_weight: What Keras gives beside `y`.
        names: What `names_of_labels` returns: a dictionary of one label for each of some of these
            names holds labels, also if an output is called `"label"`, `"teacher"` or `"index"`.
    """
    if not _is_parts(y, names):
        return Targets(y, sample_weight=sample_weight)
    if isinstance(sample_weight, dict) and set(sample_weight) == set(y):
        # Keras repeats the weights for every part of a structured `y`.
        part = "label" if "label" in y else next(iter(y))
        weights = sample_weight[part]
        sample_weight = weights if part == "label" else keras.tree.flatten(weights)[0]
    return Targets(y.get("label"), y.get("teacher"), y.get("index"), sample_weight)


def _is_parts(y, names):
    """Whether the `y` of a batch is a dictionary of its parts, and not labels."""
    if not isinstance(y, dict) or not y or not set(y) <= _PARTS:
        return False
    # A label is one tensor; of a model of several outputs the parts are structures or missing.
    are_labels = set(y) <= set(names) and not any(
        part is None or keras.tree.is_nested(part) for part in y.values()
    )
    return not are_labels


def names_of_labels(student: keras.Model, loss: Any = None) -> list[str]:
    """Returns the names by which labels may be given for a student of several outputs.

    Args:
        student: The `keras.Model`. Of a subclassed one the outputs are not known.
        loss: The loss that was compiled, which has the names of those outputs if it is a
            dictionary.
    """
    graph = shape_model(student)
    if graph is None:
        return list(loss) if isinstance(loss, dict) and "class_name" not in loss else []
    functional = functional_of(graph)
    if functional is None or not keras.tree.is_nested(functional.output):
        return []
    keys = list(functional.output) if isinstance(functional.output, dict) else []
    return [*keys, *functional.output_names]


def select_outputs(
    outputs: Any,
    layer: str | Sequence[str] | None,
    tapped: Sequence[str],
    student_outputs: Any = None,
) -> Any:
    """Returns those outputs of a model that a loss takes.

    Args:
        outputs: A model's own outputs, or a dictionary of them and the outputs of tapped layers.
        layer: Path of the layer that the loss taps, a list of paths, or None for the model's own
            outputs.
        tapped: All paths that are tapped; where there is none, `outputs` are the model's own.
        student_outputs: The student's own outputs, by which outputs that have names are told from
            data that carry more than the logits.

    Raises:
        ValueError: If the outputs that the loss takes are missing.
    """
    if isinstance(layer, list | tuple):
        return [select_outputs(outputs, path, tapped) for path in layer]
    names = outputs if isinstance(outputs, dict) else ()
    if not tapped and (isinstance(student_outputs, dict) or _OUTPUT_IN_DATA not in names):
        return outputs
    keys = [layer] if layer is not None else [OUTPUT, _OUTPUT_IN_DATA]
    for key in keys:
        if key in names:
            return outputs[key]
    raise ValueError(
        f"Expected the teacher's outputs to be a dictionary with {keys[-1]!r}, which a loss takes. "
        f"Received: {sorted(outputs) if isinstance(outputs, dict) else 'a tensor'}"
    )


def as_outputs_of_student(teacher: Any, student: Any, names: Sequence[str] | None = None) -> Any:
    """Returns the teacher's outputs in the structure of the student's, which losses compare.

    Args:
        teacher: The teacher's outputs; of a SavedModel they are `{"output_0": ..., ...}`.
        student: The student's outputs.
        names: The names of the student's outputs, if it has several.

    Returns:
        The outputs in the structure of `student` if it is known which belong together, else
        `teacher`.
    """
    teachers, students = keras.tree.flatten(teacher), keras.tree.flatten(student)
    if len(teachers) == len(students) == 1:
        return keras.tree.pack_sequence_as(student, teachers)
    if not isinstance(teacher, dict) or not isinstance(student, list | tuple):
        return teacher
    numbered = [f"output_{number}" for number in range(len(students))]
    for order in (numbered, list(names or ())):
        if len(order) == len(students) and set(order) == set(teacher):
            return [teacher[name] for name in order]
    return teacher


def order_of_student(teacher: Any, student: Any, names: Sequence[str] | None = None) -> list[int]:
    """Returns the positions of the teacher's outputs in the order of the student's.

    Args:
        teacher: The teacher's outputs, in their structure.
        student: The student's outputs, in theirs.
        names: The names of the student's outputs, if it has several.
    """
    count = len(keras.tree.flatten(teacher))
    positions = keras.tree.pack_sequence_as(teacher, list(range(count)))
    return keras.tree.flatten(as_outputs_of_student(positions, student, names))


def carried_teacher_outputs(data: Any, y: Any = None, names: Collection[str] = ()) -> Any:
    """Returns the teacher's outputs in data that carry them: arrays, or tensor specifications.

    Args:
        data: What `fit` takes: arrays, with `y` beside them; a `tf.data.Dataset`, whose element
            specification alone is looked at; or a `keras.utils.PyDataset`, whose first batch is
            read.
        y: What `fit` takes as `y`.
        names: What `names_of_labels` returns.

    Returns:
        What is under `"teacher"`, or None where there is nothing, or where nothing is known.
    """
    if hasattr(data, "element_spec"):
        batch = data.element_spec
    else:
        batch = data[0] if isinstance(data, keras.utils.PyDataset) else (data, y)
    targets = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    return split_targets(targets, None, names).teacher_outputs
