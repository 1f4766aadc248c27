"""From the directory of a finished recipe into `zoo_weights`: files and manifest rows."""

import dataclasses
import json
import pathlib
import tempfile

import numpy as np

from kdzoo.recipes.comparison import directory_name
from kdzoo.utils import unknown_name

CALIBRATION = 128  # Training images that calibrate and verify an int8 file.


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo, and the part of a recipe that trains it.

    Attributes:
        name: `"architecture/data set"`, as `kdzoo.load` will know it, and `"/int8"` or the like
            of a compressed one.
        recipe: Name of the recipe.
        kind: The kind of model within it, `"teacher"` or one of its students.
        alone: The kind that is the same network on the same budget without a teacher; None for a
            teacher.
    """

    name: str
    recipe: str
    kind: str
    alone: str | None = None


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
    source = _Source(entry, run, directory, data_dir)
    with tempfile.TemporaryDirectory(dir=directory) as room:  # Nothing stays of what fails.
        room = pathlib.Path(room)
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


class _Source:
    """What a recipe's run says of one of its kinds."""

    def __init__(self, entry, run, directory, data_dir):
        import kdzoo.data
        from kdzoo.recipes import RECIPES, CompressionComparison

        self.entry, self.run, self.recipe = entry, run, RECIPES[entry.recipe]
        self.directory = directory
        self.is_compressed = isinstance(self.recipe, CompressionComparison)
        results = run / "results.json"
        if not results.is_file():
            raise FileNotFoundError(
                f"Expected {results}, as `kdzoo train {entry.recipe}` writes it when it is "
                "finished. Received: none there."
            )
        self.results = json.loads(results.read_text())
        if entry.kind not in self.results["summary"]:
            raise unknown_name("kind of model", entry.kind, self.results["summary"])
        for kind in filter(None, (entry.kind, entry.alone)):
            for row in self.rows(kind):
                home = run / directory_name(kind, row["seed"])
                if self.recipe.finished_row(kind, row["seed"], home) is None:
                    raise FileNotFoundError(f"Expected {home / 'result.json'}. Received: no such.")
        self.seed = self.results["summary"][entry.kind]["median_seed"]
        self.data = kdzoo.data.load(self.recipe.data, data_dir, self.recipe.validation)
        self.architecture, self.arguments = self.recipe.built_from(entry.kind)

    @property
    def stem(self):
        """What the files of the model are called, but for their hash."""
        return self.entry.name.replace("/", "-")

    @property
    def home(self):
        """The directory of the run of the median seed."""
        return self.run / directory_name(self.entry.kind, self.seed)

    def model(self):
        """The trained model; of a compressed one the plain model with its weights."""
        import keras

        model = keras.saving.load_model(self.home / "model.keras")
        if self.is_compressed:
            from kdzoo.compression.within import plain_copy

            return plain_copy(model) or model
        return model

    def shipped(self, model):
        """What a phone gets: the file of a compressed model, else the model."""
        from kdzoo.export import LiteRTModel

        return LiteRTModel(self.home / "model.tflite") if self.is_compressed else model

    def teacher(self):
        """The teacher as it ships, or as it was trained if it does not; None for a teacher."""
        import keras

        from kdzoo.zoo import load

        if self.entry.kind == "teacher":
            return None
        name = f"{self.recipe.teacher}/{self.data.name}"
        if name in _rows_in(self.directory):
            return load(name, directory=self.directory)
        run = self.run.parent / self.recipe.base if self.is_compressed else self.run
        return keras.saving.load_model(run / directory_name("teacher", 0) / "model.keras")

    def accuracies(self, shipped):
        """What cards say of accuracy, that of the shipped weights included."""
        measured = {"accuracy": {**self._spread(self.entry.kind), "shipped": shipped}}
        measured["accuracy"]["shipped_seed"] = self.seed
        if self.entry.alone:
            measured["alone"] = self._spread(self.entry.alone)
        return measured

    def rows(self, kind):
        """The rows of a kind, one for each seed."""
        return [row for row in self.results["rows"] if row["kind"] == kind]

    def _spread(self, kind):
        summary = self.results["summary"][kind]
        by_seed = {str(row["seed"]): row["test_accuracy"] for row in self.rows(kind)}
        return {"mean": summary["mean"], "std": summary["std"], "by_seed": by_seed}

    def training(self):
        """What cards say of the training."""
        kind, examples = self.entry.kind, self.results["examples"]
        return {
            "recipe": self.entry.recipe,
            "kind": kind,
            "command": f"kdzoo train {self.entry.recipe}",
            "teacher": self.recipe.teacher if self._is_taught() else None,
            "epochs": self._epochs(kind),
            "alone_epochs": self._epochs(self.entry.alone) if self.entry.alone else None,
            "seeds": [row["seed"] for row in self.rows(kind)],
            "seconds": [row["seconds"] for row in self.rows(kind)],
            "examples": examples["train"],
            "held_out": examples.get("validation", 0),
            "data_version": self.results["data_version"],
            "versions": self._versions(),
            **({"form": self.recipe.kinds[kind].in_words()} if self.is_compressed else {}),
        }

    def _versions(self):
        """Those that trained the shipped model; of older results, those that wrote them."""
        row = next(row for row in self.rows(self.entry.kind) if row["seed"] == self.seed)
        return row.get("versions", self.results["versions"])

    def _is_taught(self):
        if self.entry.kind == "teacher":
            return False
        kind = self.recipe.kinds[self.entry.kind]
        return kind.taught if self.is_compressed else bool(kind.losses)

    def _epochs(self, kind):
        """Epochs in all, those of hints and of what a compressed model started from included."""
        if self.is_compressed:
            start, compression = self.recipe.comparison, self.recipe.kinds[kind]
            before = start.all_epochs_of(self.recipe.start)
            return before + compression.epochs * len(compression.steps)
        return self.recipe.all_epochs_of(kind)


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
    """Agreement with the teacher, where there is one, and calibration of what is shipped."""
    from kdzoo import evaluation

    images, labels = source.data.test.arrays()
    teacher, measured = source.teacher(), {}
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
    row, start = (
        next(row for row in source.rows(kind) if row["seed"] == source.seed)
        for kind in (source.entry.kind, "float32")
    )
    images, labels = source.data.test.arrays()
    measured = {
        "tflite_accuracy": evaluation.accuracy(LiteRTModel(path), images, labels),
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


def _rows_in(directory):
    """The rows of a zoo's manifest, name -> `Pretrained`; none where there is no manifest yet."""
    from kdzoo.zoo.manifest import read_manifest

    try:
        return dict(read_manifest(directory))
    except FileNotFoundError:
        return {}


def _add(row, directory):
    """Puts a row into the manifest, sorted by data set, and removes what nothing names any more."""
    from kdzoo.zoo.manifest import write_manifest

    rows = _rows_in(directory)
    old = rows.get(row.name)
    if old and old.files == row.files:  # Timed anew, the same files would differ by chance.
        row.measured["latency_ms"] = old.measured["latency_ms"]
    rows[row.name] = row
    write_manifest(sorted(rows.values(), key=lambda each: (each.dataset, each.name)), directory)
    named = {file.file for each in rows.values() for file in each.files.values()}
    for file in old.files.values() if old else ():
        if file.file not in named:
            (directory / file.file).unlink(missing_ok=True)
