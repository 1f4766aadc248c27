"""Losses beyond soft targets inside a Distiller: taps, owned weights, banks, indices."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import (
    AttentionTransfer,
    ContrastiveRepresentation,
    Hint,
    PredictionCorrelation,
    ProbabilisticTransfer,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
    SoftTargets,
    VariationalInformation,
)

LOSSES = {
    "hint": lambda: Hint("stage1", "stage1", reduction="mean"),
    "attention": lambda: AttentionTransfer(["stage1", "stage2"], ["stage1", "stage2"]),
    "distance": lambda: RelationalDistance("features", "features"),
    "angle": lambda: RelationalAngle("features", "features"),
    "similarity": lambda: SimilarityPreserving("stage2", "stage2"),
    "correlation": lambda: PredictionCorrelation(2.0, 2.0, temperature=4.0),
    "neighbours": lambda: ProbabilisticTransfer("features", "features"),
    "variational": lambda: VariationalInformation("stage1", "stage1"),
    "contrastive": lambda: ContrastiveRepresentation(
        24, "features", "features", dimensions=4, negatives=8
    ),
}


@pytest.fixture
def make_distiller(make_net, cross_entropy):
    def make(name, **arguments):
        losses = [SoftTargets(3.0), LOSSES[name]()]
        distiller = kdzoo.Distiller(make_net(8, seed=1), make_net(4), losses, **arguments)
        distiller.compile(keras.optimizers.SGD(0.05), cross_entropy, metrics=["accuracy"])
        return distiller

    return make


@pytest.fixture
def labels(data):
    """Labels with the indices of their examples, as `batches(..., indices=True)` gives them."""
    return {"label": data[1], "index": np.arange(24, dtype="int32")}


# One with weights and one that keeps something: the first values of all are held.
@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.large] * (name not in ("hint", "contrastive")))
        for name in LOSSES
    ],
)
def test_every_loss_trains_and_its_part_goes_down(make_distiller, data, labels, name):
    distiller = make_distiller(name, student_loss_weight=0.0)
    distiller.distillation_loss_weights = (0.0, 1.0)
    history = distiller.fit(data[0], labels, batch_size=24, epochs=15, verbose=0).history
    losses = history[f"{distiller.distillation_losses[1].name}_loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["attention", "distance", "angle", "similarity", "neighbours"])
def test_the_first_value_is_that_of_the_function(make_distiller, data, name):
    distiller = make_distiller(name)
    loss = distiller.distillation_losses[1]
    taps = {}
    for role, model in (("teacher", distiller.teacher), ("student", distiller.student)):
        paths = getattr(loss, f"{role}_layers")
        graph = keras.Model(model.input, [model.get_layer(path).output for path in paths])
        outputs = keras.tree.flatten(graph(data[0], training=role == "student"))
        taps[role] = [ops.convert_to_numpy(output) for output in outputs]
    expected = np.mean(
        ops.convert_to_numpy(
            loss(taps["teacher"], taps["student"])
            if loss.takes_structures
            else loss(taps["teacher"][0], taps["student"][0])
        )
    )
    history = make_distiller(name).fit(data[0], data[1], batch_size=24, verbose=0).history
    np.testing.assert_allclose(history[f"{loss.name}_loss"], [expected], rtol=1e-4)


@pytest.mark.parametrize("name", ["hint", "variational"])
def test_own_weights_are_trained_saved_and_gone_from_the_student(
    make_distiller, data, tmp_path, name
):
    distiller = make_distiller(name)
    loss = distiller.distillation_losses[1]
    before = loss.get_weights()
    assert len(before) == len(loss.trainable_weights) == {"hint": 2, "variational": 4}[name]
    distiller.fit(data[0], data[1], batch_size=8, epochs=2, verbose=0)
    after = loss.get_weights()
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    ids = {id(weight) for weight in distiller.student.weights}
    assert not ids & {id(weight) for weight in loss.weights}
    distiller.save_weights(tmp_path / "distiller.weights.h5")
    copy = make_distiller(name)
    copy.load_weights(tmp_path / "distiller.weights.h5")
    restored = copy.distillation_losses[1].get_weights()
    assert all((a == b).all() for a, b in zip(restored, after, strict=True))


def test_a_bank_is_saved_and_resumes(make_distiller, data, labels, tmp_path, check_weights):
    undisturbed = make_distiller("contrastive")
    undisturbed.fit(data[0], labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    first = make_distiller("contrastive")
    checkpoint = kdzoo.callbacks.EpochCheckpoint(tmp_path)
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    first.fit(data[0], labels, epochs=1, callbacks=[checkpoint], **options)
    second = make_distiller("contrastive")
    assert checkpoint.restore(second) == 1
    second.fit(data[0], labels, initial_epoch=1, epochs=2, **options)
    banks = [d.distillation_losses[1].banks["student"] for d in (undisturbed, second)]
    banks = [np.asarray(ops.convert_to_numpy(bank)) for bank in banks]
    np.testing.assert_allclose(banks[1], banks[0], rtol=1e-4, atol=1e-6)
    check_weights(second.student.get_weights(), undisturbed.student.get_weights(), 1e-4, 1e-6)


def test_the_bank_moves_at_the_examples_of_the_batch_alone(make_distiller, data):
    distiller = make_distiller("contrastive")
    bank = distiller.distillation_losses[1].banks["teacher"]
    before = np.array(ops.convert_to_numpy(bank))
    seen = np.array([3, 7, 11, 20], "int32")
    y = {"label": data[1][seen], "index": seen}
    distiller.fit(data[0][seen], y, batch_size=4, verbose=0)
    moved = (np.array(ops.convert_to_numpy(bank)) != before).any(axis=1)
    assert set(np.flatnonzero(moved)) == set(seen)
    np.testing.assert_allclose(
        np.linalg.norm(ops.convert_to_numpy(bank)[seen], axis=1), 1, rtol=1e-5
    )


def test_sample_weights_reach_data_with_indices(make_distiller, data, labels):
    x, y, weights = data
    plain, indexed = make_distiller("attention"), make_distiller("attention")
    histories = [
        distiller.fit(x, given, batch_size=24, sample_weight=weights, verbose=0).history
        for distiller, given in ((plain, y), (indexed, labels))
    ]
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5, err_msg=name)


def test_data_without_indices_are_refused(make_distiller, data):
    with pytest.raises(ValueError, match=r"positions of the examples.*indices=True"):
        make_distiller("contrastive").fit(data[0], data[1], verbose=0)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (np.arange(24) + 10, "from 0 to 23. Received: indices from 10 to 33; give the loss"),
        (np.arange(24) - 3, "from 0 to 23. Received: indices from -3 to 20"),
        (
            np.arange(24, dtype="float32"),
            r"integers from 0 to 23.*Received: float32 of shape \(24,",
        ),
        (np.arange(48).reshape(24, 2) // 2, r"one for each example.*Received: .* \(24, 2\)"),
    ],
    ids=["too large", "negative", "float", "two"],
)
def test_indices_that_are_no_positions_are_refused(make_distiller, data, wrong, complaint):
    distiller = make_distiller("contrastive")
    for indices in (wrong, ops.convert_to_tensor(wrong)):
        with pytest.raises(ValueError, match=complaint):
            distiller.fit(data[0], {"label": data[1], "index": indices}, verbose=0)


def test_indices_in_a_column_are_taken(make_distiller, data, labels):
    column = {"label": data[1], "index": labels["index"][:, None]}
    histories = [
        make_distiller("contrastive")
        .fit(data[0], targets, batch_size=24, verbose=0)
        .history["loss"]
        for targets in (labels, column)
    ]
    np.testing.assert_allclose(*histories, rtol=1e-5)


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize("shift", [10, -3])
@pytest.mark.parametrize("eagerly", [False, True], ids=["graph", "eager"])
def test_streams_say_of_indices_in_one_sentence(make_distiller, data, labels, shift, eagerly):
    import tensorflow as tf

    wrong = {**labels, "index": labels["index"] + shift}
    distiller = make_distiller("contrastive")
    distiller.run_eagerly = eagerly
    stream = tf.data.Dataset.from_tensor_slices((data[0], wrong)).batch(8)
    with pytest.raises(ValueError, match=r"^Expected indices of the examples.*training examples"):
        distiller.fit(stream, shuffle=False, verbose=0)


def test_batches_with_indices_train_a_distiller(make_distiller, data):
    split = kdzoo.data.dataset.Split(data[0], data[1], scale=1)
    distiller = make_distiller("contrastive")
    batches = split.batches(8, shuffle=True, indices=True)
    validation = split.batches(8)
    history = distiller.fit(
        batches, epochs=2, validation_data=validation, shuffle=False, verbose=0
    ).history
    assert np.isfinite(history["val_loss"]).all()
    bank = ops.convert_to_numpy(distiller.distillation_losses[1].banks["student"])
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, rtol=1e-5)


FRESH = """
import json, pathlib, sys
import keras, numpy as np, kdzoo

