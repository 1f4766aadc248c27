"""Whether a LiteRT file gives what Keras gives, on samples that both of them predict."""

import keras
import numpy as np

from kdzoo.export.convert import Quantize
from kdzoo.export.runner import LiteRTModel
from kdzoo.export.signature import InputSpec, as_structure, named_outputs
from kdzoo.graph.outputs import predicted_classes
from kdzoo.utils import shown

_BATCH = 32


def keras_outputs(model: keras.Model, samples: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what Keras computes on the CPU, where float32 is not multiplied with fewer bits.

    Args:
        model: The Keras model.
        samples: One array `(samples, ...)` for each input.

    Returns:
        Name of an output -> float32 array `(samples, ...)`.

    Raises:
        ValueError: If an output is NaN or infinite.
    """
    batches = []
    with keras.device("cpu:0"):
        for start in range(0, len(samples[0]), _BATCH):
            batch = [
                keras.ops.convert_to_tensor(array[start : start + _BATCH]) for array in samples
            ]
            outputs = named_outputs(model, model(as_structure(model, batch), training=False))
            batches.append({name: np.asarray(value, "float32") for name, value in outputs.items()})
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    for name, array in joined.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(
                f"Expected a model with finite outputs. Received: model={model.name!r}, whose "
                f"output {name!r} is NaN or infinite on the samples: {_remedy(model)}."
            )
    return joined


def _remedy(model):
    """Returns what to do about outputs that are not finite: the weights are wrong, or the data."""
    weights = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
    if all(np.all(np.isfinite(weight)) for weight in weights):
        return (
            "its weights are finite, so pass representative_data on which its outputs are defined "
            "(they may not be on a sample that is masked throughout)"
        )
    return "look for NaN in its weights"


def compare(
    file: LiteRTModel,
    samples: list[np.ndarray],
    specs: list[InputSpec],
    expected: dict[str, np.ndarray],
) -> tuple[float, float]:
    """Returns how closely a file agrees with Keras, over all outputs and samples.

    Args:
        file: The file.
        samples: One array `(samples, ...)` for each input.
        specs: The `InputSpec` of each input.
        expected: The outputs of Keras, from `keras_outputs`.

    Returns:
        (largest absolute difference, fraction of samples with the same argmax, in [0, 1]); NaN and
        0 if an output has another shape.
    """
    received = file.predict({spec.name: array for spec, array in zip(specs, samples, strict=True)})
    if not isinstance(received, dict):
        received = {next(iter(expected)): received}
    differences, agreements = [], []
    for name, array in expected.items():
        if received[name].shape != array.shape:
            return float("nan"), 0.0
        differences.append(np.max(np.abs(received[name] - array)))
        agreements.append(np.mean(predicted_classes(received[name]) == predicted_classes(array)))
    return float(np.max(differences)), float(np.min(agreements))


def check_agreement(
    quantize: Quantize | None,
    difference: float,
    agreement: float,
    tolerance: float,
    min_agreement: float,
) -> None:
    """Raises `RuntimeError` unless a file agrees with Keras closely enough.

    Args:
        quantize: How the file is quantized.
        difference: The largest difference from Keras.
        agreement: The fraction of samples with the argmax of Keras, in [0, 1].
        tolerance: The largest difference that a float32 file may have.
        min_agreement: The smallest fraction that any other file may have.
    """
    if not np.isfinite(difference):
        raise RuntimeError(
            "Expected a file that gives Keras's outputs. Received: NaN, infinite or misshapen "
            f"outputs with quantize={quantize!r}: look for values that overflow float16 or int8, "
            "or export with quantize=None."
        )
    if quantize is None and difference > tolerance:
        raise RuntimeError(
            f"Expected outputs within tolerance={tolerance:g} of Keras. Received: a largest "
            f"difference of {difference:.3g}: look for an operation that is random or depends on "
            "the batch, or raise `tolerance` if the outputs themselves are in the hundreds."
        )
    if quantize is not None and agreement < min_agreement:
        raise RuntimeError(
            f"Expected Keras's argmax on a fraction of at least min_agreement={min_agreement:g} of "
            f"the samples. Received: {agreement:.3g} with quantize={shown(quantize)}: pass "
            "representative_data like what the model will see, quantize less, or lower "
            "`min_agreement`."
        )
