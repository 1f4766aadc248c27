"""What a LiteRT file is to hold: one network, the parts between exits, or several networks."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kdzoo.export.convert import (
    FileIo,
    Quantize,
    batches_of,
    convert,
    convert_signatures,
    serving,
)
from kdzoo.export.dynamic_runner import DynamicRunner, logits_unchecked
from kdzoo.export.exits import convert_exits, exits_metadata, whole_network
from kdzoo.export.runner import LiteRTModel, predict_unchecked
from kdzoo.export.signature import InputSpec, named_outputs
from kdzoo.export.tensors import TensorInfo
from kdzoo.graph.calls import graph_of
from kdzoo.graph.exportable import Exits, exportable


@dataclasses.dataclass(frozen=True)
class Opened:
    """A file that was just written, as one network whose outputs are those of all signatures.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs.
        predict: Function of arrays `(samples, ...)` by the names of the inputs to the outputs, with
            no look at the range of the values: an array, or a dict of arrays by name.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    predict: Callable[[Mapping[str, np.ndarray]], Any]


class OneNetwork:
    """A file of one network.

    Args:
        model: The network.

    Attributes:
        model: A Keras model with the inputs of the file, and all its outputs.
        metadata: What `metadata.json` says of the form, JSON values.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.metadata: dict[str, Any] = {}

    def convert(
        self,
        specs: list[InputSpec],
        quantize: Quantize | None,
        calibration: list[np.ndarray] | None,
        sparse: bool,
        io: FileIo,
    ) -> bytes:
        """Returns the bytes of the network.

        Args:
            specs: The `InputSpec` of each input, batch included.
            quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
            calibration: For `"int8"`, one array `(samples, ...)` for each input.
            sparse: Whether kernels that are mostly zeros are stored without the zeros.
            io: The type of inputs and outputs of numbers.

        Raises:
            ValueError: If the converter refuses the model.
        """
        return convert(self.model, specs, quantize, calibration, sparse, io)

    def open(self, path: pathlib.Path) -> Opened:
        """Opens the file that holds these bytes.

        Args:
            path: Its path.
        """
        file = LiteRTModel.of_own_file(path)
        return Opened(file.inputs, file.outputs, functools.partial(predict_unchecked, file))


class SeveralExits(OneNetwork):
    """A file with a signature for each part of a network of several exits.

    Args:
        exits: The network in parts.
    """

    def __init__(self, exits: Exits):
        super().__init__(whole_network(exits))
        self._exits = exits
        self.metadata = {"exits": exits_metadata(exits)}

    def convert(self, specs, quantize, calibration, sparse, io):
        return convert_exits(self._exits, specs, quantize, calibration, io)

    def open(self, path):
        file = DynamicRunner.of_own_file(path)
        names = [info.name for info in file.outputs]

        def predict(x):
            return dict(zip(names, logits_unchecked(file, x), strict=True))

        return Opened(file.inputs, file.outputs, predict)


class SeveralNetworks(OneNetwork):
    """A file with a signature for each of several networks of the same inputs.

    Its outputs are called by their signatures, and `SIGNATURE/NAME` where a network has several.

    Args:
        models: Name of a signature -> its network.
    """

    def __init__(self, models: dict[str, keras.Model]):
        self._models = models
        inputs = graph_of(next(iter(models.values()))).input
        outputs = {
            _joined(signature, name, len(found)): tensor
            for signature, model in models.items()
            for found in [named_outputs(model, model(inputs))]
            for name, tensor in found.items()
        }
        super().__init__(keras.Model(inputs, outputs))
        self.metadata = {"signatures": list(models)}

    def convert(self, specs, quantize, calibration, sparse, io):
        functions = {name: serving(model, specs) for name, model in self._models.items()}
        variables = [variable for model in self._models.values() for variable in model.variables]
        samples = None
        if quantize == "int8" and calibration is not None:
            samples = functools.partial(self._samples, specs, calibration)
        return convert_signatures(self.model, functions, variables, quantize, samples, sparse, io)

    def _samples(self, specs, calibration):
        for batch in batches_of(specs, calibration):
            for name in self._models:
                yield name, batch

    def open(self, path):
        first = LiteRTModel.of_own_file(path)
        files = {name: first.with_signature(name) for name in self._models}
        outputs = [
            dataclasses.replace(info, name=_joined(signature, info.name, len(file.outputs)))
            for signature, file in files.items()
            for info in file.outputs
        ]

        def predict(x):
            found = {}
            for signature, file in files.items():
                values = predict_unchecked(file, x)
                values = values if isinstance(values, dict) else {"": values}
                for name, array in values.items():
                    found[_joined(signature, name, len(values))] = array
            return found

        outputs.sort(key=lambda info: info.name)
        return Opened(first.inputs, tuple(outputs), predict)


def _joined(signature, name, count):
    """The name of an output of a signature, of which it has so many."""
    return signature if count == 1 else f"{signature}/{name}"


def form_of(model: keras.Model, sparse: bool) -> OneNetwork:
    """Returns what a file of a model is to hold.

    Args:
        model: What is exported.
        sparse: Whether kernels that are mostly zeros are to be stored without the zeros.

    Raises:
        ValueError: If a file of this form cannot be sparse.
    """
    if exits := exportable(model).exits():
        if sparse:
            raise ValueError("Expected sparse=False for a network of several exits. Received: True")
        return SeveralExits(exits)
    if models := exportable(model).alternatives():
        return SeveralNetworks(models)
    return OneNetwork(model)
