"""Whether a LiteRT file gives what Keras gives, each output judged by what it means."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.export.convert import Quantize
from kdzoo.export.keras_outputs import KerasOutput
from kdzoo.graph.number_agreement import CLOSE, NOISE, explained_fraction
from kdzoo.graph.outputs import OutputType, is_one_column
from kdzoo.graph.predictions import is_positive
from kdzoo.utils import shown

# What a file of float16 gives for -inf is the lowest number of float16, -65504, and a little more.
_MASKED = -6e4
# From how many predictions of one side on a file must have some of them.
_SEVERAL = 10


@dataclasses.dataclass(frozen=True)
class OutputAgreement:
    """How closely one output of a file agrees with Keras.

    Attributes:
        name: Its name in the file.
        output_type: What it was taken for: `"classes"`, `"binary"` or `"numbers"`.
        agreement: In [0, 1]. Of classes, the fraction of samples, and of positions where an output
            has several, whose largest output is a largest one of Keras; of integers, such as those
            of an argmax, the fraction that is the same. Of binary labels, the fraction that
            is the same. Of numbers, 1 - Σ error² / Σ (output - its mean over the samples)², or 0 if
            that is less: of the worst column where there are up to 16, else of all of them
            together. It is 1 where the error is at most a quantization step and Keras's numbers
            vary by two steps at most, beside which they are large; and 1 - Σ error² / Σ output²
            where they do not vary at all.
        max_abs_difference: Largest absolute difference from Keras.
        step: What one step of the integers of a quantized output is worth; None for floats.
        argmax_agreement: The fraction of positions with Keras's argmax, of an output of rank 3 or
            more that nothing is known of and that was taken for numbers; else None.
    """

    name: str
    output_type: OutputType
    agreement: float
    max_abs_difference: float
    step: float | None = None
    argmax_agreement: float | None = None


def compare(received: Any, expected: Mapping[str, KerasOutput]) -> dict[str, np.ndarray]:
    """Returns what a file gives as what is to be held against Keras.

    Args:
        received: What it gives: an array, or a dict of arrays by the names of outputs.
        expected: The outputs of Keras.

    Returns:
        Name of an output -> array of the shape of Keras's, NaN where it has another; -inf where
        Keras gives that and the file the lowest number that it can.
    """
    if not isinstance(received, dict):
        received = {next(iter(expected)): received}
    return {
        name: _with_masks(received[name], output.values)
        if received[name].shape == output.values.shape
        else np.full(output.values.shape, np.nan, "float32")
        for name, output in expected.items()
    }


def _with_masks(file, wanted):
    """What a file gives, -inf where it masks a class that Keras masks."""
    is_masked = np.isneginf(wanted) & (file <= _MASKED)
    return np.where(is_masked, -np.inf, file).astype(file.dtype) if is_masked.any() else file


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
    difference = float(_differences(file, values).max())
    if not np.isfinite(difference):
        return OutputAgreement(name, meaning or "numbers", 0.0, float("nan"), step)
    if values.dtype.kind in "iub":
        found, meaning = float(np.mean(file == values)), "classes"
    elif meaning == "binary":
        positive = [is_positive(array, not wanted.are_probabilities) for array in (file, values)]
        found = float(np.mean(positive[0] == positive[1]))
    elif meaning == "numbers" or is_one_column(values.shape):
        found, meaning = explained_fraction(values, file, step or 0), "numbers"
    else:
        found = _same_largest(values, file)
        may_be_image = meaning is None and values.ndim > 2 and np.all(np.isfinite(values))
        if may_be_image and found < min_agreement:
            as_numbers = explained_fraction(values, file, step or 0)
            if as_numbers >= max(CLOSE, min_agreement):
                return OutputAgreement(name, "numbers", as_numbers, difference, step, found)
    return OutputAgreement(name, meaning or "classes", found, difference, step)


def _differences(file, wanted):
    """Absolute differences in float64; of classes that both mask with -inf they are 0."""
    file, wanted = file.astype("float64"), wanted.astype("float64")
    with np.errstate(invalid="ignore"):
        return np.where(file == wanted, 0.0, np.abs(file - wanted))


def _same_largest(wanted, file):
    """The fraction of rows in which the largest output of a file is a largest one of Keras."""
    chosen = np.take_along_axis(wanted, file.argmax(axis=-1)[..., None], axis=-1)
    return float(np.mean(chosen == wanted.max(axis=-1, keepdims=True)))


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
    allowed = tolerance * np.maximum(1.0, np.abs(_with_zeros(wanted.values).astype("float64")))
    if quantize is None and np.any(_differences(file, wanted.values) > allowed):
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
    if found.argmax_agreement is not None:
        warnings.warn(
            f"Output {found.name!r} of the file has the largest value where Keras's has it at only "
            f"{found.argmax_agreement:.3g} of the positions, and its values agree "
            f"({found.agreement:.3g} of their variance): it was taken for numbers, such as an "
            "image. Pass output_type='numbers', or 'classes' if they are classes.",
            stacklevel=3,
        )


def _check_varies(quantize, found, wanted, file):
    """Raises if the file gives a constant, or one prediction, where Keras's output varies.

    Each binary column is looked at by itself, other outputs as a whole.
    """
    if len(file) < 2 or wanted.values.dtype.kind in "iub":
        return
    is_binary = found.output_type == "binary"
    columns = file.shape[-1] if is_binary and file.ndim > 1 else 1
    values, file = (
        array.reshape(len(array), -1, columns) for array in (_with_zeros(wanted.values), file)
    )
    step = max(2 * (found.step or 0), NOISE * np.abs(values).max())
    ranges = np.ptp(values, axis=0)
    is_constant = np.all(file == file[0], axis=(0, 1))
    position, column = np.unravel_index(np.argmax(ranges * is_constant), ranges.shape)
    if is_constant[column] and ranges[position, column] > step:
        low, high = (function(values[:, position, column]) for function in (np.min, np.max))
        raise RuntimeError(
            f"Expected outputs that vary as Keras's. Received: a constant in "
            f"{_column(found.name, column, columns)} with quantize={shown(quantize)}, where Keras "
            f"gives values from {low:.3g} to {high:.3g}: {_ADVICE}, or pass min_agreement=0."
        )
    if is_binary:
        in_keras, in_file = (is_positive(a, not wanted.are_probabilities) for a in (values, file))
        _check_both_sides(quantize, found.name, "1", in_keras, in_file)
        _check_both_sides(quantize, found.name, "0", ~in_keras, ~in_file)


def _check_both_sides(quantize, name, side, in_keras, in_file):
    """Raises if a column of a file never predicts what Keras predicts several times."""
    counts = in_keras.sum(axis=(0, 1)) * ~in_file.any(axis=(0, 1))
    column, columns = int(np.argmax(counts)), len(counts)
    if counts[column] >= _SEVERAL:
        raise RuntimeError(
            f"Expected predictions of {side} in {_column(name, column, columns)}, as Keras gives "
            f"{counts[column]} of {in_keras[..., column].size}. Received: none with "
            f"quantize={shown(quantize)}: {_ADVICE}, or pass min_agreement=0."
        )


def _column(name, column, columns):
    """How a column of an output is called."""
    return repr(name) if columns == 1 else f"column {column} of {name!r}"


def _with_zeros(values):
    """Keras's values with zeros for those of masked classes, -inf."""
    return np.where(np.isneginf(values), 0, values) if values.dtype.kind == "f" else values


_ADVICE = (
    "bring inputs and outputs of different sizes to one range with Rescaling or Normalization, "
    "pass representative_data like what the model will see, or quantize less"
)


def _disagreement(quantize, found, wanted, min_agreement):
    """The sentence for an output that does not agree closely enough."""
    expected = {
        "classes": "Keras's argmax on a fraction of at least min_agreement={} of the samples",
        "binary": "Keras's label, 0 or 1, for at least min_agreement={} of the outputs",
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
