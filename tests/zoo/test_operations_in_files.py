"""HDF5 files of Keras 3 with operations of `keras.ops` in their graphs, as Keras computes them."""

import keras
import numpy as np
import pytest
from keras import ops
from old_files import changed_config, layers_of, quiet

import kdzoo

layers = keras.layers


def saved(build, path):
    inputs = keras.Input((6,))
    made = keras.Model(inputs, build(inputs))
    with quiet():
        made.save(path)
    return made


def doubled_within(inputs):
    inner = keras.Input((6,))
    return layers.Dense(2)(keras.Model(inner, inner * 2.0 - 1.0, name="inner")(inputs))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: layers.Dense(2)(x * 2.0),
        lambda x: layers.Dense(2)(x / 255.0),
        lambda x: x + layers.Dense(6)(x),
        lambda x: layers.Dense(2)(x[:, :3]),
        lambda x: ops.transpose(ops.reshape(x, (-1, 3, 2)), (0, 2, 1)),
        lambda x: ops.cast(ops.where(x > 0.5, x, ops.relu(x)), "float16"),
        lambda x: x * ops.norm(ops.concatenate([x, ops.logsumexp(x, 1, keepdims=True)], axis=1)),
        lambda x: ops.image.resize(ops.reshape(x, (-1, 3, 2, 1)), (4, 4)),
        doubled_within,
    ],
)
def test_they_open_to_their_outputs(build, tmp_path):
    made = saved(build, tmp_path / "model.h5")
    x = np.random.default_rng(0).uniform(-1, 1, (3, 6)).astype("float32")
    model = kdzoo.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(model(x), made(x), rtol=1e-6)


def test_one_that_takes_a_function_is_refused_by_name(tmp_path):
    def squared(x):
        return x * x

    saved(lambda x: ops.vectorized_map(squared, x), tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"the operation VectorizedMap, with the function 'squa"):
        kdzoo.load_model(tmp_path / "model.h5")


def test_one_that_keras_does_not_have_is_named(tmp_path):
    def change(config):
        (part,) = layers_of(config, "Exp")
        part["class_name"] = "Twirl"

    saved(ops.exp, tmp_path / "model.h5")
    changed_config(tmp_path / "model.h5", change)
    words = r"'exp', the operation Twirl, .*save the model as a `.keras` file"
    with pytest.raises(ValueError, match=words):
        kdzoo.load_model(tmp_path / "model.h5")


def test_one_that_cannot_be_made_is_named(tmp_path):
    def change(config):
        (part,) = layers_of(config, "Clip")
        part["config"]["speed"] = 3

    saved(lambda x: ops.clip(x, 0.2, 0.4), tmp_path / "model.h5")
    changed_config(tmp_path / "model.h5", change)
    words = r"the operation 'clip', a Clip: .*speed.*save the model as a `.keras` file"
    with pytest.raises(ValueError, match=words):
        kdzoo.load_model(tmp_path / "model.h5")
