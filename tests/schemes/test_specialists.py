"""Clusters of classes, specialists for them, and what both make of generalist and specialists."""

import sys

import keras
import numpy as np
import pytest
from scipy import optimize, special

import kdzoo
from kdzoo.evaluation import confusable_classes
from kdzoo.schemes import (
    SpecialistEnsemble,
    specialist_distribution,
    specialist_of,
    specialist_samples,
    specialists,
)

GENERAL = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], "float32")
PART = np.array([[0.2, 0.3, 0.5]] * 2, "float32")


def objective(logits, general, parts, classes):
    """Equation 5 of Hinton et al. 2015 with q = softmax(logits), up to a constant."""
    q = special.softmax(logits)
    total = -(general * np.log(q)).sum()
    for probs, its_classes in zip(parts, classes, strict=True):
        rest = np.setdiff1d(np.arange(len(q)), its_classes)
        total -= (probs[:-1] * np.log(q[its_classes])).sum() + probs[-1] * np.log(q[rest].sum())
    return total


@pytest.mark.tensorflow  # Once is enough.
def test_the_distribution_is_what_a_general_optimizer_finds():
    """100 random problems, whose specialists overlap; all of them take part."""
    rng, classes = np.random.default_rng(0), [[0, 1, 2], [2, 3], [5, 1]]
    general = special.softmax(rng.normal(0, 2, (100, 6)), -1).astype("float32")
    parts = [
        special.softmax(rng.normal(0, 2, (100, len(part) + 1)), -1).astype("float32")
        for part in classes
    ]
    found = keras.ops.convert_to_numpy(specialist_distribution(general, parts, classes, 6))
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    for row in range(100):
        of_row = general[row].astype("float64"), [part[row].astype("float64") for part in parts]
        best = optimize.minimize(
            objective, np.zeros(6), (*of_row, classes), method="BFGS", options={"gtol": 1e-9}
        )
        np.testing.assert_allclose(found[row], special.softmax(best.x), atol=1e-5)


def fit(q, own, dustbins, others):
    """What equation 5 maximizes, for distributions (samples, classes) in float64."""
    with np.errstate(divide="ignore"):
        return special.xlogy(own, q).sum(-1) + special.xlogy(dustbins, q @ others.T).sum(-1)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("scale", [5, 10])
def test_certain_predictions_that_contradict_each_other_are_agreed_on(scale):
    """As well as by a long expectation maximization; where the optimum is flat, q may differ."""
    rng, classes = np.random.default_rng(1), [[0, 1, 2], [2, 3], [5, 1]]
    general = special.softmax(rng.normal(0, scale, (300, 6)), -1).astype("float32")
    parts = [
        special.softmax(rng.normal(0, scale, (300, len(part) + 1)), -1).astype("float32")
        for part in classes
    ]
    own, others = general.astype("float64"), np.ones((3, 6))
    for number, part in enumerate(classes):
        own[:, part] += parts[number][:, :-1]
        others[number, part] = 0
    dustbins = np.stack([part[:, -1] for part in parts], -1).astype("float64")
    total = (own.sum(-1) + dustbins.sum(-1))[:, None]
    turns = [general.astype("float64")]
    for _ in range(10_000):
        q = turns.pop()
        turns.append((own + q * ((dustbins / (q @ others.T)) @ others)) / total)
    found = keras.ops.convert_to_numpy(specialist_distribution(general, parts, classes, 6))
    found = found.astype("float64") / found.sum(-1, keepdims=True, dtype="float64")
    missing = fit(turns[0], own, dustbins, others) - fit(found, own, dustbins, others)
    assert missing.max() < 1e-6
    # No distribution is better than by this much, as what is maximized is concave.
    slopes = own / found + (dustbins / (found @ others.T)) @ others
    assert np.median(slopes.max(-1, keepdims=True) - total) < 1e-4


