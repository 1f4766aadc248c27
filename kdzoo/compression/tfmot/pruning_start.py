"""The start of a pruning: schedules begin, and those that never fire are told of."""

import warnings
from collections.abc import Iterable
from typing import Any

from kdzoo.graph.keras_internals import raised_as_it_is
from kdzoo.utils import heavy_libraries


def warn_of_the_schedule(schedule: Any, first: int, last: int) -> None:
    """Warns if a training never prunes, or does not reach the final sparsity.

    Args:
        schedule: The schedule.
        first: The first training step, counted as the schedule counts them.
        last: The last one.
    """
    try:
        begin, end, frequency = schedule.begin_step, schedule.end_step, schedule.frequency
    except AttributeError:
        return  # A schedule of the user's own.
    end = last if end < 0 else min(end, last)
    start = max(1, begin)  # It may have fired before, in a training that this one continues.
    earliest = begin + -(-(start - begin) // frequency) * frequency
    if earliest > end:
        warnings.warn(
            f"The pruning schedule fires in no step of this training, {first} to {last}: it begins "
            f"at step {begin} and fires every {frequency} steps; lower `frequency` or `begin_step` "
            "or train longer; `schedule_over_epochs` makes one that fits.",
            stacklevel=3,
        )
        return
    final = getattr(schedule, "final_sparsity", None)
    if final is None:
        return
    latest = begin + (end - begin) // frequency * frequency
    reached = float(schedule(latest)[1])
    if reached < final - 5e-3:
        remedy = (
            f"it ends at step {schedule.end_step}, this training at step {last}; lower `end_step` "
            "or train longer"
            if schedule.end_step > last
            else f"it fires every {frequency} steps, last at step {latest}, and ends at step "
            f"{schedule.end_step}; make `end_step - begin_step` a multiple of `frequency`"
        )
        warnings.warn(
            f"The pruning schedule reaches a sparsity of {reached:.2f} instead of {final}: "
            f"{remedy}.",
            stacklevel=3,
        )


def start_schedules(layers: Iterable[Any]) -> None:
    """Lets the schedules of TF-MOT's wrappers begin, but for those that have begun."""
    for layer in layers:
        if int(layer.pruning_step.numpy()) == -1:
            layer.pruning_step.assign(0)


def check_started(layers: Iterable[Any]) -> None:
    """Raises if a schedule of TF-MOT's wrappers has not begun, and a step is about to be traced."""
    with heavy_libraries.tensorflow().init_scope():
        waits = any(int(layer.pruning_step.numpy()) == -1 for layer in layers)
    if waits:
        raise raised_as_it_is(
            ValueError(
                "Expected `UpdatePruningStep()` among the callbacks of `fit`, or its "
                "`on_train_begin()` called before a training loop of your own: it starts the "
                "pruning. Received: a training step before that."
            )
        )
