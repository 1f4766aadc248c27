"""`.keras` files as Keras 2.12 and 2.13 wrote them, which number the layers of a class otherwise.

tf_keras writes them, in the way of those versions: `_save_container_state` is Keras 2.13's.
"""

import os

import numpy as np
import pytest
from old_files import randomize, written

import kdzoo

tf_keras = pytest.importorskip("tf_keras")
saving_lib = pytest.importorskip("tf_keras.src.saving.saving_lib")
layers = tf_keras.layers
pytestmark = pytest.mark.tensorflow
SKIPPED = saving_lib.ATTR_SKIPLIST - {"_layer_checkpoint_dependencies"}


def walk(trackable):
    for name in dir(trackable):
        if not name.startswith("__") and name not in SKIPPED:
            try:
                child = getattr(trackable, name)
            except Exception:
                continue
            yield name, child


def save_container(container, weights_store, assets_store, inner_path, visited_trackables):
    used = {}
    for trackable in container.values() if isinstance(container, dict) else container:
        if saving_lib._is_keras_trackable(trackable):
            name = saving_lib.generic_utils.to_snake_case(trackable.__class__.__name__)
            if name in used:
                used[name] += 1
                name = f"{name}_{used[name]}"
            else:
                used[name] = 0
            path = os.path.join(inner_path, name)
            saving_lib._save_state(trackable, weights_store, assets_store, path, visited_trackables)


@pytest.fixture
def of_2_13(monkeypatch):
    monkeypatch.setattr(saving_lib, "_walk_trackable", walk)
    monkeypatch.setattr(saving_lib, "_save_container_state", save_container)
    monkeypatch.setattr(saving_lib.keras, "__version__", "2.13.1")


def nested():
    inner = tf_keras.Sequential([layers.Input((4,)), layers.Dense(4), layers.Dense(4)])
    inputs, shared = layers.Input((4,)), layers.Dense(4)
    x = layers.ReLU()(shared(inner(layers.Dense(4)(inputs))))
    x = layers.Add()([shared(x), inner(x), layers.BatchNormalization()(x)])
    return tf_keras.Model(inputs, layers.Dense(2)(layers.BatchNormalization()(x)))


def images():
    inputs = layers.Input((8, 8, 2))
    x = layers.DepthwiseConv2D(3)(layers.Conv2D(4, 1)(layers.Dropout(0.5)(inputs)))
    x = layers.Conv2D(3, 1, activation="relu")(layers.Dropout(0.5)(x))
    return tf_keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(3, 1)(x))))


def series():
    return tf_keras.Sequential(
        [
            layers.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.Bidirectional(layers.GRU(3)),
            layers.Dense(3),
            layers.Dense(2),
        ]
    )


@pytest.mark.parametrize("build", [nested, images, series])
def test_each_layer_has_its_own_weights(build, of_2_13, tmp_path):
    given, expected = written(randomize(build()), tmp_path / "model.keras")
    model = kdzoo.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(model(given[0], training=False), expected[0], rtol=1e-5, atol=1e-5)


def test_a_model_in_a_wrapper_is_refused(of_2_13, tmp_path):
    inner = tf_keras.Sequential([layers.Input((4,)), layers.Dense(4), layers.Dense(3)])
    made = tf_keras.Sequential([layers.Input((5, 4)), layers.TimeDistributed(inner)])
    written(made, tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"at the layer 'layer'; save the model .* as `.h5`"):
        kdzoo.load_model(tmp_path / "model.keras")


def test_files_of_other_numbers_are_refused(monkeypatch, tmp_path):
    """As a later version writes them: a layer once, whatever it has."""
    monkeypatch.setattr(saving_lib, "_walk_trackable", walk)
    monkeypatch.setattr(saving_lib.keras, "__version__", "2.13.1")
    written(images(), tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"Keras 2.12 and 2.13 did\. .* at the layer"):
        kdzoo.load_model(tmp_path / "model.keras")
