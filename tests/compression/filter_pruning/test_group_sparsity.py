"""`regularize_groups`: sums and gradients against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers

import kdzoo
from kdzoo.compression import prune_filters, regularize_groups

X = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")


def net():
    """Two convolutions that are added up, before a normalization with a regularizer of its own."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 1, name="one")(inputs)
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", use_bias=False, name="two")(inputs)])
    x = layers.ReLU()(layers.BatchNormalization(gamma_regularizer="l2", name="norm")(x))
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    model = keras.Model(inputs, layers.Dense(3, name="out")(x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) ** 2 + 0.1 for w in model.get_weights()])
    return model


def by_channel(model):
    """Each weight that counts, as `(4, numbers)`."""
    kernels = {name: model.get_layer(name).get_weights()[0] for name in ("one", "two", "norm")}
    arrays = {name: np.moveaxis(kernel, -1, 0).reshape(4, -1) for name, kernel in kernels.items()}
    out = model.get_layer("out").get_weights()[0]  # Flattened: the channel comes last.
    return {**arrays, "out": out.reshape(4, 4, 3).transpose(1, 0, 2).reshape(4, -1)}


def factors(importance, exponent):
    return 2 ** (exponent * (importance.max() - importance) / np.ptp(importance))


@pytest.mark.parametrize("exponent", [4.0, 0.0])
def test_the_loss(exponent):
    model = net()
    importance = sum((rows**2).sum(1) for rows in by_channel(model).values())
    sparse = regularize_groups(model, 0.01, exponent=exponent)
    own = 0.01 * (model.get_layer("norm").get_weights()[0] ** 2).sum()
    expected = 0.01 * (factors(importance, exponent) * importance).sum() + own
    np.testing.assert_allclose(float(sum(sparse.losses)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(sum(model.losses)), own, rtol=1e-5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_gradient(wrapped):
    """A step of SGD at a rate of 1 subtracts it, also of a student of a `Distiller`."""
    model = net()
    before = by_channel(model)
    importance = sum((rows**2).sum(1) for rows in before.values())
    sparse = regularize_groups(model, 0.01, ignored_layers=[])
    trained = sparse
    if wrapped:
        # A teacher of the same outputs has no gradient of its own at the start.
        trained = kdzoo.Distiller(model, sparse, kdzoo.losses.SoftTargets(), student_loss_weight=0)
    trained.compile(keras.optimizers.SGD(1.0), None if wrapped else lambda y, p: 0 * p)
    sparse.get_layer("norm").trainable = False  # As in inference; its scale has no gradient.
    trained.train_on_batch(X, np.zeros((8, 3)))
    after = by_channel(sparse)
    for name in ("one", "two", "out"):
        step = 0.02 * factors(importance, 4.0)[:, None] * before[name]
        tolerance = 1e-5 + 1e-4 * wrapped
        np.testing.assert_allclose(before[name] - after[name], step, rtol=1e-4, atol=tolerance)
    np.testing.assert_array_equal(after["norm"], before["norm"])


def test_what_it_leads_to(tmp_path):
    """Channels part: the less important ones shrink faster. What is made of it is plain."""
    model = net()
    before = sum((rows**2).sum(1) for rows in by_channel(model).values())
    sparse = regularize_groups(model, 0.01)
    sparse.compile(keras.optimizers.SGD(0.5), lambda y, p: 0 * p)
    sparse.fit(X, np.zeros((8, 3)), epochs=5, verbose=0)
    after = sum((rows**2).sum(1) for rows in by_channel(sparse).values())
    assert after.min() / after.max() < 0.8 * before.min() / before.max()
    smaller, _ = prune_filters(sparse, ratio=0.5, importance="group_l2", round_to=1)
    sparse.compile("sgd", "mse")
    sparse.save(tmp_path / "net.keras")
    for plain in (smaller, keras.models.load_model(tmp_path / "net.keras", compile=False)):
        assert len(plain.losses) == 1  # The normalization's own.
    kept = np.sort(np.argsort(after)[2:])
    expected = by_channel(sparse)["one"][kept]
    np.testing.assert_array_equal(by_channel_of_one(smaller), expected)


def by_channel_of_one(model):
    kernel = model.get_layer("one").get_weights()[0]
    return np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strength": 0.0}, "strength to be above 0"),
        ({"exponent": -1}, "exponent to be at least 0"),
        ({"ignored_layers": ["neo"]}, "Did you mean 'one'"),
    ],
)
def test_wrong_arguments(change, said):
    with pytest.raises(ValueError, match=said):
        regularize_groups(net(), **change)
