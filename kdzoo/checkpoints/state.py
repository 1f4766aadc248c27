"""All that a training changes in a model, as arrays by name: weights, optimizer and random seeds.

What belongs to it, Keras says: the walk over layers, losses and optimizer is that of its own
`save_weights`, so a layer that saves its variables in a way of its own is heard. Only where they go
is ours: into a dictionary instead of an HDF5 file.
"""

import numpy as np
from keras.src.saving import saving_lib

SEED = "seeds/"


class _Arrays(saving_lib.NpzIOStore):
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
    """Returns name -> array of everything that a checkpoint of a model holds.

    A weight's name is that in a `.weights.h5` file of Keras, `"layers/dense/vars/0"`; a seed's
    `"seeds/0"`. Floats of 16 bits that NumPy has not are in float32.

    Args:
        model: The built `keras.Model`, with its optimizer if it is compiled.
    """
    store = _Arrays()
    saving_lib._save_state(model, store, None, "", set())
    values = {
        _joined(path, name): value
        for path, entry in store.contents.items()
        for name, value in entry.items()
    }
    values.update({f"{SEED}{number}": seed for number, seed in enumerate(_seeds(model))})
    return {name: _as_array(value) for name, value in values.items()}


def restore_state(model, arrays):
    """Gives a model the state that `state_of` returned; names and shapes have been checked.

    Args:
        model: The built `keras.Model`, its optimizer too.
        arrays: Name -> array.
    """
    contents = {}
    for name, array in arrays.items():
        if not name.startswith(SEED):
            path, _, place = name.rpartition("vars/")
            contents.setdefault(path.rstrip("/"), {})[place] = array
    saving_lib._load_state(model, _Arrays(contents), None, "", visited_saveables=set())
    for number, seed in enumerate(_seeds(model)):
        seed.assign(arrays[f"{SEED}{number}"])


def shapes_of(model):
    """Returns the shapes of a model's weights, in their order, a list of lists."""
    return [list(weight.shape) for weight in model.weights]


def trainable_is_finite(model):
    """Returns whether every trainable weight of a model is finite."""
    return all(np.isfinite(_as_array(weight)).all() for weight in model.trainable_weights)


def _seeds(model):
    """The state of a model that is no weight, such as a dropout's seed; Keras does not save it."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _joined(path, name):
    return f"{path}/vars/{name}" if path else f"vars/{name}"


def _as_array(value):
    """A value of Keras as an array that safetensors can hold."""
    import keras

    if not isinstance(value, np.ndarray | np.generic):
        value = keras.ops.convert_to_numpy(value)
    if value.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        value = value.astype("float32")
    return np.asarray(value, order="C")
