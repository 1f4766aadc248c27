"""The stages that run the schemes of several models: what they leave, and what they refuse."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_experiments import TEACHER, with_stages

import kdzoo
from kdzoo.experiments import (
    BornAgain,
    DeepCompress,
    Dependency,
    LotteryTicket,
    MutualLearning,
    TeacherAssistant,
    Training,
)
from kdzoo.experiments.engine import load_data

NET = ("mlp_2x64", Training(1, augmentation=None))
SMALL = ("mlp_2x64", {"hidden": (32,)})
TRAINED = Dependency("teacher", 0)
STAGES = (
    MutualLearning("mutual", *NET, peers=(SMALL, TRAINED)),
    BornAgain("again", *NET, generations=2, teacher=TRAINED, variant="cwtm"),
    TeacherAssistant("assisted", *NET, {"hidden": (16,)}, assistants=(SMALL,)),
    LotteryTicket("lottery", *NET, {"hidden": (16,)}, rounds=2, fraction=0.5, teacher=TRAINED),
    DeepCompress(
        *("deep", TRAINED, Training(1, augmentation=None, weight_decay=0.0)),
        sparsity={"stage1": 0.9},
        bits={"stage1": 3, "logits": 4},
        rounds=2,
        codebook_epochs=1,
        teacher=TRAINED,
    ),
)

pytestmark = pytest.mark.tensorflow


def recipe(*stages):
    return with_stages(*stages, seeds=(0,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run of all of them, and its rows by name."""
    directory = tmp_path_factory.mktemp("schemes")
    rows = recipe(*STAGES).run(directory, verbose=0)["rows"]
    return directory, {row["kind"]: row for row in rows}


@pytest.mark.parametrize(
    ("name", "models", "epochs"),
    [
        ("mutual", ["model", "peer-2", "peer-3"], 1),
        ("again", ["model", "generation-1"], 2),
        ("assisted", ["model", "assistant-1"], 2),
    ],
)
@pytest.mark.large
def test_a_scheme_is_a_stage_of_a_recipe(finished, name, models, epochs):
    directory, rows = finished
    row = rows[name]
    assert len(row["history"]["loss"]) == epochs
    assert set(row["products"]) == set(models) - {"model"}
    data = kdzoo.data.load("digits").test.arrays()
    loaded = [keras.saving.load_model(directory / f"{name}-0" / f"{n}.keras") for n in models]
    found = [kdzoo.evaluation.accuracy(model, *data) for model in loaded]
    np.testing.assert_allclose(row["test_accuracies"], found)
    assert row["test_accuracy"] == pytest.approx(found[0])


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "first"), [("again", "generation-1"), ("assisted", "assistant-1")]
)
def test_what_is_trained_first_has_the_lowest_number(finished, name, first):
    directory, rows = finished
    data = kdzoo.data.load("digits").validation.arrays()
    # One epoch each, from the first model to the one that is delivered.
    for model, trained in zip((first, "model"), rows[name]["history"]["val_accuracy"], strict=True):
        loaded = keras.saving.load_model(directory / f"{name}-0" / f"{model}.keras")
        assert kdzoo.evaluation.accuracy(loaded, *data) == pytest.approx(trained, abs=1e-6)


@pytest.mark.large
def test_lottery_tickets_are_a_stage_of_a_recipe(finished):
    directory, rows = finished
    row, data = rows["lottery"], kdzoo.data.load("digits").test.arrays()
    assert len(row["history"]["loss"]) == STAGES[3].epochs == 3 + 1 + 1 + 3
    controls = ("reinitialized", "random_ticket", "from_scratch")
    assert set(row["products"]) == {"dense", *controls}
    found = {}
    for name in ("model", *row["products"]):
        model = keras.saving.load_model(directory / "lottery-0" / f"{name}.keras")
        kernels = [weight for weight in model.get_weights() if weight.ndim == 2]
        # A half of 1024 and 160 weights, and of these a half.
        left = [1024, 160] if name == "dense" else [256, 40]
        assert [np.count_nonzero(kernel) for kernel in kernels] == left
        found[name] = kdzoo.evaluation.accuracy(model, *data)
    assert row["weights_left"] == [1.0, 0.5, 0.25]
    assert row["test_accuracy"] == pytest.approx(found["model"])
    assert row["round_test_accuracies"][::2] == pytest.approx([found["dense"], found["model"]])
    expected = {name: pytest.approx(found[name]) for name in controls}
    assert row["control_test_accuracies"] == expected


