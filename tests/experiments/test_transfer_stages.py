"""Stages that train on other samples than all training images, and what mends their biases."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_experiments import SOFT, TEACHER

import kdzoo.data
from kdzoo import schemes
from kdzoo.experiments import (
    BornAgain,
    CalibrateBiases,
    Dependency,
    Distill,
    Experiment,
    MutualLearning,
    TeacherAssistant,
    Train,
    Training,
    Transfer,
)
from kdzoo.experiments.stages import calibrate_biases_stage

TEACHER_STAGE = type(TEACHER)
NO_THREES = Transfer(without=(3,))
STUDENT = ("mlp_2x64", Training(3, augmentation=None))
START = Dependency("distilled")
RECIPE = Experiment(
    "without",
    "digits",
    (
        TEACHER,
        Distill("distilled", *STUDENT, losses=(SOFT,), student_loss_weight=0.0, transfer=NO_THREES),
        CalibrateBiases("held-out", START),
        CalibrateBiases("by test errors", START, (3,)),
        CalibrateBiases("one by held-out", START, classes=(3,)),
    ),
    seeds=(0,),
)


@pytest.mark.tensorflow
def test_a_student_of_no_threes_has_its_bias_mended(tmp_path, monkeypatch):
    seen, usual = [], kdzoo.data.Split.batches

    def watched(split, *args, **options):
        if options.get("shuffle"):
            seen.append(set(np.unique(split.arrays()[1])))
        return usual(split, *args, **options)

    monkeypatch.setattr(kdzoo.data.Split, "batches", watched)
    results = RECIPE.run(tmp_path, verbose=0)
    assert [3 in labels for labels in seen] == [True, False]
    rows = {row["kind"]: row for row in results["rows"]}
    assert all(sum(rows[name]["test_errors_by_class"]) == rows[name]["test_errors"] for name in
               ("distilled", "held-out", "by test errors"))  # fmt: skip
    start, mended = (
        keras.saving.load_model(tmp_path / f"{name}-0" / "model.keras")
        for name in ("distilled", "held-out")
    )
    x = kdzoo.data.load("digits").validation.arrays()[0]
    change = mended.predict(x, verbose=0) - start.predict(x, verbose=0)
    np.testing.assert_allclose(change, [rows["held-out"]["offsets"]] * len(x), atol=1e-4)
    probs = keras.ops.softmax(mended.predict(x, verbose=0))
    np.testing.assert_allclose(np.mean(probs, 0), 0.1, atol=1e-4)
    offsets = rows["one by held-out"]["offsets"]
    assert offsets[3] != 0
    assert {*offsets[:3], *offsets[4:]} == {0.0}
    assert rows["one by held-out"]["mean_prediction"][3] == pytest.approx(0.1, abs=1e-6)
    by_errors = rows["by test errors"]
    assert by_errors["chosen_by"] == "test errors"
    assert by_errors["test_errors"] <= rows["distilled"]["test_errors"]
    assert {offset for at, offset in enumerate(by_errors["offsets"]) if at != 3} == {0.0}


def test_the_best_offset_is_that_with_the_fewest_errors():
    class Model:
        def predict(self, images, **options):
            return images.reshape(-1, 2)

    logits = np.array([[5.0, 0], [4, 0], [3, 0], [0, 1]], "float32").reshape(4, 1, 2, 1)
    data = kdzoo.data.from_arrays(
        logits / 5, [0, 1, 1, 1], validation=0, test=(logits / 5, [0, 1, 1, 1])
    )
    offset = calibrate_biases_stage._best_offset(Model(), data, (1,))
    assert offset in (0.9, 1.0)  # At 1.0 the first class still wins its own sample.


def test_a_transfer_set_is_part_of_what_identifies_a_stage():
    def identity(transfer):
        stage = Train("alone", *STUDENT, transfer=transfer)
        return Experiment("e", "digits", (stage,), seeds=(0,)).identity("alone", 0)

    assert len({identity(None), identity(NO_THREES), identity(Transfer(only=(7, 8)))}) == 3
    assert identity(Transfer(without=[3])) == identity(NO_THREES)


@pytest.mark.parametrize(
    "stage",
    [
        BornAgain("s", *STUDENT, generations=1, transfer=NO_THREES),
        MutualLearning("s", *STUDENT, peers=(("mlp_2x64", {}),), transfer=NO_THREES),
        TeacherAssistant("s", *STUDENT, assistants=(("mlp_2x64", {}),), transfer=NO_THREES),
    ],
    ids=lambda stage: type(stage).__name__,
)
@pytest.mark.tensorflow
def test_schemes_of_several_models_see_no_threes_either(stage, tmp_path, monkeypatch):
    seen = []

    def note(*arguments, **options):
        (batches,) = [given for given in arguments if callable(given) and not is_model(given)]
        seen.extend(int(label) for _, labels in batches(0) for label in np.ravel(labels))
        raise KeyboardInterrupt

    def is_model(given):
        return isinstance(given, keras.Model)

    name = {"BornAgain": "born_again", "MutualLearning": "mutual_learning"}.get(
        type(stage).__name__, "teacher_assistant"
    )
    monkeypatch.setattr(schemes, name, note)
    monkeypatch.setattr(TEACHER_STAGE, "fit", lambda self, model, context: {})
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(RECIPE, stages=(TEACHER, stage)).run(tmp_path, verbose=0)
    assert set(seen) == set(range(10)) - {3}


@pytest.mark.tensorflow
def test_labels_that_are_left_out_do_not_count(tmp_path):
    """Without them the loss on labels is that of the labelled samples alone."""
    few = Transfer(labelled=0.1)
    stage = dataclasses.replace(RECIPE.stages[1], student_loss_weight=0.5, transfer=few)
    recipe = dataclasses.replace(RECIPE, stages=(TEACHER, stage))
    (row,) = [row for row in recipe.run(tmp_path, verbose=0)["rows"] if row["kind"] == "distilled"]
    assert all(np.isfinite(values).all() for values in row["history"].values())
    logits, labels = np.eye(3, dtype="float32"), np.array([0, 2, -1])
    expected = (np.log(np.e + 2) - 1 + np.log(np.e + 2)) / 2
    assert float(stage.loss(labels, logits)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfer": {"without": [3]}}, "Expected a Transfer"),
        ({"transfer": Transfer(without=3)}, "without as a tuple"),
        ({"transfer": Transfer(without=(12,))}, "from 0 to 9"),
        ({"transfer": Transfer(alone=True)}, "stand alone"),
        ({"transfer": Transfer(others=("mnist",), without=(77,))}, "from 0 to 9. Received: 77"),
        ({"transfer": Transfer(others=("mnist",), weights=(1, 2, 3))}, "each of 2 sources"),
    ],
)
def test_a_wrong_transfer_set_is_refused_before_anything_is_trained(tmp_path, change, message):
    recipe = dataclasses.replace(
        RECIPE, stages=(TEACHER, dataclasses.replace(RECIPE.stages[1], **change))
    )
    with pytest.raises(ValueError, match=message):
        recipe.run(tmp_path, verbose=0)
    assert not list(tmp_path.glob("teacher*"))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (CalibrateBiases("c", START, (10,)), "classes below 10"),
        (CalibrateBiases("c", START, 3), "a tuple of classes"),
        (CalibrateBiases("c", START, classes=(10,)), "classes below 10"),
        (CalibrateBiases("c", START, classes=tuple(range(10))), "fewer than 10 classes"),
        (CalibrateBiases("c", START, (3,), (3,)), "Received: both"),
        (CalibrateBiases("c", "distilled"), "a Dependency"),
    ],
)
def test_wrong_settings_of_a_calibration_are_refused(tmp_path, stage, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, stages=(*RECIPE.stages[:2], stage)).run(tmp_path, verbose=0)
