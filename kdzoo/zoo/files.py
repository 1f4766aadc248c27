"""Opens the `.keras` files that people have, from wherever: nothing of them runs."""

import contextlib
import math
import re
import textwrap
import threading
import warnings

import numpy as np

from kdzoo.graph.keras_internals import initialize_function, refusing_code, set_initialize_function
from kdzoo.utils import check_path
from kdzoo.zoo.keras_archive import check_archive

# Times the weights in a file that its layers may have: one in two directions is built three times,
# for the two that are kept.
_COPIES = 3
_SPARE = 16 << 20  # Bytes of variables beyond those.


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
            that are not finite (only a first value of infinity throughout is allowed) or do not fit
            its layers, or layers that run code or are not known here.

    Example:

    ```python
    model = load_keras_file("student.keras")
    ```
    """
    import keras

    path = check_path("path", path)
    if path.suffix != ".keras":
        raise ValueError(f"Expected a .keras file of a model. Received: {path}")
    size = check_archive(path)
    try:
        with refusing_code(), _strict(), _bounded_variables(_COPIES * size + _SPARE):
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
    before = getattr(_thread, "budget", None)
    with _watched_variables():
        _thread.budget = _Budget(most)
        try:
            yield
        finally:
            _thread.budget = before


_thread = threading.local()  # Of a thread that loads a file: its budget.
_lock, _loads, _usual = threading.Lock(), 0, None


@contextlib.contextmanager
def _watched_variables():
    """A context in which threads with a budget make variables within it; threads may overlap."""
    global _loads, _usual
    with _lock:
        _loads += 1
        if _loads == 1:
            _usual = initialize_function()
            set_initialize_function(_initialize)
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            if not _loads:  # Not before: another thread's load would go on without a bound.
                set_initialize_function(_usual)


def _initialize(variable, initializer):
    """Makes a variable's first value, within the budget of its thread."""
    budget = getattr(_thread, "budget", None)
    if budget is not None:
        budget.spend(math.prod(variable.shape) * _item_bytes(variable.dtype))
    _usual(variable, initializer)


class _Budget:
    """Bytes of variables that may be made.

    Args:
        most: The bytes.
    """

    def __init__(self, most):
        self._left = most

    def spend(self, size):
        """Raises `ValueError` if so many bytes are not left."""
        self._left -= size
        if self._left < 0:
            raise ValueError("layers that are larger than the weights in the file")


def _item_bytes(dtype):
    """Bytes of a number of a type, by its name in Keras."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # Some that NumPy does not know.
        return 4


def _reason(error):
    """What went wrong in the innermost part that Keras could not load, in one sentence.

    What follows is advice, often to switch the safe mode off: none for a file from anybody.
    """
    text = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    goes_on = lines[0].endswith(":") and len(lines) > 1
    sentence = re.split(r"(?<=[a-z`)])\. (?=[A-Z])", " ".join(lines[: 1 + goes_on]))[0]
    return textwrap.shorten(sentence, 300)
