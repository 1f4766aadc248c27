"""The demo: the whole road on handwritten digits, from a teacher to verified files for a phone."""

import dataclasses
import json
import pathlib
import shutil

from kdzoo.recipes import RECIPES
from kdzoo.utils import copy_file, write_text

KINDS = ("teacher", "alone", "distilled")
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


def train(directory, report, callbacks=(), recipe=None):
    """Trains the teacher and the students, or goes on where a run in `directory` was stopped.

    Args:
        directory: Where everything goes. What another recipe left in `directory/training` is
            trained anew.
        report: Called with a line of text when a stage starts.
        callbacks: Callbacks for every `fit`.
        recipe: A `Comparison` with `data="digits"`; `RECIPES["digits"]` when None.

    Returns:
        The results, as `Comparison.run` returns them.
    """
    recipe = recipe or RECIPES["digits"]
    home = pathlib.Path(directory) / "training"
    settings = home / "settings.json"
    wanted = json.dumps(dataclasses.asdict(recipe), indent=1)
    if settings.is_file() and settings.read_bytes() != wanted.encode():
        shutil.rmtree(home)
    write_text(settings, wanted)
    return recipe.run(home, verbose=0, report=report, callbacks=callbacks)


def measure(directory, results):
    """Exports the median model of each kind, times the files, and writes `results.json`.

    Args:
        directory: As in `train`; gets `teacher.keras`, `student_alone.keras`,
            `student_distilled.keras`, the `.tflite` file of each, and `student_int8.tflite`.
        results: What `train` returned.

    Returns:
        A list of `Row`: teacher, student alone, student distilled, its int8 file.
    """
    import kdzoo.data
    from kdzoo import evaluation
    from kdzoo.export import LiteRTModel
    from kdzoo.zoo.files import load_keras_file

    directory = pathlib.Path(directory)
    data = kdzoo.data.load("digits")
    rows = []
    for kind in KINDS:
        summary = results["summary"][kind]
        seeds = sum(row["kind"] == kind for row in results["rows"])
        name = kind if kind == "teacher" else f"student_{kind}"
        trained = directory / "training" / f"{kind}-{summary['median_seed']}" / "model.keras"
        copy_file(trained, directory / f"{name}.keras")
        model = load_keras_file(trained)
        size, latency = _export(model, directory / f"{name}.tflite", data)
        std = summary["std"] if seeds > 1 else None
        label = name.replace("_", " ")
        rows.append(Row(label, summary["mean"], std, model.count_params(), size, latency))
    path = directory / "student_int8.tflite"
    size, latency = _export(model, path, data, "int8")
    accuracy = evaluation.accuracy(LiteRTModel(path), *data.test.arrays())
    rows.append(Row("int8 file of it", accuracy, None, model.count_params(), size, latency))
    table = [dataclasses.asdict(row) for row in rows]
    content = json.dumps({"table": table, **results}, indent=1) + "\n"
    write_text(directory / "results.json", content)
    return rows


def _export(model, path, data, quantize=None):
    """Writes the LiteRT file of a model; returns its bytes and the median milliseconds of a run."""
    from kdzoo.evaluation import latency
    from kdzoo.export import to_litert

    report = to_litert(
        model,
        path,
        quantize=quantize,
        representative_data=data.train.arrays()[0],
        labels=list(data.class_names),
    )
    return report.bytes, latency(path, runs=_LATENCY_RUNS, warmup=100).median_ms


def plot(directory, results):
    """Draws the students' training curves into `directory/curves.png`; returns its path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from kdzoo.evaluation import plots

    path = pathlib.Path(directory) / "curves.png"
    histories = {
        f"student {kind}": [row["history"] for row in results["rows"] if row["kind"] == kind]
        for kind in KINDS[1:]
    }
    plots.training_curves(histories, path, "The same student, alone and distilled")
    return path


def recipe_in_python(directory, recipe=None):
    """Returns the lines of Python that distil and export a model as the demo does.

    Args:
        directory: Where the demo wrote its teacher.
        recipe: The `Comparison` that it ran; `RECIPES["digits"]` when None.

    Returns:
        A string of lines that run as they are.
    """
    recipe = recipe or RECIPES["digits"]
    teacher = (pathlib.Path(directory) / "teacher.keras").as_posix()
    augmentation = ', augmentation="default"' if recipe.augment_student else ""
    return f"""\
import keras, kdzoo

teacher = keras.saving.load_model({teacher!r})  # yours; kdzoo.as_logits(teacher) strips a softmax
data = kdzoo.data.load("digits")  # yours: kdzoo.data.from_arrays(images, labels)
student = kdzoo.create({recipe.student!r}, data.classes, data.input_shape)

distiller = kdzoo.Distiller(
    teacher, student, kdzoo.losses.SoftTargets({recipe.temperature}),
    student_loss_weight={recipe.student_loss_weight},
)
batches = data.train.batches({recipe.batch_size}, shuffle=True{augmentation})
distiller.compile(
    keras.optimizers.AdamW({recipe.learning_rate}),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
distiller.fit(  # `batches` shuffle by themselves
    batches, epochs={recipe.epochs}, validation_data=data.validation.batches(500), shuffle=False
)

student.save("student.keras")
images, labels = data.train.arrays()
print(kdzoo.export.to_litert(student, "student.tflite", "int8", representative_data=images))
"""
