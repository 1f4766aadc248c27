"""What the stage types that kdzoo has make of a model."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from tiny_experiments import SOFT, TEACHER, changed

import kdzoo
import kdzoo.data
from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Experiment,
    Train,
    Training,
    build_and_fit,
    compress_and_retrain,
    keep_teacher_outputs,
    optimizer_and_schedule,
    retraining,
)
from kdzoo.experiments.stage import directory_name

STUDENT = ("mlp_2x64", Training(2, augmentation=None))
SMALL = Experiment(
    "small",
    "digits",
    (TEACHER, Train("alone", *STUDENT), Distill("distilled", *STUDENT, losses=(SOFT,))),
    seeds=(0,),
)


def small(*stages, **settings):
    """The small experiment with these stages in the place of its students."""
    return dataclasses.replace(SMALL, stages=(TEACHER, *stages), **settings)


@pytest.mark.tensorflow
def test_a_stage_may_have_epochs_of_its_own(tmp_path):
    """The smoke mode gives it one all the same; another number is another run."""
    long = Train("long", "mlp_2x64", Training(3, augmentation=None))
    recipe = small(Train("usual", *STUDENT), long)
    rows = recipe.run(tmp_path, verbose=0)["rows"]
    epochs = {row["kind"]: len(row["history"]["loss"]) for row in rows}
    assert epochs == {"teacher": 1, "usual": 2, "long": 3}
    assert [recipe.epochs_of(name) for name in epochs] == [1, 2, 3]
    assert [recipe.smoke().epochs_of(name) for name in epochs] == [1, 1, 1]
    with pytest.raises(ValueError, match="a run with other settings"):
        changed(recipe, "long", epochs=4).run(tmp_path, verbose=0)


@pytest.mark.parametrize(("name", "other"), [("teacher", "alone"), ("alone", "teacher")])
def test_a_model_may_learn_by_momentum(name, other):
    """The rate rises for a tenth of the steps and falls as half a cosine; the rest keep AdamW."""
    data = kdzoo.data.load("digits")
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.005}
    recipe = changed(SMALL, name, **settings)
    training = recipe.stage(name).training
    steps = 10 * -(-len(data.train) // training.batch_size)
    optimizer = optimizer_and_schedule.optimizer(training, data, 10)
    config = optimizer.get_config()
    assert (config["momentum"], config["nesterov"], config["weight_decay"]) == (0.9, True, 0.005)
    rise = steps // 10
    for step, expected in (
        (0, 0.0),
        (rise // 2, 0.1 * (rise // 2) / rise),
        (rise, 0.1),
        (rise + (steps - rise) / 3, 0.05 * (1 + np.cos(np.pi / 3))),
        (steps, 0.0),
    ):
        assert float(optimizer._learning_rate(step)) == pytest.approx(expected, abs=1e-6)
    rest = optimizer_and_schedule.optimizer(recipe.stage(other).training, data)
    assert type(rest) is keras.optimizers.AdamW
    assert rest.weight_decay == 0.02
    without = dataclasses.replace(recipe.stage(other).training, weight_decay=0.0)
    assert type(optimizer_and_schedule.optimizer(without, data)) is keras.optimizers.Adam


HALF = Compression(prune=0.5, filters=0.9, training=retraining(1, augmentation=None))
START, BY_TEACHER = Dependency("distilled"), Dependency("teacher", 0)
COMPRESSION = Experiment(
    "compressed",
    "digits",
    (
        Compress("float32", START),
        Compress("half", START, HALF, teacher=BY_TEACHER),
        Compress("int8", START, Compression(quantize="int8")),
    ),
    seeds=(0,),
    base=SMALL,
)


@pytest.mark.tensorflow
def test_compressed_students_are_measured_as_files(tmp_path):
    run = tmp_path / "compressed"
    part = COMPRESSION.run(run, verbose=0, stages=["float32", "int8"])
    assert list(part["summary"]) == ["float32", "int8"]
    results = COMPRESSION.run(run, verbose=0)
    assert results["rows"][0] == part["rows"][0]
    with pytest.raises(ValueError, match=r"stage: 'int9'\. Did you mean 'int8'"):
        COMPRESSION.run(run, verbose=0, stages=["int9"])
    student = keras.saving.load_model(tmp_path / "small" / "distilled-0" / "model.keras")
    images, labels = kdzoo.data.load("digits").test.arrays()
    rows = {row["kind"]: row for row in results["rows"]}
    assert rows["float32"]["test_accuracy"] == kdzoo.evaluation.accuracy(student, images, labels)
    for name, row in rows.items():
        file = run / directory_name(name, 0) / "model.tflite"
        predicted = kdzoo.export.LiteRTModel(file).predict(images).argmax(-1)
        assert row["test_accuracy"] == np.mean(predicted == labels)
        assert row["bytes"] == file.stat().st_size == results["summary"][name]["bytes"]
        assert row["gzipped_bytes"] < row["bytes"]
    assert rows["half"]["sparsity"] == pytest.approx(0.5, abs=0.005)
    assert rows["half"]["left"] == {"filters": {"logits": "an output of the model"}}
    assert "left" not in rows["int8"]
    assert rows["int8"]["bytes"] < 0.5 * rows["float32"]["bytes"]

    # Each says what it was made from, that is, whose run it may stand beside.
    made = {
        name: json.loads((tmp_path / "small" / f"{name}-0" / "result.json").read_text())["weights"]
        for name in ("distilled", "teacher")
    }
    assert {row["start_weights"] for row in rows.values()} == {made["distilled"]}
    assert rows["half"]["teacher_weights"] == made["teacher"] != made["distilled"]

    # Of the recipe that it started from it made what it needs, and that serves the recipe.
    base = tmp_path / "small"
    assert sorted(path.name for path in base.glob("*/")) == ["distilled-0", "teacher-0"]
    models = {path: path.stat().st_mtime_ns for path in base.glob("*/model.keras")}
    SMALL.run(base, verbose=0)
    assert {path: path.stat().st_mtime_ns for path in models} == models
    whole = (base / "results.json").read_text()
    again = COMPRESSION.run(run, verbose=0)
    assert again["rows"] == json.loads(json.dumps(results["rows"]))
    assert (base / "results.json").read_text() == whole

    # A directory of other settings is refused.
    other = dataclasses.replace(HALF, prune=0.4)
    with pytest.raises(ValueError, match="run with other settings"):
        changed(COMPRESSION, "half", compression=other).run(run, verbose=0)
    with pytest.raises(ValueError, match=r"prune=2\.0"):
        changed(COMPRESSION, "half", compression=Compression(2.0)).run(tmp_path / "no")


@pytest.mark.tensorflow
@pytest.mark.large
def test_several_seeds_compress_one_student(tmp_path):
    """Of a student whose training takes long there is one seed; compressing it takes less."""
    start = Dependency("distilled", 0)
    stages = (Compress("float32", start, seeds=(0,)), Compress("half", start, HALF))
    stages += (Compress("int8", start, Compression(quantize="int8"), seeds=(0,)),)
    recipe = dataclasses.replace(COMPRESSION, stages=stages, seeds=(0, 1))
    before = dataclasses.replace(recipe, seeds=(0,)).run(tmp_path / "one", verbose=0)
    results = recipe.run(tmp_path / "one", verbose=0)
    made = [(row["kind"], row["seed"]) for row in results["rows"]]
    assert sorted(made) == [("float32", 0), ("half", 0), ("half", 1), ("int8", 0)]
    # What the first seed had is what it has, and they differ in nothing but the seed.
    assert [row for row in results["rows"] if row["seed"] == 0] == before["rows"]
    assert len({row["start_weights"] for row in results["rows"]}) == 1
    halves = [row for row in results["rows"] if row["kind"] == "half"]
    assert halves[0]["history"] != halves[1]["history"]
    assert sorted(path.name for path in (tmp_path / "small").glob("*/")) == [
        "distilled-0",
        "teacher-0",
    ]
    # Of another student it would be another model.
    with pytest.raises(ValueError, match="run with other settings"):
        changed(recipe, "half", start=Dependency("distilled")).run(tmp_path / "one", verbose=0)
    once = changed(SMALL, "distilled", seeds=(0,))
    with pytest.raises(ValueError, match="at most 1 seeds"):
        dataclasses.replace(COMPRESSION, seeds=(0, 1), base=once).run(tmp_path / "no", verbose=0)


@pytest.mark.large
@pytest.mark.tensorflow
def test_students_that_tap_other_layers_share_a_run(tmp_path):
    """Each set of layers has a record of its own."""
    hint = ("Hint", {"teacher_layer": "stage1", "student_layer": "stage1"}, 1.0)
    student = ("mlp_2x64", Training(1))
    small(
        Distill("soft", *student, losses=(SOFT,), views=1),
        Distill("hinted", *student, losses=(SOFT, hint), views=1),
    ).run(tmp_path, verbose=0)
    found = {path.parent.name for path in tmp_path.rglob("index.json")}
    assert found == {"recorded_teacher", "recorded_teacher-stage1"}


@pytest.mark.large
@pytest.mark.tensorflow
def test_compressing_takes_the_outputs_that_the_student_learned_from(tmp_path, monkeypatch):
    base = changed(changed(SMALL, "distilled", views=3), augmentation="default")
    half = Compression(prune=0.5, training=retraining(1))
    stage = Compress("half", START, half, teacher=BY_TEACHER, views=3)
    recipe = dataclasses.replace(COMPRESSION, stages=(stage,), base=base)
    given, original = [], compress_and_retrain.compress

    def spy(*args, **options):
        given.append(options["recorded"].views)
        return original(*args, **options)

    monkeypatch.setattr(compress_and_retrain, "compress", spy)
    recipe.run(tmp_path / "compressed", verbose=0)
    assert given == [3]
    [record] = [path.parent for path in tmp_path.rglob("index.json")]
    assert record == tmp_path / "small" / "recorded_teacher"
    # Where it is gone, no more is recorded than the epochs see, and later what they lack.
    shutil.rmtree(record)
    slow = Compression(prune=0.5, training=retraining(2))
    stages = (stage, dataclasses.replace(stage, name="slow", compression=slow))
    for number in range(2):
        again = dataclasses.replace(recipe, stages=stages)
        again.run(tmp_path / f"again {number}", verbose=0)
    assert given == [3, 1, 2, 2, 2]
    assert len(list(record.glob("*.arrayrecord"))) == 2
    files = [path.read_bytes() for path in tmp_path.glob("*/half-0/model.tflite")]
    assert len(files) == 3
    assert len(set(files)) == 1


ATTENTION = {"teacher_layer": ["stage1", "stage2"], "student_layer": ["stage1", "stage2"]}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "losses",
    [
        (SOFT,),
        pytest.param(
            (SOFT, ("AttentionTransfer", ATTENTION, 1000.0)), marks=pytest.mark.large, id="taps"
        ),
    ],
)
def test_outputs_predicted_once_teach_as_the_teacher_does(losses, tmp_path, monkeypatch):
    """The same run, the teacher predicting beforehand or at every step."""
    rows, tapped = [], len(losses) > 1
    recipe = small(Distill("taught", *STUDENT, losses=losses))
    recipe = changed(recipe, architecture="separable_025") if tapped else recipe
    for at_once in (True, False):
        monkeypatch.setattr(Distill, "predicts_once", at_once)
        results = recipe.run(tmp_path / str(at_once), verbose=0)
        rows += [row for row in results["rows"] if row["kind"] == "taught"]
    # What layers gave is kept in float16, with a relative error of 2 ** -11.
    np.testing.assert_allclose(
        rows[0]["history"]["loss"],
        rows[1]["history"]["loss"],
        rtol=2e-3 if tapped else 1e-4,
        atol=1e-6,
    )


@pytest.mark.tensorflow
def test_a_teacher_predicts_once_per_view_for_all_students(tmp_path, monkeypatch):
    """Its outputs are recorded by the first student, and taught from by each."""
    student = ("mlp_2x64", Training(3))
    teaching = {"losses": (SOFT,), "views": 2, "student_loss_weight": 0.0}
    recipe = small(
        Distill("one", *student, **teaching),
        Distill("two", *student, **teaching),
        Train("alone", *student),
    )
    made, record = [], keep_teacher_outputs.record_teacher
    monkeypatch.setattr(
        keep_teacher_outputs,
        "record_teacher",
        lambda *args, **more: made.append(record(*args, **more)),
    )
    results = recipe.run(tmp_path, verbose=0)
    shards = {path: path.stat().st_mtime_ns for path in made[0].glob("*.arrayrecord")}
    assert len(made) == 2
    assert len(shards) == 2
    one, two, alone = (row["history"]["loss"] for row in results["rows"][1:])
    assert one == two
    assert not np.allclose(one, alone)

    # The same by hand: the record, and the live teacher on the same views of the images.
    teacher = keras.saving.load_model(tmp_path / "teacher-0" / "model.keras")
    data = kdzoo.data.load(recipe.data)
    kdzoo.data.record_teacher(teacher, data.train, made[0], 2, augmentation="default")
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    split = kdzoo.data.with_recorded_teacher(data.train, made[0], teacher)
    for images, targets in split.batches(100, initial_epoch=1):
        outputs = teacher.predict_on_batch(np.asarray(images))
        np.testing.assert_allclose(np.asarray(targets["teacher"]), outputs, rtol=2e-3, atol=2e-3)


def test_predicted_layers_are_the_teachers():
    images = kdzoo.data.load("digits").test.arrays()[0][:30]
    teacher = kdzoo.create("mlp_2x64", 10, images.shape[1:])
    hidden = teacher.layers[-2].name
    outputs = keep_teacher_outputs.predict(teacher, images, [hidden], batch_size=7)
    layer = keras.Model(teacher.input, teacher.get_layer(hidden).output)
    expected = keras.ops.convert_to_numpy(layer(images))
    assert outputs[hidden].dtype == "float16"
    np.testing.assert_allclose(outputs[hidden], expected, rtol=2**-10, atol=1e-6)
    logits = keras.ops.convert_to_numpy(teacher(images, training=False))
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-5, atol=1e-6)
    teacher.set_weights([1e5 * weight for weight in teacher.get_weights()])
    with pytest.raises(ValueError, match=f"up to 65504. Received: .*{hidden}"):
        keep_teacher_outputs.predict(teacher, images, [hidden])


@pytest.mark.tensorflow
@pytest.mark.parametrize("augmentation", [None, "default"])
def test_how_a_student_is_taught_reaches_its_distiller(augmentation, tmp_path, monkeypatch):
    """Losses, weights, the schedule of the first, and the precision of a teacher that predicts."""
    losses = (("SoftTargets", {}, 0.25), ("LogitRegression", {}, 3.0))
    stage = Distill("taught", "mlp_2x64", Training(2, augmentation=augmentation), losses=losses)
    half = "mixed_bfloat16"
    stage = dataclasses.replace(stage, teacher_weight=(4.0, 1.0), teacher_precision=half)
    seen = []

    def note(model, training, context, batches, callbacks=None, reuse=False, loss=None):
        seen.append((model, callbacks))
        return {}

    monkeypatch.setattr(build_and_fit, "fit", note)
    changed(small(stage), "teacher", precision=half).run(tmp_path, verbose=0)
    (teacher, _), (distiller, [anneal]) = seen
    assert teacher.dtype_policy.name == half
    names = [type(loss).__name__ for loss in distiller.distillation_losses]
    assert names == ["SoftTargets", "LogitRegression"]
    assert distiller.distillation_loss_weights == (0.25, 3.0)
    assert [anneal.schedule(epoch) for epoch in range(2)] == [4.0, 1.0]
    assert distiller.student.dtype_policy.name == "float32"
    if augmentation is None:
        assert distiller.teacher is None
    else:
        assert distiller.teacher.get_layer("stage1").compute_dtype == "bfloat16"
        saved = keras.saving.load_model(tmp_path / "teacher-0" / "model.keras")
        assert saved.compute_dtype == "float32"
        for ours, theirs in zip(distiller.teacher.get_weights(), saved.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.large
@pytest.mark.tensorflow
def test_half_precision_is_for_training_alone(tmp_path):
    changed(SMALL, precision="mixed_bfloat16").run(tmp_path, verbose=0)
    model = keras.saving.load_model(tmp_path / "distilled-0" / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_the_teacher_may_see_augmented_images_of_its_own(tmp_path, monkeypatch):
    given = {"shift": 2, "cutout": 3}
    recipe = changed(SMALL, "teacher", augmentation=given)
    recipe = changed(recipe, "alone", augmentation="default")
    first = []

    def note(model, training, context, batches, callbacks=None, reuse=False, loss=None):
        first.append(next(iter(batches(0)))[0])
        return {}

    monkeypatch.setattr(build_and_fit, "fit", note)
    recipe.run(tmp_path, verbose=0, stages=["teacher", "alone"])
    data = kdzoo.data.load("digits")
    own = kdzoo.data.Augmentation(**given)
    for found, augmentation in zip(first, (own, "default"), strict=True):
        expected = next(iter(data.train.batches(128, shuffle=True, augmentation=augmentation)))[0]
        np.testing.assert_array_equal(found, expected)
    # Holes are for other images than digits.
    assert recipe.smoke().stage("teacher").training.augmentation == "default"
