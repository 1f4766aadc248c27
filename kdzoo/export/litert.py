"""From a Keras model to a verified LiteRT file in one call."""

import tempfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kdzoo.export.agreement import check_agreement, compare, judge
from kdzoo.export.convert import (
    Io,
    Quantize,
    check_loops,
    check_quantization_aware,
    check_quantize,
    check_sparse,
    file_io,
)
from kdzoo.export.forms import form_of
from kdzoo.export.keras_outputs import keras_outputs
from kdzoo.export.metadata import append_metadata, check_labels
from kdzoo.export.report import ExportReport, argmax_agreement
from kdzoo.export.samples import Drawn, Samples, draw_samples, random_samples, with_sizes_of
from kdzoo.export.signature import (
    check_exportable,
    check_sizes,
    computing_in_float32,
    input_specs,
)
from kdzoo.graph.exportable import Exportable, exportable, student_of
from kdzoo.graph.outputs import OutputType
from kdzoo.utils import (
    atomic_path,
    check_flag,
    check_path,
    check_positive_integer,
    is_number,
    naming_full_disk,
    shown,
)
from kdzoo.utils.litert.network_costs import network_costs
from kdzoo.utils.types import PathLike

_MOST_SAMPLES = 1 << 20


def to_litert(
    model: keras.Model | Exportable,
    path: PathLike,
    quantize: Quantize | None = None,
    representative_data: "Samples | None" = None,
    labels: Sequence[str] | None = None,
    *,
    batch_size: int = 1,
    samples: int = 128,
    tolerance: float = 1e-4,
    min_agreement: float = 0.9,
    check_images: bool = True,
    sparse: bool = False,
    output_type: OutputType | Sequence[OutputType | None] | Mapping[str, OutputType] | None = None,
    io: Io = "float32",
) -> ExportReport:
    """Writes a Keras model as a LiteRT file (`.tflite`), after comparing the file with Keras.

    The file holds built-in operators only, takes a fixed batch, and runs in the LiteRT interpreter
    before it reaches `path`: a model that cannot be converted, or a file that disagrees with Keras,
    raises an error and leaves `path` as it was. Models in mixed precision (`mixed_bfloat16`) are
    exported, and compared, in float32.

    Args:
        model: A built Keras model; of a `Distiller`, its student is exported. A
            `kdzoo.dynamic.BudgetedClassifier` becomes a file with a signature for each exit:
            `exit1` from the inputs to `logits` and the features that `exit2` goes on from, and so
            on; weights are there once, and its thresholds are in `metadata.json`.
            `kdzoo.export.DynamicRunner` runs it. The report's outputs are the exits' logits. A
            `kdzoo.dynamic.Slimmable` becomes a file with a signature for each width, such as
            `width_050`; `LiteRTModel` runs the largest, and each other one `with_signature`. A
            width's weights are in the file beside those of the others.
        path: Where the file goes, usually `*.tflite`. Missing directories are made, and an existing
            file is replaced in one step.
        quantize: None for float32; `"float16"` for float16 weights (half the bytes); `"dynamic"`
            for int8 weights and activations that are quantized at run time (a quarter of the
            bytes); or `"int8"` for a body of integers, which integer accelerators need. Layers that
            a quantization-aware model leaves in float32 stay in float32.
        representative_data: Real samples, to calibrate int8 and to verify the file: an array
            `(samples, ...)`, for several inputs a list or dict of arrays, or a dataset of `x` or
            `(x, y)`, or a function that returns one. Required for int8, unless the model was
            trained aware of its quantization (`kdzoo.compression.quantize_model`). Without it, the
            file is verified on random samples in [0, 1) from a fixed seed, and the report says so.
            Sizes that are open in the model, as of images, are those of the first sample.
        labels: List of class names, which go into the file as `labels.txt` and `metadata.json`,
            where Android and other readers look for them. There must be as many as one of the
            outputs has classes.
        batch_size: Samples in one run of the file.
        samples: How many samples of `representative_data` verify, and how many others calibrate:
            chosen, from a fixed seed, all over arrays and lists, and among the first of a stream,
            4 times as many. Where there are too few, half of them do each; the report says how
            many.
        tolerance: Largest difference from Keras that a float32 file may have, 0 or more: absolute,
            and of outputs above 1 as a fraction of them.
        min_agreement: Smallest agreement, in [0, 1], that each output of a float16, dynamic or int8
            file must have with Keras: of classes the fraction of samples with the same argmax, of
            binary labels the fraction that is the same, of numbers the fraction of their variance
            that errors leave (`OutputAgreement`). The default refuses broken files and accepts
            the loss of a point or two that int8 costs; the report has what was measured. A file
            that gives a constant where Keras's output varies is refused, unless this is 0.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.
        sparse: Whether kernels that are mostly zeros, such as those that
            `kdzoo.compression.strip_pruning` leaves, are stored without the zeros; for float32 and
            float16. The file is smaller (about a third at 80 % zeros) but not always faster: where
            XNNPACK has no sparse kernel for a layer, the interpreter restores the zeros when it
            starts.
        output_type: What the outputs mean: `"classes"`, `"binary"` or `"numbers"` for all of them,
            a list with one for each, or a dict by their names. None finds it out: from the loss
            that the model was compiled with, from its final activations; outputs that further
            layers use are numbers. Otherwise one column is taken for numbers, and several for
            classes; those of rank 3 or more for numbers, with a warning, if the file gives them as
            such and the argmax of too few.
        io: The type of the file's inputs and outputs, whatever its body computes in. `"float32"`
            is what every reader feeds, with the values that the Keras model takes: LiteRT.js knows
            no int8 tensors, and Android's usual image code fills floats; the file itself converts
            them to its integers. For an int8 body also `"uint8"`, which images in [0, 1] enter as
            the bytes that they were, if the calibrating images reach from 0 to 1 (scale 1/255), or
            `"int8"`, for accelerators and microcontrollers that have integers alone; the report's
            `inputs` and `outputs` have the scale and zero point. `"auto"` is the body's own type:
            int8 where all of it is int8, else float32. Inputs and outputs that are integers in
            Keras, such as token ids, stay as they are.

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
    logits = kdzoo.export.LiteRTModel(report.path).predict(test_images)
    ```
    """
    destination = check_path("path", path)
    check_quantize(quantize)
    check_images = check_flag("check_images", check_images)
    sparse = check_flag("sparse", sparse)
    student = student_of(model)
    model = model if student is None else student
    form = form_of(model, sparse)
    model = form.model
    check_exportable(model)
    check_loops(model, quantize)
    check_sparse(sparse, quantize)
    batch_size = check_positive_integer("batch_size", batch_size)
    samples = check_positive_integer("samples", samples, _MOST_SAMPLES)
    _check_limits(tolerance, min_agreement, destination)
    layers_in_float = tuple(exportable(model).layers_in_float)
    type_of_io = file_io(io, quantize, layers_in_float)
    check_quantization_aware(model, quantize)
    calibrates = quantize == "int8" and not exportable(model).is_quantization_aware
    specs, drawn = _draw(model, batch_size, representative_data, samples, check_images, calibrates)
    with computing_in_float32(model):
        expected = keras_outputs(model, drawn.verification, output_type)
        _check_masks(quantize, expected)
        check_labels(labels, [(1, *found.values.shape[1:])[-1] for found in expected.values()])
        # The converter writes and reads temporary files of its own.
        with naming_full_disk(f"{tempfile.gettempdir()}, where the model is converted"):
            content = form.convert(specs, quantize, drawn.calibration, sparse, type_of_io)
    with atomic_path(destination, len(content)) as temporary:
        temporary.write_bytes(content)
        about = {"quantize": quantize or "float32", "io": type_of_io, **form.metadata}
        append_metadata(temporary, labels, **about)
        file = form.open(temporary)
        _check_types(file, type_of_io, specs, expected)
        by_name = {spec.name: array for spec, array in zip(specs, drawn.verification, strict=True)}
        received = compare(file.predict(by_name), expected)  # What is cut off shows in the outputs.
        steps = {info.name: info.step for info in file.outputs}
        found = tuple(
            judge(name, expected[name], values, steps[name], min_agreement)
            for name, values in sorted(received.items())
        )
        for output in found:
            values = received[output.name]
            wanted = expected[output.name]
            check_agreement(quantize, output, wanted, values, tolerance, min_agreement)
        size = temporary.stat().st_size
    costs = network_costs(content)
    return ExportReport(
        path=destination,
        bytes=size,
        quantize=quantize,
        samples=len(drawn.verification[0]),
        verified_on="random samples" if representative_data is None else "representative_data",
        max_abs_difference=max(output.max_abs_difference for output in found),
        argmax_agreement=argmax_agreement(found),
        inputs=file.inputs,
        outputs=file.outputs,
        layers_in_float=layers_in_float,
        outputs_verified=found,
        calibration_samples=0 if drawn.calibration is None else len(drawn.calibration[0]),
        io=type_of_io,
        sparsity=None if costs is None else costs.zeros,
    )


