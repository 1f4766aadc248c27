"""What a file may bring to TF-MOT and tf_keras, and a context in which nothing of it runs.

tf_keras's deserializers have no safe mode worth the name: a dictionary with a `class_name` that
reaches one of them makes an object, and a `Lambda` among those runs bytes of the file. TF-MOT hands
whatever it finds in a layer's configuration to them whenever it clones a model. So nothing that is
not a number, a short string or a list of such may get that far.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kdzoo.compression.tfmot.library import load_tf_keras, refusing_code
from kdzoo.utils.arguments import is_integer
from kdzoo.utils.field_checks import is_finite_number, is_name

Checks = dict[str, Callable[[Any], Any]]
"""Name of a field of a configuration -> whether a value of a file fits it."""

# Layers of tf_keras that run what a configuration says; no clone has one.
_RUNNING = ("Lambda", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod")


def is_bits(value: Any) -> bool:
    """Whether a value is a number of bits that TF-MOT quantizes to, 2 to 16."""
    return is_integer(value) and 2 <= value <= 16


def is_step(value: Any) -> bool:
    """Whether a value is a training step, or -1 for no end."""
    return is_integer(value) and -1 <= value < 2**63


def is_names(value: Any) -> bool:
    """Whether a value is a short list of names of attributes."""
    return (
        isinstance(value, list | tuple)
        and len(value) <= 16
        and all(isinstance(name, str) and _is_attribute(name) for name in value)
    )


def is_lists_of_names(value: Any) -> bool:
    """Whether a value is a short list of such lists, one for each cell of a recurrent layer."""
    is_list = isinstance(value, list | tuple) and len(value) <= 16
    return is_list and all(is_names(names) for names in value)


def is_statistics(value: Any) -> bool:
    """Whether a value maps paths to lists of numbers, lists within lists."""
    return isinstance(value, dict) and all(
        is_name(path) and isinstance(weights, list) and _are_numbers(weights)
        for path, weights in value.items()
    )


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """Context in which tf_keras makes no layer that runs what its configuration says.

    TF-MOT clones through tf_keras's deserializers. What reaches them was checked; this is for what
    a check may have missed.
    """
    tf_keras = load_tf_keras()

    class Refused(tf_keras.layers.Layer):  # type: ignore[name-defined]
        @classmethod
        def from_config(cls, config, custom_objects=None):
            raise ValueError(
                "Expected layers that run nothing of a file. Received: the configuration of a "
                "layer that does"
            )

    refused = dict.fromkeys(_RUNNING, Refused)
    with refusing_code(), tf_keras.utils.custom_object_scope(refused):
        yield


def _are_numbers(value, depth=0):
    if isinstance(value, list):
        return depth <= 8 and all(_are_numbers(part, depth + 1) for part in value)
    return is_finite_number(value)


def _is_attribute(name):
    """Whether a string is the name of a public attribute."""
    return name.isidentifier() and not name.startswith("_") and len(name) <= 64
