"""Steps of a compression that are schemes: what goes, goes in rounds, each of them trained."""

from collections.abc import Callable
from typing import Any

import keras

from kdzoo import schemes
from kdzoo.compression.filter_pruning.unpruned_layers import unpruned_layers
from kdzoo.compression.shared_weights import PLAIN
from kdzoo.experiments.compression_settings import (
    DEEP_COMPRESSION,
    LOTTERY_TICKET,
    SCHEMES,
    Compression,
)
from kdzoo.graph.layer_chains import layers_with_kernels, why_left
from kdzoo.utils.types import PathLike

Made = tuple[keras.Model, dict[str, list[Any]], dict[str, str]]
"""A model, the history of its trainings, and path of a layer that was left as it was -> why."""


def is_scheme(step: str, compression: Compression) -> bool:
    """Whether a step is one of several trainings, or one that keeps what it has chosen.

    Args:
        step: Its name.
        compression: What is done to the model.
    """
    # Measured again after a kill, a latency would choose other filters.
    is_measured = step == "filters" and compression.filters_target == "latency"
    return step in SCHEMES or compression.trainings[step] > 1 or is_measured


def run(
    step: str,
    model: keras.Model,
    compression: Compression,
    batches: Callable[[int], Any],
    directory: PathLike,
    *,
    seed: int,
    **trainings: Any,
) -> Made:
    """Makes a step.

    Args:
        step: Its name: `"filters"` or that of a scheme.
        model: The model, which gives logits; it is not changed.
        compression: What is done to it.
        batches: Function from an epoch to what `fit` takes from there on.
        directory: Where the checkpoints go.
        seed: Of what is drawn.
        **trainings: What all schemes take for their trainings, such as `epochs` and `loss`.
    """
    if step == "filters":
        return _filters(model, compression, batches, directory, seed=seed, **trainings)
    if step == DEEP_COMPRESSION:
        return _deep_compression(model, compression, batches, directory, **trainings)
    return _ticket(model, compression, batches, directory, seed=seed, **trainings)


def _filters(model: keras.Model, compression: Compression, *where: Any, **trainings: Any) -> Made:
    trainings |= {"steps": compression.trainings["filters"], **compression.target_of_filters}
    made, history = schemes.filter_pruning(model, *where, **trainings)
    return made, history, unpruned_layers(model, made)


def _deep_compression(
    model: keras.Model, compression: Compression, *where: Any, **trainings: Any
) -> Made:
    made, history = schemes.deep_compression(
        model,
        *where,
        sparsity=_zeros(compression),
        bits=int(compression.cluster or 0).bit_length() - 1,
        rounds=compression.trainings[DEEP_COMPRESSION] - 1,
        **trainings,
    )
    layers = layers_with_kernels(model)
    left = {path: why for path, layer in layers.items() if (why := why_left(layer, PLAIN))}
    return made, history, left


def _ticket(model: keras.Model, compression: Compression, *where: Any, **trainings: Any) -> Made:
    rounds = compression.trainings[LOTTERY_TICKET] - 1
    # In each round the same fraction of the weights that are left, counted from all of them.
    fraction = 1 - (1 - _zeros(compression)) ** (1 / rounds)
    tickets, history = schemes.lottery_ticket(
        model, *where, rounds=rounds, fraction=fraction, controls=(), **trainings
    )
    return tickets.ticket, history, {}


def _zeros(compression: Compression) -> float:
    return float(compression.prune or 0)
