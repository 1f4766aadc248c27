"""What every architecture of the zoo must be: shapes, taps, gradients, files, precision."""

import functools
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as numpy

from kdzoo import zoo

NAMES = zoo.list_models()
ONE_EACH = sorted({zoo.architecture(name).family: name for name in reversed(NAMES)}.values())
# The members of a family differ in numbers alone: where building takes long, one of each runs,
# and of the deep and the wide ones the counts.
HEAVY = ("resnet_44", "resnet_56", "resnet_110", "fitnet_3", "fitnet_4", "maxout_cifar")
HEAVY += ("shallow_30000", "vgg_13", "plain_cnn_4", "plain_cnn_6", "plain_cnn_8")
# What has tens of millions of parameters at its own arguments is built with fewer.
SLIM = {
    "shallow_4000": {"units": 60, "bottleneck": 20, "filters": 8},
    "vgg_8": {"stages": ((8,), (16,), (16,), (32,), (32,))},
}


def unless_heavy(names, heavy=HEAVY):
    return [pytest.param(name, marks=[pytest.mark.large] * (name in heavy)) for name in names]


# JAX compiles every shape of every layer anew, which takes it minutes for all families.
ON_JAX = ["maxout_mnist", "mlp_2x64", "separable_025"]
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
RUN = unless_heavy(NAMES if ON_TENSORFLOW else ON_JAX)
# What depends on the layers, not on their number or width.
ONE_OF_A_FAMILY = unless_heavy(
    NAMES if ON_TENSORFLOW else ON_JAX, [*HEAVY, *(set(NAMES) - set(ONE_EACH) - set(ON_JAX))]
)


@functools.cache
def built(name):
    """Returns the model of this name, the same to all tests that leave it as it is."""
    return create(name)


def create(name, *arguments, **more):
    return zoo.create(name, *arguments, **{**SLIM.get(name, {}), **more})


def images(shape, batch=4):
    return np.random.default_rng(0).random((batch, *shape), dtype="float32")


def model_images(model, batch=4):
    return images(model.input_shape[1:], batch)


@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    "name", ["mlp_2x64", "lenet_5", "separable_025", "resnet_20", "maxout_mnist"]
)
def test_images_have_their_channels_last_whatever_is_usual(name):
    expected = zoo.create(name, 10, (28, 28, 3))
    keras.config.set_image_data_format("channels_first")
    try:
        model = zoo.create(name, 10, (28, 28, 3))
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    model.set_weights(expected.get_weights())
    x = model_images(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected.predict(x, verbose=0))


@pytest.mark.large_on_jax
@pytest.mark.parametrize("name", RUN)
def test_graph_and_taps(name):
    model = built(name)
    assert model.name == name
    assert model.output.dtype == "float32"
    assert model.output_shape == (None, 10)
    assert model.layers[-1].name == "logits"
    taps = [layer.name for layer in model.layers if layer.name.startswith("stage")]
    stages = [tap for tap in taps if tap.removeprefix("stage").isdigit()]
    assert stages == [f"stage{number}" for number in range(1, len(stages) + 1)]
    assert len(stages) >= (1 if name == "mlp_1x512" else 2)
    features = model.get_layer("features").output
    assert len(features.shape) == 2
    last = model.get_layer(stages[-1]).output.shape[1:]
    assert features.shape[-1] in (last[-1], math.prod(last))
    taps = keras.Model(model.input, [model.get_layer(tap).output for tap in stages])
    for tap in keras.tree.flatten(taps(model_images(model))):
        assert tap.shape[0] == 4
        assert np.isfinite(numpy(tap)).all()


@pytest.mark.parametrize("name", ONE_OF_A_FAMILY)
def test_every_weight_learns(name):
    family = zoo.architecture(name).family
    flat = family in ("mlp", "lenet")
    model = create(name, input_shape=(28, 28, 1) if flat else (16, 16, 3))
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=keras.backend.backend() == "tensorflow",  # Faster than tracing for one step.
    )
    before = [numpy(variable) for variable in model.trainable_variables]
    loss = model.train_on_batch(model_images(model), np.arange(4))
    assert np.isfinite(loss)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        new = numpy(variable)
        assert np.isfinite(new).all(), variable.path
        assert np.any(new != old), f"{variable.path} has no gradient"


