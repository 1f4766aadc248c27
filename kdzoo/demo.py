"""The demo: the whole road on handwritten digits, from a teacher to verified files for a phone."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

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
        accuracy: Mean over the seeds, in [0, 1], on the test images.
        std: Sample standard deviation over the seeds; None where there is one model.
        parameters: Number of weights.
        bytes: Size of the `.tflite` file on disk.
        latency_ms: Median time of one image in the LiteRT interpreter, in milliseconds, 1 thread.
    """

    name: str
    accuracy: float
    std: float | None
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


def measure(directory: PathLike, results: Mapping[str, Any]) -> list[Row]:
    """Exports the median model of each stage, times the files, and writes `results.json`.

    Args:
        directory: The one that `train` was given; gets `teacher.keras`, `student_alone.keras`,
            `student_distilled.keras`, the `.tflite` file of each, and `student_int8.tflite`.
        results: What `train` returned.

    Returns:
        A list of `Row`: teacher, student alone, student distilled, its int8 file.
    """
    directory = pathlib.Path(directory)
    data = load("digits")
    rows = []
    for stage in STAGES:
        summary = results["summary"][stage]
        seeds = sum(row["kind"] == stage for row in results["rows"])
        name = stage if stage == "teacher" else f"student_{stage}"
        trained = directory / "training" / f"{stage}-{summary['median_seed']}" / "model.keras"
        copy_file(trained, directory / f"{name}.keras")
        model = load_keras_file(trained)
        size, latency = _export(model, directory / f"{name}.tflite", data)
        std = summary["std"] if seeds > 1 else None
        label = name.replace("_", " ")
        rows.append(Row(label, summary["mean"], std, model.count_params(), size, latency))
    path = directory / "student_int8.tflite"
    size, latency = _export(model, path, data, "int8")
    accuracy = evaluation.accuracy(LiteRTModel(path), *test_arrays(data))
    rows.append(Row("int8 file of it", accuracy, None, model.count_params(), size, latency))
    table = [dataclasses.asdict(row) for row in rows]
    content = json.dumps({"table": table, **results}, indent=1) + "\n"
    write_text(directory / "results.json", content)
    return rows


def _export(
    model: keras.Model, path: pathlib.Path, data: Dataset, quantize: Literal["int8"] | None = None
) -> tuple[int, float]:
    """Writes the LiteRT file of a model; returns its bytes and the median milliseconds of a run."""
    report = to_litert(
        model,
        path,
        quantize=quantize,
        representative_data=data.train.arrays()[0],
        labels=list(data.class_names),
    )
    return report.bytes, evaluation.latency(path, runs=_LATENCY_RUNS, warmup=100).median_ms


def plot(directory: PathLike, results: Mapping[str, Any]) -> pathlib.Path:
    """Draws the students' training curves into `directory/curves.png`; returns its path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    path = pathlib.Path(directory) / "curves.png"
    histories = {
        f"student {stage}": [row["history"] for row in results["rows"] if row["kind"] == stage]
        for stage in STAGES[1:]
    }
    plots.training_curves(histories, path, "The same student, alone and distilled")
    return path


def recipe_in_python(directory: PathLike, recipe: Experiment | None = None) -> str:
    """Returns the lines of Python that distil and export a model as the demo does.

    Args:
        directory: Where the demo wrote its teacher.
        recipe: The experiment that it ran; `RECIPES["digits"]` when None.

    Returns:
        A string of lines that run as they are.
    """
    recipe = recipe or RECIPES["digits"]
    teacher = (pathlib.Path(directory) / "teacher.keras").as_posix()
    stage: Any = recipe.stage("distilled")
    training, [(_, soft_targets, _)] = stage.training, stage.losses
    augmentation = ', augmentation="default"' if training.augmentation else ""
    return f"""\
import keras, kdzoo

teacher = keras.saving.load_model({teacher!r})  # yours; kdzoo.as_logits(teacher) strips a softmax
data = kdzoo.data.load("digits")  # yours: kdzoo.data.from_arrays(images, labels)
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
