"""From a Keras model to a verified LiteRT file in one call."""

import dataclasses
import pathlib
import tempfile

import keras
import numpy as np

from kdzoo.export.convert import check_loops, check_quantize, check_sparse, convert
from kdzoo.export.metadata import append_metadata, check_labels
from kdzoo.export.runner import LiteRTModel, TensorInfo
from kdzoo.export.samples import collect_samples, random_samples
from kdzoo.export.signature import (
    as_structure,
    check_exportable,
    computing_in_float32,
    input_specs,
    named_outputs,
)
from kdzoo.utils import (
    atomic_path,
    check_flag,
    check_path,
    check_positive_integer,
    is_number,
    naming_full_disk,
    shown,
)

_MOST_SAMPLES = 1 << 20


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, and how it was found to agree with Keras.

    Attributes:
        path: The file.
        bytes: Its size on disk.
        quantize: None, `"float16"`, `"dynamic"` or `"int8"`, as asked for.
        samples: The number of samples that Keras and the file were compared on.
        verified_on: `"representative_data"`, or `"random samples"` uniform in [0, 1).
        max_abs_difference: Largest difference of any output from Keras, over all samples.
        argmax_agreement: Share of samples, in [0, 1], with the same largest output.
        inputs: Tuple of `TensorInfo`; for int8 with scale and zero point.
        outputs: Tuple of `TensorInfo`.
        layers_in_float: Tuple of the layers whose kernels a quantization-aware model, which was
            annotated in part, leaves in float32; empty for others.
    """

    path: pathlib.Path
    bytes: int
    quantize: str | None
    samples: int
    verified_on: str
    max_abs_difference: float
    argmax_agreement: float
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    layers_in_float: tuple[str, ...] = ()


def to_litert(
    model,
    path,
    quantize=None,
    representative_data=None,
    labels=None,
    *,
    batch_size=1,
    samples=128,
    tolerance=1e-4,
    min_agreement=0.9,
    check_images=True,
    sparse=False,
):
    """Writes a Keras model as a LiteRT file, after the file has been found to agree with Keras.

    The file holds built-in operators only, takes a fixed batch, and runs in the LiteRT interpreter
    before it reaches `path`: a model that cannot be converted, or disagrees, raises and leaves what
    was at `path` as it was. Half-precision models (`mixed_bfloat16`) are exported, and compared, in
    float32.

    Args:
        model: A built Keras model; of a `Distiller`, pass `distiller.student`.
        path: Where the file goes, usually `*.tflite`. An existing file is replaced in one step.
        quantize: None for float32; `"float16"` weights (half the bytes); `"dynamic"`, int8 weights
            with activations quantized as they come (a quarter); or `"int8"`, integers
            throughout, inputs and outputs included, which integer accelerators need. Layers that a
            quantization-aware model leaves in float32 stay so, and inputs and outputs with them.
        representative_data: Real samples, to calibrate int8 and to verify: an array
            `(samples, ...)`, or a dataset of `x` or `(x, y)`. Needed for int8, unless the model
            was trained aware of its quantization (`kdzoo.compression.quantize_model`); otherwise
            verification falls back on reproducible random samples in [0, 1), and the report
            says so.
        labels: List of class names, which go into the file as `labels.txt` and `metadata.json`.
            Of several outputs, one must have as many classes.
        batch_size: Examples in one run of the file.
        samples: How many samples of `representative_data` calibrate and verify.
        tolerance: Largest difference from Keras that a float32 file may show, 0 or more.
        min_agreement: Smallest share of samples, in [0, 1], on which a float16, dynamic or int8
            file must have the same argmax as Keras. The default refuses broken files and passes the
            loss of a point or two that int8 costs; the report has the measured share.
        check_images: Whether images in [0, 255] are refused, unless the model has a `Rescaling` or
            `Normalization` layer.
        sparse: Whether kernels that are mostly zeros, as `strip_pruning` leaves them, are stored
            without them, for float32 and float16. The file is smaller (at 80 % zeros to about
            a third), not always faster: where XNNPACK has no sparse kernel for a layer, the
            interpreter restores the zeros when it starts.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: If an argument is wrong or the model cannot be converted.
        RuntimeError: If the file disagrees with Keras, or the backend is not TensorFlow.

    Example:

    ```python
    report = kdzoo.export.to_litert(
        distiller.student, "student.tflite", quantize="int8", representative_data=train_images
    )
    print(report.bytes, report.argmax_agreement)
    ```
    """
    path = check_path("path", path)
    check_quantize(quantize)
    check_images = check_flag("check_images", check_images)
    sparse = check_flag("sparse", sparse)
    check_exportable(model)
    check_loops(model, quantize)
    check_sparse(sparse, quantize)
    batch_size = check_positive_integer("batch_size", batch_size)
    samples = check_positive_integer("samples", samples, _MOST_SAMPLES)
    _check_limits(tolerance, min_agreement, path)
    specs = input_specs(model, batch_size)
    if representative_data is not None:
        data = collect_samples(representative_data, model, specs, samples, check_images)
    else:
        data = random_samples(specs, samples)
    knows_its_ranges = getattr(model, "is_quantization_aware", False)
    if not knows_its_ranges:
        _check_calibration(quantize, representative_data, len(data[0]), batch_size)
    elif quantize != "int8":
        raise ValueError(
            "Expected quantize='int8' for a model that was trained aware of its quantization. "
            f"Received: quantize={shown(quantize)} for {model.name!r}"
        )
    if not getattr(model, "has_seen_data", True):
        raise ValueError(
            "Expected a model that was trained since it was made aware of its quantization, as it "
            f"learns its ranges from data. Received: {model.name!r}, which was not: call `fit`."
        )
    with computing_in_float32(model):
        expected = _keras_outputs(model, data)
        check_labels(labels, [(1, *each.shape[1:])[-1] for each in expected.values()])
        # The converter writes and reads files of its own on the way.
        with naming_full_disk(f"{tempfile.gettempdir()}, where the model is converted"):
            content = convert(model, specs, quantize, None if knows_its_ranges else data, sparse)
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)
        append_metadata(temporary, labels, quantize=quantize or "float32")
        runner = LiteRTModel.of_own_file(temporary)
        difference, agreement = _compare(runner, data, specs, expected)
        _check_agreement(quantize, difference, agreement, tolerance, min_agreement)
        size = temporary.stat().st_size
    return ExportReport(
        path=path,
        bytes=size,
        quantize=quantize,
        samples=len(data[0]),
        verified_on="random samples" if representative_data is None else "representative_data",
        max_abs_difference=difference,
        argmax_agreement=agreement,
        inputs=runner.inputs,
        outputs=runner.outputs,
        layers_in_float=tuple(getattr(model, "layers_in_float", ())),
    )


def _check_limits(tolerance, min_agreement, path):
    """Raises unless both limits can be met, and missed, and `path` can be a file."""
    if not is_number(tolerance) or not tolerance >= 0:
        raise ValueError(
            "Expected tolerance to be a difference, 0 or more. Received: "
            f"tolerance={shown(tolerance)}"
        )
    if not is_number(min_agreement) or not 0 <= min_agreement <= 1:
        raise ValueError(
            "Expected min_agreement to be a share, from 0 to 1. "
            f"Received: min_agreement={shown(min_agreement)}"
        )
    if path.is_dir():
        raise ValueError(f"Expected the path of a file. Received: path={str(path)!r}, a directory.")


def _check_calibration(quantize, representative_data, count, batch_size):
    """Raises unless int8 has data to calibrate with."""
    if quantize != "int8":
        return
    if representative_data is None:
        raise ValueError(
            "Expected representative_data for quantize='int8', which calibrates the ranges of the "
            "activations. Received: representative_data=None. Pass about a hundred training images."
        )
    if count < batch_size:
        raise ValueError(
            f"Expected at least batch_size={batch_size} samples to calibrate int8. "
            f"Received: {count} samples."
        )


def _keras_outputs(model, data):
    """Returns what Keras gives for `data`: a dict of arrays by output name, computed on the CPU.

    Accelerators multiply float32 with fewer bits unless told otherwise; the CPU does not.
    """
    parts = []
    with keras.device("cpu:0"):
        for start in range(0, len(data[0]), 32):
            flat = [keras.ops.convert_to_tensor(each[start : start + 32]) for each in data]
            outputs = named_outputs(model, model(as_structure(model, flat), training=False))
            parts.append({name: np.asarray(value, "float32") for name, value in outputs.items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, array in joined.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(
                f"Expected a model with finite outputs. Received: model={model.name!r}, whose "
                f"output {name!r} is NaN or infinite on the samples: {_remedy(model)}."
            )
    return joined


def _remedy(model):
    """Returns what to do about outputs that are not finite: the weights are wrong, or the data."""
    weights = (keras.ops.convert_to_numpy(each) for each in model.weights)
    if all(np.all(np.isfinite(each)) for each in weights):
        return (
            "its weights are finite, so pass representative_data that it has answers to (a sample "
            "that is masked throughout may have none)"
        )
    return "look for NaN in its weights"


def _compare(runner, data, specs, expected):
    """Returns the largest difference and the share of equal argmax, over outputs and samples."""
    received = runner.predict({spec.name: each for spec, each in zip(specs, data, strict=True)})
    if not isinstance(received, dict):
        received = {next(iter(expected)): received}
    differences, agreements = [], []
    for name, array in expected.items():
        if received[name].shape != array.shape:
            return float("nan"), 0.0
        differences.append(np.max(np.abs(received[name] - array)))
        agreements.append(np.mean(_decision(received[name]) == _decision(array)))
    return float(np.max(differences)), float(np.min(agreements))


def _decision(outputs):
    """Returns the argmax over the last axis; for a single logit, its sign."""
    if outputs.shape[-1] == 1:
        return outputs[..., 0] > 0
    return np.argmax(outputs, axis=-1)


def _check_agreement(quantize, difference, agreement, tolerance, min_agreement):
    """Raises unless the file agrees with Keras as closely as its kind must."""
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
            f"Expected Keras's argmax on a share of at least min_agreement={min_agreement:g} of "
            f"the samples. Received: {agreement:.3g} with quantize={shown(quantize)}: pass "
            "representative_data like what the model will see, quantize less, or lower "
            "`min_agreement`."
        )
