"""How long a model took to train, also where the training was stopped and gone on with."""

import json
import time

import keras

from kdzoo.recipes.results import write_json


class Clock(keras.callbacks.Callback):
    """Counts the seconds of a training, and keeps them on disk after every epoch.

    Args:
        home: Directory of the training; what processes before this one took is read from there.
    """

    def __init__(self, home):
        super().__init__()
        self._path, self._start = home / "seconds.json", time.perf_counter()
        self._before = json.loads(self._path.read_text()) if self._path.exists() else 0.0

    @property
    def seconds(self):
        """Since the first start; of a process that was killed, up to its last whole epoch."""
        return round(self._before + time.perf_counter() - self._start, 1)

    def clear(self):
        """Forgets what is on disk, when the training is finished."""
        self._path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        write_json(self._path, self.seconds)
