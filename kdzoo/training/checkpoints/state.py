"""All that a training changes in a model, as arrays by name: weights, optimizer and random seeds.

Keras's `save_weights` itself walks over layers, losses and optimizer, so that a layer which saves
its variables in its own way does so. The arrays go into a dictionary in place of an HDF5 file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from kdzoo.graph.keras_internals import Store, flatten_layers, load_state, save_state

# Keras joins paths, so none holds two slashes, whatever names a layer saves under.
_BETWEEN = "//"
SEED = "seeds/"


class State(NamedTuple):
    """All that a training changes in a model.

    Args:
        arrays: Name -> array.
        own: Names of arrays that a layer saves in its own way, whose length may change.
        is_finite: Whether every trainable weight is finite.
    """

    arrays: dict[str, np.ndarray]
    own: frozenset[str]
    is_finite: bool


class _Arrays(Store):
    """A store that Keras saves into and loads from: path -> (name -> array), in memory."""

    def __init__(self, contents: dict[str, dict[str, Any]] | None = None):
        self.contents = contents or {}

    def make(self, path, metadata=None):
        return self.contents.setdefault(path, {})

    def get(self, path):
        return self.contents.get(path, {})

    def has_path(self, path):
        return any(saved == path or saved.startswith(f"{path}/") for saved in self.contents)

    def close(self):
        pass


def state_of(model: keras.Model) -> State:
    """Returns everything that a checkpoint of a model holds.

    The name of a weight is the path of its layer and its number there, `"layers/dense//0"`; that
    of a seed is `"seeds/0"`. Floats of types that NumPy lacks are in float32.

    Args:
        model: The built `keras.Model`, with its optimizer if it is compiled.
    """
    return _state(model, _values(model))


class StateReader:
    """Reads the state of a model again and again, and looks only once where its parts are.

    Keras's walk over all attributes of all layers may take longer than the steps of an epoch.
    """

    def __init__(self) -> None:
        self._of: list[keras.Variable] = []
        self._values: dict[str, keras.Variable] | None = None

    def read(self, model: keras.Model) -> State:
        """Returns what `state_of` does.

        Args:
            model: The built `keras.Model`; a model with other variables than the one before is
                walked over again.
        """
        variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ())]
        if self._values is not None and list(map(id, variables)) == list(map(id, self._of)):
            return _state(model, self._values)
        values = _values(model)
        self._of, self._values = variables, _as_variables(values, model)
        return _state(model, values)


def _values(model):
    """Name -> what Keras saves under it, a variable or what a layer makes; and the seeds."""
    store = _Arrays()
    save_state(model, store)
    values = {
        join_name(path, name): value
        for path, entry in store.contents.items()
        for name, value in entry.items()
    }
    return values | {f"{SEED}{number}": seed for number, seed in enumerate(_seeds(model))}


def _as_variables(values, model):
    """Name -> variable, if all values are those of variables, and always will be; else None."""
    if any(not _is_of_keras(layer.save_own_variables) for layer in flatten_layers(model)):
        return None
    found = {}
    for name, value in values.items():
        if not isinstance(value, keras.Variable):
            path, place = split_name(name)
            optimizer = vars(model).get(path)
            if not hasattr(optimizer, "save_own_variables") or not place.isdecimal():
                return None
            if not _is_of_keras(optimizer.save_own_variables):
                return None
            value = optimizer.variables[int(place)]
        found[name] = value
    return found


def _is_of_keras(method):
    return method.__module__.partition(".")[0] == "keras"


def _state(model, values):
    arrays = {name: as_array(value) for name, value in values.items()}
    own = frozenset(_own(values, model))
    return State(arrays, own, _trainable_is_finite(model, values, arrays))


def restore_state(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a model the arrays that `state_of` returned; the caller has checked names and shapes.

    Args:
        model: The built `keras.Model`, its optimizer too.
        arrays: Name -> array.
    """
    contents: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        if not is_seed(name):
            path, place = split_name(name)
            contents.setdefault(path, {})[place] = array
    load_state(model, _Arrays(contents))
    for number, seed in enumerate(_seeds(model)):
        seed.assign(arrays[f"{SEED}{number}"])


def shapes_of(model: keras.Model) -> list[list[int]]:
    """Returns the shapes of a model's weights, in their order, a list of lists."""
    return [list(weight.shape) for weight in model.weights]


def split_name(name: str) -> tuple[str, str]:
    """Returns the path of the layer that saved an array, and the array's name in that layer."""
    path, _, place = name.partition(_BETWEEN)
    return path, place


def join_name(path: str, place: str) -> str:
    """Returns the name of an array from the path of its layer and its name in that layer."""
    return f"{path}{_BETWEEN}{place}"


def is_seed(name: str) -> bool:
    """Returns whether an array of this name is a random seed."""
    return name.startswith(SEED) and _BETWEEN not in name


def _own(values, model):
    """The names of values that are no variables of Keras; optimizers save theirs as arrays."""
    optimizers = {
        name for name, part in vars(model).items() if isinstance(part, keras.optimizers.Optimizer)
    }
    return [
        name
        for name, value in values.items()
        if not isinstance(value, keras.Variable) and name.split("/")[0] not in optimizers
    ]


def _trainable_is_finite(model, values, arrays):
    """Whether the trainable weights are finite; those in `arrays` are not fetched once more."""
    copies = {id(value): arrays[name] for name, value in values.items()}
    return all(
        np.isfinite(copies[id(weight)] if id(weight) in copies else as_array(weight)).all()
        for weight in model.trainable_weights
    )


def _seeds(model):
    """The state of a model that is no weight, such as a dropout's seed; Keras does not save it."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def as_array(value: Any) -> np.ndarray:
    """Returns a value of Keras as an array that safetensors can hold.

    Args:
        value: A variable, tensor or array.
    """
    if not isinstance(value, np.ndarray | np.generic):
        value = keras.ops.convert_to_numpy(value)
    if value.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        value = value.astype("float32")
    return np.asarray(value, order="C")
