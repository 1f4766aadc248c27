"""Who chooses at run time: a day of a battery, a throttled device, a state that lacks a part."""

import itertools

import numpy as np
import pytest

from kdzoo.dynamic import Controller, battery_policy

_TIMES = [2.0, 4.0, 8.0]
_ACCURACIES = [0.80, 0.88, 0.92]


def _day(choose, charge=1.0, minutes=24 * 60):
    """Mean accuracy of a day's predictions, the charge at its end, and the levels chosen."""
    levels, right = [], 0.0
    for _ in range(minutes):
        level = choose(charge)
        # The largest level alone empties the battery after two thirds of the day.
        charge -= _TIMES[level] / _TIMES[-1] * 1.5 / minutes
        if charge <= 0:
            break
        levels.append(level)
        right += _ACCURACIES[level]
    return right / minutes, charge, levels


def _changes(levels):
    return sum(one != other for one, other in itertools.pairwise(levels))


def test_a_battery_lasts_the_day_and_predictions_are_better_than_the_smallest():
    controller = Controller(_TIMES, battery_policy(least=2.5, most=9.0))
    controlled, charge, levels = _day(lambda left: controller.choose(battery=left))
    largest, _, ran = _day(lambda left: 2)
    smallest, *_ = _day(lambda left: 0)
    assert charge > 0
    assert len(levels) == 24 * 60 > len(ran)
    assert controlled > largest
    assert controlled > smallest
    assert sorted(set(levels)) == [0, 1, 2]
    assert _changes(levels) <= 6


