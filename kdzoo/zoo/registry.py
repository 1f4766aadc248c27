"""The names of architectures: those that come with kdzoo, and those that a user registers."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from kdzoo.utils import check_choice, check_text, shown
from kdzoo.zoo.architectures import (
    ARCHITECTURES,
    OF_SEVERAL_EXITS,
    OF_SEVERAL_WIDTHS,
    Architecture,
)

_ARCHITECTURES = {row.name: row for row in ARCHITECTURES}
_UNLISTED = {row.name: row for row in (*OF_SEVERAL_EXITS, *OF_SEVERAL_WIDTHS)}
_APPLICATIONS = "keras.applications."


def register(
    name: str,
    builder: str | Callable[..., Any],
    arguments: dict[str, Any] | None = None,
    description: str = "",
    paper: str = "",
) -> Architecture:
    """Adds an architecture, for `kdzoo.list_models` and `kdzoo.create`.

    Args:
        name: A new name, e.g. `"my_net_050"`.
        builder: `"package.module:function"` or a function that returns a `keras.Model` ending in
            logits and takes `classes`, `input_shape` and `name`.
        arguments: Further arguments for the builder, which `create` can override.
        description: One line on what it is and what it is for.
        paper: Authors, year and arXiv number.

    Returns:
        The new `Architecture`.

    Raises:
        ValueError: If the name is taken, is not a string or has a "/"; if the builder is neither a
            path nor a function; or if the arguments are not a dictionary, or include `classes` or
            `name`, which `create` passes.

    Example:

    ```python
    kdzoo.zoo.register("tiny_050", "my_package.models:tiny", {"width": 0.5}, "My own student.")
    kdzoo.create("tiny_050", classes=7)
    ```
    """
    if "/" in check_text("name", name):
        raise ValueError(
            "Expected a name without '/', which separates the parts of a pretrained model's name. "
            f"Received: name={shown(name)}"
        )
    if name in _ARCHITECTURES or name in _UNLISTED:
        raise ValueError(
            "Expected a new name, as registering never replaces a model. Received: "
            f"name={shown(name)}"
        )
    is_path = isinstance(builder, str) and all(builder.partition(":"))
    if not is_path and not hasattr(builder, "__name__"):
        raise ValueError(
            "Expected builder to be a function or its path as 'package.module:function'. "
            f"Received: builder={shown(builder)}"
        )
    if not isinstance(arguments, dict | None):
        raise ValueError(
            f"Expected arguments to be a dictionary. Received: arguments={shown(arguments)}"
        )
    check_text("description", description, may_be_empty=True)
    check_text("paper", paper, may_be_empty=True)
    for passed in ("classes", "name"):
        if passed in (arguments or {}):
            raise ValueError(
                f"Expected arguments without {passed!r}, which `create` passes. Received: "
                f"arguments={arguments}"
            )
    copied = copy.deepcopy(arguments or {})
    _ARCHITECTURES[name] = Architecture(name, builder, copied, description, paper)
    return architecture(name)


def list_models(family: str | None = None) -> list[str]:
    """Returns the names that `kdzoo.create` knows, family by family.

    Networks of several costs are left out: `branchy_lenet`, `msdnet_small` and `slimmable`.

    Args:
        family: Only this family, e.g. `"separable"`; all when None.

    Returns:
        A list of names.

    Raises:
        ValueError: If there is no such family; the nearest is suggested.

    Example:

    >>> list_models("separable")
    ['separable_025', 'separable_050', 'separable_075', 'separable_100']
    """
    rows = _ARCHITECTURES.values()
    families = {row.family for row in rows}
    if family is not None:
        check_choice("family", family, families)
    return [row.name for row in rows if family in (None, row.family)]


def costs_of(name: str) -> str | None:
    """Returns `"exits"` or `"widths"`, of which an architecture has several; None of one cost.

    Args:
        name: Its name.
    """
    if any(row.name == name for row in OF_SEVERAL_EXITS):
        return "exits"
    return "widths" if any(row.name == name for row in OF_SEVERAL_WIDTHS) else None


def architecture(name: str) -> Architecture:
    """Returns the `Architecture` of this name: its builder, arguments, description and paper.

    Args:
        name: A name in `kdzoo.list_models()`, a network of several exits or widths, or
            `"keras.applications.<Name>"` for a network that
            `kdzoo.models.applications.keras_application` builds.

    Returns:
        Its `Architecture`.

    Raises:
        ValueError: If there is no such model; the nearest is suggested.

    Example:

    >>> architecture("wide_resnet_16_2").arguments
    {'depth': 16, 'width': 2}
    """
    if isinstance(name, str) and name.startswith(_APPLICATIONS):
        builder = "kdzoo.models.applications:keras_application"
        network = {"network": name.removeprefix(_APPLICATIONS)}
        return Architecture(name, builder, network, "A network of keras.applications.")
    one_each = {found.family: name for name, found in reversed(_ARCHITECTURES.items())}
    known = {**_ARCHITECTURES, **_UNLISTED}
    found = known[check_choice("model", name, known, one_each.values())]
    # The arguments are copied, because a caller may change them.
    return dataclasses.replace(found, arguments=copy.deepcopy(found.arguments))
