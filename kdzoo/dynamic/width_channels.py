"""Which channels the widths of a slimmable network have."""

import decimal
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup, follow
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.utils import is_number, shown


def check_widths(widths: Any) -> list[float]:
    """Returns the widths as a list of floats, or raises `ValueError`.

    Args:
        widths: Two or more fractions above 0, increasing, the last of them 1.
    """
    is_listed = isinstance(widths, list | tuple) and len(widths) > 1
    if not is_listed or not all(is_number(width) and 0 < width <= 1 for width in widths):
        raise ValueError(
            f"Expected two or more widths above 0 up to 1. Received: widths={shown(widths)}"
        )
    found = [float(width) for width in widths]
    if sorted(set(found)) != found or found[-1] != 1:
        raise ValueError(
            f"Expected widths that increase, up to 1. Received: widths={shown(list(widths))}"
        )
    return found


def follow_whatever_the_weights(model: keras.Model) -> Coupling:
    """Returns what is known of a model's channels, none of which is taken for a constant.

    Args:
        model: A functional or built sequential `keras.Model`; its weights are the same afterwards.
    """
    weights = model.get_weights()
    try:
        model.set_weights([np.ones_like(weight) for weight in weights])
        return follow(model)
    finally:
        model.set_weights(weights)


def first_channels(
    coupling: Coupling, groups: Sequence[ChannelGroup], width: float, round_to: int
) -> np.ndarray:
    """Returns for each number of a channel whether a width has it: the first ones of each group.

    Args:
        coupling: What is known of the channels.
        groups: Those that go together.
        width: The fraction of the channels.
        round_to: Numbers of channels are multiples of this, and at least this, or all there are.
    """
    gone = []
    for group in groups:
        count = max(round_to, math.floor(width * group.size / round_to + 0.5) * round_to)
        # Those that have to stay come first, so that a narrow network is part of a wide one.
        order = np.argsort(~group.stays, kind="stable")
        count = max(min(count, group.size), int(group.stays.sum()))
        gone.append(group.roots[order[count:]])
    roots = coupling.roots(np.arange(len(coupling.makers)))
    return ~np.isin(roots, np.concatenate(gone))


def digits(width: float) -> str:
    """A width by its digits, two at least behind the point, which is left out: "050" of 0.5."""
    before, _, after = format(decimal.Decimal(repr(width)), "f").partition(".")
    return before + after.ljust(2, "0")
