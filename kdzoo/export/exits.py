"""Networks of several exits in one LiteRT file, a signature for each part of the network."""

import functools
import math
from typing import Any

import keras
import numpy as np

from kdzoo.export.convert import FileIo, Quantize, convert_signatures
from kdzoo.export.signature import InputSpec
from kdzoo.graph.exportable import Exits
from kdzoo.utils.heavy_libraries import tensorflow

LOGITS = "logits"
_CHUNK = 32  # Batches that Keras computes together.


def signature_name(number: int) -> str:
    """Returns the name of the signature that leads to an exit; 1 is the first."""
    return f"exit{number}"


def whole_network(exits: Exits) -> keras.Model:
    """Returns a model of the parts' own layers that gives the logits of all exits by name.

    Args:
        exits: The network in parts.
    """
    start = exits.parts[0].input
    carried, outputs = start, {}
    for number, part in enumerate(exits.parts, 1):
        if isinstance(carried, list) and len(carried) == 1:
            (carried,) = carried
        logits, *carried = keras.tree.flatten(part(carried))
        outputs[signature_name(number)] = logits
    return keras.Model(start, outputs)


def convert_exits(
    exits: Exits,
    specs: list[InputSpec],
    quantize: Quantize | None,
    calibration: list[np.ndarray] | None,
    io: FileIo,
) -> bytes:
    """Converts a network of several exits to a LiteRT flatbuffer with a signature for each part.

    The first signature, `exit1`, takes the network's inputs and gives `logits` and what the second
    takes, `features_0`, `features_1`, ...; and so on. Weights are there once.

    Args:
        exits: The network in parts.
        specs: The `InputSpec` of each input of the network, batch included.
        quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
        calibration: For `"int8"`, one array `(samples, ...)` for each input of the network.
        io: The type of inputs and outputs of numbers, features too.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If sizes of features are open, or the converter refuses the network.
    """
    batch = specs[0].shape[0]
    for tensor in (tensor for part in exits.parts[1:] for tensor in part.inputs):
        if None in tensor.shape[1:]:
            raise ValueError(
                "Expected a network of several exits that was built for one size of its inputs. "
                f"Received: features of shape {tuple(tensor.shape)} between two exits."
            )
    functions = {
        signature_name(number): _function(part, specs if number == 1 else None, batch)
        for number, part in enumerate(exits.parts, 1)
    }
    variables = [variable for part in exits.parts for variable in part.variables]
    samples = None
    if quantize == "int8" and calibration is not None:
        samples = functools.partial(_calibration, exits, specs, calibration)
    return convert_signatures(exits.parts[-1], functions, variables, quantize, samples, False, io)


def _function(part, specs, batch):
    """A part as a function of TensorFlow of fixed shapes and readable names."""
    tf = tensorflow()
    if specs is None:
        signature = [
            tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=f"features_{place}")
            for place, tensor in enumerate(part.inputs)
        ]
    else:
        signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in specs]

    def serve(*tensors):
        logits, *carried = keras.tree.flatten(part(_as_inputs(part, tensors), training=False))
        features = {f"features_{place}": tensor for place, tensor in enumerate(carried)}
        # What is handed on untouched would be an input that is an output, which LiteRT lacks.
        return {LOGITS: logits, **{name: tf.identity(value) for name, value in features.items()}}

    return tf.function(serve, input_signature=signature, autograph=False)


def _as_inputs(part: keras.Model, flat: Any) -> Any:
    """A flat list of tensors in the structure that a part is called with."""
    return keras.tree.pack_sequence_as(part.input, list(flat))


def _calibration(exits, specs, arrays):
    """Yields the name of a signature and a batch of its inputs by their names."""
    batch = specs[0].shape[0]
    names = [spec.name for spec in specs]
    # Keras computes the features of many batches at once, where it takes them.
    chunk = batch * (1 if exits.parts[0].inputs[0].shape[0] else _CHUNK)
    for start in range(0, len(arrays[0]) - batch + 1, chunk):
        given = [array[start : start + chunk] for array in arrays]
        keys = names
        for number, part in enumerate(exits.parts, 1):
            for at in range(0, len(given[0]) - batch + 1, batch):
                one = [array[at : at + batch] for array in given]
                yield signature_name(number), dict(zip(keys, one, strict=True))
            tensors = [keras.ops.convert_to_tensor(array) for array in given]
            outputs = keras.tree.flatten(part(_as_inputs(part, tensors), training=False))
            given = [keras.ops.convert_to_numpy(output) for output in outputs[1:]]
            keys = [f"features_{place}" for place in range(len(given))]


def exits_metadata(exits: Exits) -> dict[str, Any]:
    """Returns what `metadata.json` says of a file's exits, JSON values.

    Args:
        exits: The network in parts.
    """
    thresholds = None
    if exits.thresholds is not None:
        thresholds = [None if math.isinf(value) else value for value in exits.thresholds]
    return {"confidence": exits.confidence, "thresholds": thresholds, "costs": exits.costs}
