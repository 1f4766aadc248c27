"""Every layer of tf_keras 2 that Keras 3 has: its `.h5` and `.keras` file open to its outputs."""

import keras
import numpy as np
import pytest

import kdzoo

pytestmark = pytest.mark.tensorflow

IMAGE, SERIES, VOLUME, ROW = (6, 6, 4), (6, 4), (5, 5, 5, 2), (4,)


def _layers():
    import tf_keras

    return tf_keras.layers


def _of(name, shape, *args, **kwargs):
    """A case of one layer on one input."""

    def build(layers):
        inputs = layers.Input(shape)
        return inputs, getattr(layers, name)(*args, **kwargs)(inputs)

    return build


def _merge(name, **kwargs):
    def build(layers):
        inputs = [layers.Input((3, 4)), layers.Input((3, 4))]
        return inputs, getattr(layers, name)(**kwargs)(inputs)

    return build


def _words(name, *args, **kwargs):
    """A case of a layer on whole numbers."""

    def build(layers):
        inputs = layers.Input((5,), dtype="int32")
        return inputs, getattr(layers, name)(*args, **kwargs)(inputs)

    return build


def _attention(name, **kwargs):
    def build(layers):
        inputs = [layers.Input((3, 4)), layers.Input((5, 4))]
        return inputs, getattr(layers, name)(**kwargs)(inputs)

    return build


def _multi_head(layers):
    inputs = [layers.Input((3, 4)), layers.Input((5, 4))]
    layer = layers.MultiHeadAttention(2, 3, value_dim=2)
    return inputs, layer(inputs[0], value=inputs[1], key=inputs[1])


def _wrapped(name, inner, shape=SERIES, **kwargs):
    def build(layers):
        inputs = layers.Input(shape)
        return inputs, getattr(layers, name)(inner(layers), **kwargs)(inputs)

    return build


def _cell(name):
    return _wrapped("RNN", lambda layers: getattr(layers, name)(3))


def _spectral(layers):
    """tf_keras takes a class of TensorFlow's Keras, which is Keras 3, for its own."""
    import tensorflow

    inputs = layers.Input(SERIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow.keras.layers, "InputSpec", layers.InputSpec)
        return inputs, layers.SpectralNormalization(layers.Dense(3))(inputs)


def _crossed(layers):
    inputs = [layers.Input((1,), dtype="int32"), layers.Input((1,), dtype="int32")]
    return inputs, layers.HashedCrossing(5)(inputs)


def _masked(layers):
    inputs = layers.Input(SERIES)
    return inputs, layers.LSTM(2)(layers.Masking(0.0)(inputs))