def _draw(model, batch_size, data, samples, check_images, calibrates):
    """Returns the `InputSpec` of each input and the samples that verify and calibrate."""
    data, specs = with_sizes_of(data, model, input_specs(model, batch_size))
    check_sizes(specs)
    if data is None:
        if calibrates:
            raise ValueError(
                "Expected representative_data for quantize='int8', which calibrates the ranges of "
                "the activations. Received: representative_data=None. Pass about a hundred "
                "training images."
            )
        return specs, Drawn(random_samples(specs, samples))
    drawn = draw_samples(data, model, specs, samples, check_images, calibrates)
    if drawn.calibration is not None and len(drawn.calibration[0]) < batch_size:
        raise ValueError(
            f"Expected at least batch_size={batch_size} samples to calibrate int8. "
            f"Received: {len(drawn.calibration[0])} samples."
        )
    return specs, drawn


def _check_types(file, io, specs, expected):
    """Raises unless inputs and outputs that are floats in Keras are of the integers chosen."""
    if io == "float32":  # Those of float16 and float64 stay what they are.
        return
    inputs = {spec.name for spec in specs if "float" in spec.dtype}
    outputs = {name for name, output in expected.items() if output.values.dtype.kind == "f"}
    ends = [info for info in file.inputs if info.name in inputs]
    ends += [info for info in file.outputs if info.name in outputs]
    for info in ends:
        if info.dtype != io:
            raise ValueError(
                f"Expected a model that is quantized from end to end for io={io!r}. Received: "
                f"{info.name!r}, which stays in {info.dtype}: pass io='float32'."
            )


def _check_masks(quantize, expected):
    """Raises if integers were to stand for the -inf of masked classes."""
    masked = [name for name, output in expected.items() if np.isneginf(output.values).any()]
    if masked and quantize == "int8":
        raise ValueError(
            "Expected finite outputs for quantize='int8', as integers stand for no -inf. Received: "
            f"-inf in {masked[0]!r}: mask classes with a number a little below the others, or "
            "quantize less."
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
            "Expected min_agreement to be a fraction, from 0 to 1. "
            f"Received: min_agreement={shown(min_agreement)}"
        )
    if path.is_dir():
        raise ValueError(f"Expected the path of a file. Received: path={str(path)!r}, a directory.")
