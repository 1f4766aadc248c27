"""Networks without some of their filters, as stages of a recipe make and measure them."""

from typing import Any

import keras

from kdzoo.compression.filter_pruning.measured_latency import MeasuredLatency
from kdzoo.compression.filter_pruning.prune_arguments import check_target
from kdzoo.evaluation import count_macs
from kdzoo.graph.keras_internals import functional_of
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.utils import check_choice, shown
from kdzoo.utils.compression_arguments import FILTER_CRITERIA, NEED_DATA

_TARGETS = ("ratio", "target_macs", "target_parameters", "target_latency", "target_latency_ms")


def check_settings(target: Any, importance: Any) -> None:
    """Raises `ValueError` unless a stage can prune to a target by a criterion.

    Args:
        target: (name of the argument of `prune_filters`, its value).
        importance: Name of a criterion that needs no data.
    """
    if not isinstance(target, tuple | list) or len(target) != 2:
        raise ValueError(
            "Expected target as (name, value), such as ('target_macs', 0.5). Received: "
            f"target={shown(target)}"
        )
    name, value = target
    check_choice("target", name, _TARGETS)
    check_target({name: value})
    check_choice("importance", importance, [n for n in FILTER_CRITERIA if n not in NEED_DATA])


def computing_like(model: keras.Model, other: keras.Model) -> keras.Model:
    """Returns a copy of a model whose layers compute in the precision of those of another one.

    Args:
        model: The model.
        other: A model that has the layers of the model, by their paths, of any width.
    """
    policies: dict[str, Any] = {}

    def note(layer: keras.Operation, path: str) -> None:
        policies[path] = getattr(layer, "dtype_policy", None)

    rebuild(other, note)

    def replace(layer: keras.Operation, path: str) -> Any:
        if not isinstance(layer, keras.layers.Layer) or functional_of(layer) is not None:
            return None
        return copy_of(layer, dtype=policies[path]), layer.get_weights()

    return rebuild(model, replace)


def measured_costs(model: keras.Model, unpruned: keras.Model) -> dict[str, float | int | None]:
    """Returns what a row says of the costs of a pruned model, before and after.

    Args:
        model: The pruned model, in float32.
        unpruned: What it was made of, in float32.

    Returns:
        A dictionary: multiply-accumulates of one example, number of weights before, and the median
        time of one example in LiteRT in milliseconds, one thread, measured in turn; None for times
        where Keras's backend is not TensorFlow.
    """
    before = after = None
    if keras.backend.backend() == "tensorflow":
        with MeasuredLatency(unpruned) as measure:
            before, after = measure(model)
    return {
        "macs": count_macs(model),
        "unpruned_macs": count_macs(unpruned),
        "unpruned_parameters": unpruned.count_params(),
        "latency_ms": after,
        "unpruned_latency_ms": before,
    }
