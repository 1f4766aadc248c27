import keras
import numpy as np
import pytest
from scipy import optimize, special

import kdzoo


def make_model(classes=5, use_bias=True, activation=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, "relu")(inputs)
    outputs = keras.layers.Dense(classes, activation, use_bias, name="logits")(hidden)
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).normal(0, 2, (400, 6)).astype("float32")


@pytest.mark.parametrize("use_bias", [True, False])
def test_the_mean_prediction_becomes_the_prior(inputs, use_bias):
    model, prior = make_model(use_bias=use_bias), np.array([0.05, 0.15, 0.2, 0.25, 0.35])
    before = [weight.copy() for weight in model.get_weights()]
    new, report = kdzoo.calibrate_biases(model, inputs, prior)
    probs = special.softmax(new.predict(inputs, verbose=0), axis=-1)
    np.testing.assert_allclose(probs.mean(0), prior, atol=1e-6)
    np.testing.assert_allclose(report.after, prior, atol=1e-6)
    old = special.softmax(model.predict(inputs, verbose=0), axis=-1)
    np.testing.assert_allclose(report.before, old.mean(0), atol=1e-6)
    assert abs(report.offsets.mean()) < 1e-9
    np.testing.assert_allclose(
        new.predict(inputs, verbose=0) - model.predict(inputs, verbose=0),
        np.broadcast_to(report.offsets, (400, 5)),
        atol=1e-5,
    )
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_the_offsets_are_those_that_a_general_optimizer_finds(inputs):
    model = make_model()
    logits = model.predict(inputs, verbose=0).astype("float64")
    prior = np.full(5, 0.2)

    def objective(offsets):
        return special.logsumexp(logits + offsets, axis=-1).mean() - prior @ offsets

    found = optimize.minimize(objective, np.zeros(5), tol=1e-12).x
    _, report = kdzoo.calibrate_biases(model, inputs)
    np.testing.assert_allclose(report.offsets, found - found.mean(), atol=1e-4)


def test_a_class_that_is_never_predicted_gets_its_part(inputs):
    """Logits of a class that was never seen lie far below: Newton's steps would overshoot."""
    model = make_model()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 20, bias - np.array([0, 80, 0, 0, 0])])
    new, report = kdzoo.calibrate_biases(model, inputs)
    assert report.before[1] < 1e-3
    probs = special.softmax(new.predict(inputs, verbose=0).astype("float64"), axis=-1)
    np.testing.assert_allclose(probs.mean(0), 0.2, atol=1e-4)


def test_only_some_classes_are_moved(inputs):
    """The others stay, and are as frequent beside each other as they were at each input."""
    model, prior = make_model(), np.array([0.1, 0.1, 0.4, 0.3, 0.1])
    logits = model.predict(inputs, verbose=0).astype("float64")
    new, report = kdzoo.calibrate_biases(model, inputs, prior, classes=[3, 2])
    probs = special.softmax(new.predict(inputs, verbose=0).astype("float64"), axis=-1)
    np.testing.assert_allclose(probs.mean(0)[2:4], [0.4, 0.3], atol=1e-6)

    def gaps(moved):
        return special.softmax(logits + np.array([0, 0, *moved, 0]), axis=-1).mean(0)[2:4] - [
            0.4,
            0.3,
        ]

    found = optimize.root(gaps, [0.0, 0.0], tol=1e-12).x
    np.testing.assert_allclose(report.offsets, [0, 0, *found, 0], atol=1e-5)


def test_offsets_by_hand(inputs):
    model = make_model()
    new, report = kdzoo.calibrate_biases(model, inputs, offsets={3: 3.5})
    change = new.get_layer("logits").bias - model.get_layer("logits").bias
    np.testing.assert_allclose(change, [0, 0, 0, 3.5, 0])
    assert report.prior is None
    assert "3.500" in str(report)


ZERO = [0, 0.25, 0.25, 0.25, 0.25]


def test_a_class_that_stays_may_have_the_prior_0(inputs):
    _, report = kdzoo.calibrate_biases(make_model(), inputs, ZERO, classes=[1, 2])
    np.testing.assert_allclose(report.after[1:3], 0.25, atol=1e-6)
    np.testing.assert_array_equal(report.offsets[[0, 3, 4]], 0)


