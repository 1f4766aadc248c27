"""What a comparison reports, and that its two students differ in the teaching alone."""

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdzoo
import kdzoo.data
from kdzoo.recipes import RECIPES, Comparison, CompressionComparison, Student
from kdzoo.recipes.clock import Clock
from kdzoo.recipes.results import fingerprint, summarize

TINY = Comparison(
    data="digits",
    teacher="mlp_2x64",
    student="mlp_2x64",
    teacher_epochs=1,
    epochs=1,
    seeds=(0, 1),
    student_loss_weight=1.0,
)


SOFT_TARGETS = (("SoftTargets", {"temperature": 4.0}, 1.0),)


# Trainings of recipes run on TensorFlow only; what they consist of is tested on both backends.
on_tensorflow = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a finished run, and what it returned."""
    directory = tmp_path_factory.mktemp("finished")
    keras.utils.set_random_seed(0)
    return directory, TINY.run(directory, verbose=0)


def test_the_median_run_is_named():
    rows = [
        {"kind": "alone", "seed": seed, "test_accuracy": accuracy}
        for seed, accuracy in ((0, 0.97), (1, 0.91), (2, 0.95))
    ]
    summary = summarize(rows, "alone")
    assert summary["median_seed"] == 2
    assert summary["mean"] == pytest.approx(np.mean([0.97, 0.91, 0.95]))
    assert summary["std"] == pytest.approx(np.std([0.97, 0.91, 0.95], ddof=1))


@on_tensorflow
def test_with_the_labels_alone_distilled_and_alone_are_the_same_run(finished):
    """A weight of 1 on labels leaves nothing of the teacher: same start, same batches, same end."""
    tmp_path, results = finished
    by_kind = {(row["kind"], row["seed"]): row for row in results["rows"]}
    for seed in TINY.seeds:
        ours, theirs = by_kind["distilled", seed], by_kind["alone", seed]
        np.testing.assert_allclose(ours["history"]["loss"], theirs["history"]["loss"], rtol=1e-4)
        assert ours["test_accuracy"] == pytest.approx(theirs["test_accuracy"], abs=2e-3)
    accuracies = [by_kind["alone", seed]["test_accuracy"] for seed in TINY.seeds]
    assert results["summary"]["alone"]["mean"] == pytest.approx(statistics.fmean(accuracies))
    assert results["data_version"].startswith("scikit-learn ")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == json.loads(json.dumps(results))

    model = keras.saving.load_model(tmp_path / "alone-1" / "model.keras")

    x, y = kdzoo.data.load("digits").test.arrays()
    accuracy = (model.predict(x, verbose=0).argmax(-1) == y).mean()
    assert by_kind["alone", 1]["test_accuracy"] == pytest.approx(accuracy)


@on_tensorflow
def test_what_is_trained_loads_with_nothing_but_keras(finished):
    load = "import keras, sys; [keras.saving.load_model(path) for path in sys.argv[1:]]"
    paths = [finished[0] / kind / "model.keras" for kind in ("teacher-0", "alone-0", "distilled-0")]
    done = subprocess.run([sys.executable, "-c", load, *paths], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


@on_tensorflow
def test_a_kind_of_student_may_have_fewer_seeds(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    teaching = TINY.kinds["distilled"].losses
    students = {"alone": Student(seed_count=1), "distilled": Student(teaching)}
    recipe = dataclasses.replace(TINY, students=students)
    # What was trained for all of them is the same run.
    rows = recipe.run(tmp_path / "run", verbose=0)["rows"]
    stages = [(row["kind"], row["seed"]) for row in rows]
    assert stages == [("teacher", 0), ("alone", 0), ("distilled", 0), ("distilled", 1)]
    assert [row for row in finished[1]["rows"] if (row["kind"], row["seed"]) in stages] == rows
    compressing = CompressionComparison("tiny", recipe, "alone", {}, seeds=(1, 0))
    assert compressing.started_from.seeds_of("alone") == (1,)


def test_a_kind_of_student_has_a_seed():
    recipe = dataclasses.replace(TINY, students={"alone": Student(seed_count=0)})
    with pytest.raises(ValueError, match="seed_count"):
        recipe.load_data()


@pytest.mark.parametrize("field", ["precision", "teacher_precision"])
def test_the_teacher_answers_in_the_precision_for_training(field):
    from kdzoo.recipes.fitting import Fitting

    data = kdzoo.data.load("digits")
    recipe = dataclasses.replace(TINY, **{field: "mixed_bfloat16"})
    teacher = recipe.create("teacher", data)
    asked = Fitting(recipe, "distilled", 0, data, teacher)._teacher_beside_the_student()
    assert teacher.compute_dtype == "float32"
    assert asked.get_layer("stage1").compute_dtype == "bfloat16"
    for ours, theirs in zip(asked.get_weights(), teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("student", "separable_025"),
        ("epochs", 7),
        ("learning_rate", 0.5),
        ("temperature", 2.0),
        ("student_loss_weight", 0.5),
        ("precision", "mixed_bfloat16"),
        ("weight_decay", 0.5),
        ("optimizer", "sgd"),
    ],
)
def test_a_teacher_stays_where_its_students_change(field, value):
    """It is trained again only for what it depends on itself."""
    own = {"teacher_precision": "float32", "teacher_weight_decay": 0.005}
    before = dataclasses.replace(TINY, **own)
    after = dataclasses.replace(before, **{field: value})
    assert after.stage_settings("teacher", 0) == before.stage_settings("teacher", 0)
    assert after.stage_settings("alone", 0) != before.stage_settings("alone", 0)
    for teachers, other in (("teacher_precision", "mixed_bfloat16"), ("teacher_weight_decay", 0.1)):
        changed = dataclasses.replace(before, **{teachers: other})
        assert changed.stage_settings("teacher", 0) != before.stage_settings("teacher", 0)


@pytest.mark.parametrize(
    ("side", "kind", "other"), [("teacher_", "teacher", "alone"), ("", "alone", "teacher")]
)
def test_a_model_may_learn_by_momentum(side, kind, other):
    """The rate rises for a tenth of the steps and falls as half a cosine; the rest keep AdamW."""
    from kdzoo.recipes.fitting import Fitting

    data = kdzoo.data.load("digits")
    settings = {f"{side}optimizer": "sgd", f"{side}learning_rate": 0.1}
    recipe = dataclasses.replace(TINY, **settings, **{f"{side}weight_decay": 0.005})
    steps = 10 * -(-len(data.train) // recipe.batch_size)
    optimizer = Fitting(recipe, kind, 0, data, None).optimizer(10)
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
    rest = Fitting(recipe, other, 0, data, None).optimizer(10)
    assert type(rest) is keras.optimizers.AdamW
    assert rest.weight_decay == recipe.weight_decay
    with pytest.raises(ValueError, match=rf"Unknown {side}optimizer: 'sdg'\. Did you mean 'sgd'"):
        dataclasses.replace(TINY, **{f"{side}optimizer": "sdg"}).run("nowhere")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"precision": "mixed_bfloat_16"}, "Did you mean 'mixed_bfloat16'"),
        ({"teacher_precision": "float16"}, "Did you mean 'float32'|'mixed_bfloat16'"),
        ({"precision": None}, "Unknown precision: None"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1"),
        ({"weight_decay": None}, "weight_decay=None"),
        ({"learning_rate": None}, "learning_rate=None"),
        ({"seeds": (0, -1)}, r"seeds=\(0, -1\)"),
        ({"seeds": (2**32,)}, "from 0 to"),
        ({"seeds": 5}, "Expected seeds as a tuple. Received: seeds=5"),
        ({"epochs": True}, "Received: epochs=True"),
        ({"teacher_augmentation": 5}, "Received: teacher_augmentation=5"),
        ({"students": ["alone"]}, r"name of a kind -> Student.*students=\['alone'\]"),
        ({"students": {"alone": 5}}, "name of a kind -> Student"),
        ({"students": {3: Student()}}, "name of a kind -> Student"),
        ({"students": {"hinted": Student(SOFT_TARGETS, hints=3)}}, "layer, epochs.*hints=3"),
        ({"seeds": (0.5,)}, "Expected seeds to be integers"),
        ({"teacher_weight_decay": float("nan")}, "teacher_weight_decay=nan"),
    ],
)
def test_settings_are_checked_before_anything_is_trained(settings, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TINY, **settings).run(tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())


@on_tensorflow
def test_a_run_of_before_a_field_was_there_goes_on(finished, tmp_path):
    directory, first = finished
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/result.json"):
        row = json.loads(path.read_text())
        del row["settings"]["enlarge"]
        path.write_text(json.dumps(row))
    assert TINY.run(tmp_path, verbose=0)["rows"] == json.loads(json.dumps(first["rows"]))


@pytest.fixture
def unknown_digits(tmp_path):
    """A directory with data of MNIST's form, of which no model knows anything."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (80, 28, 28, 1), np.uint8), np.arange(80) % 10
    data = kdzoo.data.from_arrays(x[:60], y[:60], test=(x[60:], y[60:]), name="unknown")
    return kdzoo.data.export(data, tmp_path / "unknown")


