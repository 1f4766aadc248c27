"""Opens the `.keras` files that people have, from wherever: nothing of them runs."""

import contextlib
import math
import textwrap
import threading
import warnings

import numpy as np

from kdzoo.utils import as_path
from kdzoo.zoo.keras_archive import check_archive

_SPARE = 16 << 20  # Bytes of variables beyond the weights in a file.


def load_keras_file(path):
    """Returns the model of a `.keras` file, from anybody.

    The file is checked before Keras opens it, which then loads it in its safe mode, whatever
    `keras.config.enable_unsafe_deserialization` said. No more memory is taken than a few times the
    file's size: neither by what it says of its sizes, nor by layers that its weights do not fill.

    Args:
        path: The file; its name ends in `.keras`.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, is damaged, holds what Keras does not write, weights
            that are not finite or do not fit its layers, or layers that run code or are not known
            here.

    Example:

    ```python
    model = load_keras_file("student.keras")
    ```
    """
    import keras

    path = as_path("path", path)
    if path.suffix != ".keras":
        raise ValueError(f"Expected a .keras file of a model. Received: {path}")
    size = check_archive(path)
    try:
        with _safe_mode(), _strict(), _bounded_variables(size + _SPARE):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever a file leads it to.
        raise ValueError(
            f"Expected a .keras file of a model. Received: {path}, which Keras refused: "
            f"{_reason(error)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a .keras file of a model. Received: {path}, of a {type(model).__name__}"
        )
    return model


def _safe_mode():
    """A context in which Keras refuses code, even where it was told to load it."""
    from keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(True)  # What was told before is stronger than `safe_mode=True`.


@contextlib.contextmanager
def _strict():
    """A context after which no layer has fresh weights because the file lacks them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for warning in said:
        if "freshly-initialized weights" in str(warning.message):
            raise ValueError("it lacks the weights of layers within lists")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def _bounded_variables(most):
    """A context in which this thread makes variables of so many bytes at most.

    A file of some bytes can say that its layers have a billion units, which Keras makes before it
    looks for their weights.
    """
    import keras

    kind, thread, made = keras.Variable, threading.get_ident(), 0
    usual = kind._initialize_with_initializer

    def initialize(variable, initializer):
        nonlocal made
        if threading.get_ident() == thread:
            made += math.prod(variable.shape) * _item_bytes(variable.dtype)
            if made > most:
                raise ValueError("layers that are larger than the weights in the file")
        usual(variable, initializer)

    kind._initialize_with_initializer = initialize
    try:
        yield
    finally:
        kind._initialize_with_initializer = usual


def _item_bytes(dtype):
    """Bytes of a number of a type, by its name in Keras."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # Some that NumPy does not know.
        return 4


def _reason(error):
    """What went wrong in the innermost part that Keras could not load, in one line."""
    text = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    goes_on = lines[0].endswith(":") and len(lines) > 1
    return textwrap.shorten(" ".join(lines[: 1 + goes_on]), 300)
