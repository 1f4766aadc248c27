"""The trainings of `lottery_ticket`: the dense network, a ticket a round, and the controls."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.compression.masked_layer import Masks
from kdzoo.compression.masks import apply_masks, masks_of, random_masks, strip_masks
from kdzoo.distillation.copies import new_metrics, new_optimizer
from kdzoo.graph.new_weights import seeds_from, with_new_weights
from kdzoo.schemes.early_weights import EarlyWeights
from kdzoo.schemes.scheme_settings import Compiling, Teaching, optimizer_for
from kdzoo.schemes.scheme_stages import SchemeStage
from kdzoo.utils import check_choice, check_integer, check_positive_integer, shown

REINITIALIZED, RANDOM_TICKET, FROM_SCRATCH = "reinitialized", "random_ticket", "from_scratch"
CONTROLS = (REINITIALIZED, RANDOM_TICKET, FROM_SCRATCH)


def epochs_of_controls(rounds: int, epochs: int, rewind_epoch: int) -> dict[str, int]:
    """Returns for how many epochs each control is trained.

    Args:
        rounds: How often is pruned.
        epochs: Epochs of the dense network.
        rewind_epoch: After how many of them the early weights are.
    """
    of_ticket = epochs - rewind_epoch
    return {
        REINITIALIZED: epochs,
        RANDOM_TICKET: of_ticket,
        FROM_SCRATCH: epochs + rounds * of_ticket,
    }


def check_epochs(epochs: int, rewind_epoch: int) -> tuple[int, int]:
    """Returns both, or raises `ValueError` unless tickets go back to an epoch that leaves some.

    Args:
        epochs: Epochs of the dense network.
        rewind_epoch: After how many of them the early weights are.
    """
    epochs = check_positive_integer("epochs", epochs)
    rewind_epoch = check_integer("rewind_epoch", rewind_epoch, least=0)
    if rewind_epoch >= epochs:
        raise ValueError(
            "Expected rewind_epoch to be below the epochs of the dense network. Received: "
            f"rewind_epoch={rewind_epoch}, epochs={epochs}"
        )
    return epochs, rewind_epoch


def check_controls(controls: Any) -> None:
    """Raises `ValueError` unless these are names of controls, each once.

    Args:
        controls: What was given.
    """
    if not isinstance(controls, list | tuple) or len(set(map(str, controls))) < len(controls):
        raise ValueError(
            f"Expected controls as a list of names, each once. Received: controls={shown(controls)}"
        )
    for control in controls:
        check_choice("control", control, CONTROLS)


class _KeepEarlyWeights(keras.callbacks.Callback):
    """Keeps the weights of the dense network once it has trained for some epochs."""

    def __init__(self, lottery: "Lottery"):
        super().__init__()
        self._lottery = lottery

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch + 1 == self._lottery.rewind_epoch:
            steps = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
            self._lottery.early.keep(self._lottery.students[0], epoch + 1, steps)


@dataclasses.dataclass
class Lottery:
    """The trainings of a run, and the networks that they have made so far.

    Attributes:
        model: The network with its initial weights; it is not changed.
        prune: Function from a trained network, the number of the round, and the masks that it has,
            to masks of fewer weights.
        teaching: Who teaches, and how.
        compiling: How they are compiled; its optimizer may be a function of the epochs.
        early: The weights that tickets go back to.
        rounds: How often is pruned.
        epochs: Of the dense network.
        rewind_epoch: After how many of them the early weights were.
        seed: Decides what is drawn.
        students: Number of a round, or name of a control -> its network.
    """

    model: keras.Model
    prune: Callable[[keras.Model, int, Masks], Masks]
    teaching: Teaching
    compiling: Compiling
    early: EarlyWeights
    rounds: int
    epochs: int
    rewind_epoch: int
    seed: int
    students: dict[int | str, keras.Model] = dataclasses.field(default_factory=dict)

    def stages(self, controls: Sequence[str], validation_data: Any) -> list[SchemeStage]:
        """Returns the trainings, in order.

        Args:
            controls: Names of the controls.
            validation_data: What is validated on after each epoch, or None.
        """
        of_ticket = self.epochs - self.rewind_epoch
        of_controls = epochs_of_controls(self.rounds, self.epochs, self.rewind_epoch)
        dense = SchemeStage(
            "round-0", self._dense, self.epochs, validation_data, [_KeepEarlyWeights(self)]
        )
        tickets = [
            SchemeStage(
                f"round-{number}",
                functools.partial(self._ticket, number),
                of_ticket,
                validation_data,
            )
            for number in range(1, self.rounds + 1)
        ]
        last = [
            SchemeStage(
                name,
                functools.partial(self._control, name, of_controls[name]),
                of_controls[name],
                validation_data,
            )
            for name in controls
        ]
        return [dense, *tickets, *last]

    def finished(self, name: int | str) -> keras.Model:
        """Returns a trained network, of plain layers.

        Args:
            name: Number of the round, or name of the control.
        """
        student = self.students[name]
        return strip_masks(student) if masks_of(student) else student

    def _dense(self) -> keras.Model:
        with seeds_from(self._text(0)):
            student = self._fresh(0, self.model.get_weights())
            if not self.rewind_epoch and self.early.exist():
                student.set_weights(self.early.read()[0])
            elif not self.rewind_epoch:
                self.early.keep(student, 0, 0)
            return self._compiled(0, student, self.epochs)

    def _ticket(self, number: int) -> keras.Model:
        before = self.students[number - 1]
        return self._early_ticket(number, self.prune(before, number, masks_of(before)))

    def _control(self, name: str, epochs: int) -> keras.Model:
        masks = masks_of(self.students[self.rounds])
        if name == RANDOM_TICKET:
            return self._early_ticket(name, random_masks(masks, self.seed))
        with seeds_from(self._text(name)):
            return self._compiled(name, apply_masks(self._fresh(name), masks), epochs)

    def _early_ticket(self, name: int | str, masks: Masks) -> keras.Model:
        """A sparse network with early weights, whose learning rate goes on from there."""
        weights, steps = self.early.read()
        with seeds_from(self._text(name)):
            student = apply_masks(self._fresh(name, weights), masks)
            return self._compiled(name, student, self.epochs, steps)

    def _fresh(self, name: int | str, weights: Sequence[np.ndarray] | None = None) -> keras.Model:
        """A network of the model's layers, with these weights or with weights drawn anew."""
        fresh = with_new_weights(self.model, self._text(name))
        if weights is not None:
            fresh.set_weights(weights)
        return fresh

    def _compiled(
        self, name: int | str, student: keras.Model, epochs: int, steps: int = 0
    ) -> keras.Model:
        """What is trained for a student; its schedule is of some epochs, and begins at a step."""
        self.students[name] = student
        trainee = self.teaching.trainee(student)
        given = new_optimizer(optimizer_for(self.compiling.optimizer, epochs))
        metrics = new_metrics(self.compiling.metrics)
        trainee.compile(_beginning_at(given, steps), self.compiling.loss, metrics=metrics)
        return trainee

    def _text(self, name: int | str) -> str:
        return f"{self.seed}, {name}"


def _beginning_at(optimizer: keras.optimizers.Optimizer, steps: int) -> keras.optimizers.Optimizer:
    """An optimizer whose learning rate, if it follows a schedule, begins at a step of it."""
    config = optimizer.get_config()
    if not steps or not isinstance(config.get("learning_rate"), dict):
        return optimizer
    schedule = keras.optimizers.schedules.deserialize(config["learning_rate"])
    return type(optimizer).from_config({**config, "learning_rate": _Later(schedule, steps)})


class _Later(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule from one of its steps on."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self._schedule, self._steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        return self._schedule(step + self._steps)

    def get_config(self) -> dict[str, Any]:
        schedule = keras.optimizers.schedules.serialize(self._schedule)
        return {"schedule": schedule, "steps": self._steps}
