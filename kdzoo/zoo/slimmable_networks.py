"""Slimmable networks by name: an architecture of the zoo that runs at several widths."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.dynamic import Slimmable
from kdzoo.zoo.building import create


def slimmable(
    network: str = "separable_050",
    widths: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    universal: bool = False,
    round_to: int = 8,
    arguments: Mapping[str, Any] | None = None,
    classes: int = 10,
    input_shape: tuple[int, int, int] | None = None,
    name: str | None = None,
) -> Slimmable:
    """Builds a `kdzoo.dynamic.Slimmable` of an architecture.

    Args:
        network: Name of the architecture, which is the largest width.
        widths: As in `kdzoo.dynamic.Slimmable`.
        universal: As in `kdzoo.dynamic.Slimmable`.
        round_to: As in `kdzoo.dynamic.Slimmable`.
        arguments: Further arguments of the architecture's builder.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image; the architecture's own when None.
        name: Name of the model; that of the architecture and `_slimmable` when None.

    Returns:
        The `Slimmable`, from float32 images (batch, height, width, channels) in [0, 1] to what the
        architecture gives, float32 logits (batch, classes).

    Raises:
        ValueError: If there is no such architecture, or an argument is outside its range.
        TypeError: If the architecture's builder has no such argument.

    Example:

    >>> slimmable("separable_025", widths=(0.5, 1.0)).widths
    [0.5, 1.0]

    References: Yu et al., "Slimmable Neural Networks", 2019, arXiv:1812.08928; Yu & Huang,
    "Universally Slimmable Networks and Improved Training Techniques", 2019, arXiv:1903.05134.
    """
    model = create(network, classes, input_shape, **(arguments or {}))
    return Slimmable(model, widths, universal, round_to, name)
