"""The progress of a training of several stages: a bar in a terminal, lines elsewhere."""

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


class TrainingProgress:
    """Shows on standard error which stage is at which epoch, and how each stage ended.

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
        self._stage: str | None = None
        self._bar: Any = None  # None where lines are written.
        self._file: IO[str] | None = None  # What the bar is drawn on.
        self._task: Any = None
        self._epochs = 0
        self._accuracy: tuple[str, Any] | None = None

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
        self._needs_epochs = not _NUMBERED.fullmatch(line)
        line = self._numbered(line)
        self._stage, self._epochs, self._accuracy = line, 0, None
        self._start = time.perf_counter()
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(line, total=None, state="")

    def step(self, line: str) -> None:
        """Ends the stage before, and begins a step without epochs, such as an export."""
        self.stage(line)
        self._needs_epochs = False

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
        import keras

        outer = self

        class Report(keras.callbacks.Callback):
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
        state = f"epoch {min(int(done) + 1, total)}/{total}{self._in_words()}"
        self._bar.update(self._task, completed=done, total=total, state=state)

    def _end_epoch(self, epoch: int, logs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        self._epochs += 1
        shown = {"validation": logs.get("val_accuracy"), "training": logs.get("accuracy")}
        self._accuracy = next((pair for pair in shown.items() if pair[1] is not None), None)
        if self._bar:
            self._advance(epoch + 1, params)
        elif self._tells and _is_told(epoch + 1, params["epochs"]):
            self._say(f"{self._stage}: epoch {epoch + 1}/{params['epochs']}{self._in_words()}")

    def _end_stage(self) -> None:
        if self._stage is None:
            return
        seconds = time.perf_counter() - self._start
        is_new = self._epochs or not self._needs_epochs
        end = f": {seconds:.1f} s{self._in_words()}" if is_new else _FINISHED
        self._say(self._stage if self._stage.endswith(_FINISHED) else self._stage + end)
        self._stage = None

    def _in_words(self) -> str:
        if self._accuracy is None:
            return ""
        return f", {self._accuracy[0]} accuracy {self._accuracy[1]:.1%}"

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, soft_wrap=True)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _is_told(epoch: int, epochs: int) -> bool:
    """Whether a line tells of this epoch, from 1: of every one, or of each tenth part of them."""
    return epoch * _LINES // epochs > (epoch - 1) * _LINES // epochs
