"""Arguments of fewer filters, binary weights and low rank: names and checks that need no Keras.

Recipes have them as settings, and are listed before Keras runs; so they stand below the techniques.
"""

import typing
from collections.abc import Mapping
from typing import Any, Literal

from kdzoo.utils.arguments import check_choice, check_number, check_positive_integer
from kdzoo.utils.errors import shown

FilterImportance = Literal[
    "l1", "l2", "group_l2", "batch_norm", "geometric_median", "apoz", "taylor", "random"
]
FILTER_CRITERIA: tuple[FilterImportance, ...] = typing.get_args(FilterImportance)
NEED_DATA = ("apoz", "taylor")
"""The criteria of filters that look at samples."""
FilterScope = Literal["global", "local"]
FILTER_SCOPES: tuple[FilterScope, ...] = typing.get_args(FilterScope)
Binarization = Literal["deterministic", "stochastic", "xnor"]
BINARIZATIONS: tuple[Binarization, ...] = typing.get_args(Binarization)
LowRankMethod = Literal["auto", "svd", "channel", "spatial", "tucker"]
LOW_RANK_METHODS: tuple[LowRankMethod, ...] = typing.get_args(LowRankMethod)


def check_low_rank_amount(amounts: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless one of four amounts is given, and in its range.

    Args:
        amounts: `"rank"`, `"energy"`, `"ratio"` and `"accuracy"` -> what was given.
    """
    names = [name for name, value in amounts.items() if value is not None]
    if len(names) != 1:
        received = " and ".join(names) or "none of them"
        raise ValueError(f"Expected one of rank, energy, ratio and accuracy. Received: {received}")
    rank, energy, ratio, accuracy = amounts.values()
    if isinstance(rank, Mapping):
        if not rank or not all(isinstance(path, str) for path in rank):
            raise ValueError(
                f"Expected rank to be a number, or path -> number. Received: rank={shown(rank)}"
            )
        for path, number in rank.items():
            check_positive_integer(f"rank of {path!r}", number)
    elif isinstance(rank, str):
        check_choice("rank", rank, ("vbmf",))
    elif rank is not None:
        check_positive_integer("rank", rank)
    for name, value in (("energy", energy), ("accuracy", accuracy)):
        if value is not None and not check_number(name, value, 0, 1) > 0:
            raise ValueError(f"Expected {name} to lie in (0, 1]. Received: {name}=0")
    if ratio is not None and not 0 < check_number("ratio", ratio, 0, 1) < 1:
        raise ValueError(f"Expected ratio to lie in (0, 1). Received: ratio={shown(ratio)}")
