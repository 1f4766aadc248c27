"""Graphs of layers that can be quantized: the same outputs, of other layers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdzoo.graph.quantizable import as_quantizable

pytestmark = pytest.mark.large_on_jax


def model_of(shape, body):
    """A model whose weights and statistics are not those of the start."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, body(inputs))
    random = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([w + 0.2 * random.random(w.shape) for w in layer.get_weights()])
    return model


def rewritten(model, **options):
    """The new model, after a comparison of its outputs with those of the old one."""
    made = as_quantizable(model, **options)
    shape = [7 if size is None else size for size in model.input_shape[1:]]
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    expected = ops.convert_to_numpy(model(x, training=False))
    received = ops.convert_to_numpy(made(x, training=False))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    if hasattr(model, "output_names"):
        assert made.output_names == model.output_names
    return made


def classes(model):
    kinds = [type(layer).__name__ for layer in model.layers]
    return [kind for kind in kinds if kind != "InputLayer"]


def keyword_spotting(x):
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, use_bias=False)(x)
    x = layers.BatchNormalization(axis=2)(x)
    x = layers.ReLU()(x)
    y = layers.SeparableConv1D(6, 3, padding="same", activation="relu")(x)
    y = layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2, strides=1)(y)
    y = layers.SpatialDropout1D(0.1)(layers.Conv1D(6, 1)(y))
    x = layers.Concatenate()([layers.MaxPooling1D(2)(x), layers.AveragePooling1D(2)(y)])
    x = layers.UpSampling1D(2)(layers.Cropping1D((1, 0))(layers.ZeroPadding1D((2, 1))(x)))
    x = layers.Dense(5, activation="relu")(layers.Conv1D(4, 3, strides=2, name="tail")(x))
    return layers.Dense(3, name="logits")(layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize("steps", [12, None])
def test_layers_for_sequences_become_those_for_images(steps):
    made = rewritten(model_of((steps, 4), keyword_spotting))
    assert not [kind for kind in classes(made) if "1D" in kind]
    assert classes(made).count("Reshape") == 1  # Between layers for images there is none.
    assert made.get_layer("tail").kernel.shape == (3, 1, 12, 4)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")
def test_outputs_and_what_has_no_image_are_sequences():
    def body(x):
        x = layers.Conv1D(4, 3, name="first")(x)
        x = layers.LSTM(3, return_sequences=True)(x)
        return layers.Conv1D(2, 2, activation="hard_sigmoid", name="last")(x)

    made = rewritten(model_of((9, 4), body))
    assert made.output_shape == (None, 6, 2)
    masked = keras.Sequential(
        [keras.Input((9, 4)), layers.Masking(), layers.Conv1D(2, 1), layers.LSTM(2)]
    )
    assert as_quantizable(masked) is masked


def test_what_scales_images_is_one_frozen_convolution():
    def body(x):
        x = layers.Rescaling(1 / 4)(x)
        x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 9.0])(x)
        x = layers.Rescaling([1.0, 2.0, 3.0], name="last")(x)
        return layers.Conv2D(2, 1)(x)

    inputs = keras.Input((4, 4, 3))
    made = rewritten(keras.Model(inputs, body(inputs)))
    assert classes(made) == ["DepthwiseConv2D", "Conv2D"]
    scaling = made.get_layer("last")
    assert not scaling.trainable
    # ((x / 4 - mean) / deviation) · scale
    np.testing.assert_allclose(np.ravel(scaling.kernel), [1 / 8, 1 / 2, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(scaling.bias, [-0.5, -4.0, -3.0], rtol=1e-6)
    untouched = keras.Sequential([keras.Input((4, 4, 3)), layers.Rescaling(0.5)])
    assert as_quantizable(untouched) is untouched
    of_vectors = [keras.Input((3,)), layers.Normalization(mean=1.0, variance=4.0), layers.Dense(2)]
    made = rewritten(keras.Sequential(of_vectors))
    assert classes(made) == ["Rescaling", "Rescaling", "Dense"]


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(4, 3, use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.SeparableConv2D(4, 3),
        layers.Conv2D(4, 3, groups=2, use_bias=False),
    ],
    ids=["conv", "depthwise", "separable", "grouped"],
)
def test_what_scales_the_output_of_a_convolution_is_part_of_it(convolution):
    def body(x):
        x = type(convolution).from_config({**convolution.get_config(), "name": "conv"})(x)
        return 1 - (ops.relu6(x * 0.5 + 3.0) / 6.0)

    made = rewritten(model_of((5, 5, 4), body))
    assert classes(made)[0] == type(convolution).__name__
    assert type(made.get_layer("conv").output._keras_history.operation) is type(convolution)
    assert [op for op in made.operations if type(op).__name__ in ("Add", "Multiply")] == []
    assert made.get_layer("conv").use_bias


def test_squeeze_and_excitation_and_hard_activations():
    def body(x):
        x = layers.Conv2D(4, 3, activation="hard_silu")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(4, 1, activation="hard_sigmoid", name="gate")(gate)
        x = layers.Multiply()([x, gate])
        return layers.Activation("hard_sigmoid")(layers.Activation("relu6")(x))

    made = rewritten(model_of((6, 6, 3), body))
    assert classes(made).count("ReLU") == 3
    assert made.get_layer("gate").output.shape == (None, 1, 1, 4)


@pytest.mark.tensorflow  # Once is enough.
def test_blocks_of_convnext():
    convnext = keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    name = "convnext_tiny_stage_0_block_0"
    start = convnext.get_layer("convnext_tiny_stem").output
    block = keras.Model(start, convnext.get_layer(f"{name}_identity").output)
    random = np.random.default_rng(0)
    block.get_layer(f"{name}_layer_scale").set_weights([random.random(96)])
    made = rewritten(block)
    kinds = classes(made)
    assert "LayerScale" not in kinds
    assert kinds.count("DepthwiseConv2D") == 1
    assert made.get_layer(f"{name}_depthwise_conv").kernel.shape == (7, 7, 96, 1)
    assert "Dense" not in kinds


def test_normalizations_become_part_of_kernels_and_dense_layers_convolutions():
    def body(x):
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, use_bias=False)(x))
        x = layers.Flatten()(layers.ReLU()(x))
        x = layers.BatchNormalization()(layers.Dense(5)(x))
        return layers.Dense(3, activation="softmax", name="probabilities")(layers.ReLU()(x))

    model = model_of((6, 6, 2), body)
    made = rewritten(model, folds_normalizations=True, dense_as_convolutions=True)
    assert "BatchNormalization" not in classes(made)
    assert classes(made).count("Conv2D") == 3
    assert "Dense" not in classes(made)
    assert as_quantizable(model) is model
    assert "BatchNormalization" in classes(model)


def test_regularizers_and_frozen_layers_stay():
    def body(x):
        x = layers.Dense(3, kernel_regularizer="l2", name="pointwise", trainable=False)(x)
        return layers.Conv2D(6, 2, groups=3, kernel_regularizer="l1", name="grouped")(x)

    made = rewritten(model_of((4, 4, 2), body))
    pointwise, grouped = (made.get_layer(name) for name in ("pointwise", "grouped"))
    assert isinstance(pointwise.kernel_regularizer, keras.regularizers.L2)
    assert not pointwise.trainable
    assert isinstance(grouped.depthwise_regularizer, keras.regularizers.L1)
    assert grouped.trainable


def test_layers_that_are_called_twice_and_nested_models_stay():
    shared = layers.Conv2D(2, 1, name="shared")
    inner = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(2, 1, activation="silu")])

    def body(x):
        x = shared(x) + 3.0
        return inner(shared(x))

    made = rewritten(model_of((4, 4, 2), body))
    assert made.get_layer(inner.name).layers[-1].activation is keras.activations.silu
    assert len(made.get_layer("shared")._inbound_nodes) == 2
