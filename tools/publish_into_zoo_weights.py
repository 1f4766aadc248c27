"""Publishes a model: from the finished run of its recipe into `zoo_weights`, files and row."""

import pathlib
import tempfile
from typing import Any, Literal

import keras
import numpy as np

from kdzoo import evaluation
from kdzoo.compression.tfmot.compression_monitor import measure_compression
from kdzoo.experiments.measure_model import test_arrays
from kdzoo.experiments.same_data_check import what_data
from kdzoo.export import LiteRTModel, to_litert
from kdzoo.utils import hidden_directory, naming_full_disk
from kdzoo.utils.hashed_json import digest
from kdzoo.utils.types import PathLike
from kdzoo.zoo import create, load_compressed, load_weights, save_weights
from kdzoo.zoo.manifest import File, Pretrained, write_manifest
from tools import several_costs
from tools.finished_recipe_run import Source
from tools.zoo_entries import Entry, is_whole, rows_in

CALIBRATION = 128  # Training images that calibrate and verify an int8 file.


def publish(
    entry: Entry,
    run: PathLike,
    directory: PathLike,
    data_dir: PathLike | None = None,
) -> Pretrained:
    """Measures the median model of a finished recipe and puts its weights and row into a zoo.

    Args:
        entry: The `Entry`.
        run: Directory that the recipe ran in.
        directory: The zoo's directory, with or without a manifest. The row replaces one of the same
            name, and the file that only the old row named is deleted. One process may publish at a
            time: of two, the later would drop the row of the other.
        data_dir: As in `kdzoo.data.load`.

    Returns:
        The new `kdzoo.zoo.Pretrained`.

    Raises:
        ValueError: If the recipe has no such stage, or the run was made with other settings than
            the recipe has now.
        FileNotFoundError: If the recipe is not finished there, or lacks a part.
    """

    directory, run = pathlib.Path(directory), pathlib.Path(run)
    directory.mkdir(parents=True, exist_ok=True)
    rows_in(directory)  # Of a broken manifest one hears before everything is measured.
    source = Source(entry, run, directory, data_dir)
    # Nothing stays of what fails; git does not see what a killed process leaves.
    with naming_full_disk(directory), hidden_directory(directory, "unfinished") as room:
        room = room / "new"
        room.mkdir()
        if source.ships_kdz:
            model, file, found = _take_kdz(source, room)
        else:
            model, file, found = _write_smallest(source.model(), source, room)
        files, measured = {"weights": file}, source.accuracies(found[-1])
        if source.entry.start:
            files["tflite"], more = _ship_file(source, room)
            more["bytes"] = {"weights": file.bytes, **more["bytes"]}
        else:
            more = _measure_as_files(model, source, room / file.file)
            if source.ships_kdz:
                more["bytes"]["weights, not compressed"] = source.measured("plain_bytes")
                more["sparsity"] = float(measure_compression(model)["sparsity"])
        measured = {
            **measured,
            "parameters": evaluation.count_parameters(model),
            "macs": several_costs.macs(model),
            "logits_of_ramp": logits_of_ramp(model),
            **several_costs.costs(model, found),
            **more,
            **_measure_outputs(source.shipped(several_costs.largest(model)), source),
        }
        row = _row(source, files, measured)
        for file in files.values():
            (room / file.file).replace(directory / file.file)
    _add(row, directory)
    return row


def is_published(entry: Entry, run: PathLike, directory: PathLike) -> bool:
    """Whether a zoo has, whole, what a finished run would make of an entry, of the same teacher.

    Raises:
        ValueError: If the run was made with other settings than the recipe has now.
        FileNotFoundError: If the recipe is not finished there.
    """
    directory = pathlib.Path(directory)
    row = rows_in(directory).get(entry.name)
    if row is None or not is_whole(row, directory):
        return False
    source = Source(entry, pathlib.Path(run), directory, None)
    accuracies = source.accuracies(row.measured["accuracy"]["shipped"])
    return (
        source.trained().items() <= row.training.items()
        and accuracies.items() <= row.measured.items()
    )


def _row(source: Source, files: dict[str, File], measured: dict[str, Any]) -> Pretrained:
    entry = source.entry
    return Pretrained(
        name=entry.name,
        architecture=source.architecture,
        arguments=source.arguments,
        dataset=source.data.name,
        classes=source.data.classes,
        input_shape=source.input_shape,
        labels=tuple(source.data.class_names),
        role=source.role,
        files=files,
        training=source.training(),
        measured=measured,
    )


def _write_smallest(
    model: keras.Model, source: Source, room: pathlib.Path
) -> tuple[keras.Model, File, list[float]]:
    """Writes the weights in float16 if as many test images stay right, else in float32.

    Returns the model with the weights as they were written, the `File`, and the accuracy of each of
    its exits or widths; of the one cost of most models.
    """
    images, labels = test_arrays(source.data)
    wanted = several_costs.accuracies(model, images, labels)
    again, file = _written(model, source, room, "float16")
    found = several_costs.accuracies(again, images, labels)
    if found != wanted:
        (room / file.file).unlink()
        again, file = _written(model, source, room, "float32")
        found = several_costs.accuracies(again, images, labels)
    return again, file, found


def _take_kdz(source: Source, room: pathlib.Path) -> tuple[keras.Model, File, list[float]]:
    """Copies the `.kdz` file that a stage left; the rest as of `_write_smallest`."""
    path = source.kdz()
    content = path.read_bytes()
    sha256 = digest(content)
    file = File(f"{source.stem}-{sha256[:8]}.kdz", sha256, len(content))
    (room / file.file).write_bytes(content)
    model = load_compressed(path)
    return model, file, several_costs.accuracies(model, *test_arrays(source.data))


