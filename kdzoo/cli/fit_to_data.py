"""How the models that commands are given fit a data set, and how they are fed its images."""

import itertools
import pathlib
import typing
from typing import Annotated, Any

import typer

from kdzoo.cli import model_files
from kdzoo.utils import check_choice
from kdzoo.utils.types import PixelScale

if typing.TYPE_CHECKING:
    import keras
    import numpy as np

    from kdzoo.data import Dataset
    from kdzoo.export import LiteRTModel

Scale = Annotated[
    str | None,
    typer.Option(
        help="Give the model pixels in 0..1, 0..255, -1..1, or as torch or caffe (modes of "
        "keras.applications).",
        show_default="0..1",
    ),
]
_SAY_SCALE = "say so by --scale=0..255"
OF_TEACHER = (
    "put keras.layers.Rescaling(255) before it, or let it teach by `kdzoo train --teacher`, whose "
    "run directory keeps it for images in [0, 1]"
)
"""What to do about a teacher for pixels in [0, 255]."""


def check_scale(scale: str | None) -> None:
    """Raises `ValueError` for an unknown `--scale`; before Keras starts."""
    if scale is not None:
        check_choice("scale", scale, typing.get_args(PixelScale))


def check_trainable(scale: str | None) -> None:
    """Raises `ValueError` where TF-MOT cannot train behind what scales pixels.

    Args:
        scale: What was given as `--scale`.
    """
    if scale == "caffe":
        raise ValueError(
            "Expected a model of red, green and blue, as TF-MOT works on none that turns channels "
            "around. Received: --scale caffe; let it teach a student, by `kdzoo train --teacher` "
            "and --teacher-scale, and compress that, or quantize it without training, by "
            "`kdzoo export --scale caffe --quantize int8`"
        )


def check_fit(
    path: str | pathlib.Path,
    model: "keras.Model | LiteRTModel",
    data: "Dataset",
    scale: str | None = None,
    remedy: str = _SAY_SCALE,
) -> None:
    """Raises unless a model with one input and one output fits the data, as far as is known.

    Args:
        path: What the user called the model: its file or name.
        model: The model.
        data: The data set: the shape of its images and its number of classes are compared and, for
            a pretrained model and a file with labels, the names of the classes. One column is a yes
            or no to the second of two classes.
        scale: What was given as `--scale`.
        remedy: What to do about a model for pixels in [0, 255] where no scale was given.

    Raises:
        ValueError: If they differ.
    """
    _check_shapes(path, model, data)
    if _is_litert(model):
        _check_labels(path, typing.cast(Any, model), data)
    if scale is None:
        _check_pixels(path, model, remedy)
    if model_files.is_name(pathlib.Path(path)):
        from kdzoo.zoo.manifest import check_classes, find

        check_classes(find(pathlib.Path(path).as_posix()), data)


def check_one_cost(path: Any, model: Any) -> None:
    """Raises `ValueError` for a Keras model of several outputs, such as exits, or of widths.

    Args:
        path: What the user called the model.
        model: The model.
    """
    from kdzoo import dynamic

    if isinstance(model, dynamic.Slimmable):
        raise ValueError(
            f"Expected a plain model. Received: {path}, of {len(model.widths)} widths; save one of "
            "them, by `kdzoo.dynamic.extract(model, width=0.5)`."
        )
    count = len(getattr(model, "outputs", None) or ())
    if count > 1:
        raise ValueError(
            f"Expected a model with one output. Received: {path}, with {count}; save the part that "
            "ends at one of them, of exits by `kdzoo.dynamic.exit_model(model, exit=-1)`."
        )


def _check_pixels(path: Any, model: Any, remedy: str) -> None:
    """Raises for a model whose first layers tell that it takes pixels in [0, 255]."""
    from kdzoo.graph.exportable import shape_model
    from kdzoo.graph.input_scale import found_scale

    model = shape_model(model)
    if model is not None and len(model.inputs) == 1 and found_scale(model) == "0..255":
        raise ValueError(
            "Expected a model for images in [0, 1], as commands give them. Received: "
            f"{path}, whose first layers take pixels in [0, 255]; {remedy}."
        )


def _check_shapes(path: Any, model: Any, data: "Dataset") -> None:
    graph = _graph_of(model)
    if graph is None:
        return
    classes = (2,) if has_binary_output(model) else graph.outputs[0].shape[-1:]
    expected = data.input_shape, (data.classes,)
    shapes = graph.inputs[0].shape[1:], classes
    for what, own, needed in zip(("images", "classes"), shapes, expected, strict=True):
        if tuple(own) != tuple(needed) and None not in own:
            shape = ",".join(map(str, data.input_shape))
            raise ValueError(
                f"Expected a model for {what} of {data.name!r}, {needed}. Received: {path} for "
                f"{tuple(own)}; `kdzoo create` makes one for them by --input-shape {shape} "
                f"--classes {data.classes}."
            )


