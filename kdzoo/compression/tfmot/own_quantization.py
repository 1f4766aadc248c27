"""How layers are quantized that TF-MOT has no configuration for, and kernels of 4 bits."""

import functools
from typing import Any

from kdzoo.compression.tfmot.library import (
    eight_bit_modules,
    load_tf_keras,
    load_tfmot,
    output_config,
)
from kdzoo.compression.tfmot.tf_keras_activations import hard_silu_layer
from kdzoo.utils import heavy_libraries

_BITS = 4
_CLIPPED_TO = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
"""The fractions of a channel's largest weight that are tried as its range."""

_QUANTIZED_ACTIVATIONS = {"relu", "relu6", "swish", "gelu", "linear", "softmax", "sigmoid", "tanh"}
"""The tf_keras activations that TF-MOT quantizes in an `Activation` layer."""


@functools.cache
def _silu_layer() -> type:
    """The class of a tf_keras layer that computes x · sigmoid(x) as integer operators do.

    LiteRT has the sigmoid in steps of 1/256, which TF-MOT does not train with.
    """
    tf_keras, tf = load_tf_keras(), heavy_libraries.tensorflow()

    @tf_keras.utils.register_keras_serializable("kdzoo")
    class Silu(tf_keras.layers.Layer):  # type: ignore[name-defined]
        def call(self, inputs):
            gate = tf.quantization.fake_quant_with_min_max_args(tf.sigmoid(inputs), 0, 255 / 256)
            return inputs * gate

    return Silu


def in_integer_form(layer: Any) -> Any:
    """Returns the tf_keras layer that computes as integers do what one computes, or that one.

    Args:
        layer: The tf_keras layer.
    """
    is_activation = isinstance(layer, load_tf_keras().layers.Activation)
    if is_activation and getattr(layer.activation, "__name__", None) == "swish":
        return _silu_layer()(name=layer.name, dtype=layer.dtype)
    return layer


def own_config(layer: Any) -> Any | None:
    """Returns the configuration of a tf_keras layer that TF-MOT lacks one for, or None.

    The output is quantized. What integer operators compute of quantized inputs needs no more.

    Args:
        layer: The tf_keras layer.
    """
    layers = load_tf_keras().layers
    if type(layer) is layers.Rescaling:
        return _all_values_config()()
    known = (layers.Multiply, layers.Subtract, hard_silu_layer(), _silu_layer())
    return output_config() if type(layer) in known else None


@functools.cache
def _all_values_config() -> type:
    """The class of a `QuantizeConfig` whose output has the range of all values that were seen.

    TF-MOT's moving average begins at [-6, 6] and takes thousands of steps to get to the pixels that
    a `Rescaling` makes, in [0, 255] or [0, 1]. The range of a model's inputs is found so, too.
    """
    quantizers, tf_keras = load_tfmot().quantization.keras.quantizers, load_tf_keras()

    @tf_keras.utils.register_keras_serializable("kdzoo")
    class AllValuesOutputConfig(type(output_config())):  # type: ignore[misc]
        def get_output_quantizers(self, layer):
            settings = {"per_axis": False, "symmetric": False, "narrow_range": False}
            return [quantizers.AllValuesQuantizer(num_bits=8, **settings)]

    return AllValuesOutputConfig


def stays_in_float(layer: Any, scheme: Any) -> bool:
    """Whether neither TF-MOT nor kdzoo quantizes what a tf_keras layer computes.

    Batch normalizations count as part of the convolutions before them.

    Args:
        layer: The tf_keras layer.
        scheme: The scheme of TF-MOT.
    """
    layers = load_tf_keras().layers
    if own_config(layer) is not None or isinstance(layer, layers.BatchNormalization):
        return False
    if isinstance(layer, layers.Activation):
        return getattr(layer.activation, "__name__", None) not in _QUANTIZED_ACTIVATIONS
    registry = scheme.get_quantize_registry()
    is_split = isinstance(layer, layers.SeparableConv2D)
    return not is_split and not registry.supports(layer)


@functools.cache
def kernel_bits_scheme() -> type:
    """Returns the class of kdzoo's own scheme: activations of 8 bits, kernels of 8 or 4.

    It is TF-MOT's scheme of 8 bits but for two things. TF-MOT leaves kernels in float32 whose layer
    is followed by a `ReLU` layer, without a normalization between them; here they are quantized.
    And with `weight_bits=4`, kernels of `Conv2D` layers have 4 bits: they are multiples of one step
    for each output channel, from -7 to 7.
    """
    tools = load_tfmot().quantization.keras

    class KernelBitsQuantizeScheme(tools.default_8bit.Default8BitQuantizeScheme):  # type: ignore[name-defined]
        def __init__(self, weight_bits: int = 8):
            super().__init__()
            self.weight_bits = weight_bits

        def get_layout_transformer(self):
            return _layout_transform()()

        def get_quantize_registry(self):
            registry = super().get_quantize_registry()
            if self.weight_bits == _BITS:
                made = _four_bit_config()(["kernel"], ["activation"], False)
                registry._layer_quantize_map[load_tf_keras().layers.Conv2D] = made
            return registry

    return KernelBitsQuantizeScheme


