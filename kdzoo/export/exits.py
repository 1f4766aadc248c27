"""Networks of several exits in one LiteRT file, a signature for each part of the network."""

import functools
import math
from typing import Any

import keras
import numpy as np

from kdzoo.export.convert import FileIo, Quantize, configure, converting
from kdzoo.export.signature import InputSpec
from kdzoo.graph.exportable import Exits
from kdzoo.utils.heavy_libraries import tensorflow

LOGITS = "logits"


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
    tf = tensorflow()
    batch, module = specs[0].shape[0], tf.Module()
    for tensor in (tensor for part in exits.parts[1:] for tensor in part.inputs):
        if None in tensor.shape[1:]:
            raise ValueError(
                "Expected a network of several exits that was built for one size of its inputs. "
                f"Received: features of shape {tuple(tensor.shape)} between two exits."
            )
    with converting(exits.parts[-1]) as saved:
        functions = {
            signature_name(number): _function(part, specs if number == 1 else None, batch)
            for number, part in enumerate(exits.parts, 1)
        }
        module.functions = functions
        module.weights = [variable.value for part in exits.parts for variable in part.variables]
        tf.saved_model.save(module, saved, signatures=functions)
        names = list(functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=names)
        samples = None
        if quantize == "int8" and calibration is not None:
            samples = functools.partial(_calibration, exits, specs, calibration, batch)
        configure(converter, quantize, samples, False, io)
        return converter.convert()


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


def _calibration(exits, specs, arrays, batch):
    """Yields the name of a signature and a batch of its inputs by their names."""
    for start in range(0, len(arrays[0]) - batch + 1, batch):
        given = [array[start : start + batch] for array in arrays]
        names = [spec.name for spec in specs]
        for number, part in enumerate(exits.parts, 1):
            yield signature_name(number), dict(zip(names, given, strict=True))
            tensors = [keras.ops.convert_to_tensor(array) for array in given]
            outputs = keras.tree.flatten(part(_as_inputs(part, tensors), training=False))
            given = [keras.ops.convert_to_numpy(output) for output in outputs[1:]]
            names = [f"features_{place}" for place in range(len(given))]


def exits_metadata(exits: Exits) -> dict[str, Any]:
    """Returns what `metadata.json` says of a file's exits, JSON values.

    Args:
        exits: The network in parts.
    """
    thresholds = None
    if exits.thresholds is not None:
        thresholds = [None if math.isinf(value) else value for value in exits.thresholds]
    return {"confidence": exits.confidence, "thresholds": thresholds, "costs": exits.costs}
