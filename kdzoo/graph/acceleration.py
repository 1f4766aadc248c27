"""Quicker ways for any Keras model to compute the same: TensorFlow kernels that Keras does without.

Keras 3 computes a batch normalization's moments, scale and offset in separate passes over the
activations. TensorFlow has one kernel for all of it, which its graph optimizer also merges with the
convolution before and the ReLU after. And on processors, TensorFlow's kernel for the gradient of a
strided depthwise convolution is several times slower in bfloat16 than in float32.

Here such layers are given a `call` of their own. Class, configuration and variables stay Keras's,
so saved files hold plain Keras layers, and the results agree to the rounding.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Literal

import keras

from kdzoo.graph.keras_internals import compiles_by_xla, flatten_layers
from kdzoo.graph.patched_calls import calls_restored, reset_call, set_call
from kdzoo.graph.untuned_passes import make_passes_untuned
from kdzoo.utils import heavy_libraries, shown
from kdzoo.utils.types import Tensor

__all__ = ["accelerate", "fuse_batch_normalization", "unfuse_batch_normalization"]

# The smallest epsilon that cuDNN takes.
_SMALLEST_EPSILON = 1e-5
_FUSED_DTYPES = ("float32", "bfloat16", "float16")


def accelerate(model: keras.layers.Layer) -> int:
    """Makes a model train and run faster, with the same results to the rounding.

    Three things, on the TensorFlow backend: `fuse_batch_normalization`; where no GPU is there and
    the model computes in bfloat16, strided `DepthwiseConv2D` layers compute the gradient of their
    inputs in float32 (`benchmarks/depthwise_forms.py` measures what that saves); and the `fit`,
    `evaluate` and `predict` of a model do not wait for tf.data's tuner at the end of a pass, which
    can take as long again as its steps (`benchmarks/epoch_overhead.py`). `Distiller` does all of it
    for itself; call this yourself for a model that you train alone, before its first `fit`. After
    one call `compile` again: what Keras has traced stays as it was.

    Args:
        model: A `keras.Model` or layer; nested layers are found.

    Returns:
        The number of layers that are now quicker.

    Raises:
        ValueError: If it is neither.

    Example:

    ```python
    kdzoo.accelerate(model)
    model.fit(...)
    ```
    """
    _check_layer(model)
    if isinstance(model, keras.Model):
        make_passes_untuned(model)
    return _quicken(quicker_layers(model))


def fuse_batch_normalization(model: keras.layers.Layer) -> int:
    """Makes a model's batch normalizations use TensorFlow's fused kernel.

    Fused, in training and inference, are the `BatchNormalization` layers that normalize the last
    axis of a rank-4 tensor, on the TensorFlow backend; other layers and other backends are left as
    they are, and so is a call with a mask or in float64. Where XLA compiles the step, which has no
    such kernel, batch statistics are Keras's. `Distiller` does this for its own forward
    passes; call it yourself for a model that you train or run alone. Functions that Keras has
    already compiled for the model keep what they were traced with: call this before `fit`, or
    call `compile` after it.

    Args:
        model: A `keras.Model` or layer; nested layers are found.

    Returns:
        The number of layers that are now fused.

    Raises:
        ValueError: If it is neither.

    Example:

    ```python
    kdzoo.fuse_batch_normalization(model)
    model.fit(...)
    ```
    """
    _check_layer(model)
    return _quicken(fusible_layers(model))


def unfuse_batch_normalization(model: keras.layers.Layer) -> None:
    """Takes `fuse_batch_normalization` back, and that part of `accelerate`.

    Args:
        model: A `keras.Model` or layer.
    """
    _check_layer(model)
    for layer in fusible_layers(model):
        reset_call(layer)


@contextlib.contextmanager
def accelerated(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Runs the block with these layers quicker, and leaves them as they were found.

    Args:
        layers: What `quicker_layers` returned for a model.
    """
    with calls_restored(layers):
        _quicken(layers)
        yield


def quicker_layers(model: keras.layers.Layer, fuse_batch_norm: bool = True) -> list:
    """Returns the layers of a model that can be quicker.

    Args:
        model: A `keras.Model` or layer.
        fuse_batch_norm: Whether batch normalizations are among them.
    """
    return [*(fusible_layers(model) if fuse_batch_norm else ()), *strided_layers(model)]


def fusible_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the `BatchNormalization` layers of a model that the fused kernel can stand in for."""
    return [layer for layer in _layers(model) if _is_fusible(layer)]


def strided_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the depthwise layers of a model whose gradient TensorFlow is slow to compute."""
    return [layer for layer in _layers(model) if _is_slow(layer)]


