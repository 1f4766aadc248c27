"""Fused batch normalization: the TensorFlow kernel that Keras 3 does without, for any Keras model.

Keras 3 computes moments, scale and offset in separate passes over the activations. TensorFlow has
one kernel for all of it, which its graph optimizer also merges with the convolution before and the
ReLU after. Here each `BatchNormalization` layer is given a `call` of its own that uses the kernel.
Class, configuration and variables stay Keras's, so saved files hold plain Keras layers, and the
results agree to about 1e-5.
"""

import contextlib
import functools

import keras

# The smallest epsilon that cuDNN takes.
_SMALLEST_EPSILON = 1e-5
_FUSED_DTYPES = ("float32", "bfloat16", "float16")


def fuse_batch_normalization(model):
    """Makes a model's batch normalizations use TensorFlow's fused kernel.

    Fused, in training and inference, are the `BatchNormalization` layers that normalize the last
    axis of a rank-4 tensor, on the TensorFlow backend; other layers and other backends are left as
    they are, and so is a call with a mask or in float64. `Distiller` does this for its own forward
    passes; call it yourself for a model that you train or run alone. Functions that Keras has
    already compiled for the model keep what they were traced with: call this before `fit`, or
    call `compile` after it.

    Args:
        model: A `keras.Model` or layer; nested layers are found.

    Returns:
        The number of layers that are now fused.

    Example:

    ```python
    kdzoo.fuse_batch_normalization(model)
    model.fit(...)
    ```
    """
    layers = fusible_layers(model)
    for layer in layers:
        vars(layer)["call"] = functools.partial(_fused_call, layer)
    return len(layers)


def unfuse_batch_normalization(model):
    """Takes `fuse_batch_normalization` back.

    Args:
        model: A `keras.Model` or layer.
    """
    for layer in fusible_layers(model):
        vars(layer).pop("call", None)


@contextlib.contextmanager
def fused(layers):
    """Runs the block with these layers fused, and leaves them as they were found.

    Args:
        layers: What `fusible_layers` returned for a model.
    """
    found = [(layer, vars(layer).get("call")) for layer in layers]
    try:
        for layer, _ in found:
            vars(layer)["call"] = functools.partial(_fused_call, layer)
        yield
    finally:
        for layer, call in found:
            if call is None:
                vars(layer).pop("call", None)
            else:
                vars(layer)["call"] = call


def fusible_layers(model):
    """Returns the `BatchNormalization` layers of a model that the fused kernel can stand in for."""
    if keras.backend.backend() != "tensorflow":
        return []
    layers = model._flatten_layers() if isinstance(model, keras.layers.Layer) else ()
    return [layer for layer in layers if _is_fusible(layer)]


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
    if mask is not None or len(inputs.shape) != 4 or dtype not in _FUSED_DTYPES:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    batch_statistics = bool(training and layer.trainable)
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
