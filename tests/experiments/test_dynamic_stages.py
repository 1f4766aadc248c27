"""The stages of networks of several costs: what they leave, and what they refuse."""

import dataclasses

import keras
import numpy as np
import pytest
from small_dynamic_stages import EXITS, NET, THRESHOLDS, WIDTHS
from tiny_experiments import TEACHER, with_stages

import kdzoo
from kdzoo.experiments import Dependency, Train, TrainExits, TrainWidths
from kdzoo.experiments.engine import load_data

STAGES = (
    EXITS,
    TrainExits("exit alone", *NET, at=("stage1",), only=1),
    THRESHOLDS,
    WIDTHS,
    TrainWidths("width alone", *NET, widths=(0.5, 1.0), only=0.5),
)
COSTS = [64 * 16 + 16 * 10, 64 * 16 + 16 * 10 + 16 * 24 + 24 * 10]

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def data():
    return kdzoo.data.load("digits")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """Name -> model and row of a run of all of them."""
    directory = tmp_path_factory.mktemp("dynamic")
    recipe = with_stages(*STAGES, seeds=(0,))
    rows = {row["kind"]: row for row in recipe.run(directory, verbose=0, dataset=data)["rows"]}
    names = {name: f"{name.replace(' ', '-')}-0" for name in rows}
    return {
        name: (keras.saving.load_model(directory / names[name] / "model.keras"), rows[name])
        for name in rows
    }


def accuracies(outputs, labels):
    return [float((output.argmax(-1) == labels).mean()) for output in outputs]


def budgeted(outputs, labels, threshold):
    """Accuracy and mean cost where the first exit stops what it is so sure of."""
    exponentials = np.exp(outputs[0] - outputs[0].max(-1, keepdims=True))
    sure = (exponentials / exponentials.sum(-1, keepdims=True)).max(-1) >= threshold
    right = np.where(sure, outputs[0].argmax(-1), outputs[1].argmax(-1)) == labels
    return pytest.approx(right.mean()), pytest.approx(np.where(sure, *COSTS).mean())


def test_exits_are_a_stage_of_a_recipe(finished, data):
    model, row = finished["exits"]
    for split in ("test", "validation"):
        images, labels = getattr(data, split).arrays()
        found = accuracies(model.predict(images, verbose=0), labels)
        assert row[f"{split}_accuracy"] == found[-1]
        assert row[f"exit_{split}_accuracies"] == found
    assert row["exit_macs"] == COSTS
    assert row["parameters"] == model.count_params()
    history = row["history"]
    assert len(history["loss"]) == 2
    assert history["exit1_loss"][1] < history["exit1_loss"][0]
    expected = 0.6 * np.add(history["exit1_loss"], 0) + np.array(history["exit2_loss"])
    expected += 0.4 * np.array(history["exit1_distillation_loss"])
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-4)


