"""Convolutions replaced by the depthwise-separable ones that are nearest to them."""

from collections.abc import Collection

import keras

from kdzoo.graph.kernel_factors import separable_kernels
from kdzoo.graph.layer_chains import (
    Chain,
    LowRankReport,
    ReplacedLayer,
    check_layers,
    count_in_kernels,
    layers_with_kernels,
    left_with_reasons,
    why_left,
    with_chains,
)
from kdzoo.utils import check_positive_integer

# Fields of a configuration that both layers have.
_KEPT = (
    *("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate"),
    *("activation", "use_bias", "bias_initializer", "bias_regularizer", "bias_constraint"),
    *("activity_regularizer", "name", "trainable", "dtype"),
)


def to_separable(
    model: keras.Model,
    layers: Collection[str] | None = None,
    *,
    depth_multiplier: int = 1,
) -> tuple[keras.Model, LowRankReport]:
    """Replaces convolutions by depthwise-separable ones fitted to them.

    A `Conv2D` of k × k from I channels to O becomes a `SeparableConv2D` of the same name, bias and
    activation. Its kernels are the least-squares fit: of each input channel, the kernel's k² by O
    numbers are cut to rank `depth_multiplier`. Of k² · I · O numbers, and of as many
    multiplications at each position, depth_multiplier · (1 / O + 1 / k²) remain. Train the new
    model on, with the old one as its teacher.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        layers: Paths of the convolutions (names joined by "/" through nested models); None for all
            that can be replaced and have kernels larger than 1 × 1.
        depth_multiplier: Depthwise filters for each input channel, at least 1; at k², or O if that
            is less, the new layer computes what the old one did.

    Returns:
        A new model, compiled as the model was, and a `LowRankReport`; its predicted parameters are
        those of the formula.

    Raises:
        ValueError: If the model has no graph, the multiplier is below 1, or a layer in `layers`
            does not exist or cannot be replaced.

    Example:

    ```python
    student, report = kdzoo.compression.to_separable(model, ["conv2", "conv3"])
    print(report)
    ```

    Reference: Howard et al., "MobileNets", 2017, arXiv:1704.04861, section 3.1.
    """
    multiplier = check_positive_integer("depth_multiplier", depth_multiplier)
    known = layers_with_kernels(model)
    left = {path: reason for path, layer in known.items() if (reason := _why_left(layer))}
    paths = check_layers(layers, known, left)
    chains, errors = {}, {}
    for path in paths:
        chains[path], errors[path] = _separable(known[path], multiplier)
    made = with_chains(model, chains, known)
    rows = tuple(_row(path, known[path], chains[path], errors[path]) for path in paths)
    left = left_with_reasons(known, left, paths)
    return made, LowRankReport(rows, left, model.count_params(), made.count_params())


def _why_left(layer):
    reason = why_left(layer, (keras.layers.Conv2D,))
    if reason is not None:
        return reason
    if layer.kernel_size == (1, 1):
        return "a kernel of 1 × 1"
    if layer.strides[0] != layer.strides[1]:
        return f"strides of {layer.strides}, which a SeparableConv2D cannot have"
    return None


def _separable(layer: keras.layers.Conv2D, multiplier: int) -> tuple[Chain, float]:
    """The new layer with its weights, and what the kernel lost."""
    old, *bias = layer.get_weights()
    height, width, _, outputs = old.shape
    multiplier = min(multiplier, height * width, outputs)
    depthwise, pointwise, error = separable_kernels(old, multiplier)
    config = layer.get_config()
    settings = {name: config[name] for name in _KEPT if name in config}
    for name in ("depthwise", "pointwise"):
        settings[f"{name}_initializer"] = config["kernel_initializer"]
        settings[f"{name}_regularizer"] = config["kernel_regularizer"]
    made = keras.layers.SeparableConv2D.from_config({**settings, "depth_multiplier": multiplier})
    return [(made, [depthwise.astype(old.dtype), pointwise.astype(old.dtype), *bias])], error


def _row(path, layer, chain, error):
    """What the report says of a layer."""
    height, width, _, outputs = layer.kernel.shape
    made, before = chain[0][0], count_in_kernels([layer])
    fraction = made.depth_multiplier * (1 / outputs + 1 / (height * width))
    return ReplacedLayer(
        path=path,
        method="separable",
        rank=made.depth_multiplier,
        parameters_before=before,
        parameters_predicted=round(before * fraction),
        parameters_after=count_in_kernels([made]),
        weight_error=error,
    )