CASES = {
    "Activation": _of("Activation", ROW, "tanh"),
    "ActivityRegularization": _of("ActivityRegularization", ROW, 0.1),
    "Add": _merge("Add"),
    "AdditiveAttention": _attention("AdditiveAttention"),
    "AlphaDropout": _of("AlphaDropout", ROW, 0.5),
    "Attention": _attention("Attention", use_scale=True),
    "Average": _merge("Average"),
    "BatchNormalization": _of("BatchNormalization", IMAGE),
    "Bidirectional": _wrapped("Bidirectional", lambda layers: layers.GRU(3, return_sequences=True)),
    "CategoryEncoding": _words("CategoryEncoding", num_tokens=6, output_mode="count"),
    "CenterCrop": _of("CenterCrop", IMAGE, 3, 3),
    "Concatenate": _merge("Concatenate", axis=1),
    "ConvLSTM1D": _of("ConvLSTM1D", (3, 6, 2), 3, 3),
    "ConvLSTM2D": _of("ConvLSTM2D", (3, 5, 5, 2), 3, 3, padding="same", return_sequences=True),
    "ConvLSTM3D": _of("ConvLSTM3D", (2, 4, 4, 4, 1), 2, 3),
    "Conv1D": _of("Conv1D", SERIES, 3, 2, padding="causal", dilation_rate=2),
    "Conv1DTranspose": _of("Conv1DTranspose", SERIES, 3, 3, strides=2),
    "Conv2D": _of("Conv2D", IMAGE, 4, 3, groups=2, activation="relu"),
    "Conv2DTranspose": _of("Conv2DTranspose", IMAGE, 3, 3, strides=2, padding="same"),
    "Conv3D": _of("Conv3D", VOLUME, 3, 3),
    "Conv3DTranspose": _of("Conv3DTranspose", VOLUME, 3, 3, strides=2),
    "Cropping1D": _of("Cropping1D", SERIES, 1),
    "Cropping2D": _of("Cropping2D", IMAGE, ((1, 0), (2, 1))),
    "Cropping3D": _of("Cropping3D", VOLUME),
    "Dense": _of("Dense", ROW, 3, activation="softmax", kernel_regularizer="l2"),
    "DepthwiseConv1D": _of("DepthwiseConv1D", SERIES, 3, depth_multiplier=2),
    "DepthwiseConv2D": _of("DepthwiseConv2D", IMAGE, 3, strides=2, padding="same"),
    "Discretization": _of("Discretization", ROW, bin_boundaries=[-0.5, 0.0, 0.5]),
    "Dot": _merge("Dot", axes=2, normalize=True),
    "Dropout": _of("Dropout", ROW, 0.5, noise_shape=(None, 1)),
    "ELU": _of("ELU", ROW, alpha=0.5),
    "EinsumDense": _of("EinsumDense", SERIES, "abc,cd->abd", (None, 3), bias_axes="d"),
    "Embedding": _words("Embedding", 7, 3, input_length=5),
    "Flatten": _of("Flatten", IMAGE),
    "GRU": _of("GRU", SERIES, 3, return_sequences=True),
    "GRUCell": _cell("GRUCell"),
    "GaussianDropout": _of("GaussianDropout", ROW, 0.5),
    "GaussianNoise": _of("GaussianNoise", ROW, 0.5),
    "GlobalAveragePooling1D": _of("GlobalAveragePooling1D", SERIES),
    "GlobalAveragePooling2D": _of("GlobalAveragePooling2D", IMAGE, keepdims=True),
    "GlobalAveragePooling3D": _of("GlobalAveragePooling3D", VOLUME),
    "GlobalMaxPooling1D": _of("GlobalMaxPooling1D", SERIES),
    "GlobalMaxPooling2D": _of("GlobalMaxPooling2D", IMAGE),
    "GlobalMaxPooling3D": _of("GlobalMaxPooling3D", VOLUME),
    "AveragePooling1D": _of("AveragePooling1D", SERIES),
    "AveragePooling2D": _of("AveragePooling2D", IMAGE, 3, 2, padding="same"),
    "AveragePooling3D": _of("AveragePooling3D", VOLUME),
    "MaxPooling1D": _of("MaxPooling1D", SERIES),
    "MaxPooling2D": _of("MaxPooling2D", IMAGE, 3, 2, padding="same"),
    "MaxPooling3D": _of("MaxPooling3D", VOLUME),
    "GroupNormalization": _of("GroupNormalization", IMAGE, 2),
    "HashedCrossing": _crossed,
    "Hashing": _words("Hashing", num_bins=3),
    "Identity": _of("Identity", ROW),
    "LSTM": _of("LSTM", SERIES, 3, go_backwards=True, return_sequences=True),
    "LSTMCell": _cell("LSTMCell"),
    "LayerNormalization": _of("LayerNormalization", IMAGE, axis=(1, 2)),
    "LeakyReLU": _of("LeakyReLU", ROW, alpha=0.2),
    "Masking": _masked,
    "Maximum": _merge("Maximum"),
    "Minimum": _merge("Minimum"),
    "MultiHeadAttention": _multi_head,
    "Multiply": _merge("Multiply"),
    "Normalization": _of("Normalization", ROW),
    "PReLU": _of("PReLU", IMAGE, shared_axes=(1, 2)),
    "Permute": _of("Permute", SERIES, (2, 1)),
    "RNN": _wrapped("RNN", lambda layers: [layers.LSTMCell(3), layers.GRUCell(2)]),
    "RandomBrightness": _of("RandomBrightness", IMAGE, 0.2),
    "RandomContrast": _of("RandomContrast", IMAGE, 0.2),
    "RandomCrop": _of("RandomCrop", IMAGE, 6, 6),
    "RandomFlip": _of("RandomFlip", IMAGE),
    "RandomRotation": _of("RandomRotation", IMAGE, 0.1),
    "RandomTranslation": _of("RandomTranslation", IMAGE, 0.1, 0.1),
    "RandomZoom": _of("RandomZoom", IMAGE, 0.1),
    "ReLU": _of("ReLU", ROW, max_value=0.5, negative_slope=0.1, threshold=0.1),
    "RepeatVector": _of("RepeatVector", ROW, 3),
    "Rescaling": _of("Rescaling", IMAGE, 2.0, offset=-1.0),
    "Reshape": _of("Reshape", SERIES, (3, -1)),
    "Resizing": _of("Resizing", IMAGE, 4, 9, interpolation="bilinear"),
    "SeparableConv1D": _of("SeparableConv1D", SERIES, 3, 3),
    "SeparableConv2D": _of("SeparableConv2D", IMAGE, 3, 3, depth_multiplier=2),
    "SimpleRNN": _of("SimpleRNN", SERIES, 3, return_sequences=True),
    "SimpleRNNCell": _cell("SimpleRNNCell"),
    "Softmax": _of("Softmax", SERIES, axis=1),
    "SpatialDropout1D": _of("SpatialDropout1D", SERIES, 0.5),
    "SpatialDropout2D": _of("SpatialDropout2D", IMAGE, 0.5),
    "SpatialDropout3D": _of("SpatialDropout3D", VOLUME, 0.5),
    "SpectralNormalization": _spectral,
    "StackedRNNCells": _wrapped(
        "RNN", lambda layers: layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)])
    ),
    "Subtract": _merge("Subtract"),
    "ThresholdedReLU": _of("ThresholdedReLU", ROW, theta=0.3),
    "TimeDistributed": _wrapped("TimeDistributed", lambda layers: layers.Dense(3)),
    "UnitNormalization": _of("UnitNormalization", SERIES),
    "UpSampling1D": _of("UpSampling1D", SERIES),
    "UpSampling2D": _of("UpSampling2D", IMAGE, interpolation="bilinear"),
    "UpSampling3D": _of("UpSampling3D", VOLUME),
    "ZeroPadding1D": _of("ZeroPadding1D", SERIES),
    "ZeroPadding2D": _of("ZeroPadding2D", IMAGE, ((1, 0), (2, 1))),
    "ZeroPadding3D": _of("ZeroPadding3D", VOLUME),
}
# Refused, or of no model's own: base classes, and what every case has.
_NO_CASE = {"AbstractRNNCell", "InputLayer", "InputSpec", "Layer", "Wrapper"}
_REFUSED = {"IntegerLookup", "Lambda", "StringLookup", "TextVectorization"}
_NOT_THERE = {
    "LocallyConnected1D": _of("LocallyConnected1D", SERIES, 3, 3),
    "LocallyConnected2D": _of("LocallyConnected2D", IMAGE, 3, 3),
    "RandomHeight": _of("RandomHeight", IMAGE, 0.1),
    "RandomWidth": _of("RandomWidth", IMAGE, 0.1),
}


