"""Which rules a model is quantized by, to and from files: TF-MOT's schemes, every field checked."""

from typing import Any

from kdzoo.compression.tfmot import preserve_schemes
from kdzoo.compression.tfmot.config_checks import Checks
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.own_quantization import kernel_bits_scheme
from kdzoo.utils import shown
from kdzoo.utils.field_checks import check_fields, is_boolean

_SCHEME_FIELDS: dict[str, Checks] = {
    "Default8BitQuantizeScheme": {"disable_per_axis": is_boolean},
    "Default8BitPrunePreserveQuantizeScheme": {"disable_per_axis": is_boolean},
    "Default8BitClusterPreserveQuantizeScheme": {"preserve_sparsity": is_boolean},
    "KernelBitsQuantizeScheme": {"weight_bits": lambda value: value in (4, 8)},
}


def as_scheme(given: Any) -> Any:
    """Returns a scheme of TF-MOT.

    Args:
        given: One, what `scheme_as_fields` returned for one, or None for 8 bits.

    Raises:
        ValueError: If it is something else.
    """
    tfmot = load_tfmot()
    schemes = {
        scheme.__name__: scheme
        for scheme in (
            tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme,
            tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme,
            preserve_schemes.cluster_scheme(),
            kernel_bits_scheme(),
        )
    }
    if given is None:
        given = {"class_name": "Default8BitQuantizeScheme", "config": {}}
    if isinstance(given, dict):
        return _scheme_of_fields(given, schemes)
    name = type(given).__name__
    if name not in schemes:
        raise ValueError(
            f"Expected one of the schemes {', '.join(schemes)}. Received: scheme={shown(given)}"
        )
    if preserve_schemes.keeps_clusters(given):  # TF-MOT's own too.
        return schemes[name](given.preserve_sparsity)
    return given


def scheme_as_fields(scheme: Any) -> dict[str, Any]:
    """Returns the name and the arguments of a scheme, from which `as_scheme` makes it again."""
    class_name = type(scheme).__name__
    arguments = {
        name.lstrip("_"): value
        for name, value in vars(scheme).items()
        if name.lstrip("_") in _SCHEME_FIELDS[class_name]
    }
    return {"class_name": class_name, "config": arguments}


def _scheme_of_fields(given, schemes):
    """A scheme of TF-MOT from its form in a file."""
    name = given.get("class_name")
    if not isinstance(name, str) or name not in schemes:
        raise ValueError(
            f"Expected one of the schemes {', '.join(schemes)}. Received: class_name={name!r}"
        )
    fields, checks = given.get("config"), _SCHEME_FIELDS[name]
    check_fields(name, fields, checks, optional=checks.keys())
    return schemes[name](**fields)
