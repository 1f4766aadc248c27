"""Who chooses at run time: a day of a battery, a throttled device, a state that lacks a part."""

import itertools

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
    changes = sum(one != other for one, other in itertools.pairwise(levels))
    assert changes <= 6


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


def test_heat_allows_the_least():
    policy = battery_policy(2.0, 9.0, hot=45.0)
    assert policy({"battery": 1.0, "temperature": 20.0}) == 9.0
    assert policy({"battery": 1.0, "temperature": 46.0}) == 2.0
    assert policy({"battery": 0.5, "temperature": 20.0}) == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Controller([]), "for each level"),
        (lambda: Controller([2.0, 1.0]), "that increase"),
        (lambda: Controller([0.0, 1.0]), "above 0"),
        (lambda: Controller([1.0], patience=0), "positive integer"),
        (lambda: Controller([1.0]).choose(), "'deadline'"),
        (lambda: Controller([1.0], battery_policy(1.0, 2.0)).choose(), "'battery'"),
        (lambda: Controller([1.0]).observe(1, 2.0), "from 0 to 0"),
        (lambda: Controller([1.0]).observe(0, -1.0), "above 0"),
        (lambda: battery_policy(3.0, 2.0), "least <= most"),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises(ValueError, match=message):
        call()
