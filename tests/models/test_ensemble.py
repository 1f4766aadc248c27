"""Averages of models, against NumPy."""

import keras
import numpy as np
import pytest

import kdzoo


def net(seed, classes=3, activation=None):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(classes, activation=activation, kernel_initializer="normal")
    return keras.Model(inputs, outputs(inputs))


@pytest.fixture
def x():
    return 40 * np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("average", kdzoo.Ensemble.AVERAGES)
def test_averages_equal_numpy(x, average):
    members = [net(seed) for seed in range(3)]
    logits = np.stack([np.asarray(m(x), "float64") for m in members])
    outputs = np.asarray(kdzoo.Ensemble(members, average)(x))
    if average == "logits":
        np.testing.assert_allclose(outputs, logits.mean(0), rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(softmax(outputs), softmax(logits).mean(0), rtol=1e-4, atol=1e-6)


def test_an_ensemble_saves_and_loads(x, tmp_path):
    ensemble = kdzoo.Ensemble([net(0), net(1)], "probabilities")
    expected = ensemble.predict(x, verbose=0)
    ensemble.save(tmp_path / "ensemble.keras")
    copy = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert copy.average == "probabilities"
    np.testing.assert_allclose(copy.predict(x, verbose=0), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "one or more"),
        ((["a"],), "one or more"),
        (([net(0)], "logit"), "Did you mean 'logits'"),
        (([net(0), net(1, classes=4)],), "same classes"),
        (([net(0, activation="softmax")],), r"kdzoo.as_logits\(member\)"),
    ],
)
def test_what_cannot_be_averaged(arguments, message):
    with pytest.raises(ValueError, match=message):
        kdzoo.Ensemble(*arguments)


@pytest.mark.parametrize("classes", [1, 3])
def test_yes_and_no_answers_are_averaged_by_their_sigmoids(x, classes, tmp_path):
    members = [net(seed, classes) for seed in range(3)]
    logits = np.stack([np.asarray(member(x), "float64") for member in members])
    mean = (1 / (1 + np.exp(-logits))).mean(0)
    ensemble = kdzoo.Ensemble(members, "probabilities", output_type="binary")
    np.testing.assert_allclose(np.asarray(ensemble(x)), np.log(mean / (1 - mean)), rtol=2e-4)
    far = kdzoo.Ensemble(members, "probabilities", output_type="binary")(1e4 * x)
    assert np.isfinite(np.asarray(far)).all()
    # The activation that was taken away tells too, and is in the ensemble's file.
    ended = [kdzoo.as_logits(net(seed, classes, "sigmoid")) for seed in range(3)]
    found = kdzoo.Ensemble(ended, "probabilities")
    found.save(tmp_path / "ensemble.keras")
    for copy in (found, keras.saving.load_model(tmp_path / "ensemble.keras")):
        assert copy.output_type == "binary"
        np.testing.assert_allclose(np.asarray(copy(x)), np.asarray(ensemble(x)), rtol=1e-5)


def test_numbers_have_a_mean_and_no_probabilities(x):
    members = [net(seed, 1, "sigmoid") for seed in range(2)]
    expected = np.mean([np.asarray(member(x)) for member in members], axis=0)
    found = kdzoo.Ensemble(members, output_type="numbers")(x)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)
    for given in ("numbers", "classes", None):
        with pytest.raises(ValueError, match=r'"binary".*`average="logits"`, the mean'):
            kdzoo.Ensemble([net(0, 1)], "probabilities", output_type=given)
    assert "output_type" not in kdzoo.Ensemble([net(0)]).get_config()


def test_members_on_numbers_may_end_in_any_activation(x):
    members = [net(seed, 2, "sigmoid") for seed in range(2)]
    for member in members:
        member.compile(loss="mse")
    expected = np.mean([np.asarray(member(x)) for member in members], axis=0)
    np.testing.assert_allclose(np.asarray(kdzoo.Ensemble(members)(x)), expected, rtol=1e-6)


def test_the_one_output_of_a_member_may_have_a_name(x):
    members = [net(0), net(1)]
    expected = np.asarray(kdzoo.Ensemble(members)(x))
    named = [keras.Model(member.input, {"output_0": member.output}) for member in members]
    ensemble = kdzoo.Ensemble(named)
    np.testing.assert_array_equal(np.asarray(ensemble(x)), expected)
    assert ensemble.compute_output_shape(x.shape) == expected.shape
