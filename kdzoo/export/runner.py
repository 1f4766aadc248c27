"""LiteRT files that predict like Keras models: arrays in, float arrays out."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.export.tensors import (
    TensorInfo,
    arrays_of,
    check_tensor,
    checked_arrays,
    info_of,
)
from kdzoo.utils import check_path, check_positive_integer, check_text
from kdzoo.utils.litert.network_costs import NetworkCosts, network_costs
from kdzoo.utils.litert.safe_interpreter import OpenedFile, open_litert, read_tables
from kdzoo.utils.types import PathLike


class FileNetwork:
    """A network in an opened LiteRT file: that of a signature, or the first one.

    Args:
        file: The opened file.
        signature: The signature; None for the file's own choice, or the first network.

    Attributes:
        signature: The signature that runs; None for the first network.
        subgraph: The number of its graph; None where LiteRT cannot read it.
        inputs: Tuple of `TensorInfo`, in the order of the file.
        outputs: Tuple of `TensorInfo`, sorted by name.

    Raises:
        ValueError: If there is no such signature, or it takes or gives no numbers.
    """

    def __init__(self, file: OpenedFile, signature: str | None = None):
        self.signature = signature = file.signature(signature)
        self._interpreter = file.interpreter
        self._runner = None
        if signature is not None:
            self._runner = file.interpreter.get_signature_runner(signature)
        inputs, outputs = self._details(file)
        self.subgraph = 0 if signature is None else file.subgraphs.get(signature)
        ranges = file.ranges[self.subgraph] if file.ranges and self.subgraph is not None else {}
        self.inputs = tuple(info_of(detail, name, ranges) for name, detail in inputs)
        self.outputs = tuple(info_of(detail, name, ranges) for name, detail in outputs)
        self._input_indices = [detail["index"] for _, detail in inputs]
        self._output_indices = [detail["index"] for _, detail in outputs]
        for info in (*self.inputs, *self.outputs):
            check_tensor(file.path, info)
        if not self.inputs or not self.outputs:
            raise ValueError(
                f"Expected a LiteRT file with inputs and outputs. Received: path={str(file.path)!r}"
            )

    def _details(self, file):
        """What the interpreter says of inputs and outputs, with their names."""
        if self._runner is not None:
            inputs = self._runner.get_input_details().items()
            outputs = self._runner.get_output_details()
            return sorted(inputs, key=lambda item: item[1]["index"]), sorted(outputs.items())
        inputs = file.interpreter.get_input_details()
        names = {detail["index"]: detail["name"] for detail in inputs}
        outputs = {detail["name"]: detail for detail in file.interpreter.get_output_details()}
        if len(file.signatures) == 1:
            runner = file.interpreter.get_signature_runner()
            for name, detail in runner.get_input_details().items():
                names[detail["index"]] = name
            outputs = runner.get_output_details()  # Two names may stand for one tensor.
        return [(names[detail["index"]], detail) for detail in inputs], sorted(outputs.items())

    @property
    def batch_size(self) -> int:
        """Samples in one run."""
        return self.inputs[0].shape[0] if self.inputs[0].shape else 1

    def batches(self, arrays: Sequence[np.ndarray]) -> Iterator[tuple[list[np.ndarray], int]]:
        """Yields batches of samples, a short one filled up, and how many samples are in them.

        Args:
            arrays: For each input an array `(samples, ...)`.
        """
        for start in range(0, len(arrays[0]), self.batch_size):
            batch = [array[start : start + self.batch_size] for array in arrays]
            size = len(batch[0])
            missing = self.batch_size - size
            if missing:
                batch = [np.concatenate([part, np.repeat(part[-1:], missing, 0)]) for part in batch]
            yield batch, size

    def run(self, given: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs one batch.

        Args:
            given: For each input what the file takes, such as integers.

        Returns:
            For each output what the file gives.
        """
        if self._runner is not None:
            names = [info.name for info in self.inputs]
            found = self._runner(**dict(zip(names, given, strict=True)))
            return [found[info.name] for info in self.outputs]
        for index, array in zip(self._input_indices, given, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._output_indices]


