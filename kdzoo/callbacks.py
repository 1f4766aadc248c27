"""Callbacks for `fit`."""

import json
import math
import pathlib
import shutil

import keras
import numpy as np

from kdzoo.utils import atomic_path


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Ends training with an error as soon as the loss is NaN or infinite.

    `keras.callbacks.TerminateOnNaN` stops quietly; here the caller learns of it. The loss of a
    step is looked at when the next one has been started, so that nothing waits for it.

    Raises:
        ValueError: With the epoch and the step, and what to look for.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._pending = epoch, None

    def on_train_batch_end(self, batch, logs=None):
        self._check()
        self._pending = batch, (logs or {}).get("loss")

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        if self._pending is None or self._pending[1] is None:
            return
        step, loss = self._pending
        if not math.isfinite(float(loss)):
            raise ValueError(
                f"Expected a finite loss. Received: loss={float(loss)} in epoch {self._epoch + 1}, "
                f"step {step + 1}; look for NaN in the images, labels out of range or a learning "
                "rate that is too high, and start again from the last good weights."
            )


class EpochCheckpoint(keras.callbacks.Callback):
    """Keeps the state of a training on disk after every epoch, so that it survives a kill.

    Weights (those of the losses' own parts included), optimizer, random seeds and history go into
    `directory/epoch-0007`, which appears by one rename: it is there whole or not at all. The one
    before is then removed. A teacher is not part of it.

    Args:
        directory: Where the checkpoints go; made if missing.
        settings: A JSON-able value that identifies the run. A checkpoint with other settings is
            refused.

    Example:

    ```python
    checkpoint = EpochCheckpoint("runs/student", settings={"seed": 0})
    epoch = checkpoint.restore(model)
    model.fit(..., epochs=10, initial_epoch=epoch, callbacks=[checkpoint])
    checkpoint.history["val_accuracy"]  # of all epochs, those before the kill included
    ```
    """

    def __init__(self, directory, settings=None):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.settings = json.loads(json.dumps(settings))
        self.history = {}

    def restore(self, model):
        """Loads the newest checkpoint into a compiled, built model.

        Args:
            model: The `keras.Model` that will be trained.

        Returns:
            The number of epochs that are done, 0 if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint was written with other settings.
        """
        found = self._found()
        if not found:
            return 0
        state = json.loads((found[-1] / "state.json").read_text())
        if state["settings"] != self.settings:
            raise ValueError(
                f"Expected the checkpoint of a run with settings {self.settings}. Received: "
                f"settings {state['settings']} in {found[-1]}; choose another directory or "
                "delete it."
            )
        model.optimizer.build(model.trainable_variables)
        model.load_weights(found[-1] / "model.weights.h5")
        seeds = np.load(found[-1] / "seeds.npz")
        for name, variable in _seeds(model).items():
            variable.assign(seeds[name])
        self.history = state["history"]
        return state["epochs"]

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        older = self._found()
        with atomic_path(self.directory / f"epoch-{epoch + 1:04d}") as room:
            room.mkdir()
            self.model.save_weights(room / "model.weights.h5")
            seeds = _seeds(self.model).items()
            np.savez(room / "seeds.npz", **{name: np.array(v) for name, v in seeds})
            state = {"epochs": epoch + 1, "settings": self.settings, "history": self.history}
            (room / "state.json").write_text(json.dumps(state))
        for directory in older:
            shutil.rmtree(directory)

    def _found(self):
        return sorted(self.directory.glob("epoch-[0-9][0-9][0-9][0-9]"))


def _seeds(model):
    """The state of a model that is no weight, such as a dropout's seed; Keras does not save it."""
    weights = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    return {f"seed_{number}": seed for number, seed in enumerate(seeds)}