@on_tensorflow
def test_a_pretrained_teacher_teaches_as_it_is(unknown_digits, tmp_path):
    name = "fitnet_mnist/mnist"
    recipe = dataclasses.replace(TINY, data=str(unknown_digits), teacher=name, seeds=(0,))
    rows = {row["kind"]: row for row in recipe.run(tmp_path / "run", verbose=0)["rows"]}
    shipped = kdzoo.load(name)
    x, y = kdzoo.data.load(str(unknown_digits)).test.arrays()
    ours = keras.saving.load_model(tmp_path / "run" / "teacher-0" / "model.keras")
    np.testing.assert_array_equal(ours.predict(x, verbose=0), shipped.predict(x, verbose=0))
    accuracy = (shipped.predict(x, verbose=0).argmax(-1) == y).mean()
    assert rows["teacher"]["test_accuracy"] == pytest.approx(accuracy)
    assert (rows["teacher"]["seconds"], rows["teacher"]["history"]) == (0.0, {})
    assert rows["distilled"]["teacher_weights"] == fingerprint(shipped)
    assert recipe.smoke().teacher == "fitnet_mnist"


def test_a_kind_of_student_may_have_an_optimizer_of_its_own():
    from kdzoo.recipes.fitting import Fitting

    own = Student(optimizer="sgd", learning_rate=0.05, weight_decay=0.001)
    recipe = dataclasses.replace(TINY, students={"alone": Student(), "own": own})
    data = kdzoo.data.load("digits")
    optimizer = Fitting(recipe, "own", 0, data, None).optimizer(1)
    assert type(optimizer) is keras.optimizers.SGD
    steps = -(-len(data.train) // recipe.batch_size)
    assert float(optimizer._learning_rate(max(1, steps // 10))) == pytest.approx(0.05)
    assert optimizer.weight_decay == 0.001
    usual = Fitting(recipe, "alone", 0, data, None).optimizer(1)
    assert type(usual) is keras.optimizers.AdamW
    assert usual.weight_decay == TINY.weight_decay
    assert "optimizer" not in recipe.settings_of("alone")["taught"]
    assert recipe.settings_of("own")["taught"]["optimizer"] == "sgd"


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("optimizer", "sdg", "Did you mean 'sgd'"),
        ("learning_rate", 0.0, "Expected learning_rate above 0"),
        ("learning_rate", float("nan"), "Expected learning_rate above 0"),
        ("learning_rate", "0.1", "Expected learning_rate above 0"),
        ("weight_decay", -1.0, "Expected weight_decay of at least 0"),
        ("optimizer", "adamw", "Expected a learning_rate beside an optimizer"),
        ("teacher_weight", (4.0,), "the first and the last weight"),
        ("losses", (("SoftTargets", {}),), "name, arguments, weight"),
        (
            "losses",
            (("SoftTargets", {"temprature": 4.0}, 1.0),),
            "arguments that SoftTargets takes",
        ),
        ("arguments", {"depht": 3}, "arguments that 'mlp_2x64' takes"),
    ],
)
def test_what_a_kind_has_of_its_own_is_checked(field, value, complaint, tmp_path):
    recipe = dataclasses.replace(TINY, students={"alone": Student(**{field: value})})
    with pytest.raises(ValueError, match=complaint):
        recipe.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kinds", [("teacher",), ("a b", "a-b")])
def test_kinds_have_directories_of_their_own(kinds, tmp_path):
    recipe = dataclasses.replace(TINY, students={kind: Student() for kind in kinds})
    with pytest.raises(ValueError, match="directories differ"):
        recipe.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@on_tensorflow
def test_how_the_teacher_would_train_is_nothing_to_a_pretrained_one(unknown_digits, tmp_path):
    fields = {"data": str(unknown_digits), "teacher": "fitnet_mnist/mnist", "seeds": (0,)}
    recipe = dataclasses.replace(TINY, **fields)
    rows = recipe.run(tmp_path / "run", verbose=0)["rows"]
    other = {"epochs": 5, "learning_rate": 1.0, "optimizer": "sgd", "weight_decay": 0.5}
    other = {f"teacher_{field}": value for field, value in other.items()}
    again = dataclasses.replace(recipe, **other).run(tmp_path / "run", verbose=0)["rows"]
    assert again == json.loads(json.dumps(rows))


def test_a_smoke_run_has_the_arguments_of_the_network_that_it_has():
    fields = {"teacher": "separable_025/mnist", "smoke_settings": {"teacher": "mlp_2x64"}}
    smoke = dataclasses.replace(TINY, **fields).smoke()
    assert smoke.built_from("teacher") == ("mlp_2x64", {})
    smoke = dataclasses.replace(TINY, teacher="separable_025/mnist").smoke()
    assert smoke.built_from("teacher") == ("separable_025", {"halvings": 1})


def test_a_training_that_is_gone_on_with_names_all_commits(tmp_path, monkeypatch):
    for commit in ("one", "two", "two"):
        monkeypatch.setattr("kdzoo.recipes.clock.versions", lambda now=commit: {"commit": now})
        clock = Clock(tmp_path)
        clock.on_epoch_end(0)
    assert clock.versions == {"commit": "one, two"}
    clock.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"teacher": "fitnet_mnst/mnist"}, "Did you mean 'fitnet_mnist/mnist'"),
        ({"teacher_arguments": {"depth": 3}}, "Expected no teacher_arguments"),
        ({"data": "digits"}, r"images of \(8, 8, 1\)"),
        ({"data": "renamed"}, r"Expected a teacher of the 10 classes .* has 'zero', .* '0'"),
        ({"data": "fewer"}, r"Expected a teacher of the 9 classes .* has None, .* has '9'"),
    ],
)
def test_a_pretrained_teacher_of_other_data_is_refused(
    settings, complaint, unknown_digits, tmp_path
):
    classes = {"renamed": ["zero", *"123456789"], "fewer": list("012345678")}
    for name, names in classes.items():
        x, y = np.zeros((60, 28, 28, 1), np.uint8), np.arange(60) % len(names)
        data = kdzoo.data.from_arrays(x, y, test=(x, y), class_names=names)
        kdzoo.data.export(data, tmp_path / name)
    if settings.get("data") in classes:
        settings = {"data": str(tmp_path / settings["data"])}
    fields = {"data": str(unknown_digits), "teacher": "fitnet_mnist/mnist", **settings}
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TINY, **fields).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@on_tensorflow
def test_the_time_before_a_kill_counts(tmp_path):
    recipe = dataclasses.replace(TINY, seeds=(0,))
    (tmp_path / "teacher-0").mkdir()
    before = {"seconds": 3600.0, "commits": []}
    (tmp_path / "teacher-0" / "seconds.json").write_text(json.dumps(before))
    (teacher, alone, _) = recipe.run(tmp_path, verbose=0)["rows"]
    assert 3600 < teacher["seconds"] < 3600 + 600
    assert 0 < alone["seconds"] < 600
    # What is trained anew, without its result, does not count it twice.
    assert not (tmp_path / "teacher-0" / "seconds.json").exists()


