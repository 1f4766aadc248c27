"""Opens HDF5 files of whole models, of Keras 2 and 3 and tf_keras; no code in them runs."""

import os

import h5py
import keras

from kdzoo.graph.keras_internals import refusing_code
from kdzoo.utils import check_path, open_regular
from kdzoo.utils.types import PathLike
from kdzoo.zoo.files import bounded_loading, refusal
from kdzoo.zoo.hdf5_texts import Texts
from kdzoo.zoo.keras_2_configs import built, carried_over
from kdzoo.zoo.keras_2_weights import load_layers
from kdzoo.zoo.keras_hdf5_checks import check_weights
from kdzoo.zoo.keras_zip_checks import checked_config

_CONFIG, _VERSION, _BACKEND = "model_config", "keras_version", "backend"
_WEIGHTS = "model_weights"


def load_hdf5_file(path: PathLike) -> keras.Model:
    """Returns the model of an HDF5 file (`.h5`, `.hdf5`) that may come from anybody.

    The file is checked first: arrays of numbers alone, without links, and a configuration that
    names only layers that run, open and fetch nothing. The configuration of Keras 2 is
    carried over to Keras 3. How the model was compiled is not read.

    Args:
        path: The file, of any name.

    Returns:
        A `keras.Model`, not compiled, whose outputs are those of the model that was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds weights alone, weights that do not fit the layers or are
            not finite, a layer that runs code, or a layer or an argument that Keras 3 does not
            have; the error names these.

    Example:

    ```python
    model = load_hdf5_file("mobilenet.h5")
    ```
    """
    file = check_path("path", path)
    with open_regular(file) as content:
        most = os.fstat(content.fileno()).st_size
        try:
            size = check_weights(content, most, names_types=False)
            with h5py.File(content, "r") as opened:
                texts = Texts(content, most)
                _check_backend(opened, texts)
                carried = carried_over(_config(opened, texts), _major(opened, texts))
                with refusing_code(), bounded_loading(size):
                    model = built(carried)
                    load_layers(model, opened[_WEIGHTS], texts)
        # A damaged file leads both libraries to any exception.
        except Exception as error:
            what = "an HDF5 file of a model of Keras", "which was refused"
            raise refusal(*what, file, error) from error
    return model


def _config(file, texts):
    """Returns the configuration in an HDF5 file."""
    if _CONFIG not in file.attrs:
        weights = "layer_names" in file.attrs or "layer_names0" in file.attrs or "layers" in file
        raise ValueError(
            "weights alone, without the layers; build the model, call its `load_weights` and save "
            "it with `model.save`"
            if weights
            else f"no {_CONFIG} in it, so no model of Keras"
        )
    if not isinstance(file.get(_WEIGHTS), h5py.Group):
        raise ValueError(f"no {_WEIGHTS} in it")
    return checked_config(_one(texts.of(file, _CONFIG), _CONFIG), _CONFIG)


def _check_backend(file, texts):
    """Raises for what Keras on Theano saved, whose convolutions turn their kernels around."""
    place = file if _BACKEND in file.attrs else file.get(_WEIGHTS, file)
    if _BACKEND in place.attrs and _one(texts.of(place, _BACKEND), _BACKEND) == b"theano":
        raise ValueError(
            "a model of Keras on Theano, whose convolutions turn their kernels around; load it "
            "with Keras 2 on TensorFlow, which turns them back, and save it again"
        )


def _major(file, texts):
    """Returns the first number of the version of Keras that wrote a file; 2 if it does not say."""
    place = file if _VERSION in file.attrs else file[_WEIGHTS]
    if _VERSION not in place.attrs:
        return 2
    number = _one(texts.of(place, _VERSION), _VERSION).split(b".")[0]
    if number in (b"0", b"1"):
        raise ValueError(
            "a model of Keras 1, whose layers have other arguments and weights; load it with Keras "
            "2.0 to 2.3, which carry it over, and save it again"
        )
    return int(number) if number.isdigit() else 2


def _one(found, attribute):
    if len(found) != 1:
        raise ValueError(f"no text in {attribute!r}")
    return found[0]
