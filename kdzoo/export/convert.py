"""The conversion itself: a Keras model of fixed shapes in, the bytes of a LiteRT file out."""

import contextlib
import functools
import re
import tempfile
import typing
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.export.signature import InputSpec, as_structure, named_outputs
from kdzoo.graph.exportable import exportable
from kdzoo.graph.keras_internals import flatten_layers, plain_argmax
from kdzoo.utils import check_choice, shown, without_chatter
from kdzoo.utils.heavy_libraries import tensorflow
from kdzoo.utils.litert.safe_interpreter import CHATTER

Quantize = typing.Literal["float16", "dynamic", "int8"]
QUANTIZE: tuple[Quantize, ...] = typing.get_args(Quantize)
Io = typing.Literal["float32", "uint8", "int8", "auto"]
FileIo = typing.Literal["float32", "uint8", "int8"]


def check_quantize(quantize: str | None) -> None:
    """Raises `ValueError` unless `quantize` is None or one of `QUANTIZE`."""
    if quantize is not None:
        check_choice("quantize", quantize, QUANTIZE)


def file_io(io: str, quantize: Quantize | None, layers_in_float: Collection[str] = ()) -> FileIo:
    """Returns the type that a file's inputs and outputs of numbers are to have.

    Args:
        io: One of `Io`; `"auto"` is the type of the body.
        quantize: How the body is quantized.
        layers_in_float: Layers of an int8 body that stay in float32.

    Raises:
        ValueError: If `io` is none of these, or integers of a body that has no scale for them.
    """
    check_choice("io", io, typing.get_args(Io))
    if io in ("uint8", "int8") and quantize != "int8":
        raise ValueError(
            f"Expected io='float32' or 'auto' for a body of floats, which has no scale for "
            f"integers. Received: io={io!r}, quantize={shown(quantize)}: pass quantize='int8', or "
            "begin the model with keras.Input(..., dtype='uint8') and Rescaling(1 / 255)."
        )
    if io == "auto":
        return "int8" if quantize == "int8" and not layers_in_float else "float32"
    return typing.cast(FileIo, io)


def check_loops(model: keras.Model, quantize: Quantize | None) -> None:
    """Raises `ValueError` if int8 calibration would meet a loop, which kills the process.

    Args:
        model: The model to convert.
        quantize: How it will be quantized; only `"int8"` is calibrated.
    """
    if quantize != "int8":
        return
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ValueError(
                "Expected recurrent layers without a loop for quantize='int8', because LiteRT "
                f"cannot calibrate one. Received: layer {layer.name!r} with unroll=False: build it "
                "with `unroll=True` and copy the weights, or use quantize='dynamic'."
            )


def check_quantization_aware(model: keras.Model, quantize: Quantize | None) -> None:
    """Raises unless a quantization-aware model becomes int8 and has learned its ranges.

    Args:
        model: The model to convert; any that is not quantization-aware passes.
        quantize: How it will be quantized.
    """
    if not exportable(model).is_quantization_aware:
        return
    if quantize != "int8":
        raise ValueError(
            "Expected quantize='int8' for a model that was trained aware of its quantization. "
            f"Received: quantize={shown(quantize)} for {model.name!r}"
        )
    if not exportable(model).has_seen_data:
        raise ValueError(
            "Expected a model that was trained since it was made aware of its quantization, as it "
            f"learns its ranges from data. Received: {model.name!r}, which was not: call `fit`."
        )


def check_sparse(sparse: bool, quantize: Quantize | None) -> None:
    """Raises `ValueError` if kernels are to be stored sparse in a form that LiteRT cannot read."""
    if sparse and quantize not in (None, "float16"):
        raise ValueError(
            "Expected quantize=None or 'float16' with sparse=True, as LiteRT reads no sparse int8 "
            f"kernels. Received: quantize={shown(quantize)}; compress the zeros of an int8 file "
            "with gzip instead."
        )


def convert(
    model: keras.Model,
    specs: list[InputSpec],
    quantize: Quantize | None = None,
    calibration: list[np.ndarray] | None = None,
    sparse: bool = False,
    io: FileIo = "float32",
) -> bytes:
    """Converts a Keras model to a LiteRT flatbuffer of built-in operators.

    The model is traced with `training=False` and a fixed batch, saved, and converted; the model
    itself is not changed, and custom or TensorFlow ("Flex") operators are never allowed.

    Args:
        model: A built Keras model on the TensorFlow backend.
        specs: The `InputSpec` of each input, batch included.
        quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
        calibration: For `"int8"`, one array `(samples, ...)` for each input; None for a
            quantization-aware model, which has learned its ranges.
        sparse: Whether kernels that are mostly zeros are stored without the zeros.
        io: The type of inputs and outputs of numbers, integers only for `"int8"`. Inputs and
            outputs that are integers in Keras stay as they are.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If the converter refuses the model.
    """
    samples = None
    if quantize == "int8" and calibration is not None:
        samples = functools.partial(_calibration_batches, specs, calibration)
    functions = {"serving_default": serving(model, specs)}
    return convert_signatures(model, functions, model.variables, quantize, samples, sparse, io)


