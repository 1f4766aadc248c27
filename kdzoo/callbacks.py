"""Callbacks for `fit`."""

import json
import math
import pathlib
import shutil
import textwrap

import keras
import numpy as np

from kdzoo.utils import atomic_path, positive_integer, unknown_name


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


class Anneal(keras.callbacks.Callback):
    """Changes a number of a `Distiller` from epoch to epoch, while nothing is compiled again.

    Args:
        number: `"student_loss_weight"`, `"distillation_loss_weight"` or `"temperature"`.
        schedule: Function from the epoch, counted from 0, to the number, such as
            `kdzoo.callbacks.linear(4.0, 1.0, epochs=50)`.
        loss: Name of the distillation loss whose weight or temperature is meant. `None` where
            there is but one, and for `"student_loss_weight"`.

    Raises:
        ValueError: If the number or the loss is unknown, several losses bear the name, the model is
            no `Distiller`, or the schedule gives a value that is out of range.

    Example:

    ```python
    softer = kdzoo.callbacks.Anneal("temperature", kdzoo.callbacks.linear(8.0, 2.0, epochs=30))
    distiller.fit(x_train, y_train, epochs=30, callbacks=[softer])
    ```
    """

    NUMBERS = ("student_loss_weight", "distillation_loss_weight", "temperature")

    def __init__(self, number, schedule, loss=None):
        super().__init__()
        if number not in self.NUMBERS:
            raise unknown_name("number to anneal", number, self.NUMBERS)
        if not callable(schedule):
            raise ValueError(
                "Expected `schedule` to be a function from the epoch to the number. Received: "
                f"schedule={schedule!r}; `kdzoo.callbacks.linear` makes one."
            )
        if loss is not None and number == "student_loss_weight":
            raise ValueError(
                "Expected no `loss`, as the student's weight is none of a distillation loss. "
                f"Received: loss={loss!r}"
            )
        self.number, self.schedule, self.loss = number, schedule, loss

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "distillation_losses"):
            raise ValueError(
                "Expected a `kdzoo.Distiller`. Received: a model of type "
                f"{type(self.model).__name__}"
            )
        if self.number == "student_loss_weight":
            self.model.mix_both()
        else:
            self._place = self._find_loss()

    def on_epoch_begin(self, epoch, logs=None):
        value = float(self.schedule(epoch))
        if self.number == "student_loss_weight":
            self.model.student_loss_weight = value
        elif self.number == "temperature":
            self.model.distillation_losses[self._place].temperature = value
        else:
            weights = list(self.model.distillation_loss_weights)
            weights[self._place] = value
            self.model.distillation_loss_weights = weights

    def _find_loss(self):
        """The place of the loss that is meant among the distiller's."""
        adjustable = [
            (place, loss.name)
            for place, loss in enumerate(self.model.distillation_losses)
            # A temperature that is a plain attribute is compiled into the step.
            if self.number != "temperature" or hasattr(type(loss), "temperature")
        ]
        names = [name for _, name in adjustable]
        if self.loss is not None and self.loss not in names:
            raise unknown_name(f"loss with a {self.number}", self.loss, names)
        if self.loss is None and len(names) != 1:
            raise ValueError(
                f"Expected one loss with a {self.number}. Received: {names}; name it with `loss=`."
            )
        name = self.loss or names[0]
        if names.count(name) > 1:
            raise ValueError(
                f"Expected one loss of the name {name!r}. Received: {names}; give each a `name=`."
            )
        return next(place for place, each in adjustable if each == name)


def linear(start, end, epochs):
    """Returns a schedule that leads evenly from one value to another and stays there.

    Args:
        start: The value in epoch 0.
        end: The value in epoch `epochs - 1` and after.
        epochs: Number of epochs, at least 1.

    Returns:
        A function from the epoch, counted from 0, to the value.

    Raises:
        ValueError: If `epochs` is no positive integer.

    Example:

    >>> [linear(4.0, 1.0, epochs=4)(epoch) for epoch in (0, 1, 2, 3, 9)]
    [4.0, 3.0, 2.0, 1.0, 1.0]
    """
    epochs = positive_integer("epochs", epochs)

    def value(epoch):
        done = min(epoch / max(epochs - 1, 1), 1.0)
        return start + (end - start) * done

    return value


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

    def exists(self):
        """Returns whether there is a checkpoint in the directory."""
        return bool(self._found())

    def restore(self, model):
        """Loads the newest checkpoint into a compiled, built model.

        Args:
            model: The `keras.Model` that will be trained.

        Returns:
            The number of epochs that are done, 0 if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint was written with other settings, or of another model.
        """
        # What a kill in the middle of a write has left.
        for unfinished in self.directory.glob(".epoch-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        found = self._found()
        if not found:
            return 0
        state = json.loads((found[-1] / "state.json").read_text())
        if state["settings"] != self.settings:
            ours, theirs = _differing(self.settings, state["settings"])
            raise ValueError(
                f"Expected the checkpoint of a run with settings {ours}. Received: settings "
                f"{theirs} in {found[-1]}; choose another directory or delete it."
            )
        if state.get("shapes", _shapes(model)) != _shapes(model):
            raise ValueError(
                f"Expected the checkpoint of this model, {model.name!r}. Received: one in "
                f"{found[-1]} whose weights have other shapes; choose another directory or "
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
            state["shapes"] = _shapes(self.model)
            (room / "state.json").write_text(json.dumps(state))
        for directory in older:
            shutil.rmtree(directory)

    def _found(self):
        """The checkpoints, the newest last."""
        numbers = {
            path: path.name.removeprefix("epoch-") for path in self.directory.glob("epoch-*")
        }
        whole = [path for path, number in numbers.items() if number.isdecimal()]
        return sorted(whole, key=lambda path: int(numbers[path]))


def _differing(ours, theirs):
    """Two settings in words: of dictionaries what differs between them, each shortened."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        ours, theirs = ({name: each.get(name) for name in names} for each in (ours, theirs))
    return [textwrap.shorten(repr(each), 300) for each in (ours, theirs)]


def _shapes(model):
    """The shapes of a model's weights, in their order."""
    return [list(weight.shape) for weight in model.weights]


def _seeds(model):
    """The state of a model that is no weight, such as a dropout's seed; Keras does not save it."""
    weights = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    return {f"seed_{number}": seed for number, seed in enumerate(seeds)}
