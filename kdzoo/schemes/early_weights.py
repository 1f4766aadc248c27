"""Weights of a network early in its training, kept on disk, to which others go back."""

import functools
import pathlib
from typing import Any

import keras
import numpy as np

from kdzoo.graph.new_weights import with_new_weights
from kdzoo.training.callbacks import EpochCheckpoint


class EarlyWeights:
    """The weights of the dense network to which tickets go back, kept on disk.

    Args:
        directory: Where they go.
        settings: JSON-able value that identifies the run.
        model: A model of their shapes.
    """

    def __init__(self, directory: pathlib.Path, settings: Any, model: keras.Model):
        self._checkpoint = EpochCheckpoint(directory, settings)
        self._model = model

    def exist(self) -> bool:
        """Returns whether they were kept."""
        return self._checkpoint.exists()

    def keep(self, student: keras.Model, epochs: int, steps: int) -> None:
        """Keeps the weights of the dense network, unless they are there since before a kill.

        Args:
            student: The dense network.
            epochs: For how many epochs it has trained.
            steps: How many steps its optimizer has made.
        """
        if not self.exist():
            self._holder.set_weights(student.get_weights())
            self._checkpoint.set_model(self._holder)
            self._checkpoint.on_epoch_end(epochs - 1, {"steps": steps} if epochs else {})

    def read(self) -> tuple[list[np.ndarray], int]:
        """Returns the weights, and how many steps the optimizer had made.

        Raises:
            ValueError: If they are not there, or of a run with other settings.
        """
        if not self.exist():
            raise ValueError(
                f"Expected the early weights in {self._checkpoint.directory}. Received: nothing "
                "there; delete the directory of the run to begin anew."
            )
        self._checkpoint.restore(self._holder)
        return self._holder.get_weights(), int(self._checkpoint.history.get("steps", [0])[0])

    @functools.cached_property
    def _holder(self) -> keras.Model:
        """A model of such weights, compiled as a checkpoint asks for."""
        holder = with_new_weights(self._model, "")
        holder.compile("sgd")
        return holder
