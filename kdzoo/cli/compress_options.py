"""What the options of `kdzoo compress` ask for."""

import pathlib
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from kdzoo.experiments import Compression

_STEPS = "--prune, --cluster, --filters, --low-rank, --separable, --binary"
_OF_TRAINING = ("epochs", "learning_rate", "batch_size", "augment")
_OF_TEACHER = ("temperature", "student_loss_weight")
_CHANGES = ("filters", "filters_target", "low_rank", "separable", "cluster", "binary")
_OF_WEIGHTS = ("scheme", "rounds", "sparse", "weight_bits")
SETTINGS = (*_CHANGES, *_OF_WEIGHTS, *_OF_TEACHER, *_OF_TRAINING)
"""The options that are settings of the same name."""


def compression_of(
    given: dict[str, Any],
    prune: str | None,
    quantize: str,
    teacher: pathlib.Path | None,
    order: str | None,
) -> "Compression":
    """Returns the `Compression` that the options ask for, checked before Keras starts.

    Args:
        given: Those of `SETTINGS` that were given.
        prune: What was given as `--prune`.
        quantize: What was given as `--quantize`.
        teacher: What was given as `--teacher`.
        order: What was given as `--order`.
    """
    from kdzoo.experiments import Compression, retraining
    from kdzoo.utils import unknown_name

    forms = ("none", "float16", "dynamic", "int8", "qat")
    if quantize not in forms:
        raise unknown_name("quantization", quantize, forms)
    training = {name: given.pop(name) for name in _OF_TRAINING if name in given}
    options = [f"--{name.replace('_', '-')}" for name in training]
    if training.pop("augment", None) is False:
        training["augmentation"] = None
    if "scheme" in given:
        given["scheme"] = _scheme(given["scheme"])
    if "filters_target" in given and "filters" not in given:
        raise ValueError("Expected --filters beside --filters-target. Received: the latter alone")
    compression = Compression(
        prune=_fraction(prune),
        quantize=cast(Any, None if quantize == "none" else quantize),
        training=retraining(**training),
        order=() if order is None else tuple(order.replace("-", "_").split(",")),
        **given,
    )
    if not compression.steps and compression.quantize is None:
        raise ValueError(
            f"Expected at least one of {_STEPS} and --quantize. Received: none of them."
        )
    options += ["--teacher"] * (teacher is not None)
    if options and not compression.steps:
        raise ValueError(
            f"Expected one of {_STEPS} or --quantize qat beside {options[-1]}, as nothing else is "
            f"trained. Received: --quantize {quantize}"
        )
    for name in _OF_TEACHER:
        if name in given and teacher is None:
            raise ValueError(
                f"Expected --teacher beside --{name.replace('_', '-')}. Received: the latter alone"
            )
    return compression


def _scheme(name: str) -> str:
    from kdzoo.experiments.compression_settings import SCHEMES
    from kdzoo.utils import unknown_name

    found = name.replace("-", "_")
    if found not in SCHEMES:
        known = [scheme.replace("_", "-") for scheme in SCHEMES]
        raise unknown_name("scheme", name, known)
    return found


def _fraction(prune: str | None) -> float | str | None:
    if prune in (None, "2:4"):
        return prune
    try:
        return float(prune)
    except ValueError:
        raise ValueError(
            f"Expected --prune to be a fraction such as 0.8, or 2:4. Received: {prune!r}"
        ) from None
