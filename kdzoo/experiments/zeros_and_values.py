"""How many zeros and values a compression leaves in kernels, in all alike or by layer."""

from typing import Any

from kdzoo.utils import check_fraction, is_integer, is_number, shown

TWO_OF_FOUR = "2:4"
DEEP_COMPRESSION, LOTTERY_TICKET = "deep_compression", "lottery_ticket"
SCHEMES = (DEEP_COMPRESSION, LOTTERY_TICKET)

Zeros = float | str | dict[str, float] | None
Values = int | dict[str, int] | None


def check_zeros_and_values(prune: Any, cluster: Any, scheme: Any, has_new_layers: bool) -> None:
    """Raises `ValueError` unless kernels can have these zeros and values.

    Args:
        prune: The fraction of zeros, `"2:4"` or None; or path of a layer -> its fraction.
        cluster: The number of values, or None; or path of a layer -> its number.
        scheme: One of `SCHEMES`, or None.
        has_new_layers: Whether other layers take the places of some before.
    """
    _check_by_layer("prune", prune, scheme, has_new_layers)
    _check_by_layer("cluster", cluster, scheme, has_new_layers)
    if isinstance(prune, dict):
        for path, fraction in prune.items():
            check_fraction(f"prune[{path!r}]", fraction)
    elif not (prune is None or _is_part(prune)):
        raise ValueError(
            "Expected prune to be a fraction of the weights between 0 and 1, or '2:4'. "
            f"Received: prune={shown(prune)}"
        )
    least = 3 if prune and scheme != DEEP_COMPRESSION else 2
    is_number_of_all = not (cluster is None or isinstance(cluster, dict))
    if is_number_of_all and not is_integer(cluster, least):
        raise ValueError(
            f"Expected cluster to be a number of values, at least {least}"
            f"{', as zero is one of them' if least == 3 else ''}. Received: "
            f"cluster={shown(cluster)}"
        )
    if scheme is not None and not isinstance(prune, dict) and not is_number(prune):
        raise ValueError(
            f"Expected prune as a fraction of zeros beside scheme={scheme!r}. "
            f"Received: prune={shown(prune)}"
        )
    if scheme == DEEP_COMPRESSION:
        numbers = {"cluster": cluster}
        if isinstance(cluster, dict):
            numbers = {f"cluster[{path!r}]": number for path, number in cluster.items()}
        for name, number in numbers.items():
            _check_power(name, number)


def _is_part(prune: Any) -> bool:
    if isinstance(prune, str):
        return prune == TWO_OF_FOUR
    return is_number(prune) and 0 < prune < 1


def _check_power(name: str, number: Any) -> None:
    if not is_integer(number, 2, 256) or int(number).bit_count() != 1:
        raise ValueError(
            f"Expected {name} as a power of 2, from 2 to 256, beside "
            f"scheme={DEEP_COMPRESSION!r}. Received: {name}={shown(number)}"
        )


def _check_by_layer(name: str, given: Any, scheme: Any, has_new_layers: bool) -> None:
    """Raises `ValueError` unless layers may have numbers of their own, if they have."""
    if not isinstance(given, dict):
        return
    if not given or not all(isinstance(path, str) for path in given):
        raise ValueError(
            f"Expected {name} to be a number, or path of a layer -> number. Received: "
            f"{name}={shown(given)}"
        )
    if scheme != DEEP_COMPRESSION:
        raise ValueError(
            f"Expected scheme={DEEP_COMPRESSION!r} beside {name} by layer, as all else takes one "
            f"number. Received: {name}={shown(given)} with scheme={shown(scheme)}"
        )
    if has_new_layers:
        raise ValueError(
            f"Expected {name} as one number beside low_rank and separable, which make other "
            f"layers first; to name those, compress what they leave. Received: "
            f"{name}={shown(given)}"
        )