def test_a_contradiction_of_certainties_is_met_halfway():
    general = np.array([[1, 0, 0, 0]], "float32")
    part = np.array([[0, 0, 1]], "float32")
    found = keras.ops.convert_to_numpy(specialist_distribution(general, [part], [[0, 1]]))
    # log q_0 + log(q_2 + q_3) is largest where both are a half.
    np.testing.assert_allclose(found[0, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(found[0, 2:].sum(), 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": [[0, 7]]}, "different classes from 0 to 2"),
        ({"classes": [[0, -1]]}, "different classes from 0 to 2"),
        ({"classes": [[0, 0]]}, "different classes from 0 to 2"),
        ({"classes": [[0, 1], [2]]}, "specialist_probs of 1, classes of 2"),
        ({"classes": [[0]]}, r"specialist_probs\[0\] of shape \(2, 2\)"),
        ({"most_probable": 9}, "most_probable to be an integer from 1 to 3"),
        ({"specialist_probs": PART}, "a list of probabilities for each specialist"),
        ({"specialist_probs": [PART[:1]]}, r"of shape \(2, 3\). Received: shape \(1, 3\)"),
        ({"specialist_probs": [np.log(PART)]}, "each row with the sum 1.*take the softmax"),
        ({"generalist_probs": 2 * GENERAL}, "each row with the sum 1"),
        ({"generalist_probs": GENERAL * np.nan}, "each row with the sum 1"),
        ({"generalist_probs": GENERAL[0]}, r"of shape \(batch, classes\)"),
        ({"generalist_probs": "text"}, "an array of numbers"),
        ({"generalist_probs": keras.Input((3,))}, "call this in a layer"),
    ],
)
def test_what_is_no_distribution_is_refused(changes, message):
    arguments = {"generalist_probs": GENERAL, "specialist_probs": [PART], "classes": [[0, 1]]}
    with pytest.raises(ValueError, match=message):
        specialist_distribution(**{**arguments, **changes})


def test_a_distribution_is_also_found_in_a_traced_function():
    """Where there are no values that could be looked at."""

    class Agreed(keras.layers.Layer):
        def call(self, inputs):
            return specialist_distribution(inputs[0], [inputs[1]], [[0, 1]], 2)

    inputs = [keras.Input((3,)), keras.Input((3,))]
    found = keras.Model(inputs, Agreed()(inputs)).predict([GENERAL, PART], verbose=0)
    np.testing.assert_allclose(found[1], [0.15, 0.25, 0.6], atol=1e-6)


@pytest.mark.large_on_jax
def test_only_specialists_of_the_most_probable_classes_take_part():
    found = keras.ops.convert_to_numpy(specialist_distribution(GENERAL, [PART], [[0, 1]]))
    # Of one specialist the solution is known: the mean of both on its classes and on the dustbin.
    np.testing.assert_allclose(found[0], [0.45, 0.25, 0.3], atol=1e-6)
    np.testing.assert_allclose(found[1], GENERAL[1], atol=1e-7)
    both = keras.ops.convert_to_numpy(specialist_distribution(GENERAL, [PART], [[0, 1]], 2))
    np.testing.assert_allclose(both[1], [0.15, 0.25, 0.6], atol=1e-6)


def test_classes_that_vary_together_are_in_one_cluster():
    rng = np.random.default_rng(0)
    groups = [[0, 4], [1, 2, 7], [3, 5, 6]]
    logits = rng.normal(0, 1, (3000, 8))
    for group in groups:
        logits[:, group] += rng.normal(0, 4, (3000, 1))
    assert confusable_classes(logits, 3) == groups
    assert confusable_classes(logits, 8) == [[label] for label in range(8)]
    assert confusable_classes(logits, 1) == [list(range(8))]


@pytest.mark.parametrize(
    ("logits", "clusters", "message"),
    [
        (np.zeros((5, 3)), 4, "at most 3 clusters of 3 classes"),
        (np.zeros((5, 3)), 0, "clusters"),
        (np.zeros((1, 3)), 2, "two or more samples"),
        (np.full((5, 3), np.nan), 2, "finite logits"),
    ],
)
def test_wrong_clusters_are_refused(logits, clusters, message):
    with pytest.raises(ValueError, match=message):
        confusable_classes(logits, clusters)


def make_generalist(use_bias=True):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(16, "relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(5, use_bias=use_bias, name="logits")(hidden))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 600, p=[0.1, 0.1, 0.3, 0.3, 0.2])
    return rng.normal(labels[:, None], 0.7, (600, 3)).astype("float32"), labels


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_specialist_starts_as_the_generalist_is(use_bias, data):
    generalist = make_generalist(use_bias)
    logits = generalist.predict(data[0], verbose=0)
    found = specialist_of(generalist, [3, 1]).predict(data[0], verbose=0)
    expected = np.stack([logits[:, 3], logits[:, 1], logits[:, [0, 2, 4]].mean(-1)], -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_specialists_of_a_frozen_generalist_can_be_trained():
    generalist = make_generalist()
    generalist.trainable = False
    assert len(specialist_of(generalist, [3, 1]).trainable_variables) == 4
    assert not generalist.trainable_variables
    # What a user freezes in part stays as he wants it, but for the new outputs.
    partly = make_generalist()
    for number, count in ((1, 2), (2, 4)):
        partly.layers[number].trainable = False
        assert len(specialist_of(partly, [3, 1]).trainable_variables) == count
        partly.layers[number].trainable = True


def test_the_first_loss_is_that_of_both_halves(data, tmp_path):
    generalist, (x, y) = make_generalist(), data
    options = {"epochs": 1, "batch_size": 5000, "optimizer": keras.optimizers.SGD(0.0)}
    options |= {"validation_data": (x[:150], y[:150]), "verbose": 0}
    _, history = specialists(generalist, data, tmp_path, classes=[[1, 0]], **options)
    first, first_bias, last, last_bias = generalist.get_weights()
    logits = np.maximum(x @ first + first_bias, 0) @ last + last_bias
    logits = np.stack([logits[:, 1], logits[:, 0], logits[:, 2:].mean(-1)], -1)
    losses = special.logsumexp(logits, -1) - logits[np.arange(600), np.array([1, 0, 2, 2, 2])[y]]
    assert history["loss"] == pytest.approx([of_both_halves(losses, y < 2)], rel=1e-4)
    expected = of_both_halves(losses[:150], y[:150] < 2)
    assert history["val_loss"] == pytest.approx([expected], rel=1e-4)


def of_both_halves(values, is_own):
    """The mean over a specialist's samples, of which there are fewer, and over all others."""
    own, others = values[is_own], values[~is_own]
    repeated = own[np.arange(len(others)) % len(own)]
    return (repeated.mean() + others.mean()) / 2


def test_what_a_specialist_is_validated_on_comes_in_one_order(data):
    """So that a run that goes on measures what an undisturbed one does."""
    samples = specialist_samples.check_samples("data", data, 5)
    mix = specialist_samples.mix_for("data", samples, [1, 0])
    batches = specialist_samples.validation_batches(samples, mix, 64)
    for _ in range(2):
        inputs, labels = map(np.concatenate, zip(*batches, strict=True))
        np.testing.assert_array_equal(inputs, data[0][mix.indices])
        np.testing.assert_array_equal(labels, mix.labels)


@pytest.mark.large_on_jax
def test_an_optimizer_is_made_for_the_steps_of_each_specialist(data, tmp_path):
    lengths = []

    def optimizer(steps):
        lengths.append(steps)
        return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, steps))

    options = {"epochs": 2, "batch_size": 64, "verbose": 0, "optimizer": optimizer}
    ensemble, _ = specialists(make_generalist(), data, tmp_path, classes=[[0], [0, 2]], **options)
    assert [int(model.optimizer.iterations) for model in ensemble.specialists] == lengths
    assert lengths[0] > lengths[1]


def test_a_run_of_other_settings_is_refused(data, tmp_path):
    generalist, (x, y) = make_generalist(), data
    usual = {"classes": [[0, 1]], "epochs": 2, "verbose": 0}
    specialists(generalist, data, tmp_path, **usual)
    for model, samples, epochs in (
        (generalist, data, 1),
        (make_generalist(), data, 2),
        (generalist, (x[::-1], y[::-1]), 2),
    ):
        with pytest.raises(ValueError, match="choose another directory"):
            specialists(model, samples, tmp_path, **{**usual, "epochs": epochs})


def test_half_of_the_samples_are_the_specialists_and_the_dustbin_is_corrected(
    data, tmp_path, monkeypatch
):
    module = sys.modules["kdzoo.schemes.scheme_stages"]
    seen, usual = [], module.train

    def watched(model, batches, epochs, *args, **options):
        seen.append(np.concatenate([labels for _, labels in batches(0)]))
        history = usual(model, batches, epochs, *args, **options)
        seen.append(model.get_weights()[-1].copy())
        return history

    monkeypatch.setattr(module, "train", watched)
    generalist = make_generalist()
    before = [weight.copy() for weight in generalist.get_weights()]
    ensemble, history = specialists(
        generalist, data, tmp_path, classes=[[0, 1]], epochs=2, verbose=0, batch_size=64
    )
    labels, bias = seen
    own = np.isin(data[1], [0, 1]).sum()
    assert (labels < 2).sum() == (labels == 2).sum() == 600 - own
    change = ensemble.specialists[0].get_weights()[-1] - bias
    np.testing.assert_allclose(change, [0, 0, np.log((600 - own) / own)], atol=1e-6)
    assert history["stage"] == [1, 1]
    assert len(history["loss"]) == 2
    for weight, was in zip(generalist.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


@pytest.mark.large_on_jax
def test_a_stopped_training_goes_on_to_the_same_end(data, tmp_path):
    generalist, options = make_generalist(), {"clusters": 2, "epochs": 3, "verbose": 0}
    whole, history = specialists(generalist, data, tmp_path / "whole", **options)

    class Stop(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epochs += 1
            if self.epochs == 5:  # In the second specialist.
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        specialists(generalist, data, tmp_path / "part", **options, callbacks=[Stop()])
    again, joined = specialists(generalist, data, tmp_path / "part", **options)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert joined == history


def test_images_of_a_split_keep_their_labels(tmp_path):
    images = np.arange(12, dtype="uint8").reshape(12, 1, 1, 1)
    split = kdzoo.data.from_arrays(images, np.arange(12) % 3, validation=0).train
    split = split.subset(np.arange(11, -1, -1))
    inputs = keras.Input((1, 1, 1))
    generalist = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    samples = specialist_samples.check_samples("data", split, 3)
    mix = specialist_samples.mix_for("data", samples, [1])
    assert mix.ratio == 2
    batches = specialist_samples.training_batches(samples, mix, 4, None, 0)(0)
    seen = [(np.asarray(x), np.asarray(y)) for x, y in batches]
    pixels = np.round(np.concatenate([x for x, _ in seen]).ravel() * 255).astype(int)
    given = np.concatenate([y for _, y in seen])
    assert len(pixels) == 16
    np.testing.assert_array_equal(given, np.where(pixels % 3 == 1, 0, 1))
    assert sorted(pixels[given == 1]) == [0, 2, 3, 5, 6, 8, 9, 11]
    options = {"epochs": 1, "batch_size": 4, "verbose": 0, "metrics": ["accuracy"]}
    # Few samples, from the end of all that are stored.
    options["validation_data"] = split.subset([0, 1, 2])
    ensemble, history = specialists(generalist, split, tmp_path, classes=[[1]], **options)
    images, labels = options["validation_data"].arrays()
    assert ensemble.predict(images, verbose=0).shape == (3, 3)
    logits = ensemble.specialists[0].predict(images, verbose=0) - [0, np.log(2)]
    is_own = labels == 1
    losses = special.logsumexp(logits, -1) - np.where(is_own, logits[:, 0], logits[:, 1])
    assert history["val_loss"] == pytest.approx([of_both_halves(losses, is_own)], rel=1e-4)
    right = of_both_halves((logits[:, 0] > logits[:, 1]) == is_own, is_own)
    assert history["val_accuracy"] == pytest.approx([right])


def test_the_ensemble_is_a_teacher_and_a_file(data, tmp_path):
    generalist = make_generalist()
    ensemble = SpecialistEnsemble(generalist, [specialist_of(generalist, [0, 4])], [[0, 4]])
    logits = ensemble.predict(data[0], verbose=0)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, atol=1e-5)
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_allclose(again.predict(data[0], verbose=0), logits, atol=1e-6)
    distiller = kdzoo.Distiller(ensemble, make_generalist(), kdzoo.losses.SoftTargets(2.0))
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(distiller.fit(*data, epochs=1, verbose=0).history["loss"]).all()


def test_what_is_wrong_is_said(data, tmp_path):
    generalist, start = make_generalist(), {"epochs": 1, "verbose": 0}
    conv = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.GlobalAveragePooling2D()])
    ended = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, "softmax")])
    x, y = data
    cases = [
        ((conv, data), {"clusters": 2}, "last layer is a Dense"),
        ((ended, data), {"clusters": 2}, "as_logits"),
        ((generalist, data), {}, "a number of clusters or the classes"),
        ((generalist, data), {"clusters": 2, "classes": [[1]]}, "a number of clusters or"),
        ((generalist, data), {"clusters": 6}, "at most 5 clusters"),
        ((generalist, data), {"classes": [[5]]}, "from 0 to 4 for a specialist"),
        ((generalist, data), {"classes": [[0, 1, 2, 3, 4]]}, "for some of the classes"),
        ((generalist, data), {"classes": []}, "a list of classes for each"),
        ((generalist, (x, y + 1)), {"clusters": 2}, "labels from 0 to 4"),
        ((generalist, (x[y > 0], y[y > 0])), {"classes": [[0]]}, "samples of its classes"),
        ((generalist, x), {"clusters": 2}, "arrays"),
        ((generalist, ({"x": x}, y)), {"clusters": 2}, "arrays .x, y., of one input"),
        ((generalist, iter([data])), {"clusters": 2}, "join the batches of a stream"),
        ((generalist, lambda epoch: [data]), {"clusters": 2}, "join the batches of a stream"),
    ]
    for given, message in (
        (iter([data]), "validation_data as a kdzoo.data.Split or as arrays"),
        ((x, y + 1), "from 0 to 4 in validation_data"),
        ((x[y > 0], y[y > 0]), "of its classes in validation_data"),
        ((x[:, :2], y), r"with inputs of shape \(3,\), as those of data"),
    ):
        cases.append(((generalist, data), {"classes": [[0]], "validation_data": given}, message))
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            specialists(*arguments, tmp_path, **{**start, **options})
    assert not list(tmp_path.iterdir())
