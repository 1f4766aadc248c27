"""The settings of a stage as JSON, by which it is identified and results describe it."""

import dataclasses
import json
from typing import Any

import numpy as np

from kdzoo.experiments.stage import Stage
from kdzoo.utils import is_integer, is_number, shown


def settings_of(part: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as JSON gives them back, those at their default left out.

    Args:
        part: A stage, or a configuration within one. Of dataclasses within it the same is said.
            The metadata of a field may have `"said_as"`: value -> what is said in its place.
    """
    said = {}
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), field.default
        said_as = field.metadata.get("said_as", {})
        value = said_as.get(value, value) if isinstance(value, str) else value
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or canonical(value) != canonical(default):
            said[field.name] = json.loads(as_json(value))
    return said


def canonical(value: Any) -> str:
    """Returns the JSON by which settings are compared: 4.0 is 4, and keys are in order."""
    return json.dumps(_with_integers(json.loads(as_json(value))), sort_keys=True)


def _with_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_integers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_integers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_json(value: Any) -> str:
    """Returns the JSON of a value; of a dataclass that of its settings, and of a stage its type."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if is_number(value):  # Of NumPy.
        return int(value) if is_integer(value) else float(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if not dataclasses.is_dataclass(value):
        raise ValueError(f"Expected settings that JSON can hold. Received: {shown(value)}")
    name = {"type": type(value).__name__} if isinstance(value, Stage) else {}
    return {**name, **settings_of(value)}