def _check_labels(path: Any, file: "LiteRTModel", data: "Dataset") -> None:
    """Raises for a file whose labels are not the names of the data's classes, in their order."""
    names = list(data.class_names[-1:] if has_binary_output(file) else data.class_names)
    labels = file.labels
    if labels is not None and len(file.outputs) == 1 and labels != names:
        pairs = itertools.zip_longest(labels, names)
        label, name = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"Expected a file with the classes of {data.name!r}, in their order. Received: {path}, "
            f"with the label {label!r} where the data have {name!r}; rename the data's classes."
        )


def has_binary_output(model: "keras.Model | LiteRTModel") -> bool:
    """Whether a model has one column: whether a sample is of the second of two classes."""
    graph = _graph_of(model)
    shapes = [] if graph is None else [tuple(output.shape[1:]) for output in graph.outputs]
    return shapes == [(1,)]


def _graph_of(model: Any) -> Any:
    """Returns what has the shapes of a model's inputs and outputs, the batch first, or None."""
    from kdzoo.graph.exportable import shape_model

    return model if _is_litert(model) else shape_model(model)


def _is_litert(model: Any) -> bool:
    return not hasattr(model, "count_params")


def fed(model: "keras.Model | LiteRTModel", scale: str | None) -> Any:
    """Returns what takes images in [0, 1] in place of a model that takes other pixels.

    Args:
        model: A `keras.Model` or a `LiteRTModel`.
        scale: What was given as `--scale`.

    Returns:
        A `keras.Model`, or something with `predict`; the model itself where it takes [0, 1].
    """
    if scale in (None, "0..1"):
        return model
    from kdzoo.graph.input_scale import with_scale

    return (
        _Scaled(model, scale) if _is_litert(model) else with_scale(typing.cast(Any, model), scale)
    )


class _Scaled:
    """A `.tflite` file that is given pixels as it takes them."""

    def __init__(self, file: Any, scale: str) -> None:
        self._file, self._scale = file, scale

    def predict(self, images: "np.ndarray") -> Any:
        import keras

        from kdzoo.graph.input_scale import scaled

        pixels = scaled(images, self._scale)
        return self._file.predict(keras.ops.convert_to_numpy(pixels))


def gives_logits(model: Any, images: "np.ndarray") -> bool | None:
    """Returns whether binary outputs are logits if the model does not tell: not if all are in 0..1.

    Args:
        model: A model, or something with `predict`.
        images: All images that it is measured on.

    Returns:
        None of several columns, and where the end of the model tells.
    """
    from kdzoo.evaluation.labelled_batches import labelled_batches, predictor
    from kdzoo.graph.outputs import is_one_column
    from kdzoo.graph.predictions import may_be_probabilities, told_from_logits

    outputs_of = predictor(model)
    if not is_one_column(outputs_of(images[:1]).shape) or told_from_logits(model)[0] is not None:
        return None
    batches = labelled_batches(images)
    return not all(may_be_probabilities(outputs_of(batch), "binary") for batch, _ in batches)


def with_logits(path: pathlib.Path, model: Any) -> "keras.Model":
    """Returns a model that is to be trained without the softmax or sigmoid at its end; says so.

    Args:
        path: What the user called the model.
        model: The model.

    Raises:
        ValueError: If it is being compressed already, or has no logits.
    """
    from kdzoo.compression.tfmot.library import check_model
    from kdzoo.graph.as_logits import as_logits, final_activation

    check_model("model", model)
    end = final_activation(model)
    if end is None:
        return model
    typer.echo(
        f"Note: the {end} at the end of {path} is left out: the file gives logits.", err=True
    )
    return as_logits(model)


def teaching(
    path: pathlib.Path, teacher: Any, student: "keras.Model | LiteRTModel", data: "Dataset"
) -> "keras.Model":
    """Returns a teacher that gives logits in as many columns as its student.

    Args:
        path: What the user called the teacher.
        teacher: The teacher. One column of it becomes the logits of two classes.
        student: The student.
        data: The data set.

    Raises:
        ValueError: If the student has one column, and the teacher more.
    """
    from kdzoo.graph.as_logits import as_logits, final_activation
    from kdzoo.graph.input_scale import for_images

    if final_activation(teacher) is not None:
        teacher = as_logits(teacher)
    columns = has_binary_output(teacher), has_binary_output(student)
    if columns == (False, True):
        raise ValueError(
            "Expected a teacher of one column, as the model has that it teaches. Received: "
            f"{path}, of {data.classes}; leave it out, or take a model of as many."
        )
    return for_images(teacher, data.input_shape, "0..1") if columns == (True, False) else teacher
