"""Image classification sets from TensorFlow Datasets."""

import contextlib
import http.client
import io
import logging
import os
import pathlib
import re
import sys
import urllib.error
import urllib.request
from types import ModuleType

import keras
import numpy as np

from kdzoo.data import dataset, image_checks, npy
from kdzoo.data.catalog import DATASETS
from kdzoo.data.hold_out import hold_out
from kdzoo.data.split import Split
from kdzoo.utils import heavy_libraries, unknown_name
from kdzoo.utils.types import PathLike

_STORE = "https://storage.googleapis.com"
_PATIENCE = 5  # Seconds until it counts as out of reach.


def load(
    name: str, data_dir: PathLike | None = None, validation: float | None = None
) -> dataset.Dataset:
    """Reads a data set that tfds has prepared, or prepares it first.

    Training images come from the split `train`, test images from `test`; where there is no `test`,
    from `validation`, because then the labels of the test images are kept secret. Where there are
    both, and `validation` is None, the set's own `validation` split serves.

    Args:
        name: Name of the data set for `tfds.builder`, e.g. "cifar10".
        data_dir: Where data sets are prepared. None: the place that tfds chooses.
        validation: Fraction of the training images to hold out. None: a tenth.

    Returns:
        The `Dataset`.

    Raises:
        ImportError: If TensorFlow is not installed.
        FileNotFoundError: If the data set is not prepared and cannot be downloaded.
        ValueError: If tfds knows no such data set, or it does not consist of images of one size
            with a label.
    """
    tfds = _import_tfds(name)
    builder = _builder(tfds, name, data_dir)
    _check_features(tfds, name, builder)
    with _quiet():
        is_prepared = builder.is_prepared()
    if not is_prepared:
        _prepare(tfds, name, builder)
    _check_splits(name, builder)
    label = builder.info.features["label"]
    class_names = tuple(label.names) if label.names else tuple(map(str, range(label.num_classes)))
    available = builder.info.splits
    tested = "test" if "test" in available else "validation"
    train = _read(tfds, name, builder, "train", len(class_names))
    if validation is None and tested == "test" and "validation" in available:
        held_out = _read(tfds, name, builder, "validation", len(class_names))
    else:
        train, held_out = hold_out(train, validation)
    test = _read(tfds, name, builder, tested, len(class_names))
    return dataset.Dataset(name, class_names, train, held_out, test, str(builder.version))


def _import_tfds(name: str) -> ModuleType:
    """Returns the module `tensorflow_datasets`, for the data set of some name."""
    try:
        tf = heavy_libraries.tensorflow()
        import tensorflow_datasets as tfds
        import tensorflow_datasets.core.download.downloader
    except ImportError as error:
        raise ImportError(
            f"Reading the data set {name!r} from tfds needs TensorFlow and tensorflow-datasets, "
            f"which cannot be imported here ({error}); run `kdzoo data export {name} DIR` where "
            "they are installed and load DIR here."
        ) from error
    if keras.config.backend() != "tensorflow":
        # TensorFlow only reads files here; it must not take the accelerator's memory.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
    return tfds


