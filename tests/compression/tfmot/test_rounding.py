"""Biases rounded as int8 arithmetic rounds them: the file's own numbers, and its answers."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.compression import quantize_annotate_layer, quantize_apply, quantize_model
from kdzoo.export import LiteRTModel

pytestmark = pytest.mark.tensorflow


def trained(net, data, model=None):
    quantized = quantize_model(net() if model is None else model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    quantized.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss)
    quantized.fit(*data, 16, epochs=5, verbose=0)
    return quantized


def biases_of_the_file(path):
    """Size -> biases of the int32 tensors of a file, in real numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    found = {}
    for tensor in interpreter.get_tensor_details():
        steps = tensor["quantization_parameters"]["scales"]
        if tensor["dtype"] is np.int32 and len(tensor["shape"]) == 1 and steps.size:
            value = interpreter.get_tensor(tensor["index"]) * steps.astype("float64")
            found.setdefault(len(value), []).append((value, steps))
    return found


def test_the_model_adds_what_the_file_adds(net, data, tmp_path):
    quantized = trained(net, data)
    assert quantized.round_biases() == ["conv", "depthwise", "stage2", "logits"]
    kdzoo.export.to_litert(quantized, tmp_path / "it.tflite", "int8", data[0])
    layers = {layer.name: layer for layer in quantized.wrapped.layers}
    norm = layers["quant_norm"].layer
    scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    folded = norm.beta.numpy() - norm.moving_mean.numpy() * scale
    inner = {name: layers[f"quant_{name}"].layer for name in ("conv", "depthwise", "stage2")}
    expected = [
        folded + inner["conv"].bias.numpy() * scale,
        inner["depthwise"].bias.numpy(),
        inner["stage2"].bias.numpy(),
        layers["quant_logits"].layer.bias.numpy(),
    ]
    found = biases_of_the_file(tmp_path / "it.tflite")
    for ours in expected:
        nearest = min(
            found[len(ours)], key=lambda theirs, ours=ours: np.abs(theirs[0] - ours).max()
        )
        # To a hundredth of a step; biases that were not rounded are off by up to a half.
        assert (np.abs(nearest[0] - ours) / nearest[1]).max() < 0.01


def test_the_model_answers_as_the_file(net, data, tmp_path):
    images = np.random.default_rng(1).random((500, 8, 8, 3), "float32")
    quantized = trained(net, data)
    path, off = tmp_path / "it.tflite", []
    for _ in range(2):
        kdzoo.export.to_litert(quantized, path, "int8", data[0])
        file = LiteRTModel(path)
        ours, theirs = quantized.predict(images, verbose=0), np.asarray(file.predict(images))
        off.append((np.abs(ours - theirs) > file.outputs[0].step / 2).mean())
        before = [weight.numpy().copy() for weight in quantized.wrapped.weights]
        quantized.round_biases()
    assert off[0] > 5 * off[1]
    assert off[1] < 2e-3
    # Once more changes nothing.
    for old, new in zip(before, quantized.wrapped.weights, strict=True):
        np.testing.assert_allclose(new.numpy(), old, rtol=1e-6, atol=1e-7)


def test_residual_networks(data, tmp_path):
    """A sum has several inputs and a step of its own; pooling and flattening hand theirs on."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    y = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="second")(x)
    y = keras.layers.BatchNormalization()(y)
    x = keras.layers.MaxPooling2D()(keras.layers.Add()([x, y]))
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    quantized = trained(None, data, model)
    assert set(quantized.round_biases()) == {"first", "second", "logits"}
    kdzoo.export.to_litert(quantized, tmp_path / "it.tflite", "int8", data[0])
    theirs = np.asarray(LiteRTModel(tmp_path / "it.tflite").predict(data[0]))
    agree = theirs.argmax(1) == quantized.predict(data[0], verbose=0).argmax(1)
    assert agree.mean() >= 0.98


def test_layers_in_float32_are_left_alone(net, data):
    """What follows a layer in float32 has an input without a step."""
    model = keras.models.clone_model(
        net(),
        clone_function=lambda layer: (
            quantize_annotate_layer(layer) if layer.name in ("stage2", "logits") else layer
        ),
    )
    quantized = quantize_apply(model)
    bias = next(w for w in quantized.wrapped.weights if w.name.startswith("conv/bias"))
    bias.assign(bias + 0.123456789)
    before = bias.numpy().copy()
    assert "conv" not in quantized.round_biases()
    np.testing.assert_array_equal(bias.numpy(), before)
