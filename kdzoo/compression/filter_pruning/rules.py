"""Which rule follows channels through which layer of Keras or operation of `keras.ops`."""

from typing import Any

import keras

from kdzoo.compression.filter_pruning import sequence_rules, shape_rules, weighted_rules
from kdzoo.compression.filter_pruning.channels import Channels, NotUnderstoodError
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.graph.calls import Call

_KEPT = (
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout "
    "AlphaDropout ActivityRegularization Identity"
)
_ELEMENTWISE_LAYERS = "Activation ReLU LeakyReLU ELU Rescaling"
_MERGING_LAYERS = "Add Subtract Multiply Average Maximum Minimum"
_ELEMENTWISE_OPERATIONS = (
    "Absolute Abs Negative Square Sqrt Rsqrt Exp Log Log1p Expm1 Reciprocal Sign Sin Cos Tanh Erf "
    "Relu Relu6 Sigmoid Softplus Softsign Silu HardSigmoid HardSilu LeakyRelu Elu Selu Celu Gelu "
    "LogSigmoid TanhShrink HardTanh Clip Cast"
)
_MERGING_OPERATIONS = "Add Subtract Multiply Divide TrueDivide Maximum Minimum Power"
_REDUCING = "Mean Max Min Amax Amin Sum"

_WEIGHTED: dict[str, weighted_rules.Rule] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), weighted_rules.convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), weighted_rules.depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), weighted_rules.separable),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), weighted_rules.transposed
    ),
    "Dense": weighted_rules.dense,
    "BatchNormalization": weighted_rules.batch_normalization,
    "LayerNormalization": weighted_rules.normalization_over_channels,
    "RMSNormalization": weighted_rules.normalization_over_channels,
    "PReLU": weighted_rules.prelu,
    "LayerScale": weighted_rules.layer_scale,
}
_LAYERS: dict[str, Any] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), sequence_rules.recurrent),
    "Bidirectional": sequence_rules.bidirectional,
    "MultiHeadAttention": sequence_rules.attention,
    "Embedding": sequence_rules.embedding,
    **dict.fromkeys(
        _KEPT.split(),
        shape_rules.kept,
    ),
    **dict.fromkeys(_ELEMENTWISE_LAYERS.split(), shape_rules.elementwise),
    **dict.fromkeys(_MERGING_LAYERS.split(), shape_rules.merged),
    "Concatenate": shape_rules.concatenated,
    "Flatten": shape_rules.reshaped,
    "Reshape": shape_rules.reshaped,
    "Permute": shape_rules.permuted,
    **{
        f"{name}Pooling{rank}D": rule
        for rank in (1, 2, 3)
        for name, rule in (
            ("Max", shape_rules.pooled),
            ("Average", shape_rules.pooled),
            ("GlobalMax", shape_rules.globally_pooled),
            ("GlobalAverage", shape_rules.globally_pooled),
        )
    },
    **{f"ZeroPadding{rank}D": shape_rules.zero_padded for rank in (1, 2, 3)},
    **{
        f"{name}{rank}D": shape_rules.resized
        for rank in (1, 2, 3)
        for name in ("UpSampling", "Cropping")
    },
}
_OPERATIONS: dict[str, Any] = {
    **dict.fromkeys(
        _ELEMENTWISE_OPERATIONS.split(),
        shape_rules.elementwise,
    ),
    **dict.fromkeys(_MERGING_OPERATIONS.split(), shape_rules.merged),
    **dict.fromkeys(_REDUCING.split(), shape_rules.reduced),
    "Concatenate": shape_rules.concatenated,
    "Transpose": shape_rules.permuted,
    "Reshape": shape_rules.reshaped,
}


def passed(
    coupling: Coupling, call: Call, inputs: list[Channels], args: Any, kwargs: Any
) -> Channels | list[Channels]:
    """Returns the channels of what a call gives, a list of several tensors.

    Args:
        coupling: What is known of all channels; what the call tells is added.
        call: The call.
        inputs: The channels of its inputs.
        args: Its arguments, with channels in the place of tensors.
        kwargs: Its keyword arguments.

    Raises:
        NotUnderstoodError: If channels cannot be followed through it.
    """
    operation: Any = call.operation
    name = type(operation).__name__
    is_layer = isinstance(operation, keras.layers.Layer)
    if type(operation).__module__.startswith("kdzoo.compression."):
        raise NotUnderstoodError("strip the model first, which is being compressed in another way")
    if not type(operation).__module__.startswith("keras."):
        raise NotUnderstoodError("a layer of one's own")
    if is_layer and name in _WEIGHTED:
        if len(inputs) != 1:
            raise NotUnderstoodError("it is called with several tensors")
        return _WEIGHTED[name](coupling, call, inputs[0])
    rule = (_LAYERS if is_layer else _OPERATIONS).get(name)
    if rule is None or not inputs:
        raise NotUnderstoodError("kdzoo does not know how channels pass through it")
    return rule(coupling, call, inputs, args, kwargs)