def test_an_exit_is_trained_alone(finished, data):
    model, row = finished["exit alone"]
    images, labels = data.test.arrays()
    assert row["test_accuracy"] == accuracies([model.predict(images, verbose=0)], labels)[0]
    assert row["macs"] == COSTS[0]
    assert set(row["history"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_thresholds_are_fitted_to_held_out_images(finished, data):
    model, row = finished["thresholds"]
    outputs = {
        split: (model.predict(getattr(data, split).arrays()[0], verbose=0), labels)
        for split, labels in (("test", data.test.arrays()[1]), ("validation", _labels(data)))
    }
    tight, loose = row["curve"]
    for point in (row, tight, loose):
        (threshold,) = point["thresholds"]
        threshold = np.inf if threshold is None else threshold
        found = budgeted(*outputs["validation"], threshold)
        assert (point["validation_accuracy"], point["validation_mean_macs"]) == found
        found = budgeted(*outputs["test"], threshold)
        assert (point["test_accuracy"], point["mean_macs"]) == found
        assert sum(point["fractions"]) == pytest.approx(1)
    assert tight["budget"] == pytest.approx(0.9 * COSTS[1])
    # To the budget, as nearly as a hundred held-out images allow.
    assert 0 <= tight["budget"] - tight["validation_mean_macs"] < (COSTS[1] - COSTS[0]) / 100 + 1
    assert loose["thresholds"] == [None]
    last = accuracies(*[[part] if n else part for n, part in enumerate(outputs["validation"])])
    assert row["validation_accuracy"] >= last[-1] - 0.1
    assert row["validation_mean_macs"] < COSTS[1]
    assert row["macs"] == 64 * 16 + 16 * 24 + 24 * 10
    assert row["times_fewer_macs"] == pytest.approx(row["macs"] / row["mean_macs"])


def _labels(data):
    return data.validation.arrays()[1]


def test_widths_are_a_stage_of_a_recipe(finished, data):
    model, row = finished["widths"]
    models = [kdzoo.dynamic.extract(model, width) for width in (0.5, 1.0)]
    for split in ("test", "validation"):
        images, labels = getattr(data, split).arrays()
        found = accuracies([one.predict(images, verbose=0) for one in models], labels)
        assert row[f"{split}_accuracy"] == found[-1]
        assert row[f"width_{split}_accuracies"] == found
    assert row["widths"] == [0.5, 1.0]
    narrow, wide = 64 * 8 + 8 * 16 + 16 * 10, 64 * 16 + 16 * 24 + 24 * 10
    assert row["width_macs"] == [narrow, wide]
    assert row["width_parameters"] == [narrow + 8 + 16 + 10, wide + 16 + 24 + 10]


def test_a_width_alone_has_initial_weights_of_its_own(finished):
    model, row = finished["width alone"]
    assert row["macs"] == 64 * 8 + 8 * 16 + 16 * 10
    assert [weight.shape for weight in model.get_weights()[::2]] == [(64, 8), (8, 16), (16, 10)]
    whole = finished["widths"][0]
    fresh = [
        stage.own_model(kdzoo.data.load("digits")).get_weights()[0] for stage in (WIDTHS, STAGES[4])
    ]
    # He's, by the inputs of the layer: the deviation is that of the width.
    assert fresh[1].std() == pytest.approx(np.sqrt(2 / 64), rel=0.2)
    assert not np.array_equal(fresh[0][:, :8], fresh[1])
    assert whole.whole.get_weights()[0].shape == (64, 16)


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (Train("plain", "branchy_lenet", NET[1]), "network of one output, or a `TrainExits`"),
        (dataclasses.replace(EXITS, at=("stage9",)), "stage9"),
        (dataclasses.replace(EXITS, at=()), "two or more exits"),
        (dataclasses.replace(EXITS, at="stage1"), "`at` as a tuple"),
        (dataclasses.replace(EXITS, heads="other"), "Unknown heads"),
        (dataclasses.replace(EXITS, exit_weights=(1.0,)), "weight for each of 2 outputs"),
        (dataclasses.replace(EXITS, exit_weights=1.0), "exit_weights as a tuple"),
        (dataclasses.replace(EXITS, only=3), "exit from 1 to 2"),
        (dataclasses.replace(EXITS, equal_gradients="no"), "equal_gradients"),
        (dataclasses.replace(EXITS, temperature=0), "temperature"),
        (dataclasses.replace(THRESHOLDS, budgets=(0.2,)), "budgets of at least 0.655"),
        (dataclasses.replace(THRESHOLDS, budgets=(1.2,)), "budgets as a tuple of fractions"),
        (dataclasses.replace(THRESHOLDS, lost_accuracy=-1), "lost_accuracy from 0"),
        (dataclasses.replace(THRESHOLDS, confidence="other"), "Unknown confidence"),
        (dataclasses.replace(THRESHOLDS, rule="other"), "Unknown rule"),
        (dataclasses.replace(THRESHOLDS, start=Dependency("teacher", 0)), "two or more exits"),
        (dataclasses.replace(THRESHOLDS, kept=Dependency("exits")), "network of one output"),
        (dataclasses.replace(WIDTHS, widths=(0.5,)), "two or more widths"),
        (dataclasses.replace(WIDTHS, only=0.7), "only to be one of the widths"),
        (dataclasses.replace(WIDTHS, middle_widths=1), "middle_widths"),
        (dataclasses.replace(WIDTHS, calibration=-1), "calibration"),
        (dataclasses.replace(WIDTHS, student_loss_weight=2), "student_loss_weight"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(stage, complaint):
    before = (EXITS,) if stage.name == "thresholds" else ()
    with pytest.raises(ValueError, match=complaint):
        load_data(with_stages(TEACHER, *before, stage, seeds=(0,)))


def test_thresholds_need_held_out_images():
    with pytest.raises(ValueError, match="with validation images, to which thresholds are fitted"):
        load_data(with_stages(EXITS, THRESHOLDS, seeds=(0,), validation=0))
