"""Stages of a scheme, which go on after a kill, and their one history."""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import keras

from kdzoo.schemes.scheme_checks import SameEachTime
from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.training.checkpoints import begin_as_before, is_unfinished
from kdzoo.training.stage_callback import StageCallback
from kdzoo.training.stages import train
from kdzoo.utils.types import PathLike


class SchemeStage(NamedTuple):
    """One training of a scheme.

    Attributes:
        name: Name of its directory.
        make: Function that returns the compiled and built model; it is called when the stages
            before it are done.
        epochs: How many.
        validation_data: What it is validated on after each epoch, or None.
        callbacks: Callbacks of its own, before those of all stages.
        batches: Function from an epoch of this stage to what `fit` takes from there on; None for
            that of all stages.
    """

    name: str
    make: Callable[[], keras.Model]
    epochs: int
    validation_data: Any = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    batches: Callable[[int], Any] | None = None


def train_stages(
    stages: Sequence[SchemeStage],
    batches: Callable[[int], Any] | None,
    directory: PathLike,
    settings: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: str | int,
    models: Sequence[keras.layers.Layer] = (),
) -> dict[str, list[Any]]:
    """Trains stages one after the other, going on where a killed run stopped.

    Args:
        stages: The trainings.
        batches: Function from an epoch to what `fit` takes from there on, for stages that have none
            of their own; the epochs of all stages are counted through.
        directory: Where each stage has a directory for its checkpoints.
        settings: JSON-able value that identifies the run.
        callbacks: Callbacks for all stages; a `StageCallback` is told of each.
        verbose: As `fit` takes it; unless it is 0, the stages are numbered.
        models: The models, or layers, that are trained, as the caller made them. Their weights are
            kept when the run begins; when it goes on, they get these, so that it matters not how
            they were made again.

    Returns:
        The history of all stages, as `joined` makes it.
    """
    directory = pathlib.Path(directory)
    begun = [EpochCheckpoint(directory / stage.name, settings).exists() for stage in stages]
    begin_as_before(models, directory, settings, any(begun))
    histories, before = [], 0
    for number, stage in enumerate(stages, 1):
        if verbose and len(stages) > 1:
            print(f"Stage {number} of {len(stages)}: {stage.name}", flush=True)
        for callback in callbacks:
            if isinstance(callback, StageCallback):
                callback.on_stage_begin(number, len(stages), stage.name)
        is_same = stage.batches is None and isinstance(batches, SameEachTime)
        if verbose and is_same and is_unfinished(directory / stage.name):
            print(
                "Going on after a checkpoint. The batches come as the data set gives them; with a "
                "function from an epoch to batches, the run would end as an undisturbed one.",
                flush=True,
            )
        history = train(
            stage.make(),
            stage.batches or functools.partial(_counted_from, batches, before),
            # Earlier versions kept no end of a stage that ended early: a later one has begun.
            0 if any(begun[number:]) else stage.epochs,
            directory / stage.name,
            stage.validation_data,
            settings=settings,
            callbacks=[*stage.callbacks, *callbacks],
            verbose=verbose,
        )
        histories.append(history)
        before += stage.epochs
    return joined(histories)


def _counted_from(batches: Callable[[int], Any] | None, before: int, epoch: int) -> Any:
    """The batches from an epoch of a stage on, before which there were some in other stages."""
    return cast(Callable[[int], Any], batches)(before + epoch)


def joined(histories: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Returns one history of several stages.

    Args:
        histories: A dictionary of lists for each stage.

    Returns:
        A dictionary of lists with one entry for each epoch; `"stage"` counts from 1, and what a
        stage does not measure is None.

    Example:

    >>> joined([{"loss": [2.0, 1.5]}, {"loss": [1.0], "accuracy": [0.5]}])
    {'stage': [1, 1, 2], 'loss': [2.0, 1.5, 1.0], 'accuracy': [None, None, 0.5]}
    """
    counts = [max(map(len, history.values()), default=0) for history in histories]
    whole: dict[str, list[Any]] = {
        "stage": [number for number, count in enumerate(counts, 1) for _ in range(count)]
    }
    for name in dict.fromkeys(name for history in histories for name in history):
        whole[name] = [
            value
            for history, count in zip(histories, counts, strict=True)
            for value in _padded(history.get(name, []), count)
        ]
    return whole


def _padded(values: list[Any], count: int) -> list[Any]:
    """One entry for each epoch; what was no longer measured after a kill is None."""
    return [*values, *[None] * (count - len(values))]
