"""How many channels of each group go, by their scores and a target."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup
from kdzoo.compression.filter_pruning.importance import Importance
from kdzoo.utils import check_numeric_array

Scope = Literal["global", "local"]
_STEPS = 1000  # Of the local ratios that are tried.


def scores_of(groups: Sequence[ChannelGroup], importance: Importance) -> list[np.ndarray]:
    """Returns the scores of the channels of each group, infinite for those that stay.

    Args:
        groups: The groups.
        importance: The criterion.

    Raises:
        ValueError: If it gives something else than a finite number for each channel.
    """
    found = []
    for group in groups:
        given = None if group.stays.all() else importance(group)
        if given is None:
            found.append(np.full(group.size, np.inf))
            continue
        scores = check_numeric_array("the importance of channels", given)
        if scores.shape != (group.size,) or not np.isfinite(scores.astype("float64")).all():
            raise ValueError(
                f"Expected a finite number for each of the {group.size} channels of "
                f"{group.layers[0]!r}. Received: an array of shape {scores.shape}"
                + ("" if scores.shape != (group.size,) else " with NaN or infinite values")
            )
        found.append(np.where(group.stays, np.inf, scores.astype("float64")))
    return found


class Selection:
    """How many channels of each group stay when more and more go.

    Args:
        scores: For each group its channels' scores.
        scope: `"global"`: the lowest scores of all groups go first; `"local"`: of each group the
            same fraction goes.
        round_to: What counts are multiples of, where channels go, a number for each group.
    """

    def __init__(self, scores: Sequence[np.ndarray], scope: Scope, round_to: Sequence[int]):
        self._sizes = np.array([len(part) for part in scores])
        self._round_to, self._is_global = np.array(round_to), scope == "global"
        stay = np.array([np.isinf(part).sum() for part in scores])
        self._least = -(-stay // self._round_to) * self._round_to
        owners = np.repeat(np.arange(len(scores)), self._sizes)
        together = np.concatenate([*scores, np.zeros(0)])
        order = np.argsort(together, kind="stable")
        self._order = owners[order[np.isfinite(together[order])]]
        self.steps = len(self._order) if self._is_global else _STEPS

    def counts(self, step: int) -> np.ndarray:
        """Returns how many channels of each group stay.

        Args:
            step: From 0, where all stay, to `steps`.
        """
        if self._is_global:
            gone = np.bincount(self._order[:step], minlength=len(self._sizes)).astype(float)
        else:
            gone = self._sizes * (step / self.steps)
        wanted, unit = self._sizes - gone, self._round_to
        rounded = np.maximum(np.floor(wanted / unit + 0.5) * unit, unit)
        stay = np.where(gone > 0, rounded, self._sizes)
        return np.minimum(np.maximum(stay, self._least), self._sizes).astype(int)

    def for_ratio(self, ratio: float) -> np.ndarray:
        """Returns how many channels of each group stay if this fraction of channels goes."""
        return self.counts(round(ratio * self.steps))

    def for_target(
        self,
        name: str,
        target: float,
        left: Callable[[np.ndarray], float],
        one_by_one: bool = True,
    ) -> np.ndarray:
        """Returns the first counts at which no more is left than a target.

        Args:
            name: The argument that the target was given by.
            target: How much may be left.
            left: Function of counts to how much is left.
            one_by_one: Whether groups that lose channels at once are tried one after the other.

        Raises:
            ValueError: If it cannot be reached.
        """
        if (reached := left(self.counts(self.steps))) > target:
            least = math.ceil(1000 * reached) / 1000
            raise ValueError(
                f"Expected {name} to be at least {least}, which is left when all goes that may; "
                f"a smaller round_to, or fewer ignored_layers, let more go. Received: {name}="
                f"{target}"
            )
        low, high = 0, self.steps  # Too much is left at `low`, or it is 0.
        while high - low > 1 and (self.counts(low) != self.counts(high)).any():
            middle = (low + high) // 2
            enough = left(self.counts(middle)) <= target
            low, high = (low, middle) if enough else (middle, high)
        counts, fewer = self.counts(low), self.counts(high)
        if not one_by_one:
            return fewer
        for place in np.flatnonzero(counts != fewer):  # Several groups of one size, one by one.
            if left(counts) > target:
                counts[place] = fewer[place]
        return counts