@pytest.mark.large
def test_a_stage_of_deep_compression_leaves_a_small_file(finished):
    directory, rows = finished
    row, path = rows["deep"], directory / "deep-0" / "model.kdz"
    assert set(row["products"]) == {"model.kdz"}
    assert row["bytes"] == path.stat().st_size
    assert row["plain_bytes"] == 4 * row["parameters"]
    assert row["times_smaller"] == pytest.approx(row["plain_bytes"] / row["bytes"])
    assert row["history"]["stage"] == [1, 2, 3]
    model = kdzoo.load_compressed(path)
    data = kdzoo.data.load("digits").test.arrays()
    assert kdzoo.evaluation.accuracy(model, *data) == row["test_accuracy"]
    kernel = model.get_layer("stage1").get_weights()[0]
    assert (kernel == 0).mean() == pytest.approx(0.9, abs=0.001)
    assert len(np.unique(kernel)) <= 1 + 8
    assert len(np.unique(model.get_layer("logits").get_weights()[0])) <= 16


@pytest.mark.large
def test_a_peer_that_joins_is_a_copy(finished):
    directory, rows = finished
    teacher = keras.saving.load_model(directory / "teacher-0" / "model.keras")
    joined = keras.saving.load_model(directory / "mutual-0" / "peer-3.keras")
    assert kdzoo.experiments.stage_outcome.fingerprint(teacher) == rows["teacher"]["weights"]
    assert np.abs(teacher.get_weights()[0] - joined.get_weights()[0]).max() > 0
    assert rows["mutual"]["peers_weights"] == rows["teacher"]["weights"]


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (dataclasses.replace(STAGES[0], peers=()), "Expected peers as a tuple"),
        (dataclasses.replace(STAGES[0], peers=(("mlp_2x64",),)), "Expected a peer as"),
        (dataclasses.replace(STAGES[0], peers=(("mlp_2x64", {"a": 1}),)), "arguments that"),
        (dataclasses.replace(STAGES[0], update="other"), "Unknown update"),
        (dataclasses.replace(STAGES[1], generations=0), "generations to be a positive"),
        (dataclasses.replace(STAGES[1], variant="other"), "Unknown variant"),
        (dataclasses.replace(STAGES[3], rewind_epoch=1), "rewind_epoch to be below"),
        (dataclasses.replace(STAGES[3], fraction=1.0), r"fraction to lie in \[0, 1\)"),
        (dataclasses.replace(STAGES[2], assistants=()), "Expected assistants as a tuple"),
        (dataclasses.replace(STAGES[4], rounds=0), "rounds"),
        (dataclasses.replace(STAGES[4], sparsity=0.5), "sparsity as a dictionary"),
        (dataclasses.replace(STAGES[4], sparsity={"stage9": 0.5}), "layer with a kernel"),
        (dataclasses.replace(STAGES[4], bits={"stage1": 9}), r"bits\['stage1'\] to be an integer"),
        (dataclasses.replace(STAGES[2], views=1), "Expected (no )?views"),
        (dataclasses.replace(STAGES[2], losses=()), "one loss of weight 1"),
        (
            dataclasses.replace(STAGES[2], assistants=(("mlp_2x800", {}),)),
            "no larger than the one that teaches it",
        ),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(stage, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_data(recipe(TEACHER, stage))