def test_the_level_falls_at_once_and_rises_after_patience():
    controller = Controller(_TIMES, patience=3)
    assert [controller.choose(deadline=10.0) for _ in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    assert controller.choose(deadline=3.0) == 0
    # 8.5 ms are more than the last level takes, and less than that with its hysteresis.
    assert [controller.choose(deadline=8.5) for _ in range(9)][-1] == 1


def test_a_device_that_grows_slow_is_noticed_at_all_levels():
    controller = Controller(_TIMES, smoothing=0.5)
    for _ in range(20):
        controller.observe(controller.choose(deadline=10.0), milliseconds=_TIMES[controller.level])
    assert controller.level == 2
    for _ in range(20):
        level = controller.choose(deadline=10.0)
        controller.observe(level, milliseconds=2 * _TIMES[level])
    assert controller.level == 1
    assert controller.expected(2) == pytest.approx(16.0, rel=1e-3)


def _day_of_a_phone(controller, seed=0):
    """The levels, temperatures and charges of a day, a minute each, and how often it was late.

    The largest level heats the phone up to 53 degrees, and a hot phone is slow. It is charged at
    noon. In the evening there is a deadline.
    """
    rng, charge, degrees = np.random.default_rng(seed), 1.0, 25.0
    levels, temperatures, charges, late = [], [], [], 0
    for minute in range(24 * 60):
        deadline = 5.0 if minute > 18 * 60 else 20.0
        level = controller.choose(battery=charge, temperature=degrees, deadline=deadline)
        slowness = (1.4 if degrees > 42 else 1.0) * rng.uniform(0.9, 1.1)
        controller.observe(level, _TIMES[level] * slowness)
        late += _TIMES[level] * slowness > deadline
        degrees += 0.1 * (25 + 3.5 * _TIMES[level] - degrees)
        charge -= _TIMES[level] / _TIMES[-1] * 2.2 / (24 * 60)
        charge += 0.3 / 60 if 12 * 60 <= minute < 13 * 60 else 0
        levels.append(level)
        temperatures.append(degrees)
        charges.append(charge)
    return levels, temperatures, charges, late


def test_a_day_of_battery_heat_and_deadlines():
    policy = battery_policy(2.5, 9.0, hot=40.0, cool=34.0)
    levels, temperatures, charges, late = _day_of_a_phone(Controller(_TIMES, policy))
    always_largest = Controller(_TIMES, lambda state: 1e9)
    _, hottest, emptied, latest = _day_of_a_phone(always_largest)
    assert min(charges) > 0 > min(emptied)
    assert max(temperatures) < 42 < max(hottest)
    assert late < 0.01 * len(levels) < latest
    assert sorted(set(levels)) == [0, 1, 2]
    # It uses what it has: the smallest level alone would leave 0.7 of it.
    assert min(charges) < 0.35
    # What was charged at noon is used again.
    assert max(levels[11 * 60 : 12 * 60]) < max(levels[12 * 60 : 14 * 60])


def test_a_phone_that_was_hot_is_left_to_cool():
    policies = [battery_policy(2.5, 9.0, hot=40.0, cool=cool) for cool in (34.0, None)]
    changes = [_changes(_day_of_a_phone(Controller(_TIMES, policy))[0]) for policy in policies]
    assert changes[0] < 0.7 * changes[1]


def test_hysteresis_and_patience_keep_noise_from_the_level():
    def changes(**arguments):
        rng, levels = np.random.default_rng(0), []
        controller = Controller(_TIMES, smoothing=0.5, **arguments)
        for _ in range(1000):
            levels.append(controller.choose(deadline=8.2))
            controller.observe(levels[-1], _TIMES[levels[-1]] * rng.uniform(0.9, 1.1))
        return _changes(levels)

    flickering = changes(hysteresis=0.0, patience=1)
    assert flickering > 100
    assert changes(hysteresis=0.0, patience=10) < 0.3 * flickering
    assert changes(hysteresis=0.15, patience=1) < 0.1 * flickering


def test_a_device_stays_hot_until_it_is_cool():
    policy = battery_policy(2.0, 9.0, hot=45.0, cool=40.0)
    degrees = [44.0, 45.0, 44.0, 40.0, 39.9, 44.9]
    allowed = [policy({"battery": 1.0, "temperature": value}) for value in degrees]
    assert allowed == [9.0, 2.0, 2.0, 2.0, 9.0, 9.0]


def test_a_deadline_is_kept_by_a_policy_of_the_battery_too():
    policy = battery_policy(2.0, 9.0)
    assert policy({"battery": 1.0, "deadline": 5.0}) == 5.0
    assert policy({"battery": 0.0, "deadline": 5.0}) == 2.0


def test_the_smallest_level_runs_where_nothing_is_allowed():
    controller = Controller(_TIMES)
    assert [controller.choose(deadline=0.5) for _ in range(5)] == [0] * 5


def test_numbers_of_numpy_serve():
    controller = Controller(np.array(_TIMES), smoothing=1.0)
    controller.observe(np.int64(1), np.float32(8.0))
    assert [controller.expected(level) for level in np.arange(3)] == [4.0, 8.0, 16.0]
    with pytest.raises(ValueError, match="from 0 to 2"):
        controller.observe(np.int64(3), 1.0)


def test_heat_allows_the_least():
    policy = battery_policy(2.0, 9.0, hot=45.0)
    assert policy({"battery": 1.0, "temperature": 20.0}) == 9.0
    assert policy({"battery": 1.0, "temperature": 46.0}) == 2.0
    assert policy({"battery": 0.5, "temperature": 20.0}) == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Controller([]), "^Expected milliseconds to be numbers above 0 that"),
        (lambda: Controller([2.0, 1.0]), "that increase"),
        (lambda: Controller([0.0, 1.0]), "above 0"),
        (lambda: Controller([1.0], patience=0), "positive integer"),
        (lambda: Controller([1.0]).choose(), "'deadline'"),
        (lambda: Controller([1.0], battery_policy(1.0, 2.0)).choose(), "'battery'"),
        (lambda: Controller([1.0]).observe(1, 2.0), "from 0 to 0"),
        (lambda: Controller([1.0]).observe(0, -1.0), "above 0"),
        (lambda: battery_policy(3.0, 2.0), "least <= most"),
        (lambda: battery_policy(1.0, 2.0, hot=40.0, cool=45.0), "cool up to hot"),
        (lambda: battery_policy(1.0, 2.0, cool=45.0), "cool up to hot"),
        (lambda: Controller([1.0]).choose(deadline=float("nan")), "state of numbers"),
        (lambda: Controller([1.0]).choose(deadline="soon"), "state of numbers"),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises(ValueError, match=message):
        call()
