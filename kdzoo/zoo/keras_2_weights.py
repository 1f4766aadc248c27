"""Weights of an HDF5 file of Keras, laid into the layers of a model: by names, then by order."""

from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import keras
import numpy as np

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.zoo.hdf5_texts import Texts
from kdzoo.zoo.keras_2_graphs import without_slashes

_NAMES, _TOP = "weight_names", "top_level_model_weights"
_RUNNING = "rnn_state"  # A weight of a stateful layer in Keras 3, and none in Keras 2.


def load_layers(model: keras.Model, group: h5py.Group, texts: Texts) -> None:
    """Gives a model the weights of its file.

    Args:
        model: The model, of the file's configuration.
        group: The group of its weights, which `check_weights` has found good.
        texts: What reads the texts in its file.

    Raises:
        ValueError: If weights of a layer are missing, left over, or of another shape.
    """
    layers = {layer.name: layer for layer in model.layers}
    found = set()
    in_file = _names(texts, group, "layer_names")
    renamed = without_slashes(in_file)
    for name in (*in_file, _TOP):
        if name == _TOP and name not in group:
            continue
        values = _values(texts, _member(group, name, h5py.Group))
        if not values:
            continue
        layer = layers.get(renamed.get(name, name))
        if layer is None:
            raise ValueError(f"weights of {name!r}, a layer that is not in its configuration")
        found.add(layer.name)
        _assign(layer, values)
    for layer in model.layers:
        if _variables(layer) and layer.name not in found:
            raise ValueError(f"no weights of the layer {layer.name!r}")
    for layer in flatten_layers(model):
        if hasattr(layer, "finalize_state"):  # Of `Normalization`.
            layer.finalize_state()


def _names(texts, group, attribute):
    """Returns the names in an attribute, which Keras cuts into several where it is long."""
    keys = [attribute] if attribute in group.attrs else []
    while not keys or keys[0] != attribute:
        key = f"{attribute}{len(keys)}"
        if key not in group.attrs:
            break
        keys.append(key)
    return [name.decode("utf-8") for key in keys for name in texts.of(group, key)]


def _member(group, name, kind):
    item = group.get(name)
    if not isinstance(item, kind):
        raise ValueError(f"no weights of {name!r}")
    return item


def _values(texts, group):
    """Returns (name, dataset) of the weights of a layer."""
    in_file = _names(texts, group, _NAMES)
    return [(name, _member(group, name, h5py.Dataset)) for name in in_file]


def _variables(layer):
    """Returns the variables of a layer in the order in which Keras 2 wrote them."""
    found = layer.trainable_weights + layer.non_trainable_weights
    return [variable for variable in found if variable.name != _RUNNING]


def _assign(layer, values):
    """Gives a layer its weights."""
    variables = _variables(layer)
    arrays = [(name, np.asarray(value)) for name, value in values]
    if len(arrays) != len(variables):
        raise ValueError(
            f"{len(arrays)} weights of the layer {layer.name!r}, a {type(layer).__name__}, which "
            f"has {len(variables)}"
        )
    ordered = list(_converted(variables, _by_name(variables, arrays)))
    for variable, array in zip(variables, ordered, strict=True):
        if tuple(variable.shape) != array.shape:
            raise ValueError(
                f"a weight of the layer {layer.name!r}, a {type(layer).__name__}, of shape "
                f"{array.shape} for {variable.path!r} of shape {tuple(variable.shape)}"
            )
        variable.assign(array)


def _by_name(variables, arrays):
    """Returns arrays in the order of variables: by their names where these tell all apart."""
    wanted = [_last_two(variable.path) for variable in variables]
    given = {_last_two(name): array for name, array in arrays}
    if len(given) == len(arrays) == len(set(wanted)) and set(wanted) == set(given):
        return [given[name] for name in wanted]
    return [array for _, array in arrays]


def _last_two(path):
    return "/".join(path.partition(":")[0].split("/")[-2:])


def _converted(variables: Sequence[Any], arrays: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields arrays, those of a layer of cuDNN as the plain layer has them."""
    place = 0
    while place < len(arrays):
        three = arrays[place : place + 3]
        gates = _gates_of_cudnn(variables[place : place + 3], three)
        if gates:
            yield from _from_cudnn(three, gates, tuple(variables[place + 2].shape))
        else:
            yield arrays[place]
        place += 3 if gates else 1


def _gates_of_cudnn(variables, arrays):
    """Returns the number of gates if these are the weights of a layer of cuDNN, or 0."""
    if len(arrays) < 3 or variables[0].name != "kernel" or len(arrays[1].shape) != 2:
        return 0
    units, bias = arrays[1].shape[0], tuple(variables[2].shape)
    for gates, plain in ((4, (4 * units,)), (3, (2, 3 * units))):
        if bias == plain and arrays[2].shape == (2 * gates * units,):
            return gates
    return 0


def _from_cudnn(arrays, gates, shape):
    """Yields kernel, recurrent kernel and bias of a layer of cuDNN as the plain layer has them."""
    kernel, recurrent, bias = arrays
    parts = np.hsplit(kernel, gates)
    yield np.hstack([part.T.reshape(part.shape, order="F") for part in parts])
    yield np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    halves = bias.reshape(2, -1)
    yield halves.sum(axis=0) if len(shape) == 1 else halves
