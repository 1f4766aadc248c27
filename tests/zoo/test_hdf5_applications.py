"""The architectures of tf_keras.applications, and what people build, saved as `.h5` and opened."""

import keras
import numpy as np
import pytest
from old_files import randomize, written

import kdzoo

tf_keras = pytest.importorskip("tf_keras")
layers = tf_keras.layers
pytestmark = [pytest.mark.tensorflow, pytest.mark.large]

OPEN = {
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "EfficientNetV2S": 64,
    "InceptionV3": 96,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "NASNetMobile": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "ResNetRS50": 64,
    "VGG16": 48,
    "Xception": 96,
}
NAMED = {
    "InceptionResNetV2": "CustomScaleLayer",
    "RegNetX002": "TFOpLambda",
    "RegNetY002": "TFOpLambda",
    "ConvNeXtTiny": "LayerScale",
    "MobileNetV3Small": "TFOpLambda",
}


def application(name, size):
    made = getattr(tf_keras.applications, name)
    return made(weights=None, input_shape=(size, size, 3), classes=10, pooling=None)


@pytest.mark.parametrize("name", OPEN)
def test_an_application_opens_to_its_outputs(name, tmp_path):
    tf_keras.utils.set_random_seed(0)
    made = application(name, OPEN[name])
    given, expected = written(made, tmp_path / "model.h5")
    model = kdzoo.load_model(tmp_path / "model.h5")
    assert model.count_params() == made.count_params()
    np.testing.assert_allclose(model(given[0], training=False), expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_an_application_of_other_operations_is_refused_by_name(name, tmp_path):
    written(application(name, 96), tmp_path / "model.h5")
    with pytest.raises(ValueError, match=rf"a {NAMED[name]}"):
        kdzoo.load_model(tmp_path / "model.h5")


def autoencoder():
    inner = [layers.Input((12, 12, 1)), layers.Conv2D(4, 3, 2, "same", activation="relu")]
    encoder = tf_keras.Sequential(inner, name="encoder")
    outer = [layers.Input((6, 6, 4)), layers.Conv2DTranspose(1, 3, 2, "same")]
    decoder = tf_keras.Sequential(outer, name="decoder")
    inputs = layers.Input((12, 12, 1))
    return tf_keras.Model(inputs, decoder(encoder(inputs)))


def u_net():
    inputs = layers.Input((16, 16, 1))
    down = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    x = layers.Concatenate()([layers.UpSampling2D()(x), down])
    return tf_keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def siamese():
    inputs = [layers.Input((8,)), layers.Input((8,))]
    tower = tf_keras.Sequential([layers.Input((8,)), layers.Dense(4, "relu")])
    x = layers.Dot(1, normalize=True)([tower(value) for value in inputs])
    return tf_keras.Model(inputs, layers.Dense(1, "sigmoid")(x))


def sequence_to_sequence():
    inputs = [layers.Input((None, 5)), layers.Input((None, 4))]
    _, *states = layers.LSTM(6, return_state=True)(inputs[0])
    x, *_ = layers.LSTM(6, return_sequences=True, return_state=True)(
        inputs[1], initial_state=states
    )
    return tf_keras.Model(inputs, layers.TimeDistributed(layers.Dense(4, "softmax"))(x))


def transformer():
    inputs = layers.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8)(inputs)
    attended = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    x = layers.GlobalAveragePooling1D()(layers.Dense(8, "gelu")(x))
    return tf_keras.Model(inputs, layers.Dense(3, "softmax")(x))


def words():
    inputs = layers.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return tf_keras.Model(inputs, layers.Dense(2, "softmax")(layers.GRU(4)(x)))


@pytest.mark.parametrize(
    "build", [autoencoder, u_net, siamese, sequence_to_sequence, transformer, words]
)
def test_what_people_build_opens_to_its_outputs(build, tmp_path):
    given, expected = written(randomize(build()), tmp_path / "model.h5")
    model = kdzoo.load_model(tmp_path / "model.h5")
    found = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
