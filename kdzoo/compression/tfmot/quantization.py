"""Quantization-aware training: TF-MOT's `quantize_model` and its relatives for Keras 3 models."""

from typing import Any, Literal

import keras

from kdzoo.compression.tfmot import preserve_schemes
from kdzoo.compression.tfmot.library import check_made_by, check_model
from kdzoo.compression.tfmot.own_quantization import kernel_bits_scheme
from kdzoo.compression.tfmot.quantize_annotate import (
    AnnotatedModel,
    QuantizeAnnotate,
    copy_of_annotated,
)
from kdzoo.compression.tfmot.quantized_model import QuantizedModel
from kdzoo.graph.batch_norm_folding import fold_batch_normalization
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.quantizable import as_quantizable
from kdzoo.utils import check_flag, is_integer, shown


def quantize_model(
    to_quantize: keras.Model,
    quantized_layer_name_prefix: str = "quant_",
    *,
    weight_bits: Literal[4, 8] = 8,
    allow_float: bool = False,
) -> QuantizedModel:
    """Returns a copy of a model that computes as its integer form will, for training.

    Names and arguments are TF-MOT's, but for those by keyword. Train the result, alone or as the
    student of a `Distiller`, and hand it to
    `kdzoo.export.to_litert(model, path, quantize="int8")`.

    Args:
        to_quantize: The trained functional or sequential `keras.Model`; it is not changed. Layers
            that `quantize_annotate_layer` annotated keep their own configuration.
        quantized_layer_name_prefix: What the wrapped layers' names begin with.
        weight_bits: 8, or 4 for the kernels of `Conv1D`, `Conv2D` and `Dense` layers: multiples
            from -7 to 7 of one step for each output channel. Batch normalizations become part of
            the kernels first, so that their statistics are fixed. Depthwise kernels and all
            activations keep 8 bits, and so do dense layers of sequences that no convolution made.
        allow_float: Whether layers that cannot be quantized, such as `LayerNormalization`, compute
            in float32, in the file too, between quantized inputs and outputs; `layers_in_float`
            names them. If False, the first of them is an error.

    Returns:
        A `QuantizedModel`, not compiled. Frozen layers stay frozen. Some layers are made of others
        in it: a `SeparableConv2D` is two convolutions, layers for sequences are those for images of
        width 1, a `Rescaling` or `Normalization` of images is a frozen 1x1 depthwise convolution,
        what scales or shifts the output of a convolution is part of it.

    Raises:
        ValueError: If tf_keras lacks a layer or it cannot be quantized; the error names it and the
            remedy. Layers in half precision are refused too.

    Example:

    ```python
    quantized = kdzoo.compression.quantize_model(model)
    quantized.compile(keras.optimizers.Adam(1e-5), cross_entropy, metrics=["accuracy"])
    quantized.fit(x_train, y_train, epochs=1)
    report = kdzoo.export.to_litert(quantized, "model.tflite", quantize="int8")
    ```

    Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, arXiv:1712.05877, and the documentation of
    tensorflow-model-optimization 0.8.
    """
    check_model("to_quantize", to_quantize)
    if not is_integer(weight_bits) or weight_bits not in (4, 8):
        raise ValueError(f"Expected weight_bits of 4 or 8. Received: {shown(weight_bits)}")
    allow_float, of_four = check_flag("allow_float", allow_float), weight_bits == 4
    model = as_quantizable(
        to_quantize,
        folds_normalizations=of_four,
        dense_as_convolutions=of_four,
        splits_activations=allow_float,
        replace=copy_of_annotated,
    )
    if of_four or allow_float:
        model = fold_batch_normalization(model)
    scheme = kernel_bits_scheme()(weight_bits)
    return QuantizedModel(model, quantized_layer_name_prefix, scheme, allow_float=allow_float)


def quantize_apply(
    model: keras.Model, scheme: Any = None, quantized_layer_name_prefix: str = "quant_"
) -> QuantizedModel:
    """Returns a copy of a model in which the annotated layers compute as in 8 bits, for training.

    Args:
        model: The functional or sequential `keras.Model` with layers from
            `quantize_annotate_layer`, or what `quantize_annotate_model` returned; it is not
            changed.
        scheme: A scheme of TF-MOT: `Default8BitPrunePreserveQuantizeScheme()` keeps pruned weights
            at zero, `Default8BitClusterPreserveQuantizeScheme(preserve_sparsity)` keeps clusters,
            in convolutions those of each channel, as 8-bit kernels have a scale for each, and the
            zeros among them if that is True; `Default8BitQuantizeScheme()` when None.
        quantized_layer_name_prefix: What the wrapped layers' names begin with.

    Returns:
        A `QuantizedModel`, not compiled.

    Raises:
        ValueError: If no layer is annotated, tf_keras lacks a layer or TF-MOT cannot quantize it;
            the error names it and the remedy.
    """
    check_model("model", model)
    if isinstance(model, AnnotatedModel):
        return QuantizedModel(model, quantized_layer_name_prefix, scheme)
    annotated = [layer for layer in flatten_layers(model) if isinstance(layer, QuantizeAnnotate)]
    if not annotated:
        raise ValueError(
            "Expected a model with annotated layers. Received: "
            f"{model.name!r} without one; use `quantize_annotate_layer` or "
            "`quantize_annotate_model`, or `quantize_model`, which does all."
        )
    return QuantizedModel(model, quantized_layer_name_prefix, scheme, annotated_only=True)


def strip_clustering_cqat(to_strip: QuantizedModel) -> QuantizedModel:
    """Returns the same quantization-aware model without what kept its clusters while it trained.

    Its weights are a third as many, and outputs and `.tflite` file are the same; trained on, it
    would lose the clusters.

    Args:
        to_strip: What `quantize_apply` returned with the cluster-preserving scheme.

    Returns:
        A `QuantizedModel`, not compiled.

    Raises:
        ValueError: If it is another model.
    """
    check_made_by("quantize_apply", QuantizedModel, to_strip)
    if not preserve_schemes.keeps_clusters(to_strip.scheme):
        raise ValueError(
            "Expected a model that keeps clusters by `Default8BitClusterPreserveQuantizeScheme`. "
            f"Received: {to_strip.name!r} with scheme {type(to_strip.scheme).__name__}"
        )
    stripped = QuantizedModel.from_config({**to_strip.get_config(), "scheme": None})
    for new, old in zip(stripped.wrapped.layers, to_strip.wrapped.layers, strict=True):
        # Layers that TF-MOT adds are numbered through; the rest of a name tells their weights.
        values = {weight.name.replace(old.name, ""): weight for weight in old.weights}
        for weight in new.weights:
            weight.assign(values[weight.name.replace(new.name, "")])
    return stripped
