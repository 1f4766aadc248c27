"""How long a model took to train, and by which code, also where the training was stopped."""

import pathlib
import time
from typing import Any

import keras

from kdzoo.experiments.package_versions import versions
from kdzoo.experiments.run_json_files import read_seconds, write_json


class Clock(keras.callbacks.Callback):
    """Counts the seconds of a training and keeps them, and whose they were, after every epoch.

    Attributes:
        versions: What `package_versions.versions` returned when the training began; of a training
            that was gone on with, "commit" names those of all its processes, the first one first.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self._path, self._start = directory / "seconds.json", time.perf_counter()
        found: dict[str, Any] = {"seconds": 0.0, "commits": []}
        if self._path.exists():
            found = read_seconds(self._path)
        self._before, self.versions = found["seconds"], versions()
        ours = [self.versions["commit"]] if "commit" in self.versions else []
        self._commits = list(dict.fromkeys((*found["commits"], *ours)))
        if self._commits:
            self.versions["commit"] = ", ".join(self._commits)

    @property
    def seconds(self) -> float:
        """Since the first start; of a process that was killed, up to its last whole epoch."""
        return round(self._before + time.perf_counter() - self._start, 1)

    def clear(self) -> None:
        """Forgets what is on disk, when the training is finished."""
        self._path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        write_json(self._path, {"seconds": self.seconds, "commits": self._commits})
