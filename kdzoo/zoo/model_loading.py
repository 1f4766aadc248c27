"""The models that people have, by their paths: one function that tells formats by their content."""

import keras

from kdzoo.utils.types import PathLike
from kdzoo.zoo.compressed_files import load_compressed
from kdzoo.zoo.file_formats import format_of
from kdzoo.zoo.files import load_keras_file
from kdzoo.zoo.hdf5_files import load_hdf5_file
from kdzoo.zoo.save_load_pretrained import load_pretrained

_LOADERS = {
    "keras": load_keras_file,
    "hdf5": load_hdf5_file,
    "pretrained": load_pretrained,
    "compressed": load_compressed,
}


def load_model(path: PathLike) -> keras.Model:
    """Returns the model of a file or directory, which may come from anybody.

    It opens `.keras`, `.h5` and `.hdf5` files, HDF5 under any other name, `.kdz` files of
    `save_compressed` and directories of `save_pretrained`. Files of Keras 2, from 2.0 on, and of
    tf_keras are carried over to Keras 3 by small rules (`docs/files.md`): weights as they are,
    outputs equal to those of the model that was saved. No code in a file runs, and how a model was
    compiled is not read, so losses and metrics of others do not matter.

    Args:
        path: The file or the directory.

    Returns:
        A `keras.Model`, not compiled; of the file of a `Distiller`, the distiller.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is damaged, a SavedModel, or has a layer that runs code, or a layer or an
            argument that Keras 3 does not have; the error names these and says what to do.

    Warns:
        UserWarning: If a functional model is of a class that this process does not know: it opens
            as its graph, without a `call` or `train_step` of its own.

    Example:

    ```python
    teacher = kdzoo.load_model("teacher.h5")
    probabilities = teacher.predict(images)
    ```
    """
    return _LOADERS[format_of(path)](path)
