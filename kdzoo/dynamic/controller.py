"""Who chooses an exit or a width while a device runs: pure Python, to be ported in a page."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo.utils import (
    check_fraction,
    check_increasing,
    check_number,
    check_positive_integer,
    is_integer,
    is_number,
    shown,
)

Policy = Callable[[Mapping[str, float]], float]


class Controller:
    """Chooses one of several levels, exits or widths, by what each costs now and what is allowed.

    Before each prediction, or each second of them, `choose` is told the device's state and returns
    a level; after it, `observe` is told how long the prediction took. The policy says for a state
    how many milliseconds a prediction may take. The level is the largest that is expected to keep
    to it. It falls at once, and rises by one only after `patience` choices in a row whose limit
    exceeds the next level's expected time by the fraction `hysteresis`, so that it does not
    flicker. Where even the smallest takes longer than is allowed, it is the smallest. What a level
    is expected to take is its time as measured beforehand, times how much slower than that the
    device ran lately, at whatever level.

    Args:
        milliseconds: Time of a prediction at each level, measured beforehand, increasing.
        policy: Function of a state, a dictionary of numbers, to the milliseconds that a prediction
            may take, such as `battery_policy` returns. None: `choose` is told `deadline`, in
            milliseconds.
        hysteresis: Fraction of a level's time, from 0 to below 1.
        patience: Choices in a row before the level rises.
        smoothing: Weight of the last measurement in the expected time, above 0 up to 1.

    Raises:
        ValueError: If times do not increase, or a number is out of range.

    Example:

    ```python
    policy = kdzoo.dynamic.battery_policy(least=2.0, most=9.0)
    controller = kdzoo.dynamic.Controller([2.1, 4.0, 8.2], policy)
    level = controller.choose(battery=0.35)
    controller.observe(level, milliseconds=4.4)
    ```
    """

    def __init__(
        self,
        milliseconds: Sequence[float],
        policy: Policy | None = None,
        *,
        hysteresis: float = 0.1,
        patience: int = 3,
        smoothing: float = 0.2,
    ):
        if policy is not None and not callable(policy):
            raise ValueError(f"Expected a function of a state. Received: policy={shown(policy)}")
        self.milliseconds = check_increasing("milliseconds", milliseconds)
        self.policy = policy if policy is not None else _deadline
        self.hysteresis = check_fraction("hysteresis", hysteresis)
        self.patience = check_positive_integer("patience", patience)
        self.smoothing = check_number("smoothing", smoothing, 0, 1)
        if not self.smoothing:
            raise ValueError("Expected smoothing above 0. Received: smoothing=0")
        self.level = 0
        self._slowness = 1.0  # How much slower than at first the device runs now.
        self._waited = 0

    def expected(self, level: int) -> float:
        """Returns how many milliseconds a prediction is expected to take now.

        Args:
            level: The level; 0 is the smallest.
        """
        return self.milliseconds[self._check_level(level)] * self._slowness

    def choose(self, **state: float) -> int:
        """Returns the level for the next prediction; 0 is the smallest.

        Args:
            **state: What the policy looks at, numbers, such as `battery=0.4`.

        Raises:
            ValueError: If a part of the state is no number or NaN, the policy lacks one, or it does
                not give a number.
        """
        for name, value in state.items():
            if not isinstance(value, bool) and (not is_number(value) or math.isnan(value)):
                raise ValueError(f"Expected a state of numbers. Received: {name}={shown(value)}")
        try:
            allowed = self.policy(state)
        except KeyError as error:
            raise ValueError(
                f"Expected a state with {error.args[0]!r}, which the policy looks at. Received: "
                f"{shown(sorted(state))}"
            ) from error
        if not is_number(allowed) or math.isnan(allowed):
            raise ValueError(
                f"Expected a policy that gives milliseconds. Received: {shown(allowed)}"
            )
        while self.level and self.expected(self.level) > allowed:
            self.level -= 1
            self._waited = 0
        is_last = self.level + 1 == len(self.milliseconds)
        if is_last or self.expected(self.level + 1) * (1 + self.hysteresis) > allowed:
            self._waited = 0
            return self.level
        self._waited += 1
        if self._waited >= self.patience:
            self.level += 1
            self._waited = 0
        return self.level

    def observe(self, level: int, milliseconds: float) -> None:
        """Takes note of how long a prediction took.

        Args:
            level: The level at which it ran.
            milliseconds: Its time, above 0.

        Raises:
            ValueError: If there is no such level, or the time is not above 0.
        """
        level = self._check_level(level)
        if not is_number(milliseconds) or not 0 < milliseconds < math.inf:
            raise ValueError(
                f"Expected a time above 0. Received: milliseconds={shown(milliseconds)}"
            )
        slowness = milliseconds / self.milliseconds[level]
        self._slowness += self.smoothing * (slowness - self._slowness)

    def _check_level(self, level: Any) -> int:
        if not is_integer(level, 0, len(self.milliseconds) - 1):
            raise ValueError(
                f"Expected a level from 0 to {len(self.milliseconds) - 1}. Received: "
                f"level={shown(level)}"
            )
        return int(level)


def battery_policy(
    least: float,
    most: float,
    *,
    full: float = 0.8,
    empty: float = 0.2,
    hot: float | None = None,
    cool: float | None = None,
) -> Policy:
    """Returns a policy for `Controller` that allows less time as the battery runs down.

    Where the state has a `deadline` in milliseconds, no more than that is allowed.

    Args:
        least: Milliseconds that a prediction may take when the battery is at `empty` or below.
        most: Milliseconds that it may take at `full` or above; in between the limit is linear.
        full: State of charge, a fraction from 0 to 1.
        empty: State of charge below `full`.
        hot: Degrees Celsius from which on only `least` is allowed; then `choose` also takes
            `temperature`. None: the temperature does not matter.
        cool: Degrees Celsius below which a device that was hot no longer is, so that the level does
            not go up and down at one temperature; `hot` when None.

    Returns:
        A function of a state with `battery`, from 0 to 1, to milliseconds. It remembers whether the
        device was hot: each device has a policy of its own.

    Raises:
        ValueError: If a number is out of range, `least` is above `most`, or `cool` above `hot`.
    """
    least, most = check_number("least", least, 0), check_number("most", most, 0)
    full, empty = check_number("full", full, 0, 1), check_number("empty", empty, 0, 1)
    if least > most or empty >= full:
        raise ValueError(
            "Expected least <= most and empty < full. Received: "
            f"least={least:g}, most={most:g}, empty={empty:g}, full={full:g}"
        )
    heat = math.inf if hot is None else check_number("hot", hot)
    calm = heat if cool is None else check_number("cool", cool)
    if calm > heat or (hot is None and cool is not None):
        raise ValueError(f"Expected cool up to hot. Received: hot={shown(hot)}, cool={shown(cool)}")
    is_hot = False

    def policy(state):
        nonlocal is_hot
        is_hot = hot is not None and state["temperature"] >= (calm if is_hot else heat)
        charge = (state["battery"] - empty) / (full - empty)
        allowed = least + min(max(charge, 0.0), 1.0) * (most - least)
        return min(least if is_hot else allowed, state.get("deadline", math.inf))

    return policy


def _deadline(state: Mapping[str, float]) -> float:
    return state["deadline"]
