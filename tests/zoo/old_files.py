"""Files of tf_keras 2, and what the model that wrote each of them computed."""

import contextlib
import json

import h5py
import numpy as np

from kdzoo.utils import heavy_libraries


def randomize(model, seed=0):
    """Gives all weights other values than those they begin with; none negative, as variances."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype.is_floating:
            weight.assign(rng.uniform(0.1, 0.6, weight.shape))
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def inputs_of(model, batch=2, seed=1):
    """Returns a batch of inputs of the shapes and types of a model, a list of arrays."""
    rng = np.random.default_rng(seed)
    found = []
    for tensor in model.inputs:
        shape = (tensor.shape[0] or batch, *(size or 5 for size in tensor.shape[1:]))
        numbers = rng.uniform(-1, 1, shape)
        is_whole = not tensor.dtype.is_floating
        found.append((np.abs(4 * numbers) if is_whole else numbers).astype(tensor.dtype.name))
    return found


def written(model, path, **settings):
    """Saves a model by tf_keras, and returns its inputs and what it computes of them."""
    given = inputs_of(model)
    outputs = model(given if len(given) > 1 else given[0], training=False)
    with quiet():
        model.save(path, **settings)
    flat = heavy_libraries.tensorflow().nest.flatten(outputs)
    return given, [np.asarray(output) for output in flat]


@contextlib.contextmanager
def quiet():
    """Without the warning of tf_keras that HDF5 is of yesterday."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def changed_config(path, change):
    """Changes the configuration in an HDF5 file as an older Keras would have written it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config = change(config) or config
        file.attrs["model_config"] = json.dumps(config).encode()
    return path


def layers_of(config, class_name=None):
    """Returns the configurations of all layers in a model's, nested ones too."""
    found = []
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and "config" in config:
            found.append(config)
        config = list(config.values())
    for item in config if isinstance(config, list) else ():
        found += layers_of(item)
    return [part for part in found if class_name in (None, part["class_name"])]
