"""Errors of Keras and its backend, which may be pages long, as one sentence."""

import contextlib
import re
import traceback
from collections.abc import Iterator

import keras

# What TensorFlow says of an index out of range, and where it says that it happened.
_OUT_OF_RANGE = re.compile(r"indices\[[\d,]+\] = \S+ (is not in|does not index into)")
_IN_CONTRASTIVE = re.compile(r"losses.contrastive\.py|ContrastiveRepresentation\.call")
_WRONG_LABEL = re.compile(r"Received a label value of (-?\d+) which is outside")
# Keras, what it runs on, and kdzoo, where Keras leaves out its own part of a traceback.
_LIBRARIES = {"kdzoo", "keras", "tensorflow", "jax", "optree", "numpy"}
# The package of Keras's callbacks.
_CALLBACKS = keras.callbacks.Callback.__module__.rpartition(".")[0]
_COLOURS = re.compile(r"\x1b\[\d+m")
# A sentence of kdzoo's inside an error of Keras or TensorFlow.
_OWN_SENTENCE = re.compile(r"(Expected|Unknown) [^\n]+(Received: |\. )[^\n]+")
# Lines of Keras and TensorFlow that say nothing about the cause.
_HEADINGS = ("Exception encountered", "Graph execution error", "in user code", "Detected at")
# What was raised where batches are made, in what TensorFlow makes of it.
_RAISED_BY_DATA = re.compile(r"^ValueError: (Expected .*)$", re.MULTILINE)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Context in which a long error of a Keras step about its data becomes one sentence.

    What a callback or a function of the user's raises stays as it is.

    Raises:
        ValueError: In place of the error of Keras or its backend, which is its cause.
    """
    try:
        with _whole_tracebacks():
            yield
    except Exception as error:
        if _passed_a_callback(error):
            raise
        sentence = _explanation(error)
        if sentence is None:
            raise
        raise ValueError(sentence) from error


def _explanation(error):
    """What an error of a step means, in one sentence; None where it is to stay as it is."""
    text = str(error)
    if label := _WRONG_LABEL.search(text):
        return (
            "Expected labels that are classes of the student, counted from 0. Received: label "
            f"{label[1]}; number the classes from 0, or build the student with more classes."
        )
    if _OUT_OF_RANGE.search(text) and (
        _IN_CONTRASTIVE.search(text) or "kdzoo.losses.contrastive" in _modules(error)
    ):
        return (
            "Expected indices of the examples that `ContrastiveRepresentation` was made for, "
            "counted from 0. Received: an index outside of them; give the loss the labels, or "
            "the number, of all training examples."
        )
    # TensorFlow puts what a batch's code raises between tracebacks.
    said = _RAISED_BY_DATA.search(text) if not isinstance(error, ValueError) else None
    if said:
        return said[1]
    if isinstance(error, ValueError | TypeError) and is_from_keras(error):
        return plain_sentence(error)
    return None


def is_from_keras(error: BaseException) -> bool:
    """Returns whether Keras or its backend made an error, or added pages to one of kdzoo's.

    Args:
        error: A raised error. One that a callback or a function of the user's raised is neither.
    """
    raised_in = _modules(error)[-1].partition(".")[0]
    text = str(error).strip()
    is_own = text.startswith(("Expected", "Unknown")) and "\n" not in text
    return raised_in in _LIBRARIES and not is_own


def plain_sentence(error: BaseException) -> str:
    """Returns what is wrong, in one sentence, from an error that Keras added pages to.

    Args:
        error: The error.
    """
    text = _COLOURS.sub("", str(error))
    found = _OWN_SENTENCE.search(text)
    if found:
        return found[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_HEADINGS)] or lines
    said = lines[0] if lines else type(error).__name__
    return f"Expected data and a loss that fit the model. Received: {said[:300]}"


@contextlib.contextmanager
def _whole_tracebacks():
    """Lets errors keep the frames within Keras, which tell where they come from."""
    was_enabled = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if was_enabled:
            keras.config.enable_traceback_filtering()


def _passed_a_callback(error):
    """Whether an error came through a callback, of Keras or of the user."""
    return any(name.startswith(_CALLBACKS) for name in _modules(error))


def _modules(error):
    """The names of the modules that an error passed through, the one that raised it last."""
    frames = traceback.walk_tb(error.__traceback__)
    return [frame.f_globals.get("__name__") or "" for frame, _ in frames]
