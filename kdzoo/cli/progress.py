"""The progress of a training of several stages: a bar in a terminal, lines elsewhere."""

import dataclasses
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from kdzoo.cli import terminal

if TYPE_CHECKING:
    import keras

_LINES = 10  # Of the epochs of a stage, at most.
_NUMBERED = re.compile(r"(\d+)/(\d+) (.*)", re.DOTALL)
_FINISHED = ": finished before"  # How an experiment's line on such a stage ends.


@dataclasses.dataclass
class _Training:
    """A stage, or one of the trainings that a stage is made of.

    Attributes:
        line: What it is called.
        needs_epochs: Whether it was finished before if it has no epoch.
        start: When it began, in seconds.
        epochs: How many it has had.
        accuracy: (of what, the newest accuracy), if one was measured.
    """

    line: str
    needs_epochs: bool
    start: float = dataclasses.field(default_factory=time.perf_counter)
    epochs: int = 0
    accuracy: tuple[str, Any] | None = None

    def in_words(self) -> str:
        """Returns its accuracy in words, after a comma."""
        return (
            "" if self.accuracy is None else f", {self.accuracy[0]} accuracy {self.accuracy[1]:.1%}"
        )


class TrainingProgress:
    """Shows on standard error which stage is at which epoch, and how each stage ended.

    Of a stage that is a scheme of several trainings, it shows the same of each of these.

    Args:
        steps: How many stages and other steps there are, where their lines have no numbers.
        further: How many other steps follow, where the lines of the stages have numbers.
        epochs: Whether lines tell of epochs, too; a bar always does.

    Example:

    ```python
    with TrainingProgress() as progress:
        recipe.run("runs/x", verbose=0, report=progress.stage, callbacks=[progress.callback()])
    ```
    """

    def __init__(self, steps: int = 0, further: int = 0, epochs: bool = True) -> None:
        self._number, self._steps, self._further, self._tells = 0, steps, further, epochs
        self._stage: _Training | None = None
        self._part: _Training | None = None  # Of a stage of several trainings, the present one.
        self._bar: Any = None  # None where lines are written.
        self._file: IO[str] | None = None  # What the bar is drawn on.
        self._task: Any = None

    def __enter__(self) -> "TrainingProgress":
        from rich import progress
        from rich.console import Console

        if sys.stderr.isatty():
            # A descriptor of its own: a step may hold back standard error.
            self._file = os.fdopen(os.dup(2), "w")
            terminal.show_spinners(False)
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[state]}"),
                progress.TimeRemainingColumn(),
                console=Console(file=self._file, highlight=False),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            self._end_stage()
        if self._file:
            self._bar.stop()
            self._file.close()
            terminal.show_spinners(True)

    def stage(self, line: str) -> None:
        """Ends the stage before, and begins the one that `line` describes."""
        self._end_stage()
        # An experiment, whose lines have numbers, says itself which stages are finished.
        needs_epochs = not _NUMBERED.fullmatch(line)
        self._stage = _Training(self._numbered(line), needs_epochs)
        self._show(self._stage)

    def step(self, line: str) -> None:
        """Ends the stage before, and begins a step without epochs, such as an export."""
        self.stage(line)
        if self._stage:
            self._stage.needs_epochs = False

    def _begin_part(self, number: int, parts: int, name: str) -> None:
        """Begins one of several trainings of a stage."""
        self._end_part()
        if self._stage and parts > 1 and (self._tells or self._bar):
            line = f"{self._stage.line}, training {number} of {parts} ({name})"
            self._part = _Training(line, needs_epochs=True)
            self._show(self._part)

    def _show(self, training: _Training) -> None:
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(training.line, total=None, state="")

    def _numbered(self, line: str) -> str:
        """A line with its number among all."""
        found = _NUMBERED.fullmatch(line)
        if found:
            self._number, self._steps = int(found[1]), int(found[2]) + self._further
            line = found[3]
        else:
            self._number += 1
        return f"{self._number}/{self._steps} {line}" if self._steps else line

    def callback(self) -> "keras.callbacks.Callback":
        """Returns the `keras.callbacks.Callback` that reports here."""
        from kdzoo.training.stage_callback import StageCallback

        outer = self

        class Report(StageCallback):
            def on_stage_begin(self, number: int, stages: int, name: str) -> None:
                outer._begin_part(number, stages, name)

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self._epoch = epoch

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if outer._bar and self.params.get("steps"):
                    outer._advance(self._epoch + batch / self.params["steps"], self.params)

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                outer._end_epoch(epoch, logs or {}, self.params)

        return Report()

    def _advance(self, done: float, params: Mapping[str, Any]) -> None:
        total = params["epochs"]
        training = self._part or self._stage
        words = training.in_words() if training else ""
        state = f"epoch {min(int(done) + 1, total)}/{total}{words}"
        self._bar.update(self._task, completed=done, total=total, state=state)

    def _end_epoch(self, epoch: int, logs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        shown = {"validation": logs.get("val_accuracy"), "training": logs.get("accuracy")}
        accuracy = next((pair for pair in shown.items() if pair[1] is not None), None)
        for training in filter(None, (self._stage, self._part)):
            training.epochs += 1
            training.accuracy = accuracy
        if self._bar:
            self._advance(epoch + 1, params)
        elif self._tells and _is_told(epoch + 1, params["epochs"]):
            told = self._part or self._stage
            if told:
                end = f"epoch {epoch + 1}/{params['epochs']}{told.in_words()}"
                self._say(f"{told.line}: {end}")

    def _end_stage(self) -> None:
        self._end_part()
        if self._stage:
            self._end(self._stage)
        self._stage = None

    def _end_part(self) -> None:
        if self._part:
            self._end(self._part)
        self._part = None

    def _end(self, training: _Training) -> None:
        seconds = time.perf_counter() - training.start
        is_new = training.epochs or not training.needs_epochs
        end = f": {seconds:.1f} s{training.in_words()}" if is_new else _FINISHED
        is_said = training.line.endswith(_FINISHED)
        self._say(training.line if is_said else training.line + end)

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, soft_wrap=True)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _is_told(epoch: int, epochs: int) -> bool:
    """Whether a line tells of this epoch, from 1: of every one, or of each tenth part of them."""
    return epoch * _LINES // epochs > (epoch - 1) * _LINES // epochs
