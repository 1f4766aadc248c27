"""From the directory of a finished recipe into `zoo_weights`: files and manifest rows."""

import pathlib
import tempfile

import numpy as np

from kdzoo.recipes.source import Source, is_whole, rows_in
from kdzoo.utils import hidden_directory, naming_full_disk

CALIBRATION = 128  # Training images that calibrate and verify an int8 file.


def publish(entry, run, directory, data_dir=None):
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
        ValueError: If the recipe has no such kind, or the run was made with other settings than the
            recipe has now.
        FileNotFoundError: If the recipe is not finished there, or lacks a part.
    """
    from kdzoo import evaluation

    directory, run = pathlib.Path(directory), pathlib.Path(run)
    directory.mkdir(parents=True, exist_ok=True)
    rows_in(directory)  # Of a broken manifest one hears before everything is measured.
    source = Source(entry, run, directory, data_dir)
    # Nothing stays of what fails; git does not see what a killed process leaves.
    with naming_full_disk(directory), hidden_directory(directory, "unfinished") as room:
        room = room / "new"
        room.mkdir()
        model, file, accuracy = _write_smallest(source.model(), source, room)
        files, measured = {"weights": file}, source.accuracies(accuracy)
        if source.is_compressed:
            files["tflite"], more = _ship_file(source, room)
            more["bytes"] = {"weights": file.bytes, **more["bytes"]}
        else:
            more = _measure_as_files(model, source, room / file.file)
        measured = {
            **measured,
            "parameters": evaluation.count_parameters(model),
            "macs": evaluation.count_macs(model),
            "logits_of_ramp": logits_of_ramp(model),
            **more,
            **_measure_answers(source.shipped(model), source),
        }
        row = _row(source, files, measured)
        for each in files.values():
            (room / each.file).replace(directory / each.file)
    _add(row, directory)
    return row


def is_published(entry, run, directory):
    """Whether a zoo has, whole, what a finished run would make of an entry, of the same teacher.

    Args:
        entry: As in `publish`, like the others.
        run: As there.
        directory: As there.

    Raises:
        ValueError: As `publish`.
        FileNotFoundError: As `publish`.
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


def _row(source, files, measured):
    from kdzoo.zoo.manifest import Pretrained

    entry = source.entry
    return Pretrained(
        name=entry.name,
        architecture=source.architecture,
        arguments=source.arguments,
        dataset=source.data.name,
        classes=source.data.classes,
        input_shape=source.data.input_shape,
        labels=tuple(source.data.class_names),
        role="teacher" if entry.kind == "teacher" else "student",
        files=files,
        training=source.training(),
        measured=measured,
    )


def _write_smallest(model, source, room):
    """Writes the weights in float16 if as many test images stay right, else in float32.

    Returns the model with the weights as they were written, the `File`, and its accuracy.
    """
    from kdzoo import evaluation

    images, labels = source.data.test.arrays()
    wanted = evaluation.accuracy(model, images, labels)
    again, file = _written(model, source, room, "float16")
    found = evaluation.accuracy(again, images, labels)
    if found != wanted:
        (room / file.file).unlink()
        again, file = _written(model, source, room, "float32")
        found = evaluation.accuracy(again, images, labels)
    return again, file, found


def _written(model, source, room, dtype):
    """The model with its weights as they are in a file, and the `File`."""
    from kdzoo.zoo import create, load_weights, save_weights
    from kdzoo.zoo.manifest import File

    path, data = room / "weights.safetensors", source.data
    sha256, size = save_weights(model, path, dtype)
    again = create(source.architecture, data.classes, data.input_shape, **source.arguments)
    load_weights(again, path.read_bytes())
    name = f"{source.stem}-{sha256[:8]}.safetensors"
    path.replace(room / name)
    return again, File(name, sha256, size)


def logits_of_ramp(model):
    """Returns what a model gives for one image whose pixels rise evenly from 0 to 1, a list.

    By it a test sees, in seconds, that the code still builds the network whose weights ship.

    Args:
        model: A `keras.Model` of one input.
    """
    shape = model.input_shape[1:]
    ramp = np.linspace(0, 1, np.prod(shape), dtype="float32").reshape((1, *shape))
    return [round(float(logit), 4) for logit in model.predict(ramp, verbose=0)[0]]


