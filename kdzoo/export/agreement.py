"""Whether a LiteRT file gives what Keras gives, each output judged by what it means."""

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np

from kdzoo.export.convert import Quantize
from kdzoo.export.keras_outputs import KerasOutput
from kdzoo.export.runner import LiteRTModel
from kdzoo.export.signature import InputSpec
from kdzoo.graph.outputs import OutputType, is_one_column
from kdzoo.graph.predictions import says_yes
from kdzoo.utils import shown

# Up to how many columns of numbers each is judged by itself: they may be of different units.
_FEW_COLUMNS = 16
# Columns that nothing is said of are taken for numbers where a file gives them this closely.
_CLOSE = 0.99
# What varies by less, as a fraction of the largest value, is the noise of float32.
_NOISE = 1e-5
# From how many answers of a side on a file must give some of them.
_SEVERAL = 10


@dataclasses.dataclass(frozen=True)
class OutputAgreement:
    """How closely one output of a file agrees with Keras.

    Attributes:
        name: Its name in the file.
        output_type: What it was taken for: `"classes"`, `"binary"` or `"numbers"`.
        agreement: In [0, 1]. Of classes, the fraction of samples, and of positions where an output
            has several, with the largest output of Keras; of integers, such as those of an argmax,
            the fraction that is the same. Of answers of yes or no, the fraction that is the same.
            Of numbers, 1 - Σ error² / Σ (output - its mean over the samples)², or 0 if that is
            less: of the worst column where there are up to 16, else of all of them together. Where
            Keras's numbers do not vary, 1 if the error is at most a quantization step, else
            1 - Σ error² / Σ output².
        max_abs_difference: Largest absolute difference from Keras.
        step: What one step of the integers of a quantized output is worth; None for floats.
    """

    name: str
    output_type: OutputType
    agreement: float
    max_abs_difference: float
    step: float | None = None


def compare(
    file: LiteRTModel,
    samples: list[np.ndarray],
    specs: list[InputSpec],
    expected: Mapping[str, KerasOutput],
) -> dict[str, np.ndarray]:
    """Returns what a file gives for samples, by the names of its outputs.

    Args:
        file: The file.
        samples: One array `(samples, ...)` for each input.
        specs: The `InputSpec` of each input.
        expected: The outputs of Keras.

    Returns:
        Name of an output -> array of the shape of Keras's, NaN where it has another.
    """
    by_name = {spec.name: array for spec, array in zip(specs, samples, strict=True)}
    with warnings.catch_warnings():  # What is cut off shows in the outputs.
        warnings.simplefilter("ignore", UserWarning)
        received = file.predict(by_name)
    if not isinstance(received, dict):
        received = {next(iter(expected)): received}
    return {
        name: received[name]
        if received[name].shape == output.values.shape
        else np.full(output.values.shape, np.nan, "float32")
        for name, output in expected.items()
    }


def judge(
    name: str, wanted: KerasOutput, file: np.ndarray, step: float | None, min_agreement: float
) -> OutputAgreement:
    """Returns how closely a file's output agrees with Keras's, by what it means.

    Args:
        name: Its name in the file.
        wanted: What Keras gives.
        file: What the file gives, an array of the same shape.
        step: The quantization step of the output, or None.
        min_agreement: The smallest agreement that is close enough.
    """
    values, meaning = wanted.values, wanted.output_type
    difference = float(np.max(np.abs(file.astype("float64") - values)))
    if not np.isfinite(difference):
        return OutputAgreement(name, meaning or "numbers", 0.0, float("nan"), step)
    if values.dtype.kind in "iub":
        found, meaning = float(np.mean(file == values)), "classes"
    elif meaning == "binary":
        yes = [says_yes(array, not wanted.are_probabilities) for array in (file, values)]
        found = float(np.mean(yes[0] == yes[1]))
    elif meaning == "numbers" or is_one_column(values.shape):
        found, meaning = _of_numbers(values, file, step), "numbers"
    else:
        found = float(np.mean(file.argmax(axis=-1) == values.argmax(axis=-1)))
        if meaning is None and found < min_agreement:
            as_numbers = _of_numbers(values, file, step)
            if as_numbers >= max(_CLOSE, min_agreement):
                found, meaning = as_numbers, "numbers"
    return OutputAgreement(name, meaning or "classes", found, difference, step)


