"""Slimmable networks: widths against slices made by hand, training, files."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.dynamic import Slimmable, WidthLearner, extract

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _network():
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="one")(inputs)
    x = shortcut = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
    x = layers.Conv2D(16, 1, name="point")(x)
    x = layers.BatchNormalization(name="norm2")(x)
    x = layers.Add()([x, shortcut])
    x = layers.MaxPooling2D(4)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(24, "relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(5, name="logits")(x), name="network")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(12, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def trained(images):
    slimmable = Slimmable(_network(), widths=(0.5, 0.75, 1.0))
    learner = WidthLearner(slimmable)
    learner.compile(keras.optimizers.SGD(0.05), _LOSS, metrics=["accuracy"])
    history = learner.fit(images, np.arange(12) % 5, batch_size=6, epochs=6, verbose=0).history
    return slimmable, history


def test_a_width_has_the_first_channels(images):
    model = _network()
    slimmable = Slimmable(model, widths=(0.5, 1.0))
    small = extract(slimmable, 0.5)
    weights = {weight.path: ops.convert_to_numpy(weight) for weight in small.weights}
    whole = {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}
    np.testing.assert_array_equal(weights["one/kernel"], whole["one/kernel"][..., :8])
    np.testing.assert_array_equal(weights["depth/kernel"], whole["depth/kernel"][:, :, :8])
    np.testing.assert_array_equal(weights["point/kernel"], whole["point/kernel"][:, :, :8, :8])
    hidden = whole["hidden/kernel"].reshape(2, 2, 16, 24)[:, :, :8, :16].reshape(32, 16)
    np.testing.assert_array_equal(weights["hidden/kernel"], hidden)
    np.testing.assert_array_equal(weights["logits/kernel"], whole["logits/kernel"][:16])
    np.testing.assert_allclose(
        ops.convert_to_numpy(slimmable(images, width=0.5)),
        small.predict(images, verbose=0),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(slimmable(images)), model.predict(images, verbose=0), atol=1e-5
    )


def test_what_has_no_effect_now_may_have_one_when_it_is_trained(images):
    model = _network()
    norm = model.get_layer("norm")
    gamma = np.ones(16)
    gamma[3] = 0.0
    norm.gamma.assign(gamma)
    norm.beta.assign(0.5 * np.ones(16))
    slimmable = Slimmable(model, widths=(0.5, 1.0))
    small = extract(slimmable, 0.5)
    assert small.get_layer("one").filters == 8
    np.testing.assert_allclose(
        small.predict(images, verbose=0),
        ops.convert_to_numpy(slimmable(images, width=0.5)),
        atol=1e-5,
    )


def test_all_widths_learn_and_are_extracted(trained, images, tmp_path):
    slimmable, history = trained
    for width in ("0.5", "0.75", "1"):
        losses = history[f"width_{width}_loss"]
        assert losses[-1] < losses[0]
    assert "width_0.5_accuracy" in history
    slimmable.save(tmp_path / "slimmable.keras")
    loaded = keras.models.load_model(tmp_path / "slimmable.keras")
    for width in slimmable.widths:
        expected = ops.convert_to_numpy(slimmable(images, width=width))
        for same in (extract(slimmable, width), extract(loaded, width)):
            found = same.predict(images, verbose=0)
            np.testing.assert_allclose(found, expected, atol=1e-4)
        assert type(extract(slimmable, width)) is type(slimmable.whole)


def test_a_width_may_be_a_number_of_numpy(trained, images):
    slimmable, _ = trained
    wanted = ops.convert_to_numpy(slimmable(images, width=0.5))
    for width in (np.float32(0.5), np.array(0.5)):
        assert np.array_equal(ops.convert_to_numpy(slimmable(images, width)), wanted)


def test_widths_that_hardly_differ_have_names_of_their_own():
    slimmable = Slimmable(_network(), widths=(0.3333333, 0.33333335, 1))
    names = WidthLearner(slimmable).names_of_outputs
    assert list(names) == ["width_0.3333333", "width_0.33333335", "width_1"]


def test_switchable_norms_are_a_width_s_own(trained):
    slimmable, _ = trained
    models = [extract(slimmable, width) for width in slimmable.widths]
    for name, statistic in (("norm", "gamma"), ("norm2", "moving_mean")):
        found = [getattr(model.get_layer(name), statistic) for model in models]
        first, *others = map(ops.convert_to_numpy, found)
        assert all(not np.allclose(first, other[: len(first)]) for other in others)
    kernels = [extract(slimmable, width).get_layer("one").kernel for width in slimmable.widths]
    first, *others = map(ops.convert_to_numpy, kernels)
    assert all(np.array_equal(first, other[..., : first.shape[-1]]) for other in others)


def test_first_step_of_the_sandwich_rule_is_the_formula(images):
    slimmable = Slimmable(_network(), widths=(0.5, 1.0), universal=True)
    learner = WidthLearner(slimmable)
    learner.compile(keras.optimizers.SGD(0.0), _LOSS)
    labels = np.arange(12) % 5
    history = learner.fit(images, labels, batch_size=12, epochs=1, verbose=0).history

    def log_softmax(logits):
        logits = logits - logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    small, whole = (
        ops.convert_to_numpy(extract(slimmable, width)(images, training=True)).astype("float64")
        for width in (0.5, 1.0)
    )
    hard = -log_softmax(whole)[np.arange(12), labels].mean()
    log = log_softmax(whole)
    soft = (np.exp(log) * (log - log_softmax(small))).sum(-1).mean()
    assert history["loss"][0] == pytest.approx(hard + soft, rel=1e-4)


@pytest.mark.large
def test_middle_widths_by_chance(images):
    widths = (0.5, 0.625, 0.75, 0.875, 1.0)
    slimmable = Slimmable(_network(), widths, universal=True, round_to=2)
    learner = WidthLearner(slimmable, middle_widths=1, seed=1)
    learner.compile(keras.optimizers.Adam(0.01), _LOSS)
    history = learner.fit(images, np.arange(12) % 5, batch_size=2, epochs=4, verbose=0).history
    assert history["width_0.5_loss"][-1] < history["width_0.5_loss"][0]
    assert np.isfinite(history["middle_1_distillation_loss"]).all()
    means = [
        ops.convert_to_numpy(extract(slimmable, width).get_layer("norm").moving_mean)
        for width in widths
    ]
    # 24 steps of one of three: all were there.
    assert all(np.abs(mean).max() > 0 for mean in means)
    learner.evaluate(images, np.arange(12) % 5, verbose=0)


def test_calibration_takes_the_means_of_the_batches(trained, images):
    slimmable, _ = trained
    slimmable.calibrate(images, batch_size=6)
    small = extract(slimmable, 0.5)
    before = keras.Model(small.input, small.get_layer("one").output)
    outputs = before.predict(images, verbose=0)
    parts = outputs.reshape(2, 6 * 64, 8)
    norm = small.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, parts.mean(1).mean(0), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, parts.var(1).mean(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (0.5,)}, "two or more widths"),
        ({"widths": (0.5, 0.75)}, "up to 1"),
        ({"widths": (1.0, 0.5)}, "that increase"),
        ({"widths": (0.0, 1.0)}, "above 0"),
        ({"round_to": 0}, "positive integer"),
    ],
)
def test_wrong_widths(arguments, message):
    with pytest.raises(ValueError, match=message):
        Slimmable(_network(), **arguments)


def test_wrong_use(trained, images):
    slimmable, _ = trained
    for width in (0.6, "0.5", np.float32(0.3)):
        with pytest.raises(ValueError, match=r"^Expected one of the widths .*Received: width="):
            slimmable(images, width=width)
    with pytest.raises(ValueError, match="one of the widths"):
        extract(slimmable, 0.3)
    with pytest.raises(ValueError, match="Slimmable"):
        extract(_network(), 0.5)
    with pytest.raises(ValueError, match="Slimmable"):
        WidthLearner(_network())
    with pytest.raises(ValueError, match="all have to stay"):
        Slimmable(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