def signature_of(model):
    """Returns what one gives to a `.tflite` file and has from it, by `"input"` and `"output"`.

    Args:
        model: A `kdzoo.export.LiteRTModel` of one input and one output.

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


def _measure_as_files(model, source, path):
    """Bytes of the weights and of `.tflite` files, and how fast those are."""
    from kdzoo import evaluation
    from kdzoo.export import to_litert

    sizes, times = {"weights": evaluation.file_bytes(path)}, {}
    train = source.data.train
    samples = train.to_float(train.examples(np.arange(min(CALIBRATION, len(train))))[0])
    with tempfile.TemporaryDirectory() as room:
        for kind, quantize in (("float32", None), ("int8", "int8")):
            file = pathlib.Path(room) / f"{kind}.tflite"
            labels = list(source.data.class_names)
            to_litert(model, file, quantize, samples, labels, samples=CALIBRATION)
            sizes[f".tflite {kind}"] = evaluation.file_bytes(file)
            sizes[f".tflite {kind}, gzipped"] = evaluation.gzipped_bytes(file)
            times[kind] = _latency(file)
    return {"bytes": sizes, "latency_ms": times}


def _measure_answers(shipped, source):
    """Agreement with the teacher, if any, and calibration; what these and all are measured on."""
    from kdzoo import evaluation
    from kdzoo.teacher_cache.reading import fingerprint_of_data

    images, labels = source.data.test.arrays()
    teacher, measured = source.teacher(), {"test_sha256": fingerprint_of_data(source.data.test)}
    if teacher is not None:
        measured["agreement"] = evaluation.agreement(teacher, shipped, images)
    error = evaluation.calibration_error(shipped, images, labels)
    return {**measured, "calibration_error": round(error, 6)}


def _ship_file(source, room):
    """Copies the `.tflite` file of a compressed model; returns its `File` and what it is worth."""
    from kdzoo import evaluation
    from kdzoo.export import LiteRTModel
    from kdzoo.zoo.manifest import File
    from kdzoo.zoo.weights import digest

    path = source.home / "model.tflite"
    content = path.read_bytes()
    sha256 = digest(content)
    name = f"{source.stem}-{sha256[:8]}.tflite"
    (room / name).write_bytes(content)
    began = source.finished(source.recipe, source.run, "float32"), source.start_seed
    row, start = (
        next(row for row in rows if row["seed"] == seed)
        for rows, seed in ((source.rows, source.seed), began)
    )
    images, labels = source.data.test.arrays()
    model = LiteRTModel(path)
    measured = {
        "tflite_accuracy": evaluation.accuracy(model, images, labels),
        "signature": signature_of(model),
        "float": start["test_accuracy"],
        "sparsity": row["sparsity"],
        "bytes": {".tflite": len(content), ".tflite, gzipped": evaluation.gzipped_bytes(path)},
        "latency_ms": {".tflite": _latency(path)},
    }
    return File(name, sha256, len(content)), measured


def _latency(path):
    from kdzoo import evaluation

    time = evaluation.latency(path)
    quartiles = {"median": time.median_ms, "q1": time.q1_ms, "q3": time.q3_ms}
    return {**{name: round(each, 4) for name, each in quartiles.items()}, "machine": time.machine}


def _add(row, directory):
    """Puts a row into the manifest, sorted by data set, and removes what nothing names any more."""
    from kdzoo.zoo.manifest import write_manifest

    rows = rows_in(directory)
    old = rows.get(row.name)
    if old and old.files == row.files:  # Timed anew, the same files would differ by chance.
        row.measured["latency_ms"] = old.measured["latency_ms"]
    rows[row.name] = row
    write_manifest(sorted(rows.values(), key=lambda each: (each.dataset, each.name)), directory)
    named = {file.file for each in rows.values() for file in each.files.values()}
    for file in old.files.values() if old else ():
        if file.file not in named:
            (directory / file.file).unlink(missing_ok=True)
