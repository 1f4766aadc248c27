"""Callbacks for `fit`."""

import math
from collections.abc import Callable
from typing import Any, Literal

import keras

from kdzoo.training.checkpoints import EpochCheckpoint
from kdzoo.utils import (
    check_choice,
    check_number,
    check_positive_integer,
    check_text,
    shown,
    unknown_name,
)

__all__ = ["Anneal", "EpochCheckpoint", "StopAtNonFiniteLoss", "linear"]


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Ends training with an error as soon as the loss is NaN or infinite.

    `keras.callbacks.TerminateOnNaN` stops without an error. The loss of a step is read when the
    next step has been started, so that no step waits for it.

    Raises:
        ValueError: When a step ends, with the epoch, the step and the usual causes.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._pending: tuple[int, Any] | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check()
        self._pending = batch, (logs or {}).get("loss")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._check()

    def _check(self) -> None:
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
    """Changes a number of a `Distiller` from epoch to epoch; the step is not compiled again.

    Args:
        number: `"student_loss_weight"`, `"distillation_loss_weight"` or `"temperature"`.
        schedule: Function from the epoch, counted from 0, to the number, such as
            `kdzoo.callbacks.linear(4.0, 1.0, epochs=50)`.
        loss: Name of the distillation loss whose weight or temperature changes. `None` where there
            is only one, and for `"student_loss_weight"`.

    Raises:
        ValueError: If the number or the loss is unknown, several losses have the name, the model is
            no `Distiller`, or the schedule gives a value that is out of range.

    Example:

    ```python
    softer = kdzoo.callbacks.Anneal("temperature", kdzoo.callbacks.linear(8.0, 2.0, epochs=30))
    distiller.fit(x_train, y_train, epochs=30, callbacks=[softer])
    ```
    """

    NUMBERS = ("student_loss_weight", "distillation_loss_weight", "temperature")

    def __init__(
        self,
        number: Literal["student_loss_weight", "distillation_loss_weight", "temperature"],
        schedule: Callable[[int], float],
        loss: str | None = None,
    ):
        super().__init__()
        check_choice("number to anneal", number, self.NUMBERS)
        if not callable(schedule):
            raise ValueError(
                "Expected `schedule` to be a function from the epoch to the number. Received: "
                f"schedule={shown(schedule)}; `kdzoo.callbacks.linear` makes one."
            )
        loss = None if loss is None else check_text("loss", loss)
        if loss is not None and number == "student_loss_weight":
            raise ValueError(
                "Expected no `loss`, as the student's weight belongs to no distillation loss. "
                f"Received: loss={shown(loss)}"
            )
        self.number, self.schedule, self.loss = number, schedule, loss

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not hasattr(self.model, "distillation_losses"):
            raise ValueError(
                "Expected a `kdzoo.Distiller`. Received: a model of type "
                f"{type(self.model).__name__}"
            )
        if self.number == "student_loss_weight":
            self.model.mix_both()
        else:
            self._place = self._find_loss()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = float(self.schedule(epoch))
        if self.number == "student_loss_weight":
            self.model.student_loss_weight = value
        elif self.number == "temperature":
            self.model.distillation_losses[self._place].temperature = value
        else:
            weights = list(self.model.distillation_loss_weights)
            weights[self._place] = value
            self.model.distillation_loss_weights = weights

    def _find_loss(self) -> int:
        """The place of the named loss among the distiller's."""
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
        return next(place for place, other in adjustable if other == name)


def linear(start: float, end: float, epochs: int) -> Callable[[int], float]:
    """Returns a schedule that changes evenly from one value to another and stays there.

    Args:
        start: The value in epoch 0.
        end: The value in epoch `epochs - 1` and after.
        epochs: Number of epochs, at least 1.

    Returns:
        A function from the epoch, counted from 0, to the value.

    Raises:
        ValueError: If `epochs` is no positive integer, or a value no finite number.

    Example:

    >>> [linear(4.0, 1.0, epochs=4)(epoch) for epoch in (0, 1, 2, 3, 9)]
    [4.0, 3.0, 2.0, 1.0, 1.0]
    """
    start, end = check_number("start", start), check_number("end", end)
    epochs = check_positive_integer("epochs", epochs)

    def value(epoch: int) -> float:
        done = min(epoch / max(epochs - 1, 1), 1.0)
        return start + (end - start) * done

    return value
