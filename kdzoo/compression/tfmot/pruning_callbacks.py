"""Callbacks for the training of pruned models: TF-MOT's, for Keras 3."""

import warnings
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.pruning_start import start_schedules, warn_of_the_schedule
from kdzoo.compression.tfmot.unwrapping import mask_weights, tf_keras_layers_of, wrapped_parts
from kdzoo.compression.tfmot.wrapped_layer import WrappedLayer
from kdzoo.graph.keras_internals import train_writer
from kdzoo.utils import check_path, check_positive_integer, naming_full_disk
from kdzoo.utils.types import PathLike

_FREQUENCIES = ("epoch", "batch")


class UpdatePruningStep(keras.callbacks.Callback):
    """Starts the pruning, and masks the weights when an epoch ends; TF-MOT's, for Keras 3.

    Give it to the `fit` of a pruned model, or of a `Distiller` with a pruned student. A training
    that goes on from saved weights goes on at the saved step of the schedule.

    Raises:
        ValueError: If the model that is trained is not pruned.

    Warns:
        UserWarning: If the schedule will never fire in this training, or not reach its final
            sparsity.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        for layer in wrapped_parts(self.model, (WrappedLayer,)):
            layer.start_pruning()  # Those that the first step will build, too.
        pruned = find_pruned(self.model, built=False)
        start_schedules(pruned)
        self._begun = {id(layer): int(layer.pruning_step.numpy()) for layer in pruned}
        self._epochs: int | None = None
        self._moved = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._epochs is None:
            self._epochs = self.params["epochs"] - epoch
            self._looked = bool(self.params.get("steps"))
            if self._looked:
                self._look(lambda step: self.params["steps"])

    def on_epoch_end(
        self, epoch: int | None = None, logs: dict[str, Any] | None = None, *, batch: Any = None
    ) -> None:
        """Masks the weights.

        Args:
            epoch: The epoch that ends; not used.
            logs: Its figures; not used.
            batch: TF-MOT's name of the first argument, as training loops written for it call this.
        """
        mask_weights(self.model)
        if self._epochs is not None and not self._moved:
            self._moved = True
            self._warn_if_none_moved()
        if self._epochs is not None and not self._looked:
            # Of data of unknown length the first epoch tells.
            self._looked = True
            self._look(lambda step: step)

    def _warn_if_none_moved(self):
        steps = {id(layer): int(layer.pruning_step.numpy()) for layer in find_pruned(self.model)}
        if all(step == self._begun.get(number, 0) for number, step in steps.items()):
            warnings.warn(
                "No step of the first epoch was one of training for the pruned layers, so nothing "
                "is pruned: they are frozen, or the `call` of the subclassed model around them "
                "takes no argument `training`, by which Keras tells them.",
                stacklevel=3,
            )

    def _look(self, steps_of_epoch):
        """Warns of the schedules, whose steps in this training until now give those of an epoch."""
        pruned = find_pruned(self.model, built=False)
        # Whatever they say, 2:4 masks are set in the first step.
        schedules = {
            id(layer.pruning_schedule): layer for layer in pruned if not layer.sparsity_m_by_n
        }
        for layer in schedules.values():
            begun = self._begun.get(id(layer), 0)
            steps = steps_of_epoch(int(layer.pruning_step.numpy()) - begun)
            last = begun + steps * self._epochs
            warn_of_the_schedule(layer.pruning_schedule, begun + 1, last)


class PruningSummaries(keras.callbacks.TensorBoard):
    """Writes sparsity and threshold of every pruned layer for TensorBoard, once an epoch.

    Args:
        log_dir: Directory of the logs.
        update_freq: How often losses are written: `"epoch"`, `"batch"` or a number of steps.
        **kwargs: Other arguments of `keras.callbacks.TensorBoard`.

    Raises:
        ValueError: If an argument is of the wrong type, or the model that is trained is not pruned.
        OSError: If the disk is full; the error names the directory.
    """

    def __init__(self, log_dir: PathLike, update_freq: str | int = "epoch", **kwargs: Any):
        if not isinstance(update_freq, str) or update_freq not in _FREQUENCIES:
            check_positive_integer("update_freq", update_freq)
        super().__init__(check_path("log_dir", log_dir), update_freq=update_freq, **kwargs)

    def set_model(self, model: keras.Model) -> None:
        with self._naming_full_disk():
            super().set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_train_begin(logs)
        self._pruned = find_pruned(self.model)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_epoch_end(epoch, logs)
            self._write_summaries()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_test_end(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        with self._naming_full_disk():
            super().on_train_end(logs)

    def _write_summaries(self):
        step = int(self.model.optimizer.iterations)
        with train_writer(self).as_default():
            for layer in self._pruned:
                for weight, mask, threshold in layer.pruning_vars:
                    name = weight.name.removesuffix(":0")
                    self.summary.scalar(f"{name}/sparsity", 1 - np.mean(mask.numpy()), step=step)
                    self.summary.scalar(f"{name}/threshold", threshold.numpy(), step=step)

    def _naming_full_disk(self):
        """The context in which TensorFlow's error of a full disk becomes a sentence."""
        return naming_full_disk(self.log_dir)


def find_pruned(model: keras.Model, built: bool = True) -> list[Any]:
    """Returns TF-MOT's wrappers around the pruned layers of a model, or of a Distiller's student.

    Args:
        model: The model.
        built: Whether all of them must be built; else those that are not are left out.

    Raises:
        ValueError: If there is none, or one that must be built is not.
    """
    layers = tf_keras_layers_of(model, built)
    found = [layer for layer in layers if getattr(layer, "pruning_vars", None)]
    parts = wrapped_parts(model, (WrappedLayer,))
    if not found and (built or not any(layer.prunes for layer in parts)):
        raise ValueError(
            "Expected a model that `prune_low_magnitude` returned, or with layers from it, or a "
            f"Distiller with such a student. Received: {model.name!r} of type "
            f"{type(model).__name__}"
        )
    return found
