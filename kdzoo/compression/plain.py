"""What a file may bring to TF-MOT and tf_keras: plain values, checked before either sees them.

tf_keras's deserializers have no safe mode worth the name: a dictionary with a `class_name` that
reaches one of them makes an object, and a `Lambda` among those runs bytes of the file. TF-MOT hands
whatever it finds in a layer's configuration to them whenever it clones a model. So nothing that is
not a number, a short string or a list of such may get that far.
"""

import contextlib
import math
import numbers

from kdzoo.compression.tfmot import load_tfmot

_LONGEST = 256  # Characters of a string, and entries of a list.

DEEPEST = 4
"""How many lists and dictionaries a value may lie in."""

# Keys by which a deserializer takes a dictionary for an object.
_OF_OBJECTS = ("class_name", "module", "registered_name", "shared_object_id")
# Layers of tf_keras that run what a configuration says; no twin has one.
_RUNNING = ("Lambda", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod")


def is_plain(value, depth=0):
    """Whether a value is a number, a short string, None, or a short list of such.

    Args:
        value: The value.
        depth: How many lists it lies in.
    """
    if isinstance(value, list | tuple):
        fits = depth < DEEPEST and len(value) <= _LONGEST
        return fits and all(is_plain(part, depth + 1) for part in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return value is None or isinstance(value, numbers.Real)


def is_plain_tree(value, depth=0):
    """Whether a value is plain, or a dictionary of such that no deserializer takes for an object.

    Args:
        value: The value.
        depth: How many lists and dictionaries it lies in.
    """
    if not isinstance(value, dict):
        if isinstance(value, list | tuple):
            fits = depth < DEEPEST and len(value) <= _LONGEST
            return fits and all(is_plain_tree(part, depth + 1) for part in value)
        return is_plain(value)
    return (
        depth < DEEPEST
        and len(value) <= _LONGEST
        and all(
            isinstance(key, str)
            and len(key) <= _LONGEST
            and key not in _OF_OBJECTS
            and not key.startswith("__")
            and is_plain_tree(part, depth + 1)
            for key, part in value.items()
        )
    )


def is_boolean(value):
    """Whether a value is True or False."""
    return isinstance(value, bool)


def is_bits(value):
    """Whether a value is a number of bits that TF-MOT quantizes to, 2 to 16."""
    return _is_integer(value) and 2 <= value <= 16


def is_step(value):
    """Whether a value is a training step, or -1 for no end."""
    return _is_integer(value) and -1 <= value < 2**63


def is_number(value):
    """Whether a value is a finite number."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def is_names(value):
    """Whether a value is a short list of names of attributes."""
    return (
        isinstance(value, list | tuple)
        and len(value) <= 16
        and all(isinstance(name, str) and _is_attribute(name) for name in value)
    )


def is_lists_of_names(value):
    """Whether a value is a short list of such lists, one for each cell of a recurrent layer."""
    is_list = isinstance(value, list | tuple) and len(value) <= 16
    return is_list and all(is_names(names) for names in value)


def is_dictionary(value):
    """Whether a value is a dictionary, which whoever takes it checks further."""
    return isinstance(value, dict)


def is_name(value):
    """Whether a value is a string as layers and types are named by."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def is_list_of_names(value):
    """Whether a value is a list of names of layers."""
    return isinstance(value, list | tuple) and all(map(is_name, value))


def is_count(value):
    """Whether a value is a positive integer."""
    return _is_integer(value) and 0 < value < 2**31


def is_counts(value):
    """Whether a value is None or a short list of positive integers."""
    is_list = isinstance(value, list | tuple) and len(value) <= 16
    return value is None or (is_list and all(map(is_count, value)))


def is_statistics(value):
    """Whether a value maps paths to lists of numbers, lists within lists."""
    return isinstance(value, dict) and all(
        is_name(path) and isinstance(weights, list) and _are_numbers(weights)
        for path, weights in value.items()
    )


def check_fields(what, given, checks, optional=()):
    """Raises unless a part of a configuration has just these fields, each with a value that fits.

    Args:
        what: What the part describes, for the error.
        given: The part, as it came from a file.
        checks: Name of a field -> function that says whether a value fits.
        optional: Names of fields that may be missing.

    Raises:
        ValueError: If it is no dictionary, a field is missing, unknown or does not fit.
    """
    if not isinstance(given, dict):
        raise ValueError(
            f"Expected the configuration of a {what} as fields with names. Received: "
            f"{_shortened(given)}"
        )
    for name in given:
        if name not in checks:
            raise ValueError(
                f"Expected the fields {', '.join(checks) or '(none)'} of a {what}. Received: "
                f"{_shortened(name)}"
            )
    for name, fits in checks.items():
        if name not in given and name in optional:
            continue
        if name not in given or not fits(given[name]):
            found = _shortened(given[name]) if name in given else "none"
            raise ValueError(
                f"Expected a plain value that fits the field {name!r} of a {what}. Received: "
                f"{name}={found}"
            )


@contextlib.contextmanager
def nothing_runs():
    """Context in which tf_keras makes no layer that runs what its configuration says.

    TF-MOT clones through tf_keras's deserializers. What reaches them was checked; this is for what
    a check may have missed.
    """
    load_tfmot()
    import tf_keras
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    class Refused(tf_keras.layers.Layer):
        @classmethod
        def from_config(cls, config, custom_objects=None):
            raise ValueError(
                "Expected layers that run nothing of a file. Received: the configuration of a "
                "layer that does"
            )

    refused = dict.fromkeys(_RUNNING, Refused)
    with SafeModeScope(True), tf_keras.utils.custom_object_scope(refused):
        yield


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are_numbers(value, depth=0):
    if isinstance(value, list):
        return depth <= 8 and all(_are_numbers(part, depth + 1) for part in value)
    return is_number(value)


def _is_attribute(name):
    """Whether a string is the name of a public attribute."""
    return name.isidentifier() and not name.startswith("_") and len(name) <= 64


def _shortened(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
