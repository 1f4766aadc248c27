"""What `prune_low_magnitude` is told: checked, saved, and which kernels it suits."""

from typing import Any

from kdzoo.compression.tfmot.config_checks import Checks
from kdzoo.compression.tfmot.pruning_schedules import as_config as schedule_config
from kdzoo.compression.tfmot.pruning_schedules import as_schedule
from kdzoo.utils import check_choice, check_positive_integer, shown
from kdzoo.utils.fields import is_counts, is_dictionary, is_name


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
        "pruning_schedule": as_schedule(pruning_schedule),
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
    m_by_n = settings["sparsity_m_by_n"]
    return {
        **settings,
        "pruning_schedule": schedule_config(settings["pruning_schedule"]),
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
