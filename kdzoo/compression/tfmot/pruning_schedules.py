"""When weights are pruned: TF-MOT's schedules, and what is wrong with some."""

import warnings
from collections.abc import Iterable
from typing import Any

import keras

from kdzoo.compression.tfmot.config_checks import is_step
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.graph.keras_internals import raised_as_it_is
from kdzoo.utils import first_line, libraries, shown
from kdzoo.utils.fields import check_fields, is_count, is_finite_number, is_plain_tree


def as_schedule(given: Any) -> Any:
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
        return _from_fields(given, schedules)
    if not isinstance(given, schedules.PruningSchedule):
        raise ValueError(
            "Expected `pruning_schedule` to be `ConstantSparsity(...)` or `PolynomialDecay(...)`. "
            f"Received: pruning_schedule={shown(given)}"
        )
    return given


_STEPS = {"begin_step": is_step, "end_step": is_step, "frequency": is_count}
_FIELDS = {
    "ConstantSparsity": {"target_sparsity": is_finite_number, **_STEPS},
    "PolynomialDecay": {
        "initial_sparsity": is_finite_number,
        "final_sparsity": is_finite_number,
        "power": is_finite_number,
        **_STEPS,
    },
}


def _from_fields(given, schedules):
    """A schedule of TF-MOT, or of a class that the user has registered, from a configuration."""
    name, fields = given.get("class_name"), given.get("config")
    if name in _FIELDS:
        check_fields(name, fields, _FIELDS[name], optional=_FIELDS[name])
        return _made(getattr(schedules, name), name, fields)
    names = [part for part in (given.get("registered_name"), name) if isinstance(part, str)]
    found = [keras.saving.get_registered_object(part) for part in names]
    known = next((part for part in found if isinstance(part, type)), None)
    if known is None or not issubclass(known, schedules.PruningSchedule):
        raise ValueError(
            "Expected a pruning schedule that is known here; register your own with "
            f"`keras.saving.register_keras_serializable()`. Received: {str(name)[:80]!r}"
        )
    if not isinstance(fields, dict) or not is_plain_tree(fields):
        raise ValueError(
            f"Expected numbers, short strings and lists of such in the configuration of a {name}. "
            "Received: something else"
        )
    return _made(known, name, fields)


def _made(schedule_class, name, fields):
    try:
        return schedule_class(**fields)
    except TypeError as error:
        raise ValueError(
            f"Expected the configuration of a {name}. Received: one that it does not take "
            f"({first_line(error)})"
        ) from error


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


def start_schedules(layers: Iterable[Any]) -> None:
    """Lets the schedules of TF-MOT's wrappers begin, but for those that have begun."""
    for layer in layers:
        if int(layer.pruning_step.numpy()) == -1:
            layer.pruning_step.assign(0)


def check_started(layers: Iterable[Any]) -> None:
    """Raises if a schedule of TF-MOT's wrappers has not begun, and a step is about to be traced."""
    with libraries.tensorflow().init_scope():
        waits = any(int(layer.pruning_step.numpy()) == -1 for layer in layers)
    if waits:
        raise raised_as_it_is(
            ValueError(
                "Expected `UpdatePruningStep()` among the callbacks of `fit`, or its "
                "`on_train_begin()` called before a training loop of your own: it starts the "
                "pruning. Received: a training step before that."
            )
        )


def as_config(schedule: Any) -> dict[str, Any]:
    """Returns the configuration of a schedule, from which `as_schedule` makes it again."""
    name = keras.saving.get_registered_name(type(schedule))
    return {**schedule.get_config(), "registered_name": name}
