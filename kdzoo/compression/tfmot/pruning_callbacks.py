"""Callbacks for the training of pruned models: TF-MOT's, for Keras 3."""

import warnings
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.unwrapping import mask_weights, tf_keras_layers_of
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
        self._pruned = find_pruned(self.model)
        for layer in self._pruned:
            if int(layer.pruning_step.numpy()) == -1:
                layer.pruning_step.assign(0)
        self._looked = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        steps = self.params.get("steps")
        if not self._looked and steps:
            schedules = {id(layer.pruning_schedule): layer for layer in self._pruned}
            for layer in schedules.values():
                first = int(layer.pruning_step.numpy()) + 1
                last = first - 1 + steps * (self.params["epochs"] - epoch)
                _warn_of_the_schedule(layer.pruning_schedule, first, last)
        self._looked = True

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


def find_pruned(model: keras.Model) -> list[Any]:
    """Returns TF-MOT's wrappers around the pruned layers of a model, or of a Distiller's student.

    Raises:
        ValueError: If there is none.
    """
    found = [layer for layer in tf_keras_layers_of(model) if getattr(layer, "pruning_vars", None)]
    if not found:
        raise ValueError(
            "Expected a model that `prune_low_magnitude` returned, or with layers from it, or a "
            f"Distiller with such a student. Received: {model.name!r} of type "
            f"{type(model).__name__}"
        )
    return found


def _warn_of_the_schedule(schedule, first, last):
    """Warns if a training never prunes, or does not reach the final sparsity.

    Args:
        schedule: The schedule.
        first: The first training step, counted as the schedule counts them.
        last: The last one.
    """
    try:
        begin, end, frequency = schedule.begin_step, schedule.end_step, schedule.frequency
    except AttributeError:
        return  # A schedule of the user's own.
    end = last if end < 0 else min(end, last)
    start = max(1, begin)  # It may have fired before, in a training that this one continues.
    earliest = begin + -(-(start - begin) // frequency) * frequency
    if earliest > end:
        warnings.warn(
            f"The pruning schedule fires in no step of this training, {first} to {last}: it begins "
            f"at step {begin} and fires every {frequency} steps; lower `frequency` or `begin_step` "
            "or train longer.",
            stacklevel=3,
        )
        return
    final = getattr(schedule, "final_sparsity", None)
    if final is None:
        return
    latest = begin + (end - begin) // frequency * frequency
    reached = float(schedule(latest)[1])
    if reached < final - 5e-3:
        remedy = (
            f"it ends at step {schedule.end_step}, this training at step {last}; lower `end_step` "
            "or train longer"
            if schedule.end_step > last
            else f"it fires every {frequency} steps, last at step {latest}, and ends at step "
            f"{schedule.end_step}; make `end_step - begin_step` a multiple of `frequency`"
        )
        warnings.warn(
            f"The pruning schedule reaches a sparsity of {reached:.2f} instead of {final}: "
            f"{remedy}.",
            stacklevel=3,
        )