@on_tensorflow
def test_a_directory_of_another_run_is_refused(finished):
    tmp_path, _ = finished
    with pytest.raises(ValueError, match="run with other settings; choose another directory"):
        dataclasses.replace(TINY, epochs=2).run(tmp_path, verbose=0)


@on_tensorflow
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("another", "a file that holds another model"),
        ("cut", "a damaged file"),
        ("gone", "no such"),
    ],
)
def test_a_teacher_that_is_not_the_one_that_was_trained_teaches_nobody(
    finished, tmp_path, damage, complaint
):
    home, _ = finished
    run = tmp_path / "run"
    shutil.copytree(home, run)
    teacher, row = run / "teacher-0" / "model.keras", run / "distilled-1" / "result.json"
    row.unlink()
    if damage == "another":
        shutil.copy(home / "alone-0" / "model.keras", teacher)
    elif damage == "cut":
        teacher.write_bytes(teacher.read_bytes()[:100])
    else:
        teacher.unlink()
    with pytest.raises(ValueError, match=rf"{complaint}.*delete teacher-0, which is then trained"):
        TINY.run(run, verbose=0)
    assert not row.exists()
    shutil.copy(home / "teacher-0" / "model.keras", teacher)
    TINY.run(run, verbose=0)
    assert row.exists()


