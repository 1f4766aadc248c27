"""The checkpoints of a run: those of its epochs, and the model as the end of `fit` left it."""

import pathlib
import warnings

import keras

from kdzoo.training.checkpoints import files
from kdzoo.training.checkpoints.callback import EpochCheckpoint
from kdzoo.training.checkpoints.state import restore_state
from kdzoo.utils import sweep


def is_unfinished(directory: pathlib.Path) -> bool:
    """Returns whether a run in a directory has begun, and has not come to its end.

    Args:
        directory: The directory of the run.
    """
    has_begun = any(directory.glob("epoch-*"))
    return has_begun and not (directory / files.FINISHED).is_dir()


class RunCheckpoint(EpochCheckpoint):
    """Epoch checkpoints, and one of the model that `fit` returned.

    The end of `fit` may change weights after the checkpoint of the last epoch: an optimizer writes
    its averages into them, and `EarlyStopping` restores the best. That state goes into
    `directory/finished`, with the number of epochs that were requested, of which a callback may
    have left some out. The checkpoints of the epochs stay, for a run that is given more.
    """

    def restore_finished(self, model: keras.Model, epochs: int) -> bool:
        """Loads the model that `fit` returned, if it was to have so many epochs.

        Args:
            model: The compiled and built `keras.Model`.
            epochs: Number of epochs that are requested now.

        Returns:
            Whether there was one, after the newest epoch of which there is a checkpoint.

        Raises:
            ValueError: If it is of a run with other settings, another model or another optimizer.

        Warns:
            UserWarning: If it is damaged, so that the checkpoint of the last epoch counts.
        """
        sweep(self.directory)
        found, path = self._found(), self.directory / files.FINISHED
        if not found or not path.is_dir():
            return False
        newest = max(found)
        try:
            requested = files.requested_epochs(path, newest)
            if requested is None or requested < epochs:
                return False
            state, arrays = self._read(path, newest, model)
        except files.Damaged as error:
            warnings.warn(f"{error}; going on from {found[newest]}.", stacklevel=3)
            return False
        restore_state(model, arrays)
        self.history, self._is_restored = state["history"], True
        return True

    def finish(self, model: keras.Model, epochs: int) -> None:
        """Saves the model that `fit` returned.

        Args:
            model: The model.
            epochs: Number of epochs that were requested.

        Raises:
            ValueError: If a weight is NaN or infinite.
            OSError: If the disk is full.
        """
        self.set_model(model)
        path, newest = self.directory / files.FINISHED, max(self._found())
        self._write(path, newest, self.history, replace=True, requested=epochs)
