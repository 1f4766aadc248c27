"""The demo: the whole road on handwritten digits, from a teacher to verified files for a phone."""

import dataclasses
import json
import pathlib
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo import evaluation
from kdzoo.data import Dataset, load
from kdzoo.evaluation import plots
from kdzoo.experiments import Experiment
from kdzoo.experiments.measure_model import test_arrays
from kdzoo.export import LiteRTModel, to_litert
from kdzoo.recipes import RECIPES
from kdzoo.utils import copy_file, write_text
from kdzoo.utils.types import PathLike
from kdzoo.zoo.files import load_keras_file

STAGES = ("teacher", "alone", "distilled")
_LATENCY_RUNS = 1000  # A run takes microseconds.


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the demo's table.

    Attributes:
        name: What was measured.
        accuracy: Mean over the splits, in [0, 1], on the test images of each.
        std: Sample standard deviation over the splits; 0 where there is one.
        parameters: Number of weights.
        bytes: Size of the `.tflite` file on disk.
        latency_ms: Median time of one image in the LiteRT interpreter, in milliseconds, 1 thread.
    """

    name: str
    accuracy: float
    std: float
    parameters: int
    bytes: int
    latency_ms: float


def train(
    directory: PathLike,
    report: Callable[[str], Any],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    recipe: Experiment | None = None,
) -> dict[str, Any]:
    """Trains the teacher and the students, or goes on where a run in `directory` was stopped.

    Args:
        directory: Where everything goes. What another recipe left in `directory/training` is
            trained anew.
        report: Called with a line of text when a stage starts.
        callbacks: Callbacks for every `fit`.
        recipe: An experiment on `"digits"`; `RECIPES["digits"]` when None.

    Returns:
        The results, as `Experiment.run` returns them.
    """
    recipe = recipe or RECIPES["digits"]
    run = pathlib.Path(directory) / "training"
    settings = run / "settings.json"
    wanted = json.dumps(recipe.described(), indent=1)
    if settings.is_file() and settings.read_bytes() != wanted.encode():
        shutil.rmtree(run)
    write_text(settings, wanted)
    return recipe.run(run, verbose=0, report=report, callbacks=callbacks)


def measure(
    directory: PathLike, results: Mapping[str, Any], recipe: Experiment | None = None
) -> list[Row]:
    """Exports and times the models of one split, and writes `results.json`.

    It is the split whose distilled student is the median of all. The int8 file alone is made of
    every split's distilled student, as its accuracy has to be measured.

    Args:
        directory: The one that `train` was given; gets `teacher.keras`, `student_alone.keras`,
            `student_distilled.keras`, the `.tflite` file of each, and `student_int8.tflite`.
        results: What `train` returned.
        recipe: The experiment that it ran; `RECIPES["digits"]` when None.

    Returns:
        A list of `Row`: teacher, student alone, student distilled, its int8 file.
    """
    directory, recipe = pathlib.Path(directory), recipe or RECIPES["digits"]
    whole = load("digits", validation=recipe.validation)
    splits = {seed: whole.resplit(seed) for seed in results["settings"]["seeds"]}
    shown = shown_split(results)
    rows = []
    for stage in STAGES:
        summary = results["summary"][stage]
        name = stage if stage == "teacher" else f"student_{stage}"
        trained = _trained(directory, stage, shown)
        copy_file(trained, directory / f"{name}.keras")
        model, path = load_keras_file(trained), directory / f"{name}.tflite"
        report = _export(model, path, splits[shown])
        size = model.count_params(), report.bytes
        label = name.replace("_", " ")
        rows.append(Row(label, summary["mean"], summary["std"], *size, _milliseconds(path)))
    rows.append(_int8_row(directory, splits, shown))
    table = [dataclasses.asdict(row) for row in rows]
    content = json.dumps({"table": table, **results}, indent=1) + "\n"
    write_text(directory / "results.json", content)
    return rows


def _int8_row(directory: pathlib.Path, splits: Mapping[int, Dataset], shown: int) -> Row:
    """Converts every split's distilled student; the file of the split that is shown stays."""
    path, accuracies = directory / "student_int8.tflite", []
    for seed in sorted(splits, key=lambda seed: seed == shown):
        model = load_keras_file(_trained(directory, "distilled", seed))
        size = model.count_params(), _export(model, path, splits[seed], "int8").bytes
        accuracies.append(evaluation.accuracy(LiteRTModel(path), *test_arrays(splits[seed])))
    mean, std = statistics.fmean(accuracies), np.std(accuracies, ddof=min(1, len(accuracies) - 1))
    return Row("int8 file of it", mean, float(std), *size, _milliseconds(path))