@pytest.mark.large_on_jax
@pytest.mark.parametrize("name", RUN)
def test_first_logits_are_of_order_one(name):
    """The initialization neither explodes nor dies, whatever the depth: logits differ, mildly."""
    model = create(name)
    logits = numpy(model(model_images(model), training=True))
    assert 0.05 < logits.std() < (8 if name == "resnet_110" else 5)  # It sums 54 blocks.


@pytest.mark.parametrize("name", ONE_OF_A_FAMILY)
def test_keras_file_round_trip(name, tmp_path):
    model = built(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for new, old in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.tensorflow  # Once is enough.
def test_keras_files_load_in_a_fresh_process_without_kdzoo(tmp_path):
    names = ONE_EACH if ON_TENSORFLOW else ["separable_025"]
    for name in names:
        model = built(name)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", numpy(model(model_images(model))))
    script = """
import pathlib, sys
import keras, numpy as np
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    model = keras.saving.load_model(path)
    images = np.random.default_rng(0).random((4, *model.input_shape[1:]), dtype="float32")
    expected = np.load(path.with_suffix(".npy"))
    np.testing.assert_allclose(np.array(model(images)), expected, rtol=1e-5, atol=1e-5)
    print(path.stem)
assert "kdzoo" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == names


@pytest.mark.large_on_jax
@pytest.mark.parametrize("name", ONE_OF_A_FAMILY)
def test_mixed_bfloat16_keeps_float32_logits(name):
    plain = built(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = create(name)
    mixed.set_weights(plain.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    x = model_images(mixed)
    logits, exact = mixed(x), numpy(plain(x))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(mixed.get_layer("stage1").output.dtype) == "bfloat16"
    assert np.abs(numpy(logits) - exact).max() < 0.1 * max(1, np.abs(exact).max())


@pytest.mark.large_on_jax
@pytest.mark.parametrize("name", ONE_EACH if ON_TENSORFLOW else ON_JAX)
@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (28, 28, 1), (33, 47, 3), (96, 64, 3)], ids=lambda s: "x".join(map(str, s))
)
def test_other_input_shapes(name, shape):
    if name == "maxout_mnist":  # Its first convolution leaves nothing of less.
        shape = tuple(max(12, side) for side in shape[:2]) + shape[2:]
    model = create(name, classes=3, input_shape=shape)
    logits = numpy(model(images(shape, 2)))
    assert logits.shape == (2, 3)
    assert np.isfinite(logits).all()


@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    "name",
    [
        "separable_025",
        "wide_resnet_16_1",
        "mlp_2x128",
        "maxout_mnist",
        "fitnet_mnist",
        "lenet_300_100",
        "plain_cnn_2",
        "shallow_4000",
        "vgg_8",
    ],
)
def test_dropout_drops_in_training_only(name):
    model = create(name, dropout=0.5)
    x = model_images(model)
    np.testing.assert_array_equal(numpy(model(x)), numpy(model(x, training=False)))
    first, second = (numpy(model(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    assert model.count_params() - built(name).count_params() in range(
        0, 2 * 8
    )  # Seeds of the generators.


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    unless_heavy(NAMES, {*NAMES} - {"separable_025", "resnet_20", "maxout_mnist", "lenet_5"}),
)
def test_litert_conversion_needs_builtin_operators_only(name):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    model = built(name)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    x = model_images(model, 1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = numpy(model(x))
    tolerance = 1e-4 * max(1, np.abs(expected).max())  # Before training, deep sums are huge.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    operators = {row["op_name"] for row in interpreter._get_ops_details()}
    assert not any(operator.startswith("Flex") for operator in operators)