@functools.cache
def _layout_transform() -> type:
    """TF-MOT's transform of 8 bits, which keeps the kernels before a `ReLU` quantized."""
    theirs = eight_bit_modules()
    activation = theirs.activation.NoOpActivation

    def quantizing_kernels(transform):
        class BeforeReLU(transform):
            def replacement(self, match_layer):
                (before,) = match_layer.input_layers
                config = before.layer["config"]
                if before.layer["class_name"] == "Add":
                    return super().replacement(match_layer)
                if config["activation"] == "linear" and not before.metadata.get("quantize_config"):
                    config["activation"] = theirs.utils.serialize_activation(
                        activation(), use_legacy_format=True
                    )
                return match_layer

            def custom_objects(self):
                return {**super().custom_objects(), "NoOpActivation": activation}

        return BeforeReLU

    names = (
        *("InputLayerQuantize", "SeparableConv1DQuantize", "SeparableConvQuantize"),
        *("Conv2DReshapeBatchNormReLUQuantize", "Conv2DReshapeBatchNormActivationQuantize"),
        *("Conv2DBatchNormReLUQuantize", "Conv2DBatchNormActivationQuantize"),
        *("Conv2DReshapeBatchNormQuantize", "Conv2DBatchNormQuantize", "ConcatTransform6Inputs"),
        *("ConcatTransform5Inputs", "ConcatTransform4Inputs", "ConcatTransform3Inputs"),
        *("ConcatTransform", "DenseBatchNormQuantize", "DenseBatchNormReLUQuantize"),
        "DenseBatchNormActivationQuantize",
    )
    transforms = [getattr(theirs.transforms, name) for name in names]
    of_relu = (theirs.transforms.LayerReLUQuantize, theirs.transforms.LayerReluActivationQuantize)
    transforms += [quantizing_kernels(transform) for transform in of_relu]

    class LayoutTransform(theirs.layout.QuantizeLayoutTransform):  # type: ignore[name-defined]
        def apply(self, model, layer_quantize_map):
            made = [transform() for transform in transforms]
            keys = set(layer_quantize_map.keys())
            return theirs.transformer.ModelTransformer(
                model, made, keys, layer_quantize_map
            ).transform()

    return LayoutTransform


@functools.cache
def _four_bit_config() -> type:
    """The class of a `QuantizeConfig` of 8 bits whose kernels have 4, one step a channel."""
    tools = load_tfmot().quantization.keras
    eight_bits = eight_bit_modules().registry
    tf, tf_keras = heavy_libraries.tensorflow(), load_tf_keras()

    class FourBitQuantizer(tools.quantizers.LastValueQuantizer):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__(num_bits=_BITS, per_axis=True, symmetric=True, narrow_range=True)

        def build(self, tensor_shape, name, layer):
            made = {}
            for end, value in (("min", -6.0), ("max", 6.0)):
                made[f"{end}_var"] = layer.add_weight(
                    f"{name}_{end}",
                    shape=(tensor_shape[-1],),
                    initializer=tf_keras.initializers.Constant(value),
                    trainable=False,
                )
            return made

        def __call__(self, inputs, training, weights, **kwargs):
            low, high = weights["min_var"], weights["max_var"]
            if not training:
                return _on_grid(inputs, low, high)
            bound = _best_bound(tf.stop_gradient(inputs))
            with tf.control_dependencies([low.assign(-bound), high.assign(bound)]):
                rounded = _on_grid(inputs, -bound, bound)
            # Straight through, for weights beyond the range too.
            return inputs + tf.stop_gradient(rounded - inputs)

    class FourBitConfig(eight_bits.Default8BitQuantizeConfig):  # type: ignore[name-defined]
        def __init__(self, weight_attrs, activation_attrs, quantize_output):
            super().__init__(weight_attrs, activation_attrs, quantize_output)
            self.weight_quantizer = FourBitQuantizer()

    return FourBitConfig


def _on_grid(kernel: Any, low: Any, high: Any) -> Any:
    """A kernel rounded to multiples of a step for each output channel, from -7 to 7."""
    return heavy_libraries.tensorflow().quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, low, high, num_bits=_BITS, narrow_range=True
    )


def _best_bound(kernel: Any) -> Any:
    """The range of each output channel with the smallest mean squared error, (channels,)."""
    tf = heavy_libraries.tensorflow()
    axes = list(range(len(kernel.shape) - 1))
    largest = tf.maximum(tf.reduce_max(tf.abs(kernel), axes), 1e-8)
    bounds = tf.stack([largest * fraction for fraction in _CLIPPED_TO])
    errors = [
        tf.reduce_mean((_on_grid(kernel, -bound, bound) - kernel) ** 2, axes)
        for bound in tf.unstack(bounds)
    ]
    chosen = tf.one_hot(tf.argmin(tf.stack(errors)), len(_CLIPPED_TO), axis=0)
    return tf.reduce_sum(bounds * chosen, 0)
