"""The callback that saves a training after every epoch, and restores it."""

import json
import math
import pathlib
import textwrap
import warnings
from typing import Any

import keras

from kdzoo.training.checkpoints import files, hdf5
from kdzoo.training.checkpoints.state import StateReader, restore_state, shapes_of, state_of
from kdzoo.utils import atomic_path, check_directory, remove_directory, shown, sweep
from kdzoo.utils.types import PathLike


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves the state of a training after every epoch, so that a killed training can go on.

    Weights (those of distillation losses included), optimizer, random seeds and history go into
    `directory/epoch-0007`, which appears by one rename: it is there whole or not at all. The
    checkpoint before it is kept too, older ones are removed. A teacher is not part of a checkpoint.
    The files hold numbers and JSON alone, with their size and SHA-256.

    To go on with the training in another `fit`, pass this object again, or a new one after
    `restore(model)`: a new one cannot know whether the model is in the state of the checkpoint.

    Args:
        directory: Where the checkpoints go; made if missing.
        settings: A JSON-able value that identifies the run. A checkpoint with other settings is
            refused.

    Raises:
        ValueError: If the directory is a file. When a training begins: if the directory holds
            checkpoints and `restore` was not called, or the training begins before the newest of
            them; nothing is trained then. When an epoch ends: if a weight is NaN or infinite.
        OSError: When an epoch ends: if the disk is full; the error names the checkpoint and its
            bytes, and older checkpoints stay.

    Example:

    ```python
    checkpoint = EpochCheckpoint("runs/student", settings={"seed": 0})
    epoch = checkpoint.restore(model)
    model.fit(..., epochs=10, initial_epoch=epoch, callbacks=[checkpoint])
    checkpoint.history["val_accuracy"]  # Of all epochs, also those before the kill.
    ```
    """

    def __init__(self, directory: PathLike, settings: Any = None):
        super().__init__()
        self.directory = check_directory(directory)
        self.settings = as_json(settings)
        self.history: dict[str, list[float]] = {}
        # How many epochs were restored. What they did not measure has NaN for each of them.
        self._restored_epochs = 0
        # Whether the model is in the state of the newest checkpoint, and which are damaged.
        self._is_restored = False
        self._damaged: set[pathlib.Path] = set()
        self._reader = StateReader()

    def exists(self) -> bool:
        """Returns whether there is a checkpoint in the directory."""
        return bool(self._found())

    def restore(self, model: keras.Model) -> int:
        """Loads the newest undamaged checkpoint into a compiled, built model.

        Args:
            model: The `keras.Model` that will be trained.

        Returns:
            The number of epochs that are done, 0 if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint is of a run with other settings, another model or another
                optimizer, if all are damaged, or if the model is not built or not compiled. Nothing
                is loaded then.

        Warns:
            UserWarning: If a checkpoint is damaged and the one before it is loaded; the warning
                names the file. The damaged one stays until the next epoch is saved.
        """
        if not isinstance(model, keras.Model) or not model.built or model.optimizer is None:
            raise ValueError(
                "Expected a built and compiled keras.Model. Received: "
                f"{getattr(model, 'name', model)!r}; call `compile`, and the model on a batch."
            )
        sweep(self.directory)
        found = self._found()
        damages: dict[pathlib.Path, files.Damaged] = {}
        for epochs, directory in reversed(found.items()):
            try:
                state, arrays = self._read(directory, epochs, model)
            except files.Damaged as error:
                damages[directory] = error
                continue
            for damaged in damages.values():
                warnings.warn(f"{damaged}; going on from {directory}.", stacklevel=2)
            restore_state(model, arrays)
            self.history, self._restored_epochs = state["history"], epochs
            self._is_restored, self._damaged = True, set(damages)
            return epochs
        for damaged in damages.values():
            raise ValueError(
                f"Expected a whole checkpoint in {self.directory}. Received: {len(damages)} "
                f"damaged, in {damaged.path} {damaged.reason}; delete the directory to begin anew."
            ) from damaged
        self.history, self._restored_epochs, self._is_restored = {}, 0, True
        return 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        found = self._found()
        if found and not self._is_restored:
            raise ValueError(
                f"Expected {self.directory} to hold no checkpoint, or one that was restored. "
                f"Received: {max(found.values())}; call `restore(model)` before `fit`, choose "
                "another directory or delete it."
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = [number for number, path in self._found().items() if path not in self._damaged]
        if done and epoch < max(done):
            raise ValueError(
                f"Expected a training that goes on after the {max(done)} epochs in "
                f"{self.directory}. Received: one that begins at initial_epoch={epoch}; pass "
                "what `restore(model)` returned, choose another directory or delete it."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        history = {name: list(values) for name, values in self.history.items()}
        for name, value in (logs or {}).items():
            values = history.setdefault(name, [math.nan] * self._restored_epochs)
            values.append(float(value))
        path = self.directory / f"epoch-{epoch + 1:04d}"
        self._write(path, epoch + 1, history, replace=path in self._damaged)
        self.history, self._is_restored = history, True
        self._keep_last(path)

    def _write(
        self,
        path: pathlib.Path,
        epochs: int,
        history: dict[str, list[float]],
        replace: bool,
        requested: int | None = None,
    ) -> None:
        """Saves the model's state after some epochs."""
        state = self._reader.read(self.model)
        if not state.is_finite:
            raise ValueError(
                f"Expected finite weights after epoch {epochs}. Received: NaN or infinity, "
                f"which {self.directory} is not to keep; start again with a lower learning rate."
            )
        shapes = shapes_of(self.model)
        contents = files.pack(state, epochs, self.settings, history, shapes, requested)
        size = sum(map(len, contents.values()))
        with atomic_path(path, size, replace=replace) as temporary:
            temporary.mkdir()
            for name, content in contents.items():
                (temporary / name).write_bytes(content)

    def _keep_last(self, newest: pathlib.Path) -> None:
        """Removes all checkpoints but the newest and the last undamaged one before it."""
        self._damaged.discard(newest)
        others = [path for path in self._found().values() if path != newest]
        whole = [path for path in others if path not in self._damaged]
        for path in others:
            if path not in whole[-1:]:
                remove_directory(path)
        self._damaged.clear()

    def _read(self, directory: pathlib.Path, epochs: int, model: keras.Model) -> tuple[dict, dict]:
        """The state and the arrays of a checkpoint, both checked."""
        state = files.read_state(directory, epochs)
        if [state["settings"]] != [self.settings]:  # In lists, JSON's NaN is equal to itself.
            ours, theirs = _differing(self.settings, state["settings"])
            raise ValueError(
                f"Expected the checkpoint of a run with settings {ours}. Received: settings "
                f"{theirs} in {directory}; choose another directory or delete it."
            )
        shapes = shapes_of(model)
        if state.get("shapes", shapes) != shapes:
            raise ValueError(
                f"Expected the checkpoint of this model, {model.name!r}. Received: one in "
                f"{directory} whose weights have other shapes; choose another directory or "
                "delete it."
            )
        if not model.optimizer.built:  # One that scales losses would add its variables again.
            model.optimizer.build(model.trainable_variables)
        expected = state_of(model)
        if "format" in state:
            return state, files.read_arrays(directory, state, expected)
        return state, hdf5.read_arrays(directory, expected)

    def _found(self) -> dict[int, pathlib.Path]:
        """Number of epochs -> path of the checkpoints, the newest last."""
        numbers = {
            path.name.removeprefix("epoch-"): path for path in self.directory.glob("epoch-*")
        }
        found = {int(number): path for number, path in numbers.items() if number.isdecimal()}
        return dict(sorted(found.items()))


def _differing(ours, theirs):
    """Two settings as texts, shortened; of dictionaries the items that differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        ours, theirs = ({name: given.get(name) for name in names} for given in (ours, theirs))
    return [textwrap.shorten(repr(settings), 300) for settings in (ours, theirs)]


def as_json(settings: Any) -> Any:
    """Returns settings as JSON gives them back.

    Args:
        settings: The settings.

    Raises:
        ValueError: If JSON does not hold them.
    """
    try:
        return json.loads(json.dumps(settings))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            "Expected settings of numbers, strings, lists and dictionaries, as JSON holds them. "
            f"Received: settings={shown(settings)}"
        ) from error