def _written(
    model: keras.Model, source: Source, room: pathlib.Path, dtype: Literal["float32", "float16"]
) -> tuple[keras.Model, File]:
    """The model with its weights as they are in a file, and the `File`."""
    path, data = room / "weights.safetensors", source.data
    sha256, size = save_weights(model, path, dtype)
    again = create(source.architecture, data.classes, source.input_shape, **source.arguments)
    load_weights(again, path.read_bytes())
    name = f"{source.stem}-{sha256[:8]}.safetensors"
    path.replace(room / name)
    return again, File(name, sha256, size)


def logits_of_ramp(model: keras.Model) -> list[float]:
    """Returns what a model gives for one image whose pixels rise evenly from 0 to 1, a list.

    Of several exits it is what the last one gives, of several widths the largest. By it a test
    sees, in seconds, that the code still builds the network whose weights ship.
    """
    shape = model.input_shape[1:]
    ramp = np.linspace(0, 1, np.prod(shape), dtype="float32").reshape((1, *shape))
    last = keras.tree.flatten(model.predict(ramp, verbose=0))[-1]
    return [round(float(logit), 4) for logit in last[0]]


def signature_of(model: LiteRTModel) -> dict[str, Any]:
    """Returns what one gives to a `.tflite` file and has from it, by `"input"` and `"output"`.

    Returns:
        Of each a dictionary: its shape, batch included, its dtype, and scale and zero point, by
        which a value is scale * (integer - zero_point); None where it is not quantized.
    """
    [taken], [given] = model.inputs, model.outputs
    return {
        side: {
            "shape": [int(size) for size in tensor.shape],
            "dtype": tensor.dtype,
            "scale": tensor.scale,
            "zero_point": tensor.zero_point,
        }
        for side, tensor in (("input", taken), ("output", given))
    }


def _measure_as_files(model: keras.Model, source: Source, path: pathlib.Path) -> dict[str, Any]:
    """Bytes of the weights and of `.tflite` files, and how fast those are."""
    sizes, times = {"weights": evaluation.file_bytes(path)}, {}
    forms: dict[str, Literal["int8"] | None] = {"float32": None, "int8": "int8"}
    train = source.data.train
    # As many calibrate as are compared.
    samples = train.to_float(train.examples(np.arange(min(2 * CALIBRATION, len(train))))[0])
    with tempfile.TemporaryDirectory() as room:
        for form, quantize in forms.items():
            file = pathlib.Path(room) / f"{form}.tflite"
            labels = list(source.data.class_names)
            converted = several_costs.exportable(model)
            to_litert(converted, file, quantize, samples, labels, samples=CALIBRATION)
            sizes[f".tflite {form}"] = evaluation.file_bytes(file)
            sizes[f".tflite {form}, gzipped"] = evaluation.gzipped_bytes(file)
            for what, time in several_costs.latencies(model, file).items():
                times[f"{form}{what}"] = _quartiles(time)
    return {"bytes": sizes, "latency_ms": times}


def _measure_outputs(shipped: keras.Model | LiteRTModel, source: Source) -> dict[str, Any]:
    """Agreement with the teacher, if any, and calibration; what these and all are measured on."""
    images, labels = test_arrays(source.data)
    teacher = source.teacher()
    measured: dict[str, Any] = {"test_sha256": what_data(source.data)["data_sha256"]["test"]}
    if teacher is not None:
        measured["agreement"] = evaluation.agreement(teacher, shipped, images)
    error = evaluation.calibration_error(shipped, images, labels)
    return {**measured, "calibration_error": round(error, 6)}


def _ship_file(source: Source, room: pathlib.Path) -> tuple[File, dict[str, Any]]:
    """Copies the `.tflite` file of a compressed model; returns its `File` and what it is worth."""
    path = source.file()
    content = path.read_bytes()
    sha256 = digest(content)
    name = f"{source.stem}-{sha256[:8]}.tflite"
    (room / name).write_bytes(content)
    images, labels = test_arrays(source.data)
    model = LiteRTModel(path)
    measured = {
        "tflite_accuracy": evaluation.accuracy(model, images, labels),
        "signature": signature_of(model),
        "float": source.start_row()["test_accuracy"],
        "sparsity": source.measured("sparsity"),
        "bytes": {".tflite": len(content), ".tflite, gzipped": evaluation.gzipped_bytes(path)},
        "latency_ms": {".tflite": _quartiles(evaluation.latency(path))},
    }
    return File(name, sha256, len(content)), measured


def _quartiles(time: evaluation.Latency) -> dict[str, Any]:
    quartiles = {"median": time.median_ms, "q1": time.q1_ms, "q3": time.q3_ms}
    return {**{name: round(value, 4) for name, value in quartiles.items()}, "machine": time.machine}


def _add(row: Pretrained, directory: pathlib.Path) -> None:
    """Puts a row into the manifest, sorted by data set, and removes what nothing names any more."""
    rows = rows_in(directory)
    old = rows.get(row.name)
    if old and old.files == row.files:  # Timed anew, the same files would differ by chance.
        row.measured["latency_ms"] = old.measured["latency_ms"]
    rows[row.name] = row
    write_manifest(sorted(rows.values(), key=lambda row: (row.dataset, row.name)), directory)
    named = {file.file for row in rows.values() for file in row.files.values()}
    for file in old.files.values() if old else ():
        if file.file not in named:
            (directory / file.file).unlink(missing_ok=True)
