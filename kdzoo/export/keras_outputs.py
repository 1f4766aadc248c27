"""What Keras computes from the samples that a file is compared on, and what it means."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kdzoo.export.signature import as_structure, named_outputs
from kdzoo.graph.exportable import shape_model
from kdzoo.graph.keras_internals import functional_of, nodes_of
from kdzoo.graph.outputs import OutputType, told_output_types
from kdzoo.graph.predictions import (
    may_be_probabilities,
    told_from_logits,
    what_is_not_finite,
)

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class KerasOutput:
    """One output of a Keras model for all samples.

    Attributes:
        values: Array `(samples, ...)`, float32 or of integers; -inf where a class is masked.
        output_type: What it means; None where at most the number of its columns tells.
        are_probabilities: Whether a sigmoid or softmax made the values, or may have: not where the
            model was compiled with a loss on logits.
    """

    values: np.ndarray
    output_type: OutputType | None
    are_probabilities: bool


def keras_outputs(
    model: keras.Model, samples: list[np.ndarray], output_type: Any = None
) -> dict[str, KerasOutput]:
    """Returns what Keras computes on the CPU, where float32 is not multiplied with fewer bits.

    Args:
        model: The Keras model.
        samples: One array `(samples, ...)` for each input.
        output_type: What the caller says of the outputs, as `output_types` takes it.

    Returns:
        Name of an output -> `KerasOutput`.

    Raises:
        ValueError: If an output is NaN or infinite, apart from classes that are masked with -inf,
            or `output_type` does not fit.
    """
    count, batches, outputs = len(samples[0]), [], None
    size = _batch_size(model, count)
    with keras.device("cpu:0"):
        for start in range(0, count, size):
            parts = [_padded(array[start : start + size], size) for array in samples]
            batch = [keras.ops.convert_to_tensor(part) for part in parts]
            outputs = model(as_structure(model, batch), training=False)
            named = named_outputs(model, outputs).items()
            batches.append({name: _numbers(value) for name, value in named})
    joined = {
        name: np.concatenate([batch[name] for batch in batches])[:count] for name in batches[0]
    }
    types = told_output_types(model, output_type, outputs=outputs)
    types = [
        known or ("numbers" if is_used else None)
        for known, is_used in zip(types, _used_within(model, len(types)), strict=True)
    ]
    for (name, array), known in zip(joined.items(), types, strict=True):
        wrong = what_is_not_finite(array, masks_classes=known != "numbers")
        if wrong is not None:
            raise ValueError(
                f"Expected a model with finite outputs. Received: model={model.name!r}, whose "
                f"output {name!r} is {wrong} on the samples: {_remedy(model)}."
            )
    are_logits = told_from_logits(model, outputs)
    return {
        name: KerasOutput(
            array,
            known,
            bool(may_be_probabilities(array, "binary")) if is_logit is None else not is_logit,
        )
        for (name, array), known, is_logit in zip(joined.items(), types, are_logits, strict=True)
    }


def _batch_size(model, count):
    """How many samples Keras takes at once: what its inputs say, if they are of one batch size."""
    sizes = {tensor.shape[0] for tensor in getattr(model, "inputs", None) or ()} - {None}
    return min(sizes, default=min(_BATCH, count))


def _padded(array, size):
    """A batch, filled up with its last sample."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _numbers(value):
    """An output as an array: integers as they are, else in float32."""
    array = keras.ops.convert_to_numpy(value)
    return array if array.dtype.kind in "iub" else array.astype("float32")


def _used_within(model, count):
    """For each output whether layers of the model go on from it: features, or what makes others."""
    graph = shape_model(model)
    graph = functional_of(graph) if graph is not None else None
    if graph is None or len(graph.outputs) != count:
        return [False] * count
    used = {id(tensor) for node in nodes_of(graph) for tensor in node.inputs}
    return [id(tensor) in used for tensor in graph.outputs]


def _remedy(model):
    """Returns what to do about outputs that are not finite: the weights are wrong, or the data."""
    weights = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
    if all(np.all(np.isfinite(weight)) for weight in weights):
        return (
            "its weights are finite, so pass representative_data on which its outputs are defined "
            "(they may not be on a sample that is masked throughout)"
        )
    return "look for NaN or infinite values in its weights"