@on_tensorflow
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "alone", "seed": 0}'])
def test_a_damaged_file_of_a_run_is_named(finished, tmp_path, content):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for name, remedy in (
        ("alone-0/result.json", "delete alone-0, which is then trained again"),
        ("data.json", "delete it"),
    ):
        before = (run / name).read_text()
        (run / name).write_text(content)
        with pytest.raises(ValueError, match=rf"Expected \S+{name} to be .*{remedy}"):
            TINY.run(run, verbose=0)
        (run / name).write_text(before)


@on_tensorflow
def test_a_run_of_other_images_is_refused(tmp_path):
    """Also half of one: a directory may be exported anew while a recipe is being trained."""
    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 1)).astype("uint8")
    for part in (slice(60), slice(90)):
        data = kdzoo.data.from_arrays(images[part], np.arange(90)[part] % 10, name="mine")
        test = dataclasses.replace(data, test=data.validation)
        kdzoo.data.export(test, tmp_path / str(part.stop) / "mine")
    recipe = dataclasses.replace(TINY, data="mine", seeds=(0,))
    home, places = tmp_path / "home", [tmp_path / "60", tmp_path / "90"]
    recipe.run(home, places[0], verbose=0, kinds=["alone"])
    with pytest.raises(ValueError, match=r"was begun with, mine in version .*test split"):
        recipe.run(home, places[1], verbose=0)
    assert not (home / "distilled-0").exists()

    # A run of before it was kept what the images are has its results to tell.
    (home / "data.json").unlink()
    with pytest.raises(ValueError, match=r"'test': 6}\. Received: mine with .*'test': 9}"):
        recipe.run(home, places[1], verbose=0)
    assert not (home / "data.json").exists()
    assert len(recipe.run(home, places[0], verbose=0)["rows"]) == 3


