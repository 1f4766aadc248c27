"""The conversion itself: a Keras model of fixed shapes in, the bytes of a LiteRT file out."""

import contextlib
import re
import tempfile
import warnings

import keras

from kdzoo.export.signature import as_structure, named_outputs
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import check_choice, shown, without_chatter
from kdzoo.utils.litert_file import CHATTER

QUANTIZE = ("float16", "dynamic", "int8")


def check_quantize(quantize):
    """Raises `ValueError` unless `quantize` is None or one of `QUANTIZE`."""
    if quantize is not None:
        check_choice("quantize", quantize, QUANTIZE)


def check_loops(model, quantize):
    """Raises `ValueError` where int8 calibration would meet a loop, which kills the process.

    Args:
        model: The model to convert.
        quantize: How it shall be quantized.
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


def check_sparse(sparse, quantize):
    """Raises `ValueError` where kernels are to be stored sparse that LiteRT could not read so."""
    if sparse and quantize not in (None, "float16"):
        raise ValueError(
            "Expected quantize=None or 'float16' with sparse=True, as LiteRT reads no sparse int8 "
            f"kernels. Received: quantize={shown(quantize)}; zeros in int8 files go away by gzip."
        )


def convert(model, specs, quantize=None, calibration=None, sparse=False):
    """Converts a Keras model to a LiteRT flatbuffer of built-in operators.

    The model is traced with `training=False` and a fixed batch, saved, and converted; nothing is
    left on the model, and custom or TensorFlow ("Flex") operators are never allowed.

    Args:
        model: A built Keras model on the TensorFlow backend.
        specs: The `InputSpec` of each input, batch included.
        quantize: None, `"float16"`, `"dynamic"` or `"int8"`.
        calibration: For `"int8"`, one array for each input, each `(samples, ...)`; None for a
            model that knows its ranges, as it was trained aware of its quantization.
        sparse: Whether kernels of zeros, mostly, are stored without them.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If the converter refuses the model.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as saved, quiet():
        try:
            _save(model, specs, saved)
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            _configure(converter, specs, quantize, calibration, sparse)
            return converter.convert()
        except Exception as error:
            raise ValueError(
                "Expected a model that LiteRT's built-in operators can express. "
                f"Received: model={model.name!r}, which the converter refused: {_reason(error)} "
                "Replace that operation, or leave it out of the exported model."
            ) from error


def _save(model, specs, directory):
    """Writes the model as a SavedModel whose one endpoint has fixed shapes and readable names."""
    import tensorflow as tf

    def serve(*tensors):
        return named_outputs(model, model(as_structure(model, list(tensors)), training=False))

    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in specs]
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    module.weights = [each.value for each in model.variables]
    tf.saved_model.save(module, directory, signatures=module.serve)


def _configure(converter, specs, quantize, calibration, sparse):
    """Sets the converter's options for one way of quantizing."""
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = False
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
    if quantize is None:
        return
    converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    if quantize == "int8" and calibration is not None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: calibration_runs(specs, calibration)


def calibration_runs(specs, calibration):
    """Yields `{input name: array of the fixed batch}`; an unfinished last batch is left out."""
    batch_size = specs[0].shape[0]
    for start in range(0, len(calibration[0]) - batch_size + 1, batch_size):
        yield {
            spec.name: array[start : start + batch_size]
            for spec, array in zip(specs, calibration, strict=True)
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
def quiet():
    """Keeps the known chatter of the converter and the interpreter out of standard error."""
    with warnings.catch_warnings(), without_chatter(CHATTER):
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        yield