def _check_layer(model):
    """Raises unless this is a model or a layer."""
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            f"Expected a keras.Model or a layer. Received: {shown(model)} of type "
            f"{type(model).__name__}"
        )


def _layers(model):
    if keras.backend.backend() != "tensorflow" or not isinstance(model, keras.layers.Layer):
        return ()
    return flatten_layers(model)


def _quicken(layers):
    for layer in layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        call = _fused_call if is_norm else _strided_call
        set_call(layer, functools.partial(call, layer))
    return len(layers)


def _is_slow(layer):
    return (
        type(layer) is keras.layers.DepthwiseConv2D
        and layer.compute_dtype == "bfloat16"
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1] > 1
        and not _has_gpu()
    )


def _has_gpu():
    # Not those that are there: the user may have hidden them from TensorFlow.
    return bool(heavy_libraries.tensorflow().config.get_visible_devices("GPU"))


def _is_fusible(layer):
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.epsilon >= _SMALLEST_EPSILON
        and not layer.renorm
        and not layer.synchronized
        and layer.variable_dtype == "float32"
    )


def _fused_call(layer, inputs, training=None, mask=None):
    """Stands in for `BatchNormalization.call`; same arguments, same results, one kernel."""
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    batch_statistics = bool(training and layer.trainable)
    # XLA has no such kernel. It computes the variance as E[x²] − E[x]², which cancels where the
    # mean is large beside the deviation; Keras takes the mean away first.
    is_expanded = batch_statistics and compiles_by_xla()
    if is_expanded or mask is not None or len(inputs.shape) != 4 or dtype not in _FUSED_DTYPES:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    tf = heavy_libraries.tensorflow()

    mean, variance = (
        tf.convert_to_tensor(layer.moving_mean),
        tf.convert_to_tensor(layer.moving_variance),
    )
    normalize = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.ones_like(mean) if layer.gamma is None else tf.convert_to_tensor(layer.gamma),
        offset=tf.zeros_like(mean) if layer.beta is None else tf.convert_to_tensor(layer.beta),
        mean=tf.zeros([0]) if batch_statistics else mean,
        variance=tf.zeros([0]) if batch_statistics else variance,
        epsilon=layer.epsilon,
        is_training=batch_statistics,
    )
    if batch_statistics:
        # The kernel returns the unbiased variance (divided by n - 1); Keras keeps the biased one.
        count = tf.cast(tf.size(inputs) // tf.size(mean), "float32")
        biased = normalize.batch_variance * ((count - 1.0) / count)
        momentum = layer.momentum
        layer.moving_mean.assign(mean * momentum + normalize.batch_mean * (1.0 - momentum))
        layer.moving_variance.assign(variance * momentum + biased * (1.0 - momentum))
    return tf.cast(normalize.y, layer.compute_dtype)


def _strided_call(layer, inputs):
    """Stands in for `DepthwiseConv2D.call`, with another kernel for a gradient."""
    tf = heavy_libraries.tensorflow()

    kernel = tf.cast(tf.convert_to_tensor(layer.kernel), inputs.dtype)
    outputs = depthwise_conv(inputs, kernel, layer.strides, layer.padding)
    if layer.use_bias:
        outputs = outputs + tf.cast(tf.convert_to_tensor(layer.bias), inputs.dtype)
    return layer.activation(outputs)


def depthwise_conv(
    inputs: Tensor, kernel: Tensor, strides: tuple[int, int], padding: Literal["same", "valid"]
) -> Tensor:
    """A depthwise convolution that computes the gradient of its inputs in float32, on TensorFlow.

    Args:
        inputs: Tensor (batch, height, width, channels) in bfloat16.
        kernel: Tensor (height, width, channels, multiplier) in bfloat16.
        strides: A pair of equal integers.
        padding: `"same"` or `"valid"`.

    Returns:
        Tensor (batch, new height, new width, channels * multiplier) in bfloat16.
    """
    tf = heavy_libraries.tensorflow()

    options = {"strides": (1, *strides, 1), "padding": padding.upper()}

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            wide = (tf.cast(tensor, "float32") for tensor in (kernel, upstream))
            of_inputs = tf.nn.depthwise_conv2d_backprop_input(tf.shape(inputs), *wide, **options)
            of_kernel = tf.nn.depthwise_conv2d_backprop_filter(
                inputs, tf.shape(kernel), upstream, **options
            )
            return tf.cast(of_inputs, inputs.dtype), of_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, **options), gradient

    return convolve(inputs, kernel)