def saved(case, path):
    """Saves a model of a case by tf_keras; returns its inputs and outputs."""
    import old_files
    import tf_keras

    inputs, outputs = case(_layers())
    return old_files.written(old_files.randomize(tf_keras.Model(inputs, outputs)), path)


# Layers that a `.keras` file says more of than numbers, or that have others in them.
_OFTEN = ("BatchNormalization", "Bidirectional", "MultiHeadAttention", "Normalization", "RNN")
_OFTEN += ("SeparableConv2D", "SpectralNormalization", "TimeDistributed")


def _cases():
    for name in CASES:
        yield name, ".h5"
        marks = [] if name in _OFTEN else [pytest.mark.large]
        yield pytest.param(name, ".keras", marks=marks)


@pytest.mark.parametrize(("name", "suffix"), list(_cases()))
def test_a_layer_of_tf_keras_opens_to_its_outputs(name, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    given, expected = saved(CASES[name], path)
    model = kdzoo.load_model(path)
    assert not model.compiled
    found = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    for own, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", _NOT_THERE)
def test_a_layer_that_keras_3_does_not_have_is_named(name, tmp_path):
    saved(_NOT_THERE[name], tmp_path / "model.h5")
    with pytest.raises(ValueError, match=rf"a {name}, which it does not have") as refused:
        kdzoo.load_model(tmp_path / "model.h5")
    assert str(tmp_path / "model.h5") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_layer_has_a_case():
    layers = _layers()
    classes = {
        value.__name__
        for value in vars(layers).values()
        if isinstance(value, type) and issubclass(value, layers.Layer)
    }
    missing = classes - CASES.keys() - _NO_CASE - _REFUSED - _NOT_THERE.keys()
    assert missing <= {"DenseFeatures"}  # Of feature columns, which need a columns' specification.
    assert not {name for name in _NOT_THERE if hasattr(keras.layers, name)}
