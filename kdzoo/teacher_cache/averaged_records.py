"""The recorded outputs of several teachers, averaged as they are read."""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from kdzoo.data.teacher_outputs_base import Spec, TeacherOutputs
from kdzoo.teacher_cache.record import Record
from kdzoo.teacher_cache.teacher_predictor import check_paths

Average: TypeAlias = Literal["logits", "probabilities"]
AVERAGES = ("logits", "probabilities")


class AveragedRecords(TeacherOutputs):
    """The records of several teachers as that of their ensemble.

    Args:
        records: The records, at least one, of the same views of the same samples.
        average: `"logits"` for the mean of the logits, or `"probabilities"` for the logarithm of
            the mean of the softmaxes.

    Raises:
        ValueError: If the records differ in views, augmentation or classes, have outputs of layers,
            or have one column, of which there is no softmax.
    """

    def __init__(self, records: Sequence[Record], average: Average):
        first = records[0]
        for record in records:
            if record.layers:
                raise ValueError(
                    "Expected records of logits alone, as layers of several teachers have no mean. "
                    f"Received: {record.directory}, with {', '.join(record.layers)}"
                )
            if record.described != first.described:
                raise ValueError(
                    "Expected records of the same views, augmentation, seed and classes. Received: "
                    f"{first.directory} and {record.directory}, which differ"
                )
        if average == "probabilities" and first.classes == 1:
            raise ValueError(
                "Expected records of classes, whose probabilities can be averaged. Received: "
                f"{first.directory}, of one column; take average='logits'"
            )
        self._records, self._average = tuple(records), average
        self.views, self.classes = first.views, first.classes

    def __len__(self) -> int:
        return len(self._records[0])

    def images(self, images: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
        return self._records[0].images(images, indices, epoch)

    def at(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        logits = np.stack(
            [np.asarray(record.at(indices, epoch), "float32") for record in self._records]
        )
        if self._average == "logits":
            return logits.mean(0)
        return _log_sum_exp(logits - _log_sum_exp(logits, -1), 0)[0] - np.log(
            np.float32(len(logits))
        )

    def spec(self) -> Spec:
        return (self.classes,), np.dtype("float32")

    def of_layers(self, layers: str | Iterable[str] | None) -> "AveragedRecords":
        """Returns the records, which have no layers.

        Args:
            layers: Paths of the layers that are wanted: none.

        Raises:
            ValueError: If there is one.
        """
        if layers is not None and check_paths(layers):
            raise ValueError(
                f"Expected no layers of several teachers. Received: layers={check_paths(layers)}"
            )
        return self


def _log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of the sum of exponentials along an axis, which is kept."""
    largest = values.max(axis, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis, keepdims=True))
