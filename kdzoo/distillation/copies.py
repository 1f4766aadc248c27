"""Optimizers and metrics made anew from what was given once, for trainings of several models."""

from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.utils import first_line, shown


def new_optimizer(given: Any) -> keras.optimizers.Optimizer:
    """Returns an optimizer without a state.

    Args:
        given: The name of an optimizer of Keras, or an optimizer, whose settings are taken.

    Raises:
        ValueError: If it is something else, or cannot be made from its configuration.
    """
    argument_checks.check_optimizer(given)
    if given is None:
        raise ValueError("Expected an optimizer. Received: None; take 'adam'.")
    if not isinstance(given, keras.optimizers.Optimizer):
        return keras.optimizers.get(given)
    try:
        return type(given).from_config(given.get_config())
    except Exception as error:  # A schedule of the user's own may fail in any way.
        raise ValueError(
            "Expected an optimizer that can be made again from its configuration, once for each "
            f"model. Received: {given.name!r}: {first_line(error)}"
        ) from error


def check_metrics(given: Any, name: str = "metrics") -> None:
    """Raises `ValueError` unless something is a list of metrics of Keras, functions or names."""
    if not isinstance(given, list | tuple) or not all(map(_is_metric, given)):
        raise ValueError(f"Expected {name} to be a list. Received: {name}={shown(given)}")


def new_metrics(given: Sequence[Any]) -> list[Any]:
    """Returns metrics without a state.

    Args:
        given: Metrics of Keras, functions or names.
    """
    return [
        type(metric).from_config(metric.get_config())
        if isinstance(metric, keras.metrics.Metric)
        else metric
        for metric in given
    ]


def _is_metric(metric: Any) -> bool:
    """Whether Keras may take something as a metric."""
    return isinstance(metric, str | keras.metrics.Metric) or callable(metric)