class LiteRTModel:
    """A LiteRT file with a `predict` method; it runs in the `ai_edge_litert` interpreter.

    A file that this process has not opened before runs once in a process of its own first, because
    a damaged file may end the process that runs it.

    Example:

    ```python
    model = kdzoo.export.LiteRTModel("student.tflite")
    logits = model.predict(images)  # float32 (samples, classes), whatever the file computes in

    model = kdzoo.export.LiteRTModel("slimmable.tflite")  # The network of the largest width.
    logits = model.with_signature("width_050").predict(images)
    ```

    Args:
        path: A `.tflite` file.
        threads: Threads of the interpreter, 1 or more; None leaves the choice to LiteRT.
        signature: The signature that runs, of a file of several; None for the file's first network,
            or the largest width of a file of widths.

    Attributes:
        path: The file, a `pathlib.Path`.
        threads: The number of threads; None where LiteRT chooses.
        signatures: Tuple of the names of the file's signatures.
        signature: The name of the one that runs; None for the file's first network.
        inputs: Tuple of `TensorInfo`, in the order of the file.
        outputs: Tuple of `TensorInfo`, sorted by name.
        labels: List of the class names in the file, or None.
        batch_size: Samples in one run of the file; `predict` takes any number of samples.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ValueError: If the file is not a LiteRT model, it has no such signature, or `threads` is not
            a positive integer.
    """

    path: pathlib.Path
    threads: int | None
    signatures: tuple[str, ...]
    signature: str | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: list[str] | None
    batch_size: int

    def __init__(
        self, path: PathLike, threads: int | None = None, *, signature: str | None = None
    ) -> None:
        self.threads = None if threads is None else check_positive_integer("threads", threads, 1024)
        path = check_path("path", path)
        self._take(path, open_litert(path, self.threads), signature)

    @classmethod
    def of_own_file(cls, path: PathLike) -> "LiteRTModel":
        """Returns the model of a file that this process has just written, without a trial run."""
        model = cls.__new__(cls)
        model.threads = None
        model._take(path, open_litert(path, is_trusted=True), None)
        return model

    def with_signature(self, signature: str) -> "LiteRTModel":
        """Returns a model that runs another signature of this file, in the same interpreter.

        The file is not opened again. Let one thread at a time run models of one interpreter.

        Args:
            signature: One of `signatures`.

        Raises:
            ValueError: If there is no such signature.
        """
        model = type(self).__new__(type(self))
        model.threads = self.threads
        model._take(self.path, self._file, check_text("signature", signature))
        return model

    def _take(self, path, file, signature):
        self.path, self._file, self.signatures = path, file, file.signatures
        self._network = FileNetwork(file, signature)
        self.signature = self._network.signature
        self.inputs, self.outputs = self._network.inputs, self._network.outputs
        self.batch_size = self._network.batch_size
        self.labels = file.labels
        sizes = [info.shape[-1] for info in self.outputs if info.shape]
        if self.labels is not None and len(self.labels) not in sizes and not file.is_ours:
            self.labels = None  # The labels of a foreign detector count along no axis of an output.
        if self.labels is not None and len(self.labels) not in sizes:
            raise ValueError(
                f"Expected {path} to have a label for each of {sizes} outputs. Received: "
                f"{len(self.labels)} labels; export it or fetch it again."
            )

    def predict(self, x: "ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike]") -> Any:
        """Returns the file's outputs for any number of samples.

        Args:
            x: Array `(samples, ...)` of the real values that the Keras model takes, also for a
                file whose inputs are integers; for several inputs a list in the order of `inputs`,
                or a dict by name.

        Returns:
            NumPy array `(samples, ...)`, e.g. logits `(samples, classes)`, in float32 if the file
            is quantized; a dict of arrays by name if the file has several outputs.

        Raises:
            ValueError: If shapes do not fit, there is no sample, or values are NaN or lie far
                outside what a quantized input can hold (raw pixels for a file that takes [0, 1]).

        Warns:
            UserWarning: If values lie so far outside of that, by its whole width, that what is cut
                off changes the results.
        """
        return self._predict(checked_arrays(self.inputs, x))

    def _predict(self, arrays):
        """Returns the outputs for arrays in the order of `inputs`, which are cut off unseen."""
        results = [self._run(batch) for batch, _ in self._network.batches(arrays)]
        count = len(arrays[0])
        joined = [np.concatenate(batches)[:count] for batches in zip(*results, strict=True)]
        if len(joined) == 1:
            return joined[0]
        return {info.name: array for info, array in zip(self.outputs, joined, strict=True)}

    def _run(self, batch):
        given = [info.quantize(part) for info, part in zip(self.inputs, batch, strict=True)]
        found = self._network.run(given)
        return [info.dequantize(part) for info, part in zip(self.outputs, found, strict=True)]


def costs_of(file: LiteRTModel) -> NetworkCosts | None:
    """Returns what the network of an opened file costs; None where LiteRT cannot read it.

    Its parameters are those of all signatures.

    Raises:
        ValueError: If its tables are damaged.
    """
    read = functools.partial(network_costs, subgraph=file._network.subgraph or 0)
    return read_tables(file.path, file._file.network, read)


def predict_unchecked(file: LiteRTModel, x: Mapping[str, np.ndarray]) -> Any:
    """Returns what `LiteRTModel.predict` does, without a look at the range of the values.

    Args:
        file: The file.
        x: Arrays `(samples, ...)` by the names of the inputs.
    """
    return file._predict(arrays_of(file.inputs, x))
