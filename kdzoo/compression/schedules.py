"""When weights are pruned: TF-MOT's schedules, and what is wrong with some."""

import warnings

import keras

from kdzoo.compression.tfmot import load_tfmot


def as_schedule(given):
    """Returns a schedule of TF-MOT.

    Args:
        given: One, its configuration, or None for half of the weights from the start.

    Raises:
        ValueError: If it is something else.
    """
    schedules = load_tfmot().sparsity.keras
    if given is None:
        return schedules.ConstantSparsity(0.5, 0)
    if isinstance(given, dict):
        known = getattr(schedules, given["class_name"], None)
        known = known or keras.saving.get_registered_object(given.get("registered_name"))
        known = known or keras.saving.get_registered_object(given["class_name"])
        if not isinstance(known, type) or not issubclass(known, schedules.PruningSchedule):
            raise ValueError(
                "Expected a pruning schedule that is known here; register your own with "
                "`keras.saving.register_keras_serializable()`. Received: "
                f"{given['class_name']!r}"
            )
        return known(**given["config"])
    if not isinstance(given, schedules.PruningSchedule):
        raise ValueError(
            "Expected `pruning_schedule` to be `ConstantSparsity(...)` or `PolynomialDecay(...)`. "
            f"Received: pruning_schedule={given!r}"
        )
    return given


def warn_of_the_schedule(schedule, first, last):
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
            "or train longer.",
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


def as_config(schedule):
    """Returns the configuration of a schedule, from which `as_schedule` makes it again."""
    name = keras.saving.get_registered_name(type(schedule))
    return {**schedule.get_config(), "registered_name": name}