def shown_split(results: Mapping[str, Any]) -> int:
    """Returns the seed of the split whose models are exported: the distilled student's median."""
    return results["summary"]["distilled"]["median_seed"]


def _trained(directory: pathlib.Path, stage: str, seed: int) -> pathlib.Path:
    """Returns the file of a model that was trained."""
    return directory / "training" / f"{stage}-{seed}" / "model.keras"


def _export(
    model: keras.Model, path: pathlib.Path, data: Dataset, quantize: Literal["int8"] | None = None
) -> Any:
    """Writes the LiteRT file of a model; returns the report."""
    return to_litert(
        model,
        path,
        quantize=quantize,
        representative_data=data.train.arrays()[0],
        labels=list(data.class_names),
    )


def _milliseconds(path: pathlib.Path) -> float:
    """Returns the median time of a run."""
    return evaluation.latency(path, runs=_LATENCY_RUNS, warmup=100).median_ms


def plot(directory: PathLike, results: Mapping[str, Any]) -> pathlib.Path:
    """Draws how the students learned, and the errors split by split, into `directory/curves.png`.

    Returns:
        Its path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    path = pathlib.Path(directory) / "curves.png"
    plots.distilled_and_alone(results, path, "The same student, alone and distilled")
    return path


def recipe_in_python(
    directory: PathLike, results: Mapping[str, Any], recipe: Experiment | None = None
) -> str:
    """Returns the lines of Python that distil and export a model as the demo does.

    Args:
        directory: Where the demo wrote its teacher.
        results: What `train` returned.
        recipe: The experiment that it ran; `RECIPES["digits"]` when None.

    Returns:
        A string of lines that run as they are.
    """
    recipe = recipe or RECIPES["digits"]
    teacher = (pathlib.Path(directory) / "teacher.keras").as_posix()
    stage: Any = recipe.stage("distilled")
    training, [(_, soft_targets, _)] = stage.training, stage.losses
    augmentation = ', augmentation="default"' if training.augmentation else ""
    validation = f", validation={recipe.validation}" if recipe.validation else ""
    data = f'kdzoo.data.load("digits"{validation}).resplit({shown_split(results)})'
    return f"""\
import kdzoo, keras

teacher = keras.saving.load_model({teacher!r})  # yours; kdzoo.as_logits(teacher) strips a softmax
data = {data}  # yours: kdzoo.data.from_arrays(images, labels)
student = kdzoo.create({stage.architecture!r}, data.classes, data.input_shape)

distiller = kdzoo.Distiller(
    teacher, student, kdzoo.losses.SoftTargets({soft_targets["temperature"]}),
    student_loss_weight={stage.student_loss_weight},
)
batches = data.train.batches({training.batch_size}, shuffle=True{augmentation})
distiller.compile(
    keras.optimizers.AdamW({training.learning_rate}),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
distiller.fit(  # `batches` shuffle by themselves
    batches, epochs={training.epochs}, validation_data=data.validation.batches(500), shuffle=False
)

student.save("student.keras")
images, labels = data.train.arrays()
print(kdzoo.export.to_litert(student, "student.tflite", "int8", representative_data=images))
"""
