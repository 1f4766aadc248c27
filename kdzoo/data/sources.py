"""Where data sets come from: by name, from a directory, or from scikit-learn."""

import importlib.metadata
import os
import pathlib
from types import ModuleType

import numpy as np

from kdzoo.data import npy, tfds
from kdzoo.data.dataset import Dataset
from kdzoo.data.hold_out import hold_out, stratified_choice
from kdzoo.data.split import Split
from kdzoo.utils import check_path, shown
from kdzoo.utils.types import PathLike

_DIGITS_TEST = 797
_DIGITS_SEED = 1998


def load(
    name: PathLike, data_dir: PathLike | None = None, validation: float | None = None
) -> Dataset:
    """Loads a data set: by name, or from a directory that `export` wrote.

    "digits" are scikit-learn's 1797 handwritten digits, 8x8 grey; they come with the package and
    need neither network nor TensorFlow. Of these 797, every digit in proportion, are for testing
    and 1000 for training and validation, always the same. Any other name is first looked for as an
    export, in `data_dir` and `data_dir/name`, and then as a prepared tfds data set; if it is
    neither, tfds downloads and prepares it.

    Test images are never used for validation. Where a data set has no validation split of its own
    beside its test split, a tenth of the training images is held out, each class in proportion, by
    a rule that depends on nothing but the order of the data set.

    Args:
        name: "digits", the name of a tfds image classification set ("mnist", "fashion_mnist",
            "cifar10", "cifar100", "svhn_cropped", …), or the path of a directory that `export`
            wrote.
        data_dir: Where data sets are kept. None: the environment variable TFDS_DATA_DIR, or else
            the place that tfds chooses.
        validation: Fraction of the training images to hold out, 0 for none. None: a tenth, or what
            the data set itself provides.

    Returns:
        A `Dataset`.

    Raises:
        ImportError: If tfds must read it, and TensorFlow is not installed.
        FileNotFoundError: If it is not prepared and cannot be downloaded, or a file of an export is
            missing.
        ValueError: If there is no such data set, it is no image classification set, its images are
            of several sizes, it has neither a test nor a validation split, or it is damaged.

    Example:

    >>> data = load("digits")
    >>> data.input_shape, data.classes, len(data.train), len(data.validation), len(data.test)
    ((8, 8, 1), 10, 900, 100, 797)
    """
    if data_dir is not None:
        check_path("data_dir", data_dir)
    if isinstance(name, os.PathLike) or (isinstance(name, str) and npy.is_exported(name)):
        return npy.read(name, validation)
    if not isinstance(name, str) or not name:
        raise ValueError(
            "Expected the name of a data set, e.g. 'digits', or a directory. Received: "
            f"name={shown(name)}"
        )
    if name == "digits":
        return _digits(validation)
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or None
    if data_dir is not None:
        data_dir = pathlib.Path(data_dir).expanduser()
        for directory in (data_dir, data_dir / name):
            if npy.is_exported(directory) and npy.name_of(directory) == name:
                return npy.read(directory, validation)
    if pathlib.Path(name).is_absolute() or name.startswith((".", "~")):
        return npy.read(pathlib.Path(name).expanduser(), validation)
    return tfds.load(name, data_dir, validation)


def export(
    data: Dataset | PathLike, directory: PathLike, data_dir: PathLike | None = None
) -> pathlib.Path:
    """Writes a data set as .npy files that `load(directory)` reads without TensorFlow.

    Args:
        data: A `Dataset` of uint8 images, or the name or directory of one, which `load` takes.
        directory: Where to write, a directory that does not exist or is empty. It appears complete
            or not at all.
        data_dir: Where data sets are kept. None: the environment variable TFDS_DATA_DIR, or else
            the place that tfds chooses.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        FileExistsError: If the directory is not empty.
        ValueError: If the images are not uint8.

    Example:

    ```python
    kdzoo.data.export("cifar10", "exported/cifar10")
    data = kdzoo.data.load("exported/cifar10")
    ```
    """
    npy.check_empty(directory)
    if data_dir is not None:
        check_path("data_dir", data_dir)
    if not isinstance(data, Dataset):
        data = load(data, data_dir)
    return npy.write(data, directory)


def _sklearn_datasets() -> ModuleType:
    """Returns scikit-learn's module `datasets`."""
    from sklearn import datasets

    return datasets


def _digits(validation: float | None) -> Dataset:
    images, labels = _sklearn_datasets().load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    labels = labels.astype(np.int32)
    chosen = stratified_choice(labels, _DIGITS_TEST, _DIGITS_SEED)
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    train, test = (
        Split(images[indices], labels[indices], 16, None, "digits") for indices in (rest, chosen)
    )
    train, held_out = hold_out(train, validation)
    version = f"scikit-learn {importlib.metadata.version('scikit-learn')}"
    return Dataset("digits", tuple("0123456789"), train, held_out, test, version)
