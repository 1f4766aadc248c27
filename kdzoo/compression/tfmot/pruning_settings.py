"""What `prune_low_magnitude` is told, its schedule too: checked, saved, which kernels it suits."""

from typing import Any

import keras

from kdzoo.compression.tfmot.config_checks import Checks, is_step
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.utils import check_choice, check_positive_integer, first_line, shown
from kdzoo.utils.field_checks import (
    check_fields,
    is_count,
    is_counts,
    is_dictionary,
    is_finite_number,
    is_name,
    is_plain_tree,
)


def pruning_settings(
    pruning_schedule: Any, block_size: Any, block_pooling_type: Any, sparsity_m_by_n: Any
) -> dict[str, Any]:
    """The arguments of TF-MOT's `prune_low_magnitude`, from objects or from a configuration."""
    zeros, among = (1, 2) if sparsity_m_by_n is None else _pair("sparsity_m_by_n", sparsity_m_by_n)
    if zeros >= among:
        raise ValueError(
            "Expected sparsity_m_by_n to be (zeros, weights among which they are), such as (2, 4). "
            f"Received: sparsity_m_by_n={shown(sparsity_m_by_n)}"
        )
    check_choice("block_pooling_type", block_pooling_type, ("AVG", "MAX"))
    return {
        "pruning_schedule": _schedule(pruning_schedule),
        "block_size": _pair("block_size", block_size),
        "block_pooling_type": block_pooling_type,
        "sparsity_m_by_n": None if sparsity_m_by_n is None else (zeros, among),
    }


def _pair(name, given):
    """Two positive integers as a tuple, or an error."""
    is_pair = isinstance(given, list | tuple) and len(given) == 2
    if not is_pair:
        raise ValueError(f"Expected {name} to be two integers. Received: {name}={shown(given)}")
    return tuple(check_positive_integer(name, size) for size in given)


CHECKS: Checks = {
    "pruning_schedule": is_dictionary,
    "block_size": is_counts,
    "block_pooling_type": is_name,
    "sparsity_m_by_n": is_counts,
}
"""Name of a setting -> whether a value of a file fits it, before it is checked as any other."""


def as_config(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings as a model's configuration holds them."""
    schedule, m_by_n = settings["pruning_schedule"], settings["sparsity_m_by_n"]
    name = keras.saving.get_registered_name(type(schedule))
    return {
        **settings,
        "pruning_schedule": {**schedule.get_config(), "registered_name": name},
        "block_size": list(settings["block_size"]),
        "sparsity_m_by_n": m_by_n and list(m_by_n),
    }


def fits(settings: dict[str, Any], layer: Any) -> bool:
    """Whether blocks or 2:4 suit a built layer's kernel."""
    kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
    if settings["block_size"] != (1, 1):
        return all(len(kernel.shape) == 2 for kernel in kernels)
    return settings["sparsity_m_by_n"] is None or all(
        len(kernel.shape) in (2, 4) and kernel.shape[-2] > 1 for kernel in kernels
    )


def _schedule(given):
    """A schedule of TF-MOT from one or its configuration; half of the weights when None."""
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