def _of_numbers(wanted, file, step):
    """The fraction of the variance of Keras's outputs over the samples that a file gives."""
    count = len(wanted)
    columns = wanted.shape[-1] if wanted.ndim > 1 else 1
    wanted, file = (a.astype("float64").reshape(count, -1, columns) for a in (wanted, file))
    errors = ((file - wanted) ** 2).sum(axis=(0, 1))
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=(0, 1))
    squares = (wanted**2).sum(axis=(0, 1))
    if columns > _FEW_COLUMNS:
        errors, spread, squares = (np.sum(a, keepdims=True) for a in (errors, spread, squares))
        is_within = np.array([np.abs(file - wanted).max() <= (step or 0)])
    else:
        is_within = np.abs(file - wanted).max(axis=(0, 1)) <= (step or 0)
    varies = spread > _NOISE**2 * squares
    scale = np.where(varies, spread, squares)
    lost = np.divide(errors, scale, out=np.where(errors > 0, 1.0, 0.0), where=scale > 0)
    found = np.where(~varies & is_within, 1.0, 1 - lost)
    return float(max(found.min(), 0.0))


def check_agreement(
    quantize: Quantize | None,
    found: OutputAgreement,
    wanted: KerasOutput,
    file: np.ndarray,
    tolerance: float,
    min_agreement: float,
) -> None:
    """Raises `RuntimeError` unless an output agrees with Keras closely enough.

    Args:
        quantize: How the file is quantized.
        found: How closely it agrees.
        wanted: What Keras gives.
        file: What the file gives.
        tolerance: The largest difference that a float32 file may have, absolute and of each value.
        min_agreement: The smallest agreement that any other file may have.
    """
    if not np.isfinite(found.max_abs_difference):
        raise RuntimeError(
            "Expected a file that gives Keras's outputs. Received: NaN, infinite or misshapen "
            f"outputs with quantize={quantize!r}: look for values that overflow float16 or int8, "
            "or export with quantize=None."
        )
    allowed = tolerance * np.maximum(1.0, np.abs(wanted.values.astype("float64")))
    if quantize is None and np.any(np.abs(file.astype("float64") - wanted.values) > allowed):
        raise RuntimeError(
            f"Expected outputs within tolerance={tolerance:g} of Keras. Received: a largest "
            f"difference of {found.max_abs_difference:.3g} in {found.name!r}: look for an "
            "operation that is random or depends on the batch, or raise `tolerance` if large "
            "values cancel out."
        )
    if min_agreement > 0:
        _check_varies(quantize, found, wanted, file)
    if quantize is not None and found.agreement < min_agreement:
        raise RuntimeError(_disagreement(quantize, found, wanted, min_agreement))


def _check_varies(quantize, found, wanted, file):
    """Raises if the file gives a constant, or one answer, where Keras's output varies."""
    values = wanted.values
    if len(values) < 2 or values.dtype.kind in "iub":
        return
    largest, low, high = np.abs(values).max(), values.min(axis=0), values.max(axis=0)
    step = max(2 * (found.step or 0), _NOISE * largest)
    if (high - low).max() > step and np.all(file == file[0]):
        place = np.unravel_index(np.argmax(high - low), low.shape)
        raise RuntimeError(
            f"Expected outputs that vary as Keras's. Received: a constant in {found.name!r} with "
            f"quantize={shown(quantize)}, where Keras gives values from {low[place]:.3g} to "
            f"{high[place]:.3g}: {_ADVICE}, or pass min_agreement=0."
        )
    if found.output_type != "binary":
        return
    yes, no = (says_yes(array, not wanted.are_probabilities) for array in (values, file))
    for answer, name in ((yes, "yes"), (~yes, "no")):
        given = no if name == "yes" else ~no
        if answer.sum() >= _SEVERAL and not given.any():
            raise RuntimeError(
                f"Expected answers of {name} in {found.name!r}, as Keras gives {answer.sum()} of "
                f"{answer.size}. Received: none with quantize={shown(quantize)}: {_ADVICE}, or "
                "pass min_agreement=0."
            )


_ADVICE = (
    "bring inputs and outputs of different sizes to one range with Rescaling or Normalization, "
    "pass representative_data like what the model will see, or quantize less"
)


def _disagreement(quantize, found, wanted, min_agreement):
    """The sentence for an output that does not agree closely enough."""
    expected = {
        "classes": "Keras's argmax on a fraction of at least min_agreement={} of the samples",
        "binary": "Keras's yes or no for a fraction of at least min_agreement={} of the answers",
        "numbers": "errors that leave at least min_agreement={} of the variance of Keras's numbers",
    }[found.output_type].format(f"{min_agreement:g}")
    is_guess = wanted.output_type is None and found.output_type == "classes"
    guess = ", output_type='numbers' or 'binary' if they are no classes" if is_guess else ""
    size = "" if found.output_type != "numbers" else f", {_ADVICE.split(', pass')[0]}"
    return (
        f"Expected {expected}. Received: {found.agreement:.3g} for {found.name!r} with "
        f"quantize={shown(quantize)}: pass representative_data like what the model will see"
        f"{guess}{size}, quantize less, or lower `min_agreement`."
    )
