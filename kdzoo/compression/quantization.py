"""Quantization-aware training: TF-MOT's `quantize_model` for Keras 3 models."""

import re

import keras

from kdzoo.compression.tfmot import HostedModel, load_tfmot


def quantize_model(to_quantize, quantized_layer_name_prefix="quant_"):
    """Returns a copy of a model that computes as its 8-bit form will, for training.

    Names and arguments are TF-MOT's. Train the result, alone or as the student of a `Distiller`,
    and hand it to `kdzoo.export.to_litert(model, path, quantize="int8")`.

    Args:
        to_quantize: The trained functional or sequential `keras.Model`; it is not changed.
        quantized_layer_name_prefix: What the wrapped layers' names begin with.

    Returns:
        A `QuantizedModel`, not compiled.

    Raises:
        ValueError: If a layer has no twin in tf_keras or TF-MOT cannot quantize it; the error names
            it and the remedy. Layers in half precision are refused too.

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
    if not isinstance(to_quantize, keras.Model):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`. Received: "
            f"to_quantize={to_quantize!r} of type {type(to_quantize).__name__}"
        )
    return QuantizedModel(to_quantize, quantized_layer_name_prefix)


@keras.saving.register_keras_serializable("kdzoo")
class QuantizedModel(HostedModel):
    """A model that is trained aware of its quantization; `quantize_model` makes it.

    Args:
        model: As `to_quantize` of `quantize_model`.
        prefix: As `quantized_layer_name_prefix` there.
        name: Name of the model.
    """

    def __init__(self, model, prefix="quant_", name=None):
        halves = [
            layer.name
            for layer in model._flatten_layers(include_self=False)
            if layer.weights and layer.dtype_policy.compute_dtype != "float32"
        ]
        if halves:
            raise ValueError(
                "Expected layers that compute in float32, as TF-MOT quantizes no others. Received: "
                f"{halves[0]!r} in {model.name!r}; build the model under "
                "`keras.config.set_dtype_policy('float32')` and copy the weights."
            )
        self._prefix = prefix
        super().__init__(model, name)

    def _wrap(self, twin):
        tools = load_tfmot().quantization.keras
        try:
            annotated = tools.quantize_annotate_model(twin)
            with tools.quantize_scope():
                return tools.quantize_apply(annotated, quantized_layer_name_prefix=self._prefix)
        except RuntimeError as error:
            found = re.match(r"Layer (\S+):<class '.*\.(\w+)'> is not supported", str(error))
            if not found:
                raise
            raise ValueError(
                "Expected layers that TF-MOT can quantize. Received: "
                f"{found[1]!r}, a {found[2]}; quantize after training instead, with "
                "`kdzoo.export.to_litert(model, path, 'int8', representative_data)`."
            ) from error

    @property
    def is_quantization_aware(self):
        """True: the export needs no data to find the ranges of the activations."""
        return True

    def get_config(self):
        return {**super().get_config(), "prefix": self._prefix}
