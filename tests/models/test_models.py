"""What every architecture of the zoo must be: shapes, taps, counts, gradients, files, precision."""

import functools
import itertools
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
# The members of a family differ in numbers alone: where building takes long, one of each runs.
RUN = NAMES if keras.backend.backend() == "tensorflow" else ONE_EACH

# (all weights, trainable weights) at 10 classes and the family's own input shape; `expected_*`
# below derive them from the papers' tables, without the builders. A name without a row fails.
PARAMETERS = {
    "separable_025": (58_762, 56_650),
    "separable_050": (214_794, 210_570),
    "separable_075": (468_106, 461_770),
    "separable_100": (818_698, 810_250),
    "wide_resnet_16_1": (175_994, 175_066),
    "wide_resnet_16_2": (693_498, 691_674),
    "wide_resnet_16_4": (2_752_506, 2_748_890),
    "wide_resnet_40_1": (566_650, 563_930),
    "wide_resnet_40_2": (2_248_954, 2_243_546),
    "mlp_2x64": (55_050, 55_050),
    "mlp_2x128": (118_282, 118_282),
    "mlp_2x800": (1_276_810, 1_276_810),
    "mlp_2x1200": (2_395_210, 2_395_210),
}


@functools.cache
def built(name):
    """Returns the model of this name, the same to all tests that leave it as it is."""
    return zoo.create(name)


def images(shape, batch=4):
    return np.random.default_rng(0).random((batch, *shape), dtype="float32")


def model_images(model, batch=4):
    return images(model.input_shape[1:], batch)


def trainable(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def expected_wide_resnet(depth, width, classes, channels=3):
    """Counts (all, trainable) from table 1 of the paper; norms have 2 trained, 2 moving."""
    convolutions, norms, wide = 9 * channels * 16, 0, 16
    for stage_width in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 4) // 6):
            convolutions += 9 * wide * stage_width + 9 * stage_width * stage_width
            convolutions += wide * stage_width if wide != stage_width else 0
            norms += wide + stage_width
            wide = stage_width
    norms += wide
    fixed = convolutions + (wide + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected_separable(stem, stages, classes, channels=3):
    """Counts (all, trainable) of a stem and of blocks (3x3 depthwise, norm, 1x1, norm)."""
    convolutions, norms, wide = 9 * channels * stem, stem, stem
    for stage_width, count in stages:
        for _ in range(count):
            convolutions += 9 * wide + wide * stage_width
            norms += wide + stage_width
            wide = stage_width
    fixed = convolutions + (wide + 1) * classes
    return fixed + 4 * norms, fixed + 2 * norms


def expected(name):
    family, *numbers = name.replace("x", "_").rsplit("_", 2 if name[0] != "s" else 1)
    numbers = [int(number) for number in numbers]
    if family == "wide_resnet":
        return expected_wide_resnet(*numbers, classes=10)
    if family == "mlp":
        sizes = [784, *[numbers[1]] * numbers[0], 10]
        return (sum((a + 1) * b for a, b in itertools.pairwise(sizes)),) * 2
    stages = [(128 * numbers[0] // 100, 2), (256 * numbers[0] // 100, 2)]
    stages.append((512 * numbers[0] // 100, 3))
    return expected_separable(64 * numbers[0] // 100, stages, classes=10)


@pytest.mark.parametrize("name", RUN)
def test_parameter_counts_are_exact(name):
    model = built(name)
    assert (model.count_params(), trainable(model)) == PARAMETERS[name] == expected(name)


@pytest.mark.tensorflow  # Counts are the same on every backend.
@pytest.mark.parametrize(
    ("depth", "width", "classes", "published"),
    [
        # RepDistiller's models for CIFAR-100, counted in PyTorch (the paper rounds: 0.7M, 2.2M).
        (16, 2, 100, 703_284),
        (40, 1, 100, 569_780),
        (40, 2, 100, 2_255_156),
        (16, 4, 100, 2_772_020),
        # The paper's largest, 36.5M in its table 5.
        (28, 10, 100, 36_536_884),
    ],
)
def test_wide_resnets_have_the_published_counts(depth, width, classes, published):
    model = zoo.create("wide_resnet_16_1", depth=depth, width=width, classes=classes)
    assert trainable(model) == published


@pytest.mark.tensorflow
def test_separable_025_fits_sixty_thousand_on_fashion_mnist():
    model = zoo.create("separable_025", input_shape=(28, 28, 1))
    assert model.count_params() == 58_474
    assert zoo.create("separable_025", input_shape=(32, 32, 3)).count_params() <= 60_000
    assert zoo.create("separable_050", input_shape=(32, 32, 3)).count_params() <= 250_000


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
    assert len(stages) >= 2
    features = model.get_layer("features").output
    assert len(features.shape) == 2
    assert features.shape[-1] == model.get_layer(stages[-1]).output.shape[-1]
    taps = keras.Model(model.input, [model.get_layer(tap).output for tap in stages])
    for tap in taps(model_images(model)):
        assert tap.shape[0] == 4
        assert np.isfinite(numpy(tap)).all()


@pytest.mark.parametrize("name", RUN)
def test_every_weight_learns(name):
    family = zoo.architecture(name).family
    model = zoo.create(name, input_shape=(28, 28, 1) if family == "mlp" else (16, 16, 3))
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


@pytest.mark.parametrize("name", RUN)
def test_first_logits_are_of_order_one(name):
    """The initialization neither explodes nor dies, whatever the depth: logits differ, mildly."""
    model = zoo.create(name)
    logits = numpy(model(model_images(model), training=True))
    assert 0.05 < logits.std() < 5


@pytest.mark.parametrize("name", RUN)
def test_keras_file_round_trip(name, tmp_path):
    model = built(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for new, old in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_keras_files_load_in_a_fresh_process_without_kdzoo(tmp_path):
    names = ONE_EACH if RUN == NAMES else ["separable_025"]
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


@pytest.mark.parametrize("name", RUN)
def test_mixed_bfloat16_keeps_float32_logits(name):
    plain = built(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = zoo.create(name)
    mixed.set_weights(plain.get_weights())
    assert {variable.dtype for variable in mixed.variables} == {"float32"}
    x = model_images(mixed)
    logits, exact = mixed(x), numpy(plain(x))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(mixed.get_layer("stage1").output.dtype) == "bfloat16"
    assert np.abs(numpy(logits) - exact).max() < 0.1 * max(1, np.abs(exact).max())


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (28, 28, 1), (33, 47, 3), (96, 64, 3)], ids=lambda s: "x".join(map(str, s))
)
def test_other_input_shapes(name, shape):
    model = zoo.create(name, classes=3, input_shape=shape)
    logits = numpy(model(images(shape, 2)))
    assert logits.shape == (2, 3)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["separable_025", "wide_resnet_16_1", "mlp_2x128"])
def test_dropout_drops_in_training_only(name):
    model = zoo.create(name, dropout=0.5)
    x = model_images(model)
    np.testing.assert_array_equal(numpy(model(x)), numpy(model(x, training=False)))
    first, second = (numpy(model(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    assert model.count_params() - PARAMETERS[name][0] in range(0, 2 * 8)  # Seeds of the generators.


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ONE_EACH)
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
    np.testing.assert_allclose(logits, numpy(model(x)), rtol=0, atol=1e-4)
    operators = {row["op_name"] for row in interpreter._get_ops_details()}
    assert not any(operator.startswith("Flex") for operator in operators)
