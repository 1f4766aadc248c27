"""All that a training changes in a model, as arrays by name: weights, optimizer and random seeds.

What belongs to it, Keras says: the walk over layers, losses and optimizer is that of its own
`save_weights`, so a layer that saves its variables in a way of its own is heard. Only where they go
is ours: into a dictionary instead of an HDF5 file.
"""

import typing

import numpy as np

from kdzoo.graph.keras_internals import NpzIOStore, load_state, save_state

# Keras joins paths, so none holds two slashes, whatever a layer calls what it saves.
_BETWEEN = "//"
SEED = "seeds/"


class State(typing.NamedTuple):
    """All that a training changes in a model.

    Args:
        arrays: Name -> array.
        own: Names of arrays that a layer saves in a way of its own, whose length may change.
        is_finite: Whether every trainable weight is.
    """

    arrays: dict
    own: frozenset
    is_finite: bool


class _Arrays(NpzIOStore):
    """What Keras saves into and loads from: path -> (name -> array), in memory."""

    def __init__(self, contents=None):
        self.contents = contents or {}

    def make(self, path, metadata=None):
        return self.contents.setdefault(path, {})

    def get(self, path):
        return self.contents.get(path, {})

    def has_path(self, path):
        return any(each == path or each.startswith(f"{path}/") for each in self.contents)

    def close(self):
        pass


def state_of(model):
    """Returns everything that a checkpoint of a model holds, a `State`.

    A weight's name is its layer's path and its place there, `"layers/dense//0"`; a seed's
    `"seeds/0"`. Floats of 16 bits that NumPy has not are in float32.

    Args:
        model: The built `keras.Model`, with its optimizer if it is compiled.
    """
    store = _Arrays()
    save_state(model, store)
    values = {
        joined(path, name): value
        for path, entry in store.contents.items()
        for name, value in entry.items()
    }
    values.update({f"{SEED}{number}": seed for number, seed in enumerate(_seeds(model))})
    arrays = {name: _as_array(value) for name, value in values.items()}
    own = frozenset(_own(values, model))
    return State(arrays, own, _trainable_is_finite(model, values, arrays))


def restore_state(model, arrays):
    """Gives a model the arrays that `state_of` returned; names and shapes have been checked.

    Args:
        model: The built `keras.Model`, its optimizer too.
        arrays: Name -> array.
    """
    contents = {}
    for name, array in arrays.items():
        if not is_seed(name):
            path, place = split(name)
            contents.setdefault(path, {})[place] = array
    load_state(model, _Arrays(contents))
    for number, seed in enumerate(_seeds(model)):
        seed.assign(arrays[f"{SEED}{number}"])


def shapes_of(model):
    """Returns the shapes of a model's weights, in their order, a list of lists."""
    return [list(weight.shape) for weight in model.weights]


def split(name):
    """Returns the path of the layer that saved an array, and what the layer calls it."""
    path, _, place = name.partition(_BETWEEN)
    return path, place


def joined(path, place):
    """Returns the name of an array; the other way round than `split`."""
    return f"{path}{_BETWEEN}{place}"


def is_seed(name):
    """Returns whether an array of this name is a random seed."""
    return name.startswith(SEED) and _BETWEEN not in name


def _own(values, model):
    """The names of what is no variable of Keras's; optimizers save theirs as arrays."""
    import keras

    optimizers = {
        name for name, part in vars(model).items() if isinstance(part, keras.optimizers.Optimizer)
    }
    return [
        name
        for name, value in values.items()
        if not isinstance(value, keras.Variable) and name.split("/")[0] not in optimizers
    ]


def _trainable_is_finite(model, values, arrays):
    """Whether the trainable weights are finite; those of a copy are not fetched once more."""
    copies = {id(value): arrays[name] for name, value in values.items()}
    return all(
        np.isfinite(copies[id(weight)] if id(weight) in copies else _as_array(weight)).all()
        for weight in model.trainable_weights
    )


def _seeds(model):
    """The state of a model that is no weight, such as a dropout's seed; Keras does not save it."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _as_array(value):
    """A value of Keras as an array that safetensors can hold."""
    import keras

    if not isinstance(value, np.ndarray | np.generic):
        value = keras.ops.convert_to_numpy(value)
    if value.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        value = value.astype("float32")
    return np.asarray(value, order="C")