@on_tensorflow
def test_the_answers_of_a_teacher_that_is_gone_are_not_left_to_another(tmp_path):
    recipe = dataclasses.replace(TINY, seeds=(0,), views=1)
    recipe.run(tmp_path, verbose=0, kinds=["distilled"])
    shutil.rmtree(tmp_path / "teacher-0")
    shutil.rmtree(tmp_path / "distilled-0")
    with pytest.raises(ValueError, match="put it back, or delete recorded_teacher"):
        recipe.run(tmp_path, verbose=0)
    assert not (tmp_path / "teacher-0").exists()
    shutil.rmtree(tmp_path / "recorded_teacher")
    assert len(recipe.run(tmp_path, verbose=0, kinds=["distilled"])["rows"]) == 2


@on_tensorflow
def test_kinds_are_trained_one_at_a_time(finished, tmp_path):
    home, results = finished
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    assert TINY.run(tmp_path, verbose=0, kinds=[])["rows"] == results["rows"]
    # A kind counts when it is finished for all seeds.
    more = dataclasses.replace(TINY, seeds=(*TINY.seeds, 7))
    assert list(more.run(tmp_path, verbose=0, kinds=[])["summary"]) == ["teacher"]
    assert list(more.run(tmp_path, verbose=0, kinds=["alone"])["summary"]) == ["teacher", "alone"]
    with pytest.raises(ValueError, match=r"Unknown kind of student: 'alon'\. Did you mean 'alone'"):
        TINY.run(tmp_path, verbose=0, kinds=["alon"])


def test_recipes_name_what_exists():
    from kdzoo.data.augmentation import DEFAULTS
    from kdzoo.zoo.registry import architecture

    for recipe in RECIPES.values():
        assert recipe.data in DEFAULTS
        assert architecture(recipe.teacher)
        assert architecture(recipe.student)
