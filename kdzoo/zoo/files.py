"""Opens `.keras` files from any source; no code in them runs."""

import contextlib
import math
import re
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np

from kdzoo.graph.keras_internals import (
    initialize_function,
    load_keras_weights,
    refusing_code,
    set_initialize_function,
)
from kdzoo.utils import check_path, naming, open_regular
from kdzoo.utils.types import PathLike
from kdzoo.zoo.keras_2_configs import built, carried_over
from kdzoo.zoo.keras_2_numbers import renumbered
from kdzoo.zoo.keras_zip_checks import check_archive, config_of_keras_2, weights_member

# How many times the bytes of a file's weights its layers may take: Keras builds the layer of a
# bidirectional one three times, and keeps two.
_COPIES = 3
_SPARE = 16 << 20  # Bytes of variables beyond those.


def load_keras_file(path: PathLike) -> keras.Model:
    """Returns the model of a `.keras` file that may come from anybody.

    The file is checked before Keras opens it. Keras then loads it in its safe mode, even after
    `keras.config.enable_unsafe_deserialization()`. Loading takes no more memory than a few times
    the file's size, whatever sizes the file claims and however large its layers are.

    Args:
        path: The file; its name ends in `.keras`.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, is damaged, or holds something that Keras does not
            write, layers that run code or are not registered here, or weights that do not fit the
            layers or are not finite (a weight that is infinite throughout is allowed, because a
            running minimum starts with infinity).

    Example:

    ```python
    model = load_keras_file("student.keras")
    ```
    """
    file = check_path("path", path)
    if file.suffix != ".keras":
        raise ValueError(f"Expected a .keras file of a model. Received: {file}")
    size = check_archive(file)
    try:
        old = config_of_keras_2(file)
        with refusing_code(), _strict(), bounded_loading(size):
            model = (
                keras.saving.load_model(file, compile=False, safe_mode=True)
                if old is None
                else _carried_over(*old, file)
            )
    except Exception as error:  # A damaged file leads Keras to any exception.
        what = "a .keras file of a model", "which Keras refused"
        raise refusal(*what, file, error) from error
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a .keras file of a model. Received: {file}, of a {type(model).__name__}"
        )
    return model


def _carried_over(config, minor, path):
    """Returns the model of a `.keras` file of Keras 2, which has been checked."""
    model = built(carried_over(config, version=2))
    with open_regular(path) as file:
        content = weights_member(file)
    load_keras_weights(model, renumbered(model, content) if minor in (12, 13) else content)
    return model


def bounded_loading(size: int) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which layers take a few times the bytes of a file's weights at most.

    Args:
        size: The bytes of all weights in the file.
    """
    return _bounded_variables(_COPIES * size + _SPARE)


@contextlib.contextmanager
def _strict():
    """A context that fails if a layer has fresh weights because the file lacks them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if "freshly-initialized weights" in str(warning.message):
            raise ValueError("it lacks the weights of layers within lists")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def _bounded_variables(most: int) -> Iterator[None]:
    """A context in which this thread makes variables of at most so many bytes.

    A small file can claim layers of a billion units, which Keras makes before it looks for their
    weights.
    """
    before = getattr(_thread, "budget", None)
    with _watched_variables():
        _thread.budget = _Budget(most)
        try:
            yield
        finally:
            _thread.budget = before


_thread = threading.local()  # Holds the budget of a thread that loads a file.
_lock, _loads = threading.Lock(), 0
_usual: Callable[..., None] | None = None


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
            if not _loads:  # Not earlier: another thread would load without a bound.
                set_initialize_function(_usual)


def _initialize(variable, initializer):
    """Makes a variable's first value within the budget of its thread."""
    budget = getattr(_thread, "budget", None)
    if budget is not None:
        budget.spend(math.prod(variable.shape) * _item_bytes(variable.dtype))
    _usual(variable, initializer)


class _Budget:
    """The bytes of variables that may still be made.

    Args:
        most: The bytes.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, size: int) -> None:
        """Subtracts so many bytes; raises `ValueError` if fewer are left."""
        self._left -= size
        if self._left < 0:
            raise ValueError("layers that are larger than the weights in the file")


def _item_bytes(dtype):
    """Returns the bytes of a number of a type, by its name in Keras."""
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # NumPy does not know all types of Keras.
        return 4


def refusal(what: str, why: str, path: PathLike, error: Exception) -> ValueError:
    """Returns in one sentence what is wrong with a file of a model.

    Args:
        what: What the file is expected to be.
        why: What happened to it where a library says the reason.
        path: The file.
        error: What was raised: a sentence of kdzoo gets the name of the file.
    """
    text = textwrap.shorten(str(error), 900)
    if type(error) is ValueError and text.startswith("Expected ") and " Received: " in text:
        return naming(path, ValueError(text))
    return ValueError(f"Expected {what}. Received: {path}, {why}: {_reason(error)}")


def _reason(error):
    """Returns in one sentence what is wrong with the innermost part that Keras could not load.

    The sentences after it often advise to switch the safe mode off, which is bad advice for a file
    from anybody.
    """
    text = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    goes_on = lines[0].endswith(":") and len(lines) > 1
    sentence = re.split(r"(?<=[a-z`)])\. (?=[A-Z])", " ".join(lines[: 1 + goes_on]))[0]
    return textwrap.shorten(sentence, 300)