def convert_signatures(
    model: keras.Model,
    functions: Mapping[str, Any],
    variables: Iterable[keras.Variable],
    quantize: Quantize | None,
    samples: Callable[[], Iterator[tuple[str, dict[str, Any]]]] | None,
    sparse: bool,
    io: FileIo,
) -> bytes:
    """Converts functions to one LiteRT flatbuffer with a signature for each.

    What they share is in it once. An interpreter that is told no signature runs the one whose name
    is first in the alphabet.

    Args:
        model: The model that the functions compute with, for errors.
        functions: Name of a signature -> `tf.function` of fixed shapes to a dict of tensors.
        variables: The variables that they use.
        quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
        samples: For `"int8"`, a function to pairs of a signature and its inputs by their names;
            None for a quantization-aware model.
        sparse: Whether kernels that are mostly zeros are stored without the zeros.
        io: The type of inputs and outputs of numbers.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If the converter refuses the model.
    """
    tf = tensorflow()
    module = tf.Module()
    with _converting(model) as saved:
        module.functions = dict(functions)
        module.weights = [variable.value for variable in variables]
        tf.saved_model.save(module, saved, signatures=module.functions)
        names = list(functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=names)
        _configure(converter, quantize, samples, sparse, io)
        return converter.convert()


def serving(model: keras.Model, specs: list[InputSpec]) -> Any:
    """Returns a model as a `tf.function` of fixed shapes and readable names, without training.

    Args:
        model: The Keras model.
        specs: The `InputSpec` of each input, batch included.
    """
    tf = tensorflow()

    def serve(*tensors):
        return named_outputs(model, model(as_structure(model, list(tensors)), training=False))

    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in specs]
    return tf.function(serve, input_signature=signature, autograph=False)


@contextlib.contextmanager
def _converting(model: keras.Model) -> Iterator[str]:
    """Yields a directory for a SavedModel that is to be converted, and names what is refused."""
    with tempfile.TemporaryDirectory() as saved, quiet(), plain_argmax():
        try:
            yield saved
        except Exception as error:
            if any(layer.dtype_policy.quantization_mode for layer in flatten_layers(model)):
                raise ValueError(
                    f"Expected a model of floats. Received: model={model.name!r}, which Keras's "
                    "`quantize` made integers of, in operations that LiteRT does not have: export "
                    "the model as it was before, with quantize='int8'."
                ) from error
            raise ValueError(
                "Expected a model that LiteRT's built-in operators can express. "
                f"Received: model={model.name!r}, which the converter refused: {_reason(error)} "
                "Replace that operation, or leave it out of the exported model."
            ) from error


def _configure(converter, quantize, samples, sparse, io):
    """Sets the options of a converter."""
    tf = tensorflow()
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = False
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
    if quantize is None:
        return
    converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8" and samples is not None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = samples


def _calibration_batches(specs, calibration):
    for batch in batches_of(specs, calibration):
        yield "serving_default", batch


def batches_of(
    specs: list[InputSpec], arrays: Sequence[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches by the names of inputs; an incomplete last one is left out.

    Args:
        specs: The `InputSpec` of each input, batch included.
        arrays: For each input an array `(samples, ...)`.
    """
    batch_size = specs[0].shape[0]
    for start in range(0, len(arrays[0]) - batch_size + 1, batch_size):
        yield {
            spec.name: array[start : start + batch_size]
            for spec, array in zip(specs, arrays, strict=True)
        }


def _reason(error):
    """Returns the line of a converter's long message that says what is wrong."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    for pattern in (r"Flex ops: .*", r"Custom ops: .*", r"'tf\.\w+' op .*", r"error: .*"):
        found = re.search(pattern, text)
        if found:
            return found.group().strip().rstrip(".")[:300] + "."
    return text.splitlines()[0].rstrip(".")[:300] + "."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the known log lines of the converter and the interpreter out of standard error."""
    with warnings.catch_warnings(), without_chatter(CHATTER):
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        yield
