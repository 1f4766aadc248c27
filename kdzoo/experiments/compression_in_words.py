"""What a compression makes of a model in words, which are the title of its stage."""

from typing import TYPE_CHECKING

from kdzoo.experiments.zeros_and_values import (
    DEEP_COMPRESSION,
    LOTTERY_TICKET,
    SCHEMES,
    TWO_OF_FOUR,
)

if TYPE_CHECKING:
    from kdzoo.experiments.compression_settings import Compression


def in_words(compression: "Compression", taught: bool = False) -> str:
    """Returns what a compression makes of a model, e.g. `"float16 after training"`.

    Args:
        compression: The settings.
        taught: Whether a teacher teaches meanwhile.
    """
    by = " by its teacher" if taught else ""
    shaping = {
        "filters": _filters,
        "low_rank": _low_rank,
        "separable": lambda made: "separable convolutions",
    }
    steps = [step for step in compression.steps if step in shaping]
    parts = [f"{shaping[step](compression)}, trained again{by}" for step in steps]
    parts += _zeros(compression, by)
    if compression.cluster is not None and compression.scheme != DEEP_COMPRESSION:
        parts.append(f"{compression.cluster} values in each kernel, trained again{by}")
    if compression.binary is not None:
        parts.append(f"binary weights ({compression.binary}), trained again{by}")
    if compression.quantize == "qat":
        kernels = "int8" if compression.weight_bits == 8 else "kernels in 4 bits"
        parts.append(f"{kernels}, trained aware of it{by}")
    elif compression.quantize is not None:
        parts.append(f"{compression.quantize} after training")
    return "; ".join(parts)


def _filters(compression: "Compression") -> str:
    target = compression.filters_target
    what = "MACs" if target in (None, "macs") else target
    importance, scope = compression.choice_of_filters.values()
    by = "" if importance == "group_l2" else f" by {importance}"
    by += ", of each group alike" if scope == "local" else ""
    rounds = _in_rounds(compression, "filters")
    return f"filters left for {compression.filters:.0%} of the {what}{by}{rounds}"


def _low_rank(compression: "Compression") -> str:
    if isinstance(compression.low_rank, dict):
        return "low rank by layer"
    return f"{compression.low_rank:.0%} of the parameters left by low rank"


def _zeros(compression: "Compression", by: str) -> list[str]:
    """What becomes of zeros, and of the values that Deep Compression lets weights share."""
    prune, cluster, scheme = compression.prune, compression.cluster, compression.scheme
    if scheme == DEEP_COMPRESSION:
        zeros = "zeros by layer" if isinstance(prune, dict) else f"{prune:.0%} zeros"
        values = f"{cluster} shared values in each kernel"
        values = "shared values by layer" if isinstance(cluster, dict) else values
        return [f"{zeros}{_in_rounds(compression, scheme)} and {values}, trained again{by}"]
    if scheme == LOTTERY_TICKET:
        rounds = _in_rounds(compression, scheme)
        return [f"a ticket without {prune:.0%} of the weights{rounds}, trained{by}"]
    if prune == TWO_OF_FOUR:
        return [f"two of four weights zero, trained again{by}"]
    if prune is not None:
        return [f"{prune:.0%} of the weights in pruned kernels zero, trained again{by}"]
    return []


def _in_rounds(compression: "Compression", step: str) -> str:
    """How many rounds a step has; a scheme has a training more than rounds."""
    rounds = compression.trainings[step] - (step in SCHEMES)
    return f" in {rounds} rounds" if rounds > 1 else ""
