"""From the directory of a finished recipe into `zoo_weights`: files, manifest rows, cards."""

import dataclasses
import json
import pathlib
import tempfile

from kdzoo.recipes.comparison import directory_name
from kdzoo.utils import unknown_name

_CALIBRATION = 512  # Training images that calibrate an int8 file.


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo, and the part of a recipe that trains it.

    Attributes:
        name: `"architecture/data set"`, as `kdzoo.load` will know it.
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
            name, and the file that only the old row named is deleted.
        data_dir: As in `kdzoo.data.load`.

    Returns:
        The new `kdzoo.zoo.Pretrained`.

    Raises:
        ValueError: If the recipe has no such kind.
        FileNotFoundError: If the recipe is not finished there.
    """
    from kdzoo.zoo.manifest import Pretrained

    directory, run = pathlib.Path(directory), pathlib.Path(run)
    directory.mkdir(parents=True, exist_ok=True)
    source = _Source(entry, run, data_dir)
    model = source.model()
    name, measured = _write_smallest(model, source, directory)
    row = Pretrained(
        name=entry.name,
        architecture=source.architecture,
        arguments=source.arguments,
        dataset=source.data.name,
        classes=source.data.classes,
        input_shape=source.data.input_shape,
        labels=tuple(source.data.class_names),
        role="teacher" if entry.kind == "teacher" else "student",
        files={"weights": name},
        training=source.training(),
        measured={**source.accuracies(measured), **_measure(model, source, directory / name.file)},
    )
    _add(row, directory)
    return row


class _Source:
    """What a recipe's run says of one of its kinds."""

    def __init__(self, entry, run, data_dir):
        import kdzoo.data
        from kdzoo.recipes import RECIPES

        self.entry, self.run, self.recipe = entry, run, RECIPES[entry.recipe]
        results = run / "results.json"
        if not results.is_file():
            raise FileNotFoundError(
                f"Expected {results}, as `kdzoo train {entry.recipe}` writes it when it is "
                "finished. Received: none there."
            )
        self.results = json.loads(results.read_text())
        if entry.kind not in self.results["summary"]:
            raise unknown_name("kind of model", entry.kind, self.results["summary"])
        self.seed = self.results["summary"][entry.kind]["median_seed"]
        self.data = kdzoo.data.load(self.recipe.data, data_dir, self.recipe.validation)
        self.architecture, self.arguments = self.recipe.built_from(entry.kind)

    def model(self):
        return self._load(self.entry.kind, self.seed)

    def teacher(self):
        return None if self.entry.kind == "teacher" else self._load("teacher", 0)

    def _load(self, kind, seed):
        import keras

        return keras.saving.load_model(self.run / directory_name(kind, seed) / "model.keras")

    def accuracies(self, shipped):
        measured = {"accuracy": {**self._spread(self.entry.kind), "shipped": shipped}}
        measured["accuracy"]["shipped_seed"] = self.seed
        if self.entry.alone:
            measured["alone"] = self._spread(self.entry.alone)
        return measured

    def _spread(self, kind):
        rows = [row for row in self.results["rows"] if row["kind"] == kind]
        summary = self.results["summary"][kind]
        by_seed = {str(row["seed"]): row["test_accuracy"] for row in rows}
        return {"mean": summary["mean"], "std": summary["std"], "by_seed": by_seed}

    def training(self):
        examples = self.results["examples"]
        rows = [row for row in self.results["rows"] if row["kind"] == self.entry.kind]
        teacher = self.entry.kind == "teacher"
        return {
            "recipe": self.entry.recipe,
            "kind": self.entry.kind,
            "command": f"kdzoo train {self.entry.recipe}",
            "teacher": None if teacher else self.recipe.teacher,
            "epochs": self.recipe.teacher_epochs if teacher else self.recipe.epochs,
            "seeds": [row["seed"] for row in rows],
            "seconds": [row["seconds"] for row in rows],
            "examples": examples["train"],
            "held_out": examples.get("validation", 0),
            "data_version": self.results["data_version"],
            "versions": self.results["versions"],
        }


def _write_smallest(model, source, directory):
    """Writes the weights in float16 if that changes no decision's correctness, else in float32.

    Returns the `File` and the accuracy of what was written.
    """
    from kdzoo import evaluation
    from kdzoo.zoo import create, load_weights, save_weights
    from kdzoo.zoo.manifest import File

    images, labels = source.data.test.arrays()
    wanted = evaluation.accuracy(model, images, labels)
    stem = f"{source.architecture}-{source.data.name}"
    for dtype in ("float16", "float32"):
        with tempfile.TemporaryDirectory(dir=directory) as room:
            path = pathlib.Path(room) / "weights.safetensors"
            sha256, size = save_weights(model, path, dtype)
            data = source.data
            again = create(source.architecture, data.classes, data.input_shape, **source.arguments)
            load_weights(again, path.read_bytes())
            found = evaluation.accuracy(again, images, labels)
            if f"{found:.4f}" == f"{wanted:.4f}" or dtype == "float32":
                name = f"{stem}-{sha256[:8]}.safetensors"
                path.replace(directory / name)
                return File(name, sha256, size), found
    raise AssertionError  # The loop returns.


def _measure(model, source, path):
    """What the card says besides accuracy over seeds."""
    from kdzoo import evaluation
    from kdzoo.export import to_litert

    images, labels = source.data.test.arrays()
    teacher = source.teacher()
    sizes, times = {"weights": evaluation.file_bytes(path)}, {}
    samples = source.data.train.arrays()[0][:_CALIBRATION]
    measured = {}
    with tempfile.TemporaryDirectory() as room:
        for kind, quantize in (("float32", None), ("int8", "int8")):
            file = pathlib.Path(room) / f"{kind}.tflite"
            to_litert(model, file, quantize, samples, list(source.data.class_names))
            sizes[f".tflite {kind}"] = evaluation.file_bytes(file)
            sizes[f".tflite {kind}, gzipped"] = evaluation.gzipped_bytes(file)
            time = evaluation.latency(file)
            times[kind] = {
                "median": round(time.median_ms, 4),
                "q1": round(time.q1_ms, 4),
                "q3": round(time.q3_ms, 4),
                "machine": time.machine,
            }
    if teacher is not None:
        measured["agreement"] = evaluation.agreement(teacher, model, images)
    return {
        "parameters": evaluation.count_parameters(model),
        "macs": evaluation.count_macs(model),
        "bytes": sizes,
        "latency_ms": times,
        **measured,
        "calibration_error": round(evaluation.calibration_error(model, images, labels), 6),
    }


def _add(row, directory):
    """Puts a row into the manifest, sorted by data set, and removes what nothing names any more."""
    from kdzoo.zoo.manifest import read_manifest, write_manifest

    try:
        rows = dict(read_manifest(directory))
    except FileNotFoundError:
        rows = {}
    old = rows.get(row.name)
    rows[row.name] = row
    write_manifest(sorted(rows.values(), key=lambda each: (each.dataset, each.name)), directory)
    named = {file.file for each in rows.values() for file in each.files.values()}
    for file in old.files.values() if old else ():
        if file.file not in named:
            (directory / file.file).unlink(missing_ok=True)
