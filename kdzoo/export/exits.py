"""Networks of several exits in one LiteRT file, a signature for each part of the network."""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
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

    The first signature, `exit1`, takes the network's inputs and gives `logits` and what later ones
    take, `features_0`, `features_1`, ...; and so on, each tensor by a name of its own. A signature
    that needs an input of the network takes it by its name. Weights are there once.

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
    for tensor in (tensor for part in exits.parts[1:] for tensor in part.inputs):
        if None in tensor.shape[1:]:
            raise ValueError(
                "Expected a network of several exits that was built for one size of its inputs. "
                f"Received: features of shape {tuple(tensor.shape)} between two exits."
            )
    signatures = _signatures(exits, specs)
    functions = {signature.name: signature.function for signature in signatures}
    variables = [variable for part in exits.parts for variable in part.variables]
    samples = None
    if quantize == "int8" and calibration is not None:
        samples = functools.partial(_calibration, signatures, specs, calibration)
    return convert_signatures(exits.parts[-1], functions, variables, quantize, samples, False, io)


def _signatures(exits, specs):
    """The signatures of all parts, `_Signature`s, from the first to the last."""
    given = [spec.name for spec in specs]
    known = {spec.name: (spec.shape, spec.dtype) for spec in specs}
    inputs = {spec.name for spec in specs}
    numbered = (f"features_{place}" for place in itertools.count())
    free = (name for name in numbered if name not in inputs)
    found = []
    for number, part in enumerate(exits.parts, 1):
        found.append(_Signature(signature_name(number), part, given, known, free))
        given, known = found[-1].carries, {**known, **found[-1].made}
    return found


class _Signature:
    """A part of a network as a function of TensorFlow of fixed shapes and readable names.

    What the part hands on untouched it neither gives, as LiteRT lacks inputs that are outputs, nor
    takes, unless it computes with it.

    Args:
        name: The name of the signature.
        part: The part.
        given: The names of what the part takes, in its order.
        known: Name -> shape, batch included, and dtype of what was there before.
        free: Names for what the part makes.

    Attributes:
        name: The name of the signature.
        part: The part.
        given: The names of what the part takes.
        carries: The names of what the next part takes, in its order.
        made: Name -> shape, batch included, and dtype of what the part makes for later ones.
        takes: The names of what `function` takes.
        function: The `tf.function` from these to a dict of tensors.
    """

    def __init__(
        self,
        name: str,
        part: keras.Model,
        given: list[str],
        known: Mapping[str, tuple[Any, Any]],
        free: Iterator[str],
    ):
        self.name, self.part, self.given, self._known = name, part, given, known
        self.carries: list[str] = []
        self.made: dict[str, tuple[Any, Any]] = {}
        self._free = free
        self.takes = list(given)
        traced = self._traced()
        # Placeholders of what is handed on alone are used by no operation.
        used = [bool(tensor.consumers()) for tensor in traced.graph.inputs[: len(given)]]
        self.takes = [
            name
            for name, is_used in zip(given, used, strict=True)
            if is_used or name not in self.carries
        ]
        if self.takes != given:
            self._traced()

    def _traced(self):
        tf = tensorflow()
        signature = [tf.TensorSpec(*self._known[name], name=name) for name in self.takes]
        self.function = tf.function(self._serve, input_signature=signature, autograph=False)
        return self.function.get_concrete_function()

    def _serve(self, *tensors):
        tf = tensorflow()
        known = dict(zip(self.takes, tensors, strict=True))
        given = [
            known[name] if name in known else tf.zeros(*self._known[name]) for name in self.given
        ]
        outputs = self.part(_as_inputs(self.part, given), training=False)
        logits, *carried = keras.tree.flatten(outputs)
        if not self.carries:
            names = {id(tensor): name for name, tensor in zip(self.given, given, strict=True)}
            self.carries = [names.get(id(tensor)) or next(self._free) for tensor in carried]
        made = {
            name: tf.identity(tensor)  # It may be the logits, too.
            for name, tensor in zip(self.carries, carried, strict=True)
            if name not in self.given
        }
        self.made = {name: (tensor.shape, tensor.dtype) for name, tensor in made.items()}
        return {LOGITS: logits, **made}


def _as_inputs(part: keras.Model, flat: Any) -> Any:
    """A flat list of tensors in the structure that a part is called with."""
    return keras.tree.pack_sequence_as(part.input, list(flat))


def _calibration(signatures, specs, arrays):
    """Yields the name of a signature and a batch of its inputs by their names."""
    batch = specs[0].shape[0]
    # Keras computes the features of many batches at once, where it takes them.
    is_fixed = signatures[0].part.inputs[0].shape[0] is not None
    chunk = batch * (1 if is_fixed else _CHUNK)
    for start in range(0, len(arrays[0]) - batch + 1, chunk):
        known = {
            spec.name: array[start : start + chunk]
            for spec, array in zip(specs, arrays, strict=True)
        }
        count = len(known[specs[0].name])
        for signature in signatures:
            for at in range(0, count - batch + 1, batch):
                yield (
                    signature.name,
                    {name: known[name][at : at + batch] for name in signature.takes},
                )
            part = signature.part
            tensors = [keras.ops.convert_to_tensor(known[name]) for name in signature.given]
            _, *carried = keras.tree.flatten(part(_as_inputs(part, tensors), training=False))
            for name, tensor in zip(signature.carries, carried, strict=True):
                known[name] = keras.ops.convert_to_numpy(tensor)


def exits_metadata(exits: Exits) -> dict[str, Any]:
    """Returns what `metadata.json` says of a file's exits, JSON values.

    Args:
        exits: The network in parts.
    """
    thresholds = None
    if exits.thresholds is not None:
        thresholds = [None if math.isinf(value) else value for value in exits.thresholds]
    return {"confidence": exits.confidence, "thresholds": thresholds, "costs": exits.costs}
