"""What the options of `kdzoo compress` ask for."""

import itertools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from kdzoo.experiments import Compression

_STEPS = "--prune, --cluster, --filters, --low-rank, --separable, --binary"
_OF_TRAINING = ("epochs", "learning_rate", "batch_size", "augment")
_OF_TEACHER = ("temperature", "student_loss_weight")
_OF_FILTERS = ("filters_target", "filters_importance", "filters_scope")
_CHANGES = ("filters", *_OF_FILTERS, "low_rank", "separable", "cluster", "binary")
_OF_WEIGHTS = ("scheme", "rounds", "sparse", "weight_bits")
SETTINGS = (*_CHANGES, *_OF_WEIGHTS, *_OF_TEACHER, *_OF_TRAINING)
"""The options that are settings of the same name."""
LABELS_ALONE = pathlib.Path("none")
"""What is given as `--teacher` for no teacher."""
_FRACTIONS = "a fraction such as 0.8, or 2:4, or one of each layer such as conv=0.5,logits=0.9"
_RANKS = "a fraction such as 0.5, or the rank of each layer such as conv=8,fc1=20"
_NUMBERS = "a number such as 16, or one of each layer such as conv=64,logits=16"


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
    options = list(map(_option, training))
    if training.pop("augment", None) is False:
        training["augmentation"] = None
    if "scheme" in given:
        given["scheme"] = _scheme(given["scheme"])
    for name in _OF_FILTERS:
        if name in given and "filters" not in given:
            raise ValueError(
                f"Expected --filters beside {_option(name)}. Received: the latter alone"
            )
    if "cluster" in given:
        given["cluster"] = _by_layer("--cluster", given["cluster"], int, _NUMBERS)
    if "low_rank" in given:
        given["low_rank"] = _rank(given["low_rank"])
    compression = Compression(
        prune=_zeros(prune),
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
    has_teacher = teacher not in (None, LABELS_ALONE) or is_own_teacher(teacher, compression)
    for name in _OF_TEACHER:
        if name in given and not has_teacher:
            received = "the latter alone" if teacher is None else "--teacher none"
            raise ValueError(f"Expected --teacher beside {_option(name)}. Received: {received}")
    return compression


def is_own_teacher(teacher: pathlib.Path | None, compression: "Compression") -> bool:
    """Whether the model teaches what is made of it: where filters go, unless another is given.

    Args:
        teacher: What was given as `--teacher`.
        compression: What is done to the model.
    """
    return teacher is None and compression.filters is not None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _scheme(name: str) -> str:
    from kdzoo.experiments.zeros_and_values import SCHEMES
    from kdzoo.utils import unknown_name

    found = name.replace("-", "_")
    if found not in SCHEMES:
        known = [scheme.replace("_", "-") for scheme in SCHEMES]
        raise unknown_name("scheme", name, known)
    return found


def _zeros(prune: str | None) -> Any:
    return prune if prune in (None, "2:4") else _by_layer("--prune", prune, float, _FRACTIONS)


def _rank(text: str) -> Any:
    return _by_layer("--low-rank", text, int if "=" in text else float, _RANKS)


def _by_layer(option: str, text: str, number: Callable[[str], Any], expected: str) -> Any:
    """What an option says: a number, or path of a layer -> its number, paths in order."""
    try:
        if "=" not in text:
            return number(text)
        pairs = [part.strip().rpartition("=") for part in text.split(",")]
        found = [(path, number(value)) for path, _, value in pairs]
    except ValueError:
        found = []
    if not found or not all(path for path, _ in found):
        raise ValueError(f"Expected {option} to be {expected}. Received: {text!r}")
    paths = sorted(path for path, _ in found)
    for path, other in itertools.pairwise(paths):
        if path == other:
            raise ValueError(f"Expected each layer once in {option}. Received: {path!r} twice")
    return dict(sorted(found))
