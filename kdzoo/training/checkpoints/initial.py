"""The weights that models begin a run with, for those that are trained in a later stage of it."""

import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.training.checkpoints import files
from kdzoo.training.checkpoints.callback import as_json
from kdzoo.training.checkpoints.state import State, as_array
from kdzoo.utils import atomic_path, sweep

DIRECTORY = "initial"


def begin_as_before(
    models: Sequence[keras.layers.Layer], directory: pathlib.Path, settings: Any, has_begun: bool
) -> None:
    """Keeps the weights and seeds of models on disk; in a run that has begun, gives them these.

    So a run that was killed ends as an undisturbed one, whatever weights its models were built
    with again.

    Args:
        models: The built models or layers, always in the same order.
        directory: That of the run; they go into directories of their own in it.
        settings: JSON-able value that identifies the run.
        has_begun: Whether there are checkpoints of its stages. What is there of a run that had none
            yet and had other settings or models is replaced.

    Raises:
        ValueError: If what is there is damaged.
    """
    settings = as_json(settings)
    sweep(directory / DIRECTORY)
    for number, model in enumerate(models, 1):
        path = directory / DIRECTORY / f"{number}"
        if _restored(model, path, settings) or has_begun:
            continue  # Checkpoints of another run are refused when their stage is.
        contents = files.pack(_state(model), 0, settings, {}, _shapes(model))
        with atomic_path(path, sum(map(len, contents.values())), replace=True) as temporary:
            temporary.mkdir()
            for name, content in contents.items():
                (temporary / name).write_bytes(content)


def _restored(model: keras.layers.Layer, path: pathlib.Path, settings: Any) -> bool:
    """Gives a model what was kept of it, if that is of this run and such a model."""
    if not path.exists():
        return False
    try:
        state = files.read_state(path, 0)
        if [state["settings"]] != [settings] or state["shapes"] != _shapes(model):
            return False
        arrays = files.read_arrays(path, state, _state(model))
    except files.Damaged as error:
        raise ValueError(f"{error}; delete {path.parents[1]} to begin anew.") from error
    for number, variable in enumerate(model.variables):
        variable.assign(arrays[str(number)])
    return True


def _state(model: keras.layers.Layer) -> State:
    """The weights and seeds of a model by their numbers, without an optimizer."""
    arrays = {str(number): as_array(variable) for number, variable in enumerate(model.variables)}
    return State(arrays, frozenset(), True)


def _shapes(model: keras.layers.Layer) -> list[list[int]]:
    return [list(variable.shape) for variable in model.variables]
