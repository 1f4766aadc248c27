"""What a row of the zoo's manifest must be: every field's type and range.

The manifest's hash reveals damage, not intent: an attacker who alters a row can also write the hash
that fits.
"""

import math
import pathlib
import re
from typing import Any

from kdzoo.utils import shown
from kdzoo.zoo.registry import architecture

ROLES = ("teacher", "student")

_NAME = re.compile(r"\w[\w.:+ -]*(/\w[\w.:+ -]*)+")  # File names of cards are made of it.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 10_000  # Characters of a text.
_MOST = 1 << 53  # The largest count.
_MOST_SIZE = 1 << 20  # The largest side of an image, and argument of an architecture.
_MOST_DEPTH = 1 << 10  # Layers, each of which takes time to build.

# The fields that lists and cards read, and their types.
_ROW = {"name": str, "architecture": str, "arguments": dict, "dataset": str, "classes": int}
_ROW |= {"input_shape": list, "labels": list, "training": dict, "measured": dict}
_TRAINING = {"recipe": str, "kind": str, "command": str, "epochs": int, "seeds": list}
_TRAINING |= {"examples": int, "held_out": int, "data_version": str, "versions": dict}
_MEASURED = {"accuracy": dict, "parameters": int, "macs": int, "bytes": dict, "latency_ms": dict}
_MEASURED |= {"calibration_error": float, "test_sha256": str}
_SPREAD = {"mean": float, "std": float, "by_seed": dict}
_ACCURACY = {**_SPREAD, "shipped": float}
_COMPRESSED = {"tflite_accuracy": float, "float": float, "sparsity": float}
_SIGNATURE = {"input": dict, "output": dict}
_TENSOR = {"shape": list, "dtype": str}
_TIME = {"median": float, "q1": float, "q3": float, "machine": str}
_FRACTIONS = ("mean", "std", "shipped")
_FILE = {"file": str, "sha256": str, "bytes": int}


def check_row(fields: dict[str, Any]) -> None:
    """Raises an error that says what is wrong unless the fields are a row of a manifest.

    Args:
        fields: What `json.loads` returned for a row.

    Raises:
        ValueError: If a field is of another type or out of its range.
        AttributeError: If a part that must have fields is something else.
        KeyError: If a field is missing.
        TypeError: If a part that must have items is something else.
    """
    files = fields["files"]
    for file in files.values():
        _check_file(file)
    _check_fields(fields, _ROW)
    _check(fields.get("licence", ""), str)
    if not _NAME.fullmatch(fields["name"]):
        raise ValueError(f"the name {shown(fields['name'])}")
    _check_training(fields["training"])
    _check_measured(fields["measured"], "tflite" in files)
    if fields["measured"].get("alone"):
        _check_count("alone_epochs", fields["training"]["alone_epochs"])
    if "weights" not in files:
        raise ValueError(f"a model without weights, {shown(fields['name'])}")
    _check_architecture(fields["name"], fields["architecture"])
    _check_images_and_classes(fields)
    if fields["role"] not in ROLES:
        raise ValueError(f"the role {shown(fields['role'])}")
    reserved = {"name", "classes", "input_shape"} & fields["arguments"].keys()
    if reserved:
        raise ValueError(f"{sorted(reserved)[0]!r} among the arguments")
    _check_argument("the arguments", fields["arguments"])


