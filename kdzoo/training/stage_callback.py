"""A callback that is told which of several trainings begins."""

import keras


class StageCallback(keras.callbacks.Callback):
    """A callback of all trainings of a scheme, which tells it when one of them begins.

    Whoever shows progress derives from it: `fit` does not say which training it is, and is not
    called for one that is finished.
    """

    def on_stage_begin(self, number: int, stages: int, name: str) -> None:
        """Is called before a training, or before one that is finished is passed over.

        Args:
            number: Its number, from 1.
            stages: How many there are.
            name: Its name, that of the directory of its checkpoints.
        """
