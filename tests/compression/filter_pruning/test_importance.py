"""The criteria of `prune_filters` against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers

from kdzoo.compression import prune_filters
from kdzoo.compression.filter_pruning.channel_groups import follow, groups_of
from kdzoo.compression.filter_pruning.importance import criterion

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 6, 6, 2)).astype("float32")
Y = RNG.normal(size=(7, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """Two convolutions whose outputs are added, one behind a normalization, and a dense layer."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="one")(inputs)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="two")(inputs))
    x = layers.ReLU(name="relu")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, layers.Dense(3, name="out")(x))
    for weight in made.weights:
        is_scale = weight.name in ("gamma", "moving_variance")
        values = RNG.normal(size=weight.shape)
        weight.assign(values**2 if is_scale else values)
    return made


def scores(model, name, data=None, loss=None):
    (group,) = [group for group in groups_of(follow(model)) if "one" in group.layers]
    return criterion(name, model, data, loss, 0)(group)


def filters(model):
    """The filters of both convolutions, each `(4, weights)`."""
    kernels = (model.get_layer(name).get_weights()[0] for name in ("one", "two"))
    return [np.moveaxis(kernel, -1, 0).reshape(4, -1) for kernel in kernels]


def relative(values):
    return values / values.mean()


@pytest.mark.parametrize(("name", "norm"), [("l1", 1), ("l2", 2)])
def test_norms(model, name, norm):
    parts = [(np.abs(rows) ** norm).sum(1) ** (1 / norm) for rows in filters(model)]
    expected = np.mean([relative(part) for part in parts], axis=0)
    np.testing.assert_allclose(scores(model, name), expected, rtol=1e-5)


