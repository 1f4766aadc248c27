"""What a row of the zoo's manifest must be: every field's type and range.

The manifest's hash reveals damage, not intent: an attacker who alters a row can also write the hash
that fits.
"""

import math
import pathlib
import re
from typing import Any

from kdzoo.utils import shown
from kdzoo.utils.field_checks import (
    check_count,
    check_measure,
    check_sha256,
    check_type,
    check_types,
)
from kdzoo.zoo.registry import architecture, costs_of

ROLES = ("teacher", "student", "network")  # The last: of several exits or widths, by itself.

_NAME = re.compile(r"\w[\w.:+ -]*(/\w[\w.:+ -]*)+")  # File names of cards are made of it.
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
_EXIT = {"accuracy": float, "macs": int}
_WIDTH = {**_EXIT, "width": float, "parameters": int}
_OF_SEVERAL_COSTS = {"exits": _EXIT, "widths": _WIDTH}
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
    check_types(fields, _ROW)
    check_type("licence", fields.get("licence", ""), str)
    if not _NAME.fullmatch(fields["name"]):
        raise ValueError(f"the name {shown(fields['name'])}")
    _check_training(fields["training"])
    _check_measured(fields["measured"], "tflite" in files)
    if fields["measured"].get("alone"):
        check_count("alone_epochs", fields["training"]["alone_epochs"])
    if "weights" not in files:
        raise ValueError(f"a model without weights, {shown(fields['name'])}")
    _check_architecture(fields["name"], fields["architecture"])
    _check_costs_belong(fields)
    _check_images_and_classes(fields)
    if fields["role"] not in ROLES:
        raise ValueError(f"the role {shown(fields['role'])}")
    reserved = {"name", "classes", "input_shape"} & fields["arguments"].keys()
    if reserved:
        raise ValueError(f"{sorted(reserved)[0]!r} among the arguments")
    _check_argument("the arguments", fields["arguments"])


def _check_file(file):
    check_types(file, _FILE)
    if file.keys() != _FILE.keys():
        raise ValueError(f"a file with {sorted(file.keys() - _FILE.keys())[0]!r}")
    name = file["file"]
    if pathlib.PurePath(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(f"a file elsewhere, {shown(name)}")
    check_sha256("sha256", file["sha256"])
    check_count("bytes", file["bytes"])


def _check_images_and_classes(fields):
    shape, classes, labels = fields["input_shape"], fields["classes"], fields["labels"]
    for size in shape:
        check_type("input_shape", size, int)
    if len(shape) != 3 or min(shape) < 1 or max(shape) > _MOST_SIZE:
        raise ValueError(f"images of the shape {shape}")
    if classes < 2:
        raise ValueError(f"{classes} classes")
    if len(labels) != classes:
        raise ValueError(f"{len(labels)} labels for {classes} classes")
    for label in labels:
        check_type("label", label, str)


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


def _check_costs_belong(fields):
    """Raises unless a network has exits or widths if it is an architecture of such."""
    wanted = costs_of(fields["architecture"])
    for name in _OF_SEVERAL_COSTS:
        if (name in fields["measured"]) != (name == wanted):
            what = "no" if name == wanted else "figures of"
            raise ValueError(f"{what} {name!r} of {shown(fields['architecture'])}")


def _check_training(training):
    check_types(training, _TRAINING)
    for name in ("epochs", "examples", "held_out"):
        check_count(name, training[name])
    if not training["seeds"]:
        raise ValueError("a training of no seed")
    for seed in training["seeds"]:
        check_type("seed", seed, int)
    for seconds in training.get("seconds", []):
        check_measure("seconds", seconds)
    for name in ("teacher", "teacher_weights"):
        check_type(name, training.get(name) or "", str)
    for version in training["versions"].values():
        check_type("version", version, str)


def _check_measured(measured, is_compressed):
    check_types(measured, _MEASURED)
    check_sha256("test_sha256", measured["test_sha256"])
    check_measure("calibration_error", measured["calibration_error"], most=1)
    for name in ("parameters", "macs"):
        check_count(name, measured[name])
    if measured.get("agreement") is not None:
        check_type("agreement", measured["agreement"], float)
        check_measure("agreement", measured["agreement"], most=1)
    check_types(measured["accuracy"], _ACCURACY)
    for spread in filter(None, (measured["accuracy"], measured.get("alone"))):
        _check_spread(spread)
    if is_compressed:
        check_types(measured, _COMPRESSED)
        for name in _COMPRESSED:
            check_measure(name, measured[name], most=1)
        check_types(measured["signature"], _SIGNATURE)
        for tensor in measured["signature"].values():
            _check_tensor(tensor)
    elif "sparsity" in measured:
        check_type("sparsity", measured["sparsity"], float)
        check_measure("sparsity", measured["sparsity"], most=1)
    for size in measured["bytes"].values():
        check_count("bytes", size)
    for time in measured["latency_ms"].values():
        check_types(time, _TIME)
        for name in ("median", "q1", "q3"):
            check_measure(name, time[name])
    for name, types in _OF_SEVERAL_COSTS.items():
        if name in measured:
            _check_costs(name, measured[name], types)
    for logit in measured.get("logits_of_ramp", []):
        check_measure("logit", logit, least=-math.inf)


def _check_costs(name, costs, types):
    """Raises unless these are several exits or widths, each with what was measured of it."""
    check_type(name, costs, list)
    if len(costs) < 2:
        raise ValueError(f"{name} of {len(costs)}, where several belong")
    for cost in costs:
        check_types(cost, types)
        for fraction in types.keys() & {"accuracy", "width"}:
            check_measure(fraction, cost[fraction], most=1)
        for count in types.keys() & {"macs", "parameters"}:
            check_count(count, cost[count])


def _check_spread(spread):
    check_types(spread, _SPREAD)
    if not spread["by_seed"]:
        raise ValueError("accuracies of no seed")
    fractions = [spread[name] for name in _FRACTIONS if name in spread]
    for fraction in (*fractions, *spread["by_seed"].values()):
        check_type("accuracy", fraction, float)
        if not 0 <= fraction <= 1:
            raise ValueError(f"an accuracy of {shown(fraction)}")
    if not all(seed.isdecimal() for seed in spread["by_seed"]):
        raise ValueError(f"the seeds {sorted(spread['by_seed'])}")
    if "shipped_seed" in spread:
        check_type("shipped_seed", spread["shipped_seed"], int)


def _check_tensor(tensor):
    check_types(tensor, _TENSOR)
    for size in tensor["shape"]:
        check_count("size", size, 1)
    if tensor["scale"] is not None:
        check_types(tensor, {"scale": float, "zero_point": int})
        check_measure("scale", tensor["scale"])
