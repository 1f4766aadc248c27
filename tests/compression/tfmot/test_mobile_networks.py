"""Quantization of what mobile networks consist of, and kernels of 4 bits: in Keras and in files."""

import keras
import numpy as np
import pytest
from compression_helpers import compiled
from keras import layers

import kdzoo
from kdzoo.compression import quantize_model

pytestmark = pytest.mark.tensorflow


def hard_sigmoid(x):
    """As keras.applications has it in MobileNetV3."""
    return layers.ReLU(6.0)(x + 3.0) * (1 / 6)


def mobile():
    """A network of what TF-MOT alone refuses: MobileNetV3's, EfficientNet's and Conv1D."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(2.0, -1.0)(inputs)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.3, 0.5, 0.4])(x)
    x = layers.Conv2D(8, 3, use_bias=False, name="stem")(x)
    x = layers.Activation("hard_swish")(layers.BatchNormalization(momentum=0.5)(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="silu")(gate)
    x = layers.Multiply()([x, hard_sigmoid(layers.Conv2D(8, 1, name="gate")(gate))])
    x = layers.Activation("swish")(layers.Conv2D(8, 1)(x))
    x = layers.Conv1D(8, 3, use_bias=False, name="over_steps")(layers.Reshape((36, 8))(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.MaxPooling1D(2)(x)
    x = layers.Conv1D(8, 3, activation="gelu")(x)
    x = layers.ReLU()(layers.Dense(8, name="hidden")(layers.Flatten()(x)))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def trained(model, data, epochs=15, **options):
    keras.utils.set_random_seed(0)
    quantized = compiled(quantize_model(model, **options))
    quantized.fit(*data, 16, epochs=epochs, verbose=0)
    quantized.round_biases()
    return quantized


def exported(model, path, data, **options):
    return kdzoo.export.to_litert(model, path, "int8", data[0], **options)


def read_network(path):
    """The flatbuffer of a file, as objects."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0), schema


def operators(path):
    from ai_edge_litert.interpreter import Interpreter

    return [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]


def dtypes(path):
    from ai_edge_litert.interpreter import Interpreter

    return {tensor["dtype"] for tensor in Interpreter(str(path)).get_tensor_details()}


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 64)
    return (random.random((64, 8, 8, 3)) / 2 + labels[:, None, None, None] / 4).astype(
        "float32"
    ), labels


def test_all_layers_of_a_mobile_network_are_quantized(images):
    network = mobile()
    quantized = quantize_model(network)
    np.testing.assert_allclose(
        quantized.plain_model()(images[0]), network(images[0]), rtol=1e-4, atol=1e-5
    )
    assert quantized.layers_in_float == []
    names = {layer.name for layer in quantized.wrapped.layers}
    assert {"quant_stem", "quant_gate", "quant_over_steps", "quant_hidden"} <= names
    others = [name for name in names if not name.startswith("quant")]
    assert len(others) == 1  # The input.


@pytest.mark.large
def test_a_mobile_network_becomes_an_int8_file(images, tmp_path):
    quantized = trained(mobile(), images)
    path = tmp_path / "mobile.tflite"
    report = exported(quantized, path, images, io="int8")
    assert report.argmax_agreement >= 0.95
    assert report.layers_in_float == ()
    assert np.float32 not in dtypes(path)
    found = operators(path)
    assert found.count("HARD_SWISH") == 1
    assert found.count("GELU") == 1
    quantized.save(tmp_path / "mobile.keras")
    again = keras.saving.load_model(tmp_path / "mobile.keras")
    np.testing.assert_array_equal(
        again.predict(images[0], verbose=0), quantized.predict(images[0], verbose=0)
    )


