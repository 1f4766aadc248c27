"""Widths in unusual company: regularizers, half precision, frozen layers, graphs around them."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo.dynamic import Slimmable, WidthLearner, extract

_X = np.random.default_rng(0).normal(size=(12, 6)).astype("float32")
_Y = np.arange(12) % 3
_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _regularized():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    penalty = keras.regularizers.L2(0.5)
    first = layers.Dense(
        8, "relu", name="one", kernel_regularizer=penalty, activity_regularizer=penalty
    )
    return keras.Sequential([keras.Input((6,)), first, layers.Dense(3, name="logits")])


def _penalties(model, width):
    """What a width adds for its activations, and what the kernel of all channels adds."""
    kernel, bias = model.get_layer("one").get_weights()
    active = np.maximum(_X @ kernel + bias, 0)[:, : int(8 * width)]
    return 0.5 * (active**2).sum() / len(_X), 0.5 * (kernel**2).sum()


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_regularizers_of_a_width(width):
    model = _regularized()
    slimmable = Slimmable(model, (0.5, 1.0), round_to=2)
    slimmable(_X, width=width, training=True)
    total = sum(float(ops.convert_to_numpy(loss)) for loss in slimmable.losses)
    assert total == pytest.approx(sum(_penalties(model, width)), rel=1e-5)


@pytest.mark.parametrize("middle", [None, 1])
def test_regularizers_count_kernels_once_and_activations_at_each_width(middle):
    model = _regularized()
    slimmable = Slimmable(model, (0.25, 0.5, 1.0), round_to=2)
    learner = WidthLearner(slimmable, middle_widths=middle)
    learner.compile(keras.optimizers.SGD(0.0), _LOSS)
    logs = learner.fit(_X, _Y, batch_size=12, verbose=0).history
    on_labels = sum(logs[f"{name}_loss"][0] for name in learner.names_of_outputs)
    activations = sum(_penalties(model, width)[0] for width in slimmable.widths)
    expected = on_labels + activations + _penalties(model, 1.0)[1]
    assert logs["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_in_float32_have_slices_in_float32(policy):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((6,))
        x = layers.Rescaling(1 / 3, dtype="float32")(inputs)
        x = layers.Activation("linear")(layers.BatchNormalization()(layers.Dense(16)(x)))
        model = keras.Model(inputs, layers.Dense(3, dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy("float32")
    slimmable = Slimmable(model, (0.5, 1.0))
    assert slimmable.dtype_policy.name == policy
    around = keras.Model(inputs, slimmable(inputs, width=0.5))
    around.dtype_policy = policy
    small = extract(slimmable, 0.5)
    expected = ops.convert_to_numpy(small(_X))
    for found in (slimmable(_X, width=0.5), around(_X)):
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-6)


def _with_norm(**arguments):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    norm = layers.BatchNormalization(name="norm", **arguments)
    return keras.Sequential([keras.Input((6,)), layers.Dense(8, name="one"), norm, layers.Dense(3)])


def test_a_network_that_was_frozen_trains_what_it_trained_before():
    slimmable = Slimmable(_with_norm(), (0.5, 1.0), universal=True, round_to=2)
    before = [variable.path for variable in slimmable.trainable_variables]
    slimmable.trainable = False
    assert slimmable.trainable_variables == []
    assert not slimmable.trainable
    slimmable.trainable = True
    assert [variable.path for variable in slimmable.trainable_variables] == before
    assert len(before) == 6


def test_scales_of_a_frozen_norm_are_shared_in_a_universal_network():
    slimmable = Slimmable(_with_norm(trainable=False), (0.5, 1.0), universal=True, round_to=2)
    slimmable.whole.get_layer("norm").gamma.assign(np.arange(8.0))
    gamma = ops.convert_to_numpy(extract(slimmable, 0.5).get_layer("norm").gamma)
    np.testing.assert_array_equal(gamma, np.arange(4.0))


def test_a_width_is_a_layer_of_a_graph(tmp_path):
    slimmable = Slimmable(_with_norm(), (0.5, 1.0), round_to=2)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, slimmable(inputs, width=0.5))
    expected = ops.convert_to_numpy(slimmable(_X, width=0.5))
    np.testing.assert_allclose(model.predict(_X, verbose=0), expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(_X, verbose=0), expected, atol=1e-6)
    with pytest.raises(ValueError, match="one of the widths"):
        slimmable(inputs, width=0.6)


def test_a_width_keeps_no_copies_of_shared_weights_in_files():
    layers = keras.layers
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, dropout=0.1)(inputs, inputs)
    x = layers.LSTM(8, dropout=0.1)(layers.Dense(16, "relu")(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    slimmable = Slimmable(model, (0.5, 1.0), round_to=2)
    assert slimmable.count_params() == model.count_params()
    # A dropout of a narrow width has a seed of its own, which training changes.
    seeds = [variable for variable in slimmable.variables if "seed" in variable.path]
    assert len(seeds) == 2 * len([v for v in model.variables if "seed" in v.path])


@pytest.mark.parametrize(
    ("name", "value"), [("widths", [0.25, 1.0]), ("universal", True), ("round_to", 4)]
)
def test_what_a_slimmable_network_is_cannot_be_set(name, value):
    slimmable = Slimmable(_with_norm(), (0.5, 1.0), round_to=2)
    with pytest.raises(AttributeError):
        setattr(slimmable, name, value)