def _builder(tfds, name, data_dir):
    with _quiet():
        try:
            return tfds.builder(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            _check_is_no_directory(name)
            known = [*tfds.list_builders(with_community_datasets=False), "digits"]
            raise unknown_name("data set", name, known, sorted(DATASETS)) from None
        except (ValueError, TypeError) as error:
            _check_is_no_directory(name)
            first_line = str(error).strip().splitlines()[0]
            raise ValueError(
                "Expected the name of a data set as tfds spells it, e.g. 'cifar10' "
                f"({first_line}). Received: name={name!r}"
            ) from error


def _check_is_no_directory(name):
    """Raises if a name that tfds does not know is that of a directory."""
    path = pathlib.Path(name)
    if path.is_dir():
        raise ValueError(
            "Expected the name of a data set, or a directory that `kdzoo data export` wrote; "
            "`kdzoo.data.from_directory` reads a folder of images. "
            f"Received: name={name!r}, a directory without {npy.METADATA}"
        ) from None


def _check_features(tfds, name, builder):
    """Raises unless there is an image of fixed size and a label in every sample."""
    features = builder.info.features
    named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    if not isinstance(named.get("image"), tfds.features.Image) or not isinstance(
        named.get("label"), tfds.features.ClassLabel
    ):
        raise ValueError(
            "Expected an image classification set with the features 'image' and 'label'; for "
            "others, make the arrays yourself and use `kdzoo.data.from_arrays`. Received: "
            f"name={name!r} with the features {sorted(named)}"
        )
    shape = named["image"].shape
    if None in shape:
        raise ValueError(
            "Expected images of one size; resize them yourself and use `kdzoo.data.from_arrays`. "
            f"Received: name={name!r} with images of shape {tuple(shape)}"
        )


def _prepare(tfds, name, builder):
    """Downloads and prepares a data set; no empty directory stays of what fails.

    Without a network nothing is shown but the error, and nothing is tried a second time.
    """
    where = str(builder.data_dir)
    missing = [parent for parent in pathlib.Path(where).parents if not parent.exists()]
    retries, shown = (3, sys.stderr) if _is_online() else (0, io.StringIO())
    try:
        with (
            _quiet(),
            _few_retries(tfds, retries),
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(shown),
        ):
            builder.download_and_prepare()
    except Exception as error:
        root = os.path.dirname(os.path.dirname(where))
        if missing:
            _remove_empty(missing[-1])
        raise FileNotFoundError(
            f"The data set {name!r} is not prepared in {where!r} and could not be downloaded "
            f"({_reason(error)}); prepare it with `tfds build {name} "
            f"--data_dir={root}` where there is a network, or set `data_dir` or TFDS_DATA_DIR to "
            "where it is prepared."
        ) from (error if os.environ.get("KDZOO_TRACEBACK") else None)  # tfds tells ninety lines.


def _is_online():
    """Whether the store that most data sets come from is reached, whatever it says."""
    try:
        urllib.request.urlopen(_STORE, timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException):
        return False
    return True


def _remove_empty(directory):
    """Removes a directory as far as no file is in it: another process may have begun there, too."""
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _reason(error):
    """Why a download failed, in one line: of a connection, to which host."""
    first = (str(error).strip().splitlines() or [""])[0]
    host = re.search(r"ConnectionPool\(host='([^']+)'", first)
    return f"no connection to {host[1]}" if host else f"{type(error).__name__}: {first[:120]}"


def _check_splits(name, builder):
    available = builder.info.splits
    if "train" not in available or not {"test", "validation"} & set(available):
        raise ValueError(
            "Expected a data set with a split 'train' and a split 'test' or 'validation'; for "
            f"others, use `kdzoo.data.from_arrays`. Received: name={name!r} with the splits "
            f"{sorted(available)}"
        )


def _read(tfds, name, builder, part, classes):
    """Reads one split into memory, in the order of its files."""
    # One file after the other, so that the order, on which the validation split depends, is fixed.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    samples = builder.as_dataset(split=part, shuffle_files=False, read_config=config)
    samples = samples.map(lambda sample: (sample["image"], sample["label"])).batch(1000)
    chunks = [(images.numpy(), labels.numpy()) for images, labels in samples]
    if not chunks:
        raise ValueError(
            f"Expected images in every split; prepare the data set again. Received: name={name!r} "
            f"with no images in the split {part!r}"
        )
    images, labels = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    images = image_checks.check_images(images, f"{name} {part} images")
    labels = image_checks.check_labels(labels, classes, len(images), f"{name} {part} labels")
    scale = 255 if images.dtype == np.uint8 else 1
    return Split(images, labels, scale, None, name)


@contextlib.contextmanager
def _quiet():
    """Keeps what tfds and urllib3 log about missing files out of the one clear error."""
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _few_retries(tfds, number):
    """Gives up a download without network after seconds, where tfds takes minutes."""
    downloader = tfds.core.download.downloader
    usual = getattr(downloader, "MAX_RETRIES", None)
    try:
        downloader.MAX_RETRIES = number
        yield
    finally:
        downloader.MAX_RETRIES = usual