def test_kernels_of_4_bits_are_on_their_grid_in_keras_and_in_the_file(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 1, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    before = [weight.copy() for weight in model.get_weights()]
    quantized = trained(model, images, weight_bits=4)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    quantized.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(images[0], verbose=0), quantized.predict(images[0], verbose=0)
    )
    path = tmp_path / "model.tflite"
    report = exported(again, path, images)
    assert report.argmax_agreement >= 0.95
    assert report.layers_in_float == ()
    assert np.float32 in dtypes(path)  # At the ends alone.

    network, schema = read_network(path)
    [graph] = network.subgraphs
    kernels = [t for t in graph.tensors if t.type == schema.TensorType.INT4]
    assert sorted(list(t.shape) for t in kernels) == [[3, 1, 1, 32], [16, 3, 3, 3], [32, 1, 1, 16]]
    [conv] = [t for t in kernels if list(t.shape) == [16, 3, 3, 3]]
    packed = np.asarray(network.buffers[conv.buffer].data, "uint8")
    assert len(packed) == 16 * 27 // 2
    nibbles = np.stack([packed & 15, packed >> 4], 1).ravel().astype(int)
    stored = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(16, 3, 3, 3)
    weights = {weight.name: weight.numpy() for weight in again.wrapped.weights}
    kernel = np.moveaxis(weights["conv/kernel:0"], -1, 0)
    step = weights["quant_conv/kernel_max:0"] / 7
    np.testing.assert_allclose(conv.quantization.scale, step, rtol=1e-6)
    expected = np.clip(np.round(kernel / step[:, None, None, None]), -7, 7)
    np.testing.assert_array_equal(stored, expected)
    # A range that is the largest weight before the last step, or somewhat less.
    largest = np.abs(kernel).max((1, 2, 3))
    assert np.all((step * 7 <= largest * 1.1) & (step * 7 >= largest * 0.6))
    costs = report.sparsity
    values = [stored, *(_values(network, t) for t in kernels if t is not conv)]
    values += [_values(network, t) for t in graph.tensors if list(t.shape) == [1, 3, 3, 16]]
    values = np.concatenate([np.ravel(value) for value in values])
    assert costs == pytest.approx(np.mean(values == 0))


def _values(network, tensor):
    """The integers of a constant, of 4 or 8 bits; the order does not matter."""
    data = np.asarray(network.buffers[tensor.buffer].data, "uint8")
    if len(data) == np.prod(tensor.shape):
        return data
    return np.stack([data & 15, data >> 4])


def test_ranges_of_4_bits_have_the_smallest_error():
    """Of the fractions that are tried, by NumPy."""
    from kdzoo.compression.tfmot.own_quantization import _best_bound

    kernel = np.random.default_rng(0).standard_t(3, (3, 3, 8, 4)).astype("float32")
    found = np.asarray(_best_bound(kernel))
    for channel in range(4):
        values = kernel[..., channel]
        errors = {}
        for bound in np.abs(values).max() * np.arange(0.65, 1.001, 0.05):
            rounded = np.clip(np.round(values / bound * 7), -7, 7) * bound / 7
            errors[bound] = np.mean((rounded - values) ** 2)
        assert found[channel] == pytest.approx(min(errors, key=errors.get), rel=1e-5)


def test_clipped_weights_are_trained_on(images):
    """The gradient goes straight through, beyond the range too."""
    import tensorflow as tf

    quantized = quantize_model(
        keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 8), layers.Flatten()]),
        weight_bits=4,
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantized(images[0], training=True))
    gradient = tape.gradient(loss, quantized.trainable_variables[0].value)
    assert np.all(np.asarray(gradient) > 0)


