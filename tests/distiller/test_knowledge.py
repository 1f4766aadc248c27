"""Losses beyond the answers inside a Distiller: taps, owned weights, banks, indices."""

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import (
    AttentionTransfer,
    ContrastiveRepresentation,
    Hint,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
    SoftTargets,
)

LOSSES = {
    "hint": lambda: Hint("stage1", "stage1", reduction="mean"),
    "attention": lambda: AttentionTransfer(["stage1", "stage2"], ["stage1", "stage2"]),
    "distance": lambda: RelationalDistance("features", "features"),
    "angle": lambda: RelationalAngle("features", "features"),
    "similarity": lambda: SimilarityPreserving("stage2", "stage2"),
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
    """Labels that also say which example each is, as `batches(..., indices=True)` gives them."""
    return {"label": data[1], "index": np.arange(24, dtype="int32")}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_and_its_part_goes_down(make_distiller, data, labels, name):
    distiller = make_distiller(name, student_loss_weight=0.0)
    distiller.distillation_loss_weights = (0.0, 1.0)
    history = distiller.fit(data[0], labels, batch_size=24, epochs=15, verbose=0).history
    losses = history[f"{distiller.distillation_losses[1].name}_loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["attention", "distance", "angle", "similarity"])
def test_the_first_value_is_that_of_the_function(make_distiller, data, name):
    distiller = make_distiller(name)
    loss = distiller.distillation_losses[1]
    taps = {}
    for role, model in (("teacher", distiller.teacher), ("student", distiller.student)):
        paths = getattr(loss, f"{role}_layers")
        graph = keras.Model(model.input, [model.get_layer(path).output for path in paths])
        outputs = keras.tree.flatten(graph(data[0], training=role == "student"))
        taps[role] = [ops.convert_to_numpy(each) for each in outputs]
    expected = np.mean(
        ops.convert_to_numpy(
            loss(taps["teacher"], taps["student"])
            if loss.takes_structures
            else loss(taps["teacher"][0], taps["student"][0])
        )
    )
    history = make_distiller(name).fit(data[0], data[1], batch_size=24, verbose=0).history
    np.testing.assert_allclose(history[f"{loss.name}_loss"], [expected], rtol=1e-4)


def test_a_hint_is_trained_saved_and_gone_from_the_student(make_distiller, data, tmp_path):
    distiller = make_distiller("hint")
    regressor = distiller.distillation_losses[1].regressor
    before = regressor.get_weights()
    distiller.fit(data[0], data[1], batch_size=8, epochs=2, verbose=0)
    after = regressor.get_weights()
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    ids = {id(weight) for weight in distiller.student.weights}
    assert not ids & {id(weight) for weight in regressor.weights}
    distiller.save_weights(tmp_path / "distiller.weights.h5")
    copy = make_distiller("hint")
    copy.load_weights(tmp_path / "distiller.weights.h5")
    restored = copy.distillation_losses[1].regressor.get_weights()
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


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_distiller_restores_every_loss(make_distiller, data, labels, tmp_path, name):
    distiller = make_distiller(name)
    distiller.fit(data[0], labels, batch_size=8, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    copy = keras.saving.load_model(tmp_path / "distiller.keras")
    assert copy.distillation_losses[1].get_config() == distiller.distillation_losses[1].get_config()
    copy.teacher = distiller.teacher
    weights = [
        distiller.distillation_losses[1].get_weights(),
        copy.distillation_losses[1].get_weights(),
    ]
    assert len(weights[0]) == len(weights[1])
    assert all((a == b).all() for a, b in zip(*weights, strict=True))