def _check_file(file):
    _check_fields(file, _FILE)
    if file.keys() != _FILE.keys():
        raise ValueError(f"a file with {sorted(file.keys() - _FILE.keys())[0]!r}")
    name = file["file"]
    if pathlib.PurePath(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(f"a file elsewhere, {shown(name)}")
    _check_hash(file["sha256"])
    _check_count("bytes", file["bytes"])


def _check_images_and_classes(fields):
    shape, classes, labels = fields["input_shape"], fields["classes"], fields["labels"]
    for size in shape:
        _check(size, int)
    if len(shape) != 3 or min(shape) < 1 or max(shape) > _MOST_SIZE:
        raise ValueError(f"images of the shape {shape}")
    if classes < 2:
        raise ValueError(f"{classes} classes")
    if len(labels) != classes:
        raise ValueError(f"{len(labels)} labels for {classes} classes")
    for label in labels:
        _check(label, str)


def _check_argument(name, value):
    """Raises unless an architecture with this argument can be built in reasonable time."""
    if isinstance(value, dict | list):
        if len(value) > 64:
            raise ValueError(f"{len(value)} items in {name}")
        items = value.items() if isinstance(value, dict) else ((name, item) for item in value)
        for inner, item in items:
            _check_argument(inner, item)
    elif isinstance(value, int | float):
        most = _MOST_DEPTH if name == "depth" else _MOST_SIZE
        if not -most <= value <= most:
            raise ValueError(f"{name}={shown(value)} among the arguments")
    elif not isinstance(value, str | None):
        raise ValueError(f"{name}={shown(value)} among the arguments")


def _check_architecture(name, wanted):
    try:
        architecture(wanted)
    except ValueError as error:
        raise ValueError(
            f"{shown(name)} of the architecture {shown(wanted)}, which this kdzoo does not have; "
            "update kdzoo"
        ) from error


def _check_training(training):
    _check_fields(training, _TRAINING)
    for name in ("epochs", "examples", "held_out"):
        _check_count(name, training[name])
    if not training["seeds"]:
        raise ValueError("a training of no seed")
    for seed in training["seeds"]:
        _check(seed, int)
    for seconds in training.get("seconds", []):
        _check_number("seconds", seconds)
    for name in ("teacher", "teacher_weights"):
        _check(training.get(name) or "", str)
    for version in training["versions"].values():
        _check(version, str)


def _check_measured(measured, is_compressed):
    _check_fields(measured, _MEASURED)
    _check_hash(measured["test_sha256"])
    _check_number("calibration_error", measured["calibration_error"], 1)
    for name in ("parameters", "macs"):
        _check_count(name, measured[name])
    if measured.get("agreement") is not None:
        _check(measured["agreement"], float)
        _check_number("agreement", measured["agreement"], 1)
    _check_fields(measured["accuracy"], _ACCURACY)
    for spread in filter(None, (measured["accuracy"], measured.get("alone"))):
        _check_spread(spread)
    if is_compressed:
        _check_fields(measured, _COMPRESSED)
        for name in _COMPRESSED:
            _check_number(name, measured[name], 1)
        _check_fields(measured["signature"], _SIGNATURE)
        for tensor in measured["signature"].values():
            _check_tensor(tensor)
    elif "sparsity" in measured:
        _check(measured["sparsity"], float)
        _check_number("sparsity", measured["sparsity"], 1)
    for size in measured["bytes"].values():
        _check_count("bytes", size)
    for time in measured["latency_ms"].values():
        _check_fields(time, _TIME)
        for name in ("median", "q1", "q3"):
            _check_number(name, time[name])
    for logit in measured.get("logits_of_ramp", []):
        _check_number("logit", logit, least=-math.inf)


def _check_spread(spread):
    _check_fields(spread, _SPREAD)
    if not spread["by_seed"]:
        raise ValueError("accuracies of no seed")
    fractions = [spread[name] for name in _FRACTIONS if name in spread]
    for fraction in (*fractions, *spread["by_seed"].values()):
        _check(fraction, float)
        if not 0 <= fraction <= 1:
            raise ValueError(f"an accuracy of {shown(fraction)}")
    if not all(seed.isdecimal() for seed in spread["by_seed"]):
        raise ValueError(f"the seeds {sorted(spread['by_seed'])}")
    if "shipped_seed" in spread:
        _check(spread["shipped_seed"], int)


def _check_tensor(tensor):
    _check_fields(tensor, _TENSOR)
    for size in tensor["shape"]:
        _check_count("size", size, 1)
    if tensor["scale"] is not None:
        _check_fields(tensor, {"scale": float, "zero_point": int})
        _check_number("scale", tensor["scale"])


def _check_fields(part, types):
    for name, expected in types.items():
        _check(part[name], expected)


def _check_count(name, value, least=0):
    _check(value, int)
    if not least <= value <= _MOST:
        raise ValueError(f"{name} of {shown(value)}")


def _check_number(name, value, most=math.inf, least=0):
    """Raises unless a value is a finite number in a range; integers are numbers, too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most or abs(value) == math.inf:
        raise ValueError(f"{shown(value)} where a number belongs, {name}")


def _check_hash(value):
    _check(value, str)
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{shown(value)} where a SHA-256 belongs")


def _check(value, expected):
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(f"{shown(value)} where a {expected.__name__} belongs")
    if expected is str and len(value) > _LONGEST:
        raise ValueError(f"a text of {len(value):,} characters")
    if expected is float and not math.isfinite(value):
        raise ValueError(f"{shown(value)} where a number belongs")
