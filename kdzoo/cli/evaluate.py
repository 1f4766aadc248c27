"""`kdzoo evaluate`: how good and how large a model is."""

import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import fit_to_data, model_files, terminal
from kdzoo.cli.progress import TrainingProgress
from kdzoo.utils import unknown_name

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Split
    from kdzoo.export import LiteRTModel
    from kdzoo.export.tensors import TensorInfo
    from kdzoo.graph.outputs import OutputType

_SPLITS = ("train", "validation", "test")


def evaluate(
    model: Annotated[
        pathlib.Path,
        typer.Argument(help=f"The file of a Keras model, a .tflite file, {model_files.NAME}."),
    ],
    data: Annotated[
        str,
        typer.Argument(help=f"A data set, a directory of an export, or {data_command.FOLDER}."),
    ],
    teacher: Annotated[
        pathlib.Path | None,
        typer.Option(help="Report the agreement with this model, too.", show_default="none"),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Measure on this split: train, validation or test.")
    ] = "test",
    data_dir: data_command.DataDir = None,
    image_size: data_command.ImageSize = None,
    crop: data_command.Crop = False,
    scale: fit_to_data.Scale = None,
) -> None:
    """Measure how good and how large a model is.

    Accuracy, agreement with a teacher, parameters, zeros among the weights, multiply-accumulates of
    one image, bytes on disk; of a .tflite file its inputs and outputs, too. Of a network of several
    exits or widths the accuracy and multiply-accumulates of each.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    for path in (model, teacher):
        if path is not None:
            model_files.file_of(path)
    fit_to_data.check_scale(scale)
    data_command.check(data, image_size, crop, data_dir)
    terminal.start_keras()
    steps = 4 if teacher is None else 6
    with TrainingProgress(steps) as progress:
        progress.step(f"load {model}")
        whole = model_files.load_model(model)
        networks = _networks(whole)
        measured = [*networks.values()][-1]  # The last exit, the largest width.
        loaded_teacher = None
        if teacher is not None:
            progress.step(f"load {teacher}")
            loaded_teacher = model_files.load_model(teacher)
        progress.step(f"read {data}")
        loaded = data_command.load(data, data_dir, image_size, measured, crop)
        part = getattr(loaded, split)
        if part is None:
            raise ValueError(f"Expected data with a {split} split. Received: {data!r} without one.")
        fit_to_data.check_fit(model, measured, loaded, scale)
        if teacher is not None and loaded_teacher is not None:
            fit_to_data.check_fit(teacher, loaded_teacher, loaded, remedy=fit_to_data.OF_TEACHER)
            pair = (loaded_teacher, measured)
            columns = [fit_to_data.has_binary_output(network) for network in pair]
            if columns[0] != columns[1] and hasattr(loaded_teacher, "count_params"):
                loaded_teacher = fit_to_data.teaching(teacher, loaded_teacher, measured, loaded)
        fed = fit_to_data.fed(measured, scale)
        rows = [*_rows(fed, loaded_teacher, part, progress)]
        progress.step("count what it costs")
        rows += [("images", f"{len(part):,}")]
        # All exits have their weights; of several widths the largest has all that there are.
        counted = whole if "exit 1" in networks else measured
        rows += (_of_keras if hasattr(counted, "count_params") else _of_file)(counted)
        rows += _of_several(whole, networks, part, scale)
        rows += [("bytes", f"{model_files.file_of(model).stat().st_size:,}")]
    table = terminal.table("measure", ">value", title=f"{model} on {data} ({split})")
    for row in rows:
        table.add_row(*row)
    terminal.show(table)


def _networks(model: Any) -> dict[str, Any]:
    """What is measured: `"exit 1"` or `"width 0.5"` -> a plain model of each; `""` -> the model."""
    from kdzoo import dynamic

    if isinstance(model, dynamic.Slimmable):
        return {f"width {width:g}": dynamic.extract(model, width) for width in model.widths}
    shapes = [tuple(output.shape) for output in getattr(model, "outputs", None) or ()]
    count = len(shapes)
    if count < 2 or len(set(shapes)) > 1 or not hasattr(model, "count_params"):
        return {"": model}
    return {f"exit {n}": dynamic.exit_model(model, n) for n in range(1, count + 1)}


def _of_several(
    model: Any, networks: dict[str, Any], part: "Split", scale: Any
) -> Iterator[tuple[str, str]]:
    """Yields (measure, value) of each exit or width, if there are several."""
    from kdzoo import dynamic, evaluation

    if len(networks) < 2:
        return
    images, labels = part.arrays()
    if "exit 1" in networks:  # The heads of earlier exits count.
        costs = [f"{macs:,} MACs up to there" for macs in dynamic.exit_macs(model)]
    else:
        costs = [f"{evaluation.count_macs(network):,} MACs" for network in networks.values()]
    for (name, network), cost in zip(networks.items(), costs, strict=True):
        fed = fit_to_data.fed(network, scale)
        are_logits = fit_to_data.gives_logits(fed, images)
        accuracy = evaluation.accuracy(fed, images, labels, from_logits=are_logits)
        yield name, f"{terminal.percent(accuracy, 2)}, {cost}"


def _rows(
    model: Any,
    teacher: "keras.Model | LiteRTModel | None",
    part: "Split",
    progress: TrainingProgress,
) -> Iterator[tuple[str, str]]:
    """Yields (measure, value) of a model on a part of the data, a step for each that takes time."""
    from kdzoo import evaluation
    from kdzoo.evaluation.labelled_batches import predictor
    from kdzoo.graph.outputs import is_one_column

    images, labels = part.arrays()
    progress.step(f"measure accuracy on {len(part):,} images")
    are_logits = fit_to_data.gives_logits(model, images)
    accuracy = evaluation.accuracy(model, images, labels, from_logits=are_logits)
    yield "accuracy", terminal.percent(accuracy, 2)
    if teacher is not None:
        progress.step("compare with the teacher")
        # One column whose accuracy could be measured is binary.
        is_one = is_one_column(predictor(model)(images[:1]).shape)
        output_type: OutputType | None = "binary" if is_one else None
        agreement = evaluation.agreement(
            teacher,
            model,
            images,
            output_type=output_type,
            from_logits=(fit_to_data.gives_logits(teacher, images), are_logits),
        )
        yield "agreement with the teacher", terminal.percent(agreement, 2)


def _of_keras(model: "keras.Model") -> Iterator[tuple[str, str]]:
    """Yields (measure, value) of what a Keras model costs."""
    from kdzoo import evaluation
    from kdzoo.compression.tfmot.compression_monitor import measure_compression
    from kdzoo.compression.tfmot.unwrapping import plain_copy

    members = getattr(model, "members", [model])
    parts = [plain_copy(member) or member for member in members]
    yield "parameters", f"{sum(map(evaluation.count_parameters, parts)):,}"
    kernels = any(len(weight.shape) > 1 for part in parts for weight in part.weights)
    if len(parts) == 1 and kernels:
        sparsity = measure_compression(parts[0])["sparsity"]
        yield "zeros among the weights", terminal.percent(sparsity)
    yield "MACs", f"{sum(map(evaluation.count_macs, parts)):,}"


def _of_file(file: "LiteRTModel") -> Iterator[tuple[str, str]]:
    """Yields (measure, value) of what a `.tflite` file takes, gives and costs."""
    from kdzoo.export.runner import costs_of

    for side, tensors in (("input", file.inputs), ("output", file.outputs)):
        for tensor in tensors:
            yield (side if len(tensors) == 1 else f"{side} {tensor.name}", _tensor(tensor))
    costs = costs_of(file)
    if costs is None:
        return
    yield "parameters in the file", f"{costs.parameters:,}"
    yield "zeros among its weights", terminal.percent(costs.zeros)
    if costs.macs is not None:
        yield "MACs", f"{costs.macs:,}"


def _tensor(tensor: "TensorInfo") -> str:
    """Type, shape and range of what a file takes or gives."""
    said: list[Any] = [tensor.dtype, "×".join(map(str, tensor.shape))]
    if tensor.range is not None:
        low, high = tensor.range
        said.append(f"{low:.3g} to {high:.3g}")
    return ", ".join(said)