@pytest.mark.parametrize(
    "data_of",
    [
        lambda inputs: inputs.tolist(),
        lambda inputs: (inputs, np.zeros(400)),
        lambda inputs: {"by name": inputs},
        lambda inputs: [inputs[:150], inputs[150:]],
        lambda inputs: [(inputs[:150], None), (inputs[150:], None)],
        lambda inputs: iter([keras.ops.convert_to_tensor(inputs[:150]), inputs[150:]]),
    ],
    ids=["numbers", "pair", "name", "list of batches", "list of pairs", "iterator"],
)
def test_inputs_may_come_in_batches(inputs, data_of):
    model, prior = make_model(), [0.1, 0.1, 0.4, 0.3, 0.1]
    _, whole = kdzoo.calibrate_biases(model, inputs, prior)
    _, report = kdzoo.calibrate_biases(model, data_of(inputs), prior)
    np.testing.assert_allclose(report.offsets, whole.offsets, atol=1e-4)


def test_images_of_a_split_become_floats_a_batch_at_a_time(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 2, 1), "uint8")
    data = kdzoo.data.from_arrays(images, np.arange(100) % 5, validation=0.4)
    flat = keras.Sequential(
        [keras.Input((3, 2, 1)), keras.layers.Flatten(), *make_model().layers[1:]]
    )
    _, whole = kdzoo.calibrate_biases(flat, data.validation.arrays()[0])
    with pytest.warns(UserWarning, match="look like raw pixels"):
        kdzoo.calibrate_biases(flat, images)
    sizes, usual = [], kdzoo.data.Split.to_float
    monkeypatch.setattr(
        kdzoo.data.Split,
        "to_float",
        lambda split, images: [sizes.append(len(images)), usual(split, images)][1],
    )
    for given in (data.validation, data.validation.batches(16)):
        sizes.clear()
        _, report = kdzoo.calibrate_biases(flat, given, batch_size=16)
        np.testing.assert_allclose(report.offsets, whole.offsets, atol=1e-5)
        assert max(sizes) == 16
        assert sum(sizes) == 40


def test_what_is_wrong_is_said(inputs):
    model = make_model()
    cases = [
        ((make_model(activation="softmax"), inputs), {}, "as_logits"),
        ((model, inputs[:0]), {}, "at least one input"),
        ((model, inputs, [0.5, 0.5]), {}, "each of 5 classes"),
        ((model, inputs, [0.3] * 5), {}, "the sum 1.5"),
        ((model, inputs, ZERO), {}, r"above 0 .* prior=\[0.0, 0.25, 0.25, 0.25, 0.25\]"),
        ((model, inputs, ZERO), {"classes": [1, 0]}, r"above 0 .* the classes \[1, 0\]"),
        ((model, inputs, ZERO), {"classes": [1, 2, 3, 4]}, "for one of the others"),
        ((model, inputs, [-0.2, 0.3, 0.3, 0.3, 0.3]), {"classes": [1]}, r"least 0.*prior=\[-0.2"),
        ((model, inputs[:, :5]), {}, r"\(None, 6\). Received: images of shape \(256, 5\)"),
        ((model, [inputs[:0]]), {}, "at least one sample"),
        ((model, "inputs"), {}, "arrays or a dataset"),
        ((model, inputs, [0.2] * 5), {"offsets": {1: 1.0}}, "Received: both"),
        ((model, inputs), {"offsets": {1: 1.0}, "classes": [1]}, "classes or offsets"),
        ((model, inputs), {"classes": []}, "fewer than 5 different classes"),
        ((model, inputs), {"classes": range(5)}, "fewer than 5 different classes"),
        ((model, inputs), {"classes": [1, 1]}, "different classes"),
        ((model, inputs), {"classes": [5]}, r"from 0 to 4. Received: classes=\[5\]"),
        ((model, inputs), {"classes": 3}, "different classes"),
        ((model, inputs), {"offsets": {5: 1.0}}, "from 0 to 4. Received: 5"),
        ((model, inputs), {"offsets": {1: float("nan")}}, "finite offsets"),
        ((model, inputs), {"offsets": [1.0]}, "class -> offset"),
        ((model, inputs), {"batch_size": 0}, "batch_size"),
        (("model", inputs), {}, "keras.Model"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            kdzoo.calibrate_biases(*arguments, **options)


def test_a_model_without_a_last_dense_layer_is_refused():
    images = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(images)
    with pytest.raises(ValueError, match="ends in 'pool'"):
        kdzoo.calibrate_biases(keras.Model(images, pooled), np.zeros((2, 4, 4, 3), "float32"))


def test_a_last_layer_that_changes_its_sums_is_refused(inputs):
    """An offset of the bias is one of the logits only without an activation."""
    with pytest.raises(ValueError, match=r"'logits' of .* with the activation 'relu'"):
        kdzoo.calibrate_biases(make_model(activation="relu"), inputs)
    with pytest.raises(ValueError, match="with the activation 'tanh'"):
        kdzoo.schemes.specialist_of(make_model(activation="tanh"), [0, 1])
