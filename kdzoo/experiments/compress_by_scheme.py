"""Steps of a compression that are schemes: what goes, goes in rounds, each of them trained."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any, cast

import keras

from kdzoo import schemes
from kdzoo.compression.filter_pruning.unpruned_layers import unpruned_layers
from kdzoo.compression.shared_weights import PLAIN, check_by_layer
from kdzoo.data import Split
from kdzoo.evaluation.labelled_batches import labelled_batches
from kdzoo.experiments.compression_settings import Compression
from kdzoo.experiments.zeros_and_values import DEEP_COMPRESSION, LOTTERY_TICKET, SCHEMES
from kdzoo.graph.layer_chains import layers_with_kernels, left_with_reasons, why_left
from kdzoo.utils.types import PathLike

Made = tuple[keras.Model, dict[str, list[Any]], dict[str, str]]
"""A model, the history of its trainings, and path of a layer that was left as it was -> why."""

_SAMPLES, _BATCH = 512, 128  # That criteria of filters look at.


def check_layers(model: keras.Model, compression: Compression) -> None:
    """Raises `ValueError` unless a model has the layers that a compression names.

    Args:
        model: The model.
        compression: What is to be done to it, which was checked.
    """
    by_layer = {"prune": compression.prune, "cluster": compression.cluster}
    for name, given in by_layer.items():
        if not isinstance(given, dict):
            continue
        known = layers_with_kernels(model)
        check_by_layer(name, given, known, lambda _, number: number)
        others = [path for path in known if path not in given and not why_left(known[path], PLAIN)]
        if name == "cluster" and compression.quantize == "qat" and others:
            raise ValueError(
                "Expected cluster for all layers beside quantize='qat', which keeps the values of "
                f"each kernel. Received: none for {', '.join(map(repr, others))}"
            )


def is_scheme(step: str, compression: Compression) -> bool:
    """Whether a step is one of several trainings, or one that keeps what it has chosen.

    Args:
        step: Its name.
        compression: What is done to the model.
    """
    # Measured again after a kill, a latency or activations may choose other filters.
    is_measured = compression.filters_target == "latency" or compression.filters_need_data
    keeps_choice = step == "filters" and is_measured
    return step in SCHEMES or compression.trainings[step] > 1 or keeps_choice


def run(
    step: str,
    model: keras.Model,
    compression: Compression,
    batches: Callable[[int], Any],
    directory: PathLike,
    *,
    split: Split,
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
        split: The training images, for criteria of filters that look at some.
        seed: Of what is drawn.
        **trainings: What all schemes take for their trainings, such as `epochs` and `loss`.
    """
    if step == "filters":
        if compression.filters_need_data:
            trainings["importance_data"] = _samples(split, seed)
        return _filters(model, compression, batches, directory, seed=seed, **trainings)
    if step == DEEP_COMPRESSION:
        return _deep_compression(model, compression, batches, directory, **trainings)
    return _ticket(model, compression, batches, directory, seed=seed, **trainings)


def _filters(model: keras.Model, compression: Compression, *where: Any, **trainings: Any) -> Made:
    trainings |= {**compression.target_of_filters, **compression.choice_of_filters}
    steps = compression.trainings["filters"]
    made, history = schemes.filter_pruning(model, *where, steps=steps, **trainings)
    return made, history, unpruned_layers(model, made)


def _samples(split: Split, seed: int) -> list[tuple[Any, Any]]:
    """Batches of some images and their labels, in a random order."""
    batches = labelled_batches(split.batches(_BATCH, shuffle=True, seed=seed))
    return list(itertools.islice(batches, _SAMPLES // _BATCH))


def _deep_compression(
    model: keras.Model, compression: Compression, *where: Any, **trainings: Any
) -> Made:
    zeros, values = compression.prune, compression.cluster
    by_layer = [given for given in (zeros, values) if isinstance(given, dict)]
    with warnings.catch_warnings():  # What is left is returned.
        warnings.filterwarnings("ignore", "Expected layers that can be compressed")
        made, history = schemes.deep_compression(
            model,
            *where,
            sparsity=zeros if isinstance(zeros, dict) else float(zeros or 0),
            bits={path: _bits(number) for path, number in values.items()}
            if isinstance(values, dict)
            else _bits(values or 0),
            rounds=compression.trainings[DEEP_COMPRESSION] - 1,
            **trainings,
        )
    known = layers_with_kernels(model)
    left = {path: why for path, layer in known.items() if (why := why_left(layer, PLAIN))}
    named = set().union(*by_layer) if len(by_layer) == 2 else known
    return made, history, left_with_reasons(known, left, named)


def _bits(values: int) -> int:
    """The bits of an index into so many values, a power of 2."""
    return int(values).bit_length() - 1


def _ticket(model: keras.Model, compression: Compression, *where: Any, **trainings: Any) -> Made:
    rounds = compression.trainings[LOTTERY_TICKET] - 1
    # In each round the same fraction of the weights that are left, counted from all of them.
    fraction = 1 - (1 - float(cast(float, compression.prune))) ** (1 / rounds)
    tickets, history = schemes.lottery_ticket(
        model, *where, rounds=rounds, fraction=fraction, controls=(), **trainings
    )
    return tickets.ticket, history, {}