directory = pathlib.Path(sys.argv[1])
data = np.load(directory / "data.npz")
for path in directory.glob("*.distiller.keras"):
    distiller = keras.saving.load_model(path)
    predicted = distiller.predict(data["x"], verbose=0)
    evaluated = distiller.evaluate(data["x"], data["y"], verbose=0)
    distiller.teacher = keras.saving.load_model(directory / "teacher.keras")
    loss = distiller.distillation_losses[1]
    config = json.dumps(loss.get_config())
    np.savez(path.with_suffix(".npz"), config, predicted, evaluated, *loss.get_weights())
"""


def _plain_net(width, seed):
    """Of Keras's own layers alone, which a fresh process knows."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(width, 3, activation="relu", name="stage1")(inputs)
    x = keras.layers.Conv2D(width, 3, activation="relu", name="stage2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))


@pytest.fixture(scope="module")
def saved_and_fresh(tmp_path_factory):
    """For each loss what its distiller was when saved, and what a fresh process made of the file.

    Each is a list: the loss's configuration, predictions, what `evaluate` gives, and the loss's
    weights. One process loads them all.
    """
    directory, saved = tmp_path_factory.mktemp("distillers"), {}
    rng = np.random.default_rng(0)
    x, y = rng.random((24, 6, 6, 2), dtype="float32"), rng.integers(0, 3, 24)
    np.savez(directory / "data.npz", x=x, y=y)
    teacher = _plain_net(8, seed=1)
    teacher.save(directory / "teacher.keras")
    for name, make in LOSSES.items():
        distiller = kdzoo.Distiller(teacher, _plain_net(4, seed=2), [SoftTargets(3.0), make()])
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        options = {"metrics": ["accuracy"], "run_eagerly": True}
        distiller.compile(keras.optimizers.SGD(0.05), cross_entropy, **options)
        distiller.fit(x, {"label": y, "index": np.arange(24)}, batch_size=24, verbose=0)
        distiller.save(directory / f"{name}.distiller.keras")
        loss = distiller.distillation_losses[1]
        saved[name] = [
            json.dumps(loss.get_config()),
            distiller.predict(x, verbose=0),
            distiller.evaluate(x, y, verbose=0),
            *loss.get_weights(),
        ]
    subprocess.run([sys.executable, "-c", FRESH, str(directory)], check=True)
    fresh = {name: np.load(directory / f"{name}.distiller.npz") for name in LOSSES}
    return {name: (saved[name], list(fresh[name].values())) for name in LOSSES}


@pytest.mark.tensorflow  # What a file holds is the same on JAX, which compiles it all for long.
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.large
def test_a_fresh_process_restores_a_distiller_and_its_loss(saved_and_fresh, name):
    saved, fresh = saved_and_fresh[name]
    assert len(saved) == len(fresh)
    assert saved[0] == fresh[0]
    for ours, theirs in zip(saved[1:3], fresh[1:3], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)
    for ours, theirs in zip(saved[3:], fresh[3:], strict=True):
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.large
@pytest.mark.tensorflow
def test_the_weights_that_are_restored_are_all_of_them(saved_and_fresh):
    counts = {name: len(saved[3:]) for name, (saved, _) in saved_and_fresh.items()}
    # Kernel and bias; three kernels and variances; kernel, bias, bank and normalizer for each of
    # the two networks.
    expected = {"hint": 2, "variational": 4, "contrastive": 8}
    assert {name: count for name, count in counts.items() if count} == expected