def test_kernels_before_a_relu_layer_are_quantized(images):
    """TF-MOT leaves them in float32, as `quantize_apply` does with its own scheme."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.ReLU()(layers.Conv2D(4, 3, name="conv")(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    assert quantize_model(model).layers_in_float == []
    annotated = kdzoo.compression.quantize_annotate_model(model)
    assert kdzoo.compression.quantize_apply(annotated).layers_in_float == ["conv"]


def block(inputs):
    """One of ConvNeXt, with a wider normalization."""
    x = layers.Conv2D(8, 3, padding="same", groups=8, name="deep")(layers.Conv2D(8, 2)(inputs))
    y = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    y = layers.Dense(8, name="back")(layers.Activation("gelu")(layers.Dense(16)(y)))
    return layers.Conv2D(4, 1, activation="elu", name="elu")(layers.Add()([x, y]))


@pytest.mark.large
def test_what_cannot_be_quantized_stays_in_float_where_that_is_allowed(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(block(inputs))))
    with pytest.raises(ValueError, match=r"'norm', a LayerNormalization; .*`allow_float=True`"):
        quantize_model(model)
    quantized = trained(model, images, allow_float=True)
    assert quantized.layers_in_float == ["norm", "elu"]
    path = tmp_path / "model.tflite"
    report = exported(quantized, path, images)
    assert report.argmax_agreement >= 0.95
    assert report.layers_in_float == ("norm", "elu")
    found = operators(path)
    assert {"RSQRT", "ELU", "GELU", "DEPTHWISE_CONV_2D"} <= set(found)
    assert "FLEX" not in "".join(found).upper()
    again = type(quantized).from_config(quantized.get_config())
    assert again.layers_in_float == ["norm", "elu"]


def test_swish_is_trained_with_the_sigmoid_in_steps_of_1_256():
    quantized = quantize_model(
        keras.Sequential([keras.Input((3,)), layers.Activation("swish", name="swish")])
    )
    [swish] = [layer for layer in quantized.wrapped.layers if layer.name == "quant_swish"]
    x = np.linspace(-4, 4, 101, dtype="float32")
    gate = np.round(256 / (1 + np.exp(-x))) / 256
    np.testing.assert_allclose(swish.layer(x), x * gate, atol=2e-6)


@pytest.mark.parametrize("bits", [2, 5, "4", None])
def test_other_numbers_of_bits_are_refused(bits):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"weight_bits of 4 or 8\. Received"):
        quantize_model(model, weight_bits=bits)
    with pytest.raises(ValueError, match="allow_float"):
        quantize_model(model, allow_float="yes")


def test_raw_pixels_are_no_surprise_to_a_network_that_scales_them(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 127.5, -1.0)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (64, 8, 8, 3)).astype("float32"), random.integers(0, 3, 64)
    quantized = trained(model, data, epochs=5)
    exported(quantized, tmp_path / "model.tflite", data, min_agreement=0.8)


def test_scaled_pixels_have_their_whole_range_from_the_first_step_on():
    """A moving average that begins at 6 would leave little of [0, 255]."""
    inputs = keras.Input((4, 4, 3))
    outputs = layers.Dense(3)(layers.Flatten()(layers.Rescaling(255.0)(inputs)))
    model, random = keras.Model(inputs, outputs), np.random.default_rng(0)
    kernel = random.normal(size=(48, 3)) / 500
    model.set_weights([kernel, np.zeros(3)])
    images = random.random((32, 4, 4, 3), "float32")
    quantized = quantize_model(model)
    quantized.compile(keras.optimizers.SGD(0.0), "mse")
    quantized.fit(images, np.zeros((32, 3)), 16, verbose=0)
    expected = 255 * images.reshape(32, 48) @ kernel
    assert 1 < np.abs(expected).max() < 6
    np.testing.assert_allclose(quantized.predict(images, verbose=0), expected, atol=0.1)


@pytest.mark.large
@pytest.mark.parametrize("name", ["MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"])
def test_networks_of_keras_become_int8_files(name, tmp_path):
    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(64, 64, 3), classes=3, classifier_activation=None)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.5
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 64)
    pixels = 120 * random.random((64, 64, 64, 3)) + 60 * labels[:, None, None, None]
    data = pixels.astype("float32"), labels
    quantized = compiled(quantize_model(model))
    quantized.fit(*data, 16, epochs=4, verbose=0)
    report = exported(quantized, tmp_path / "model.tflite", data, io="int8", min_agreement=0.8)
    assert report.layers_in_float == ()
    assert np.float32 not in dtypes(tmp_path / "model.tflite")
