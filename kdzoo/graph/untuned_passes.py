"""Passes over data that do not wait for tf.data's tuner.

In TensorFlow 2.21 the tuner, which chooses how parallel a pipeline is, sleeps for 10 ms, 20 ms,
40 ms and so on, and a pass that ends waits until it wakes: an epoch takes 1.27, 2.55, 5.11 or 10.23
seconds, whatever its steps took. Without the tuner, a `map(num_parallel_calls=AUTOTUNE)` of the
user's makes as many calls at once as there are cores, up to 16.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from kdzoo.graph.keras_internals import datasets_changed
from kdzoo.utils import heavy_libraries, onednn

if TYPE_CHECKING:
    import tensorflow as tf


def untuned(dataset: "tf.data.Dataset") -> "tf.data.Dataset":
    """Returns a `tf.data.Dataset` of the same elements whose passes do not wait for the tuner."""
    options = heavy_libraries.tensorflow().data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def untuned_passes() -> contextlib.AbstractContextManager[None]:
    """Returns a context in which `fit`, `evaluate` and `predict` do not wait for the tuner.

    Data that say themselves whether they are tuned (`options.autotune.enabled`) stay as they are.
    """
    return datasets_changed(_untuned_unless_said)


def _untuned_unless_said(dataset: Any) -> Any:
    is_plain = isinstance(dataset, heavy_libraries.tensorflow().data.Dataset)
    if not is_plain or dataset.options().autotune.enabled is not None:
        return dataset
    return untuned(dataset)


def make_passes_untuned(model: keras.Model) -> None:
    """Lets the `fit`, `evaluate` and `predict` of this very model not wait for the tuner."""
    for name in ("fit", "evaluate", "predict"):
        vars(model)[name] = _untuned_method(model, name)


def _untuned_method(model: keras.Model, name: str) -> Callable:
    method = getattr(type(model), name).__get__(model)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if name == "fit":
            onednn.warn_if_off()
        with untuned_passes():
            return method(*args, **kwargs)

    return call