def test_the_norm_of_a_group(model):
    squares = sum((rows**2).sum(1) for rows in filters(model))
    squares += model.get_layer("norm").get_weights()[0] ** 2
    squares += (model.get_layer("out").get_weights()[0] ** 2).sum(1)
    np.testing.assert_allclose(scores(model, "group_l2"), relative(squares), rtol=1e-5)
    # The criterion unless another one is named: by filters alone others would go.
    by_default, named = (
        prune_filters(model, ratio=0.5, round_to=1, **more)[0].get_weights()
        for more in ({}, {"importance": "group_l2"})
    )
    for ours, theirs in zip(by_default, named, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    others = prune_filters(model, ratio=0.5, round_to=1, importance="l2")[0].get_weights()
    assert not np.array_equal(by_default[0], others[0])


def test_scales(model):
    gamma = np.abs(model.get_layer("norm").get_weights()[0])
    np.testing.assert_allclose(scores(model, "batch_norm"), gamma, rtol=1e-5)


def test_scales_of_the_whole_network_are_compared():
    """Which are left of all is as in Liu et al. 2017: those above one threshold."""
    inputs = keras.Input((4,))
    x, rng = inputs, np.random.default_rng(0)
    scales = {"a": rng.uniform(0.5, 1.5, 16), "b": rng.uniform(0.3, 0.9, 16)}
    for name in scales:
        x = layers.BatchNormalization(name=f"norm_{name}")(layers.Dense(16, name=name)(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    for name, gamma in scales.items():
        model.get_layer(f"norm_{name}").gamma.assign(gamma)
    options = {"importance": "batch_norm", "scope": "global", "round_to": 1}
    smaller, _ = prune_filters(model, ratio=0.5, **options)
    threshold = np.sort(np.concatenate([*scales.values()]))[16]
    for name, gamma in scales.items():
        given = smaller.get_layer(f"norm_{name}").gamma
        np.testing.assert_allclose(given, gamma[gamma >= threshold], rtol=1e-6)


def test_scales_of_other_normalizations_are_no_scales():
    inputs = keras.Input((4,))
    x = layers.BatchNormalization(name="norm")(layers.Dense(16, name="a")(inputs))
    x = layers.LayerNormalization(name="other")(layers.Dense(16, name="b")(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.get_layer("other").gamma.assign(np.full(16, 1e-6))
    smaller, _ = prune_filters(model, ratio=0.25, importance="batch_norm", round_to=1)
    assert smaller.get_layer("b").units == 16
    assert smaller.get_layer("a").units == 12


def test_scales_of_filters_that_go_together_count_by_their_mean():
    inputs = keras.Input((2, 2, 8))
    x = layers.Conv2D(12, 1, groups=4, name="one")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="norm")(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    gamma = np.random.default_rng(0).normal(size=12)
    model.get_layer("norm").gamma.assign(gamma)
    expected = np.abs(gamma).reshape(4, 3).mean(0)
    np.testing.assert_allclose(scores(model, "batch_norm"), expected, rtol=1e-5)


def test_distances(model):
    parts = [
        np.array([sum(np.linalg.norm(a - b) for b in rows) for a in rows])
        for rows in filters(model)
    ]
    expected = np.mean([relative(part) for part in parts], axis=0)
    np.testing.assert_allclose(scores(model, "geometric_median"), expected, rtol=1e-3)


def test_zeros_are_counted_over_samples(model):
    outputs = keras.Model(model.inputs, model.get_layer("relu").output).predict_on_batch(X)
    expected = (outputs != 0).mean((0, 1, 2))
    assert np.ptp(expected) > 0.05
    # Batches of different sizes.
    given = scores(model, "apoz", data=[(X[:5], None), (X[5:], None)])
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def two_dense(**options):
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="one", **options)(inputs)
    x = layers.Dropout(0.5)(x) if options else x
    made = keras.Model(inputs, layers.Dense(3, name="out")(x))
    rng = np.random.default_rng(1)
    made.set_weights([rng.normal(size=w.shape) for w in made.get_weights()])
    return made


def test_gradients_of_the_loss_alone():
    """Neither regularizers nor dropout count."""
    x = X.reshape(7, -1)[:, :5]
    kernel, bias, out, shift = two_dense().get_weights()
    before = x @ kernel + bias
    hidden = np.maximum(before, 0)
    expected = np.zeros(4)
    for part in (slice(0, 5), slice(5, 7)):
        error = 2 * (hidden[part] @ out + shift - Y[part]) / Y[part].size
        gradient = (error @ out.T) * (before[part] > 0)
        expected += np.abs((kernel * (x[part].T @ gradient)).sum(0)) / 2
        expected += np.abs(bias * gradient.sum(0)) / 2
    data = [(x[:5], Y[:5]), (x[5:], Y[5:])]
    for options in ({}, {"kernel_regularizer": "l2", "activity_regularizer": "l2"}):
        given = scores(two_dense(**options), "taylor", data, "mse")
        np.testing.assert_allclose(given, expected, rtol=1e-4)


def test_gradients_with_the_statistics_of_normalizations():
    """With those of a batch the kernel's part would be 0."""
    inputs = keras.Input((5,))
    x = layers.Dense(4, use_bias=False, name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm", epsilon=0.0)(x))
    model = keras.Model(inputs, layers.Dense(3, name="out")(layers.Dropout(0.5)(x)))
    rng = np.random.default_rng(1)
    values = [rng.normal(size=weight.shape) for weight in model.get_weights()]
    kernel, gamma, beta, mean, variance, out, shift = values
    variance[:] = variance**2
    model.set_weights(values)
    x = X.reshape(7, -1)[:, :5]
    normal = (x @ kernel - mean) / np.sqrt(variance)
    before = gamma * normal + beta
    error = 2 * (np.maximum(before, 0) @ out + shift - Y) / Y.size
    gradient = (error @ out.T) * (before > 0)
    expected = np.abs((kernel * (x.T @ (gradient * gamma / np.sqrt(variance)))).sum(0))
    expected += np.abs(gamma * (gradient * normal).sum(0)) + np.abs(beta * gradient.sum(0))
    given = scores(model, "taylor", (x, Y), "mse")
    np.testing.assert_allclose(given, expected, rtol=1e-4)
    for old, now in zip(values, model.get_weights(), strict=True):
        np.testing.assert_allclose(old, now, rtol=1e-6)


def test_the_losses_of_a_model_stay_its_own():
    inputs = keras.Input((4,))
    x = layers.Dense(8, kernel_initializer="zeros", name="zero")(inputs)
    x = layers.Activation("tanh", activity_regularizer="l2", name="own")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    follow(model)
    assert model.losses == []


def test_zeros_are_counted_in_nested_models(model):
    inputs = keras.Input((6, 6, 2))
    inner = keras.Model(model.inputs, model.get_layer("relu").output, name="inner")
    x = layers.GlobalAveragePooling2D()(inner(inputs))
    nested = keras.Model(inputs, layers.Dense(3)(x))
    expected = (inner.predict_on_batch(X) != 0).mean((0, 1, 2))
    (group, _) = groups_of(follow(nested))
    given = criterion("apoz", nested, X, None, 0)(group)
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    without = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(2)])
    with pytest.raises(ValueError, match="activations that give zeros"):
        prune_filters(without, ratio=0.5, importance="apoz", data=np.ones((2, 4)))


def wide(activation):
    """Layers of 16 neurons: one with the activation, one with ReLU."""
    inputs = keras.Input((4,))
    x = layers.Dense(16, name="a")(inputs)
    x = activation(x) if callable(activation) else layers.Activation(activation)(x)
    x = layers.Dense(16, activation="relu", name="b")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize(
    ("activation", "zeros"),
    [
        *((name, False) for name in ("gelu", "silu", "sigmoid", "tanh", "elu", "leaky_relu")),
        *((name, True) for name in ("relu6", "hard_sigmoid", "hard_silu", "hard_shrink")),
        (layers.ReLU(negative_slope=0.1), False),
        (layers.LeakyReLU(), False),
        (layers.ReLU(6.0), True),
        (keras.ops.relu6, True),
        (keras.ops.silu, False),
    ],
)
def test_only_activations_that_give_zeros_are_counted(activation, zeros):
    model = wide(activation)
    found = {group.layers: bool(group.activations) for group in groups_of(follow(model))}
    assert found == {("a",): zeros, ("b",): True, ("logits",): False}


def test_neurons_without_zeros_stay():
    data = {"importance": "apoz", "data": RNG.normal(size=(8, 4))}
    smaller, report = prune_filters(wide("gelu"), ratio=0.5, **data)
    assert [smaller.get_layer(name).units for name in "ab"] == [16, 8]
    assert report.groups[0].reason == "the criterion says nothing of it"
    inputs = keras.Input((4,))
    gelu = keras.Model(inputs, layers.Dense(2)(layers.Dense(16, activation="gelu")(inputs)))
    with pytest.raises(ValueError, match="activations that give zeros, such as ReLU"):
        prune_filters(gelu, ratio=0.5, **data)
