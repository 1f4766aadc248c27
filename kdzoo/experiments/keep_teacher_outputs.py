"""Teacher outputs that are kept: in memory for one training, or on disk for a whole run."""

import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kdzoo.experiments.training_settings import FLOAT32, HALF, Training
from kdzoo.graph import taps
from kdzoo.teacher_cache.averaged_records import Average
from kdzoo.teacher_cache.record_index import INDEX, read_index
from kdzoo.teacher_cache.recorded_split import RecordedSplit, with_recorded_teacher
from kdzoo.teacher_cache.recording import record_teacher

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kdzoo.experiments.stage_context import StageContext


def record_directory(run: pathlib.Path, stage: str, seed: int) -> pathlib.Path:
    """Returns where the outputs of a stage's model are recorded: `recorded_teacher`."""
    return run / f"{_record_name(stage)}{f'-seed-{seed}' if seed else ''}"


def _record_name(stage: str) -> str:
    return f"recorded_{re.sub(r'[^A-Za-z0-9.]+', '-', stage)}"


def check_no_record(run: pathlib.Path, stage: str, seed: int, stages: Iterable[str]) -> None:
    """Raises `ValueError` if a run holds recorded outputs of a model that is yet to be made.

    That model would not fit them, and what learned from the old one has none.

    Args:
        run: The run directory.
        stage: Name of the stage that is to be made.
        seed: Its seed.
        stages: The names of all stages of the run, whose records may lie there.
    """
    names = {_record_name(name) for name in (stage, *stages)}
    for path in sorted(run.glob(f"{_record_name(stage)}*")):
        if _whose(path.name, names) == (_record_name(stage), seed):
            raise ValueError(
                f"Expected {run} to hold the {stage!r} whose outputs are in {path.name}. Received: "
                f"none there; put it back, or delete {path.name}: those of a new one are recorded "
                "anew."
            )


def _whose(record: str, names: Iterable[str]) -> tuple[str, int] | None:
    """The stage, by the name of its record, and the seed whose outputs a directory holds.

    Its name ends in the layers that were recorded, so the longest name of a stage is the one.
    """
    fitting = [name for name in names if record == name or record.startswith(f"{name}-")]
    if not fitting:
        return None
    name = max(fitting, key=len)
    seed = re.match(r"-seed-(\d+)(?:-|$)", record.removeprefix(name))
    return name, int(seed[1]) if seed else 0


def recorded_split(
    context: "StageContext",
    training: Training,
    views: int,
    precision: str,
    layers: Sequence[str] = (),
    epochs: int | None = None,
    variant: str = "",
    average: Average = "logits",
) -> RecordedSplit:
    """Returns training images with the outputs that a teacher gave for augmented views of them.

    Of several teachers each has a record of its own, which its students alone share; they predict
    one after another, and are averaged as the records are read.

    Args:
        context: What a stage with a teacher works with.
        training: How the stage is trained; it says how images are augmented.
        views: For how many views, where images are augmented.
        precision: The dtype policy that the teacher predicts in, what is not recorded yet; `"auto"`
            is that of a record that is there, else what the machine computes in.
        layers: Paths of the teacher's layers whose outputs are wanted too.
        epochs: For how many epochs they are; of fewer than there are views, no more views are
            recorded than they see, one each. None for all views.
        variant: What tells the samples from others that the teacher's outputs are recorded for.
        average: How the outputs of several teachers are averaged.
    """
    # A record of its own for each set of layers: a student of logits alone reads no more.
    layers, split = list(layers), context.data.train
    augmentation = training.augmentation_for(context.data.name)
    ending = [*(layer.replace("/", "_") for layer in layers), variant]
    directories = [
        directory.with_name("-".join(filter(None, (directory.name, *ending))))
        for directory in context.record_directories("teacher")
    ]
    precision = context.settled("teacher_precision", precision, _precision_of(directories[0]))
    views = views if augmentation else 1
    if epochs is not None:
        views = min(views, max(epochs, *map(_views_in, directories)))
    for node, directory in zip(context.sources["teacher"], directories, strict=True):
        teacher = context.model(node, precision)
        record_teacher(teacher, split, directory, views, layers=layers, augmentation=augmentation)
    if len(directories) == 1:
        return with_recorded_teacher(split, directories[0])
    return with_recorded_teacher(split, directories, average=average)


def _precision_of(directory: pathlib.Path) -> str | None:
    """The dtype policy of a record's teacher; None where there is no record yet."""
    index = directory / INDEX
    if not index.exists():
        return None
    return HALF if "bfloat16" in read_index(index)["precision"] else FLOAT32


def _views_in(directory: pathlib.Path) -> int:
    """How many views a record is of; 0 where there is none yet."""
    index = directory / INDEX
    return read_index(index)["views"] if index.exists() else 0


def predict(
    teacher: keras.Model, images: "ArrayLike", layers: Sequence[str] = (), batch_size: int = 500
) -> Any:
    """Returns a teacher's outputs for all images, in memory.

    Args:
        teacher: A model that gives logits.
        images: Array (n, height, width, channels).
        layers: Paths of the layers whose outputs are wanted too.
        batch_size: How many images the teacher takes at a time.

    Returns:
        The logits, float32 (n, classes); if layers are wanted, a dictionary of them under
        `"logits"` and, by its path, each layer's output in float16, half the memory.
    """
    # A `TeacherPredictor` compiles its step, which rounds otherwise on JAX: results would change.
    images, outputs = np.asarray(images), {}
    for at in range(0, len(images), batch_size):
        with taps.tapping(teacher, layers) as tapped:
            logits = teacher(images[at : at + batch_size], training=False)
        part = {"logits": keras.ops.convert_to_numpy(logits)}
        for path, values in tapped.items():
            part[path] = _halved(path, keras.ops.convert_to_numpy(values))
        for name, values in part.items():
            if name not in outputs:
                outputs[name] = np.empty((len(images), *values.shape[1:]), values.dtype)
            outputs[name][at : at + batch_size] = values
    return outputs if layers else outputs["logits"]


def _halved(path: str, values: np.ndarray) -> np.ndarray:
    """Values in float16, or an error if they are too large for it."""
    with np.errstate(over="ignore"):
        halved = values.astype("float16")
    if not np.isfinite(halved).all():
        raise ValueError(
            "Expected outputs of the teacher that float16 can hold, up to 65504. Received: "
            f"{np.abs(values).max():.6g} from its layer {path!r}"
        )
    return halved
