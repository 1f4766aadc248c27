"""Stages of several models as one: an ensemble, its students, and specialists."""

import sys

import keras
import numpy as np
import pytest
from tiny_experiments import with_stages

import kdzoo
from kdzoo.experiments import (
    Dependency,
    Distill,
    EnsembleOf,
    HintTraining,
    Specialists,
    Train,
    Training,
    build_and_fit,
)
from kdzoo.experiments.engine import load_data

AS_THEY_ARE, SHIFTED = Training(1, augmentation=None), Training(1)
ALL = Dependency("teacher", "all")
MEMBERS = Train("teacher", "mlp_2x64", SHIFTED, {"hidden": (16,)}, seeds=(0, 1))
STAGES = (
    MEMBERS,
    EnsembleOf("geometric", ALL),
    EnsembleOf("arithmetic", (Dependency("teacher", 0), Dependency("teacher", 1)), "probabilities"),
    Distill("once", "mlp_2x64", AS_THEY_ARE, teacher=ALL),
    Distill("views", "mlp_2x64", SHIFTED, teacher=ALL, views=2, average="probabilities"),
    Specialists("specialists", Dependency("teacher", 0), SHIFTED, clusters=2),
    Distill("of specialists", "mlp_2x64", SHIFTED, teacher=Dependency("specialists"), views=1),
)

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run, its rows by name and seed, and the first batches of each stage.

    Instead of those of specialists the learning rates at their ends.
    """
    directory, batches, fit = tmp_path_factory.mktemp("ensembles"), {}, build_and_fit.fit
    scheme_stages = sys.modules["kdzoo.schemes.scheme_stages"]
    train = scheme_stages.train

    def watched(model, training, context, batches_from, *arguments, **more):
        batches[context.directory.name] = next(iter(batches_from(0)))
        return fit(model, training, context, batches_from, *arguments, **more)

    def watched_specialist(model, batches_from, epochs, path, *arguments, **more):
        history = train(model, batches_from, epochs, path, *arguments, **more)
        batches[path.parent.name, path.name] = float(model.optimizer.learning_rate)
        return history

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_and_fit, "fit", watched)
        patch.setattr(scheme_stages, "train", watched_specialist)
        rows = with_stages(*STAGES, seeds=(0,)).run(directory, verbose=0)["rows"]
    return directory, {(row["kind"], row["seed"]): row for row in rows}, batches


def members(directory):
    """The logits that both members give, by NumPy from their weights."""
    weights = [
        keras.saving.load_model(directory / f"teacher-{seed}" / "model.keras").get_weights()
        for seed in (0, 1)
    ]

    def logits(images):
        flat = np.reshape(images, (len(images), -1)).astype("float64")
        return [np.maximum(flat @ a + b, 0) @ c + d for a, b, c, d in weights]

    return logits


def mean_of_softmaxes(logits):
    exponentials = [np.exp(part - part.max(-1, keepdims=True)) for part in logits]
    return np.log(np.mean([part / part.sum(-1, keepdims=True) for part in exponentials], 0))


@pytest.mark.parametrize(
    ("name", "mean"),
    [("geometric", lambda logits: np.mean(logits, 0)), ("arithmetic", mean_of_softmaxes)],
)
def test_an_ensemble_is_measured_and_saved(finished, name, mean):
    directory, rows, _ = finished
    images, labels = kdzoo.data.load("digits").test.arrays()
    expected = mean(members(directory)(images))
    row = rows[name, 0]
    assert row["test_accuracy"] == pytest.approx((expected.argmax(-1) == labels).mean())
    assert row["parameters"] == 2 * rows["teacher", 0]["parameters"]
    assert row["members_weights"] == [rows["teacher", seed]["weights"] for seed in (0, 1)]
    saved = keras.saving.load_model(directory / f"{name}-0" / "model.keras")
    np.testing.assert_allclose(saved.predict(images[:50], verbose=0), expected[:50], atol=1e-4)


@pytest.mark.parametrize(
    ("stage", "mean"),
    [("once-0", lambda logits: np.mean(logits, 0)), ("views-0", mean_of_softmaxes)],
)
def test_a_student_learns_the_mean_of_its_teachers(finished, stage, mean):
    directory, _, batches = finished
    images, targets = batches[stage]
    expected = mean(members(directory)(np.asarray(images)))
    np.testing.assert_allclose(targets["teacher"], expected, rtol=5e-3, atol=5e-3)


def test_each_teacher_is_recorded_by_itself(finished):
    directory, _, _ = finished
    found = sorted(path.name for path in directory.glob("recorded_*"))
    assert found == ["recorded_specialists", "recorded_teacher", "recorded_teacher-seed-1"]


def test_specialists_are_a_model_that_teaches(finished):
    directory, rows, batches = finished
    row = rows["specialists", 0]
    classes = [label for part in row["specialist_classes"] for label in part]
    assert sorted(classes) == list(range(10))
    history = row["history"]
    assert set(history["stage"]) == {1, 2}
    assert len(history["val_loss"]) == len(history["loss"])
    assert all(history["val_loss"])
    for number in (0, 1):
        assert abs(batches["specialists-0", f"specialist-{number}"]) < 1e-9
    model = keras.saving.load_model(directory / "specialists-0" / "model.keras")
    test = kdzoo.data.load("digits").test.arrays()
    assert row["test_accuracy"] == pytest.approx(kdzoo.evaluation.accuracy(model, *test))
    images, targets = batches["of-specialists-0"]
    given = model.predict(np.asarray(images), verbose=0)
    np.testing.assert_allclose(targets["teacher"], given, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (EnsembleOf("a", ()), "Expected members as a tuple"),
        (EnsembleOf("a", ALL, "median"), "Unknown average"),
        (Distill("a", "mlp_2x64", SHIFTED, teacher=()), "one stage that teaches"),
        (Distill("a", "mlp_2x64", SHIFTED, teacher=ALL, average="median"), "Unknown average"),
        (
            Distill(
                "a",
                "mlp_2x64",
                SHIFTED,
                teacher=ALL,
                losses=(("Hint", {"teacher_layer": "stage1", "student_layer": "stage1"}, 1.0),),
            ),
            "losses of logits alone",
        ),
        (
            HintTraining("a", "mlp_2x64", SHIFTED, teacher=ALL, hints=("stage1", "stage1", 1)),
            "one stage that teaches",
        ),
        (Specialists("a", Dependency("teacher", 0), SHIFTED), "number of clusters or the classes"),
        (Specialists("a", Dependency("teacher", 0), SHIFTED, 11), "at most 10 clusters"),
        (
            Specialists("a", Dependency("teacher", 0), SHIFTED, classes=((0, 10),)),
            "classes from 0 to 9",
        ),
        (
            Specialists("a", Dependency("teacher", 0), Training(1, precision="auto"), 2),
            "specialists in float32.*precision='auto'",
        ),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(stage, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_data(with_stages(MEMBERS, stage, seeds=(0,)))
