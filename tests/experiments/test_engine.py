"""What the engine makes, resumes, refuses and reports, whatever the stages are."""

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys

import keras
import numpy as np
import pytest
from tiny_experiments import STUDENT, TEACHER, TINY, changed, with_stages

import kdzoo
import kdzoo.data
from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Experiment,
    HintTraining,
    Pretrained,
    Train,
    Training,
    soft_targets,
)
from kdzoo.experiments.engine import load_data
from kdzoo.experiments.finished_stages import Runs, fingerprint
from kdzoo.experiments.stage import Node
from kdzoo.experiments.summary_over_seeds import summarize
from kdzoo.experiments.training_time import Clock

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


@pytest.mark.large
@on_tensorflow
def test_what_is_trained_loads_with_nothing_but_keras(finished):
    load = "import keras, sys; [keras.saving.load_model(path) for path in sys.argv[1:]]"
    paths = [finished[0] / kind / "model.keras" for kind in ("teacher-0", "alone-0", "distilled-0")]
    done = subprocess.run([sys.executable, "-c", load, *paths], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


@on_tensorflow
def test_a_stage_may_have_seeds_of_its_own(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    recipe = changed(TINY, "alone", seeds=(0,))
    # What was trained for all of them is the same run.
    rows = recipe.run(tmp_path / "run", verbose=0)["rows"]
    stages = [(row["kind"], row["seed"]) for row in rows]
    assert stages == [("teacher", 0), ("alone", 0), ("distilled", 0), ("distilled", 1)]
    assert [row for row in finished[1]["rows"] if (row["kind"], row["seed"]) in stages] == rows


def test_a_stage_has_a_seed():
    with pytest.raises(ValueError, match="at least one seed"):
        load_data(changed(TINY, "alone", seeds=()))


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ((TEACHER, Distill("a", *STUDENT, teacher=Dependency("techer", 0))), "Did you mean 'teach"),
        ((TEACHER, Distill("a", *STUDENT, teacher=Dependency("teacher", 1))), "at most 1 seeds"),
        ((TEACHER, Distill("a", *STUDENT, teacher=Dependency("teacher"))), "Received: 1"),
        ((Distill("a", *STUDENT, teacher=Dependency("a")),), "themselves. Received: a -> a"),
        ((TEACHER, TEACHER), "'teacher' and 'teacher', both in teacher-0"),
        ((TEACHER, "alone"), "Expected stages as a tuple"),
        ((), "Expected stages as a tuple"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(stages, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TINY, stages=stages).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dependency_takes_the_same_seed_a_fixed_one_or_all():
    stages = [
        Distill(name, *STUDENT, teacher=Dependency("alone", seed))
        for name, seed in (("same", "same"), ("fixed", 1), ("all", "all"))
    ]
    recipe = dataclasses.replace(TINY, stages=(Train("alone", *STUDENT), *stages))
    for name, expected in (("same", [[0], [1]]), ("fixed", [[1], [1]]), ("all", [[0, 1], [0, 1]])):
        found = [recipe.sources(name, seed)["teacher"] for seed in recipe.seeds]
        assert [[node.seed for node in nodes] for nodes in found] == expected
    order = [tuple(node)[1:] for node in recipe.needed(["all"])]
    assert order == [("alone", 0), ("alone", 1), ("all", 0), ("all", 1)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", "separable_025"),
        ("epochs", 7),
        ("learning_rate", 0.5),
        ("losses", soft_targets(2.0)),
        ("student_loss_weight", 0.5),
        ("precision", "mixed_bfloat16"),
        ("weight_decay", 0.5),
        ("optimizer", "sgd"),
        ("augmentation", None),
        ("views", 3),
    ],
)
def test_a_teacher_stays_where_its_student_changes(name, value):
    """A stage is made again only for what it depends on itself."""
    after = changed(TINY, "distilled", **{name: value})
    assert after.identity("teacher", 0) == TINY.identity("teacher", 0)
    assert after.identity("alone", 0) == TINY.identity("alone", 0)
    assert after.identity("distilled", 0) != TINY.identity("distilled", 0)


def test_what_learns_from_a_changed_teacher_changes():
    after = changed(TINY, "teacher", learning_rate=0.5)
    for name, stays in (("teacher", False), ("alone", True), ("distilled", False)):
        assert (after.identity(name, 0) == TINY.identity(name, 0)) is stays
    for other in (
        {"data": "mnist"},
        {"validation": 0.5},
        {"enlarge": 2},
        {"split_by_seed": True},
    ):
        after = dataclasses.replace(TINY, **other)
        assert after.identity("alone", 0) != TINY.identity("alone", 0)
    assert TINY.identity("alone", 1) != TINY.identity("alone", 0)


def test_a_number_is_what_it_is_in_any_type():
    """4 and 4.0, and those of NumPy, are one setting, and one default."""
    plain = changed(TINY, "distilled", learning_rate=1.0, losses=soft_targets(3.0), weight_decay=0)
    plain = dataclasses.replace(plain, enlarge=2)
    same = dataclasses.replace(plain, enlarge=np.int64(2), seeds=(np.int64(0), np.uint32(1)))
    same = changed(same, "teacher", seeds=(np.int32(0),), epochs=np.int64(1))
    changes = {"learning_rate": 1, "losses": soft_targets(np.int64(3)), "weight_decay": 0.0}
    same = changed(same, "distilled", **changes, batch_size=np.int64(128))
    same = changed(same, "distilled", teacher=Dependency("teacher", np.int64(0)))
    same.check()
    for node, other in zip(plain.needed(), same.needed(), strict=True):
        assert node == other
        assert type(other.seed) is int
        assert same.identity(*other[1:]) == plain.identity(*node[1:])
    usual, halves = soft_targets(4), soft_targets(4.5)
    assert "losses" not in changed(TINY, "distilled", losses=usual).settings("distilled", 0)
    assert "losses" in changed(TINY, "distilled", losses=halves).settings("distilled", 0)
    Compression(np.float32(0.5), np.int64(4), training=Training(np.int64(1))).check()
    with pytest.raises(ValueError, match="cluster=True"):
        Compression(cluster=True).check()


@on_tensorflow
def test_a_run_with_numbers_of_numpy_is_the_usual_one(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    same = dataclasses.replace(TINY, seeds=tuple(np.arange(2)))
    assert same.run(tmp_path, verbose=0)["rows"] == json.loads(json.dumps(finished[1]["rows"]))


@on_tensorflow
def test_a_row_of_another_stage_or_seed_or_of_an_earlier_kdzoo_is_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    result = tmp_path / "alone-0" / "result.json"
    row = json.loads(result.read_text())
    without = {key: value for key, value in row.items() if key != "identity"}
    settings = row["settings"]
    for content, complaint in (
        (without, "Received: a run of an earlier kdzoo; delete that folder"),
        (row | {"identity": "0" * 64}, "Received: a run with other settings; delete that"),
        (
            row | {"kind": "distilled", "settings": settings | {"kind": "distilled"}},
            "alone-0 to hold 'alone' with seed 0. Received: 'distilled' with seed 0",
        ),
        (row | {"seed": 1, "settings": settings | {"seed": 1}}, "Received: 'alone' with seed 1"),
    ):
        result.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=complaint):
            TINY.run(tmp_path, verbose=0)


def test_defaults_are_what_they_were():
    """What is at its default is left out of identities: another default would mix up runs."""
    expected = {
        Training: {
            "learning_rate": 3e-3,
            "weight_decay": 0.02,
            "optimizer": "adamw",
            "batch_size": 128,
            "precision": "float32",
            "augmentation": "default",
        },
        Compression: {
            "prune": None,
            "cluster": None,
            "quantize": None,
            "training": Training(3, 1e-3, 0.0),
            "temperature": 4.0,
            "student_loss_weight": 0.1,
            "sparse": False,
        },
        Distill: {
            "losses": soft_targets(4.0),
            "student_loss_weight": 0.1,
            "teacher": Dependency("teacher", 0),
            "teacher_weight": None,
            "views": None,
            "teacher_precision": "float32",
        },
        Compress: {
            "compression": Compression(),
            "teacher": None,
            "views": None,
            "teacher_precision": "float32",
        },
        Dependency: {"seed": "same"},
        Experiment: {"enlarge": 1, "validation": None, "split_by_seed": False},
    }
    for kind, values in expected.items():
        found = {field.name: field.default for field in dataclasses.fields(kind)}
        assert {name: found[name] for name in values} == values
    assert Train("a", "mlp_2x64", Training(1)).arguments == {}


def test_what_names_and_shows_a_stage_is_no_setting_of_it():
    """Nor is a setting at its default, so that one that comes later changes nothing."""
    renamed = dataclasses.replace(TINY, name="other", paper={"alone": 5}, seeds=(0, 1, 2))
    renamed = changed(renamed, "alone", name="by itself")
    assert renamed.identity("by itself", 0) == TINY.identity("alone", 0)
    assert "weight_decay" not in TINY.settings("alone", 0)["training"]
    assert set(TINY.settings("alone", 0)) == {
        *("kind", "seed", "type", "data", "architecture", "training")
    }


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"precision": "mixed_bfloat_16"}, "Did you mean 'mixed_bfloat16'"),
        ({"teacher_precision": "float16"}, "Did you mean 'float32'|'mixed_bfloat16'"),
        ({"precision": None}, "Unknown precision: None"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1"),
        ({"weight_decay": None}, "weight_decay=None"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"learning_rate": None}, "learning_rate=None"),
        ({"learning_rate": 0.0}, "Expected learning_rate above 0"),
        ({"learning_rate": float("nan")}, "Expected learning_rate above 0"),
        ({"learning_rate": "0.1"}, "Expected learning_rate above 0"),
        ({"epochs": True}, "Received: epochs=True"),
        ({"epochs": 0}, "Received: epochs=0"),
        ({"optimizer": "sdg"}, r"Unknown optimizer: 'sdg'\. Did you mean 'sgd'"),
        ({"augmentation": 5}, "Received: augmentation=5"),
        ({"augmentation": {"cutout": -1}}, "cutout=-1"),
        ({"augmentation": {"cutuot": 8}}, "Did you mean 'cutout'"),
        ({"augmentation": "usual"}, "Received: augmentation='usual'"),
        ({"training": 5}, "Expected a Training. Received: training=5"),
        ({"architecture": "mlp_2x46"}, "Did you mean 'mlp_2x64'"),
        ({"arguments": {"depht": 3}}, "arguments that 'mlp_2x64' takes"),
        ({"seeds": (0, -1)}, r"seeds=\(0, -1\)"),
        ({"seeds": (2**32,)}, "from 0 to"),
        ({"seeds": 5}, "as a tuple. Received: seeds=5"),
        ({"seeds": (0.5,)}, "to be integers"),
        ({"seeds": (1, 1)}, "each once"),
        ({"teacher_weight": (4.0,)}, "the first and the last weight"),
        ({"student_loss_weight": 2.0}, r"student_loss_weight=2\.0"),
        ({"losses": 5}, "Expected losses as a tuple"),
        ({"losses": (("SoftTargets", {}),)}, "name, arguments, weight"),
        ({"losses": (("SoftTarget", {}, 1.0),)}, "Did you mean 'SoftTargets'"),
        ({"losses": (("SoftTargets", {"temperature": -1}, 1.0),)}, "`temperature` to be above 0"),
        ({"losses": (("SoftTargets", {}, -1.0),)}, "numbers of at least 0"),
        ({"losses": (("SoftTargets", {"temprature": 4.0}, 1.0),)}, "arguments that SoftTargets"),
        (
            {"losses": (("Hint", {"teacher_layer": "stage9", "student_layer": "stage1"}, 1.0),)},
            "Did you mean 'stage",
        ),
        ({"views": 0}, "views"),
        ({"views": 2.5}, "views"),
        ({"views": 2, "augmentation": None}, "Expected views only where .* views=2"),
    ],
)
def test_settings_are_checked_before_anything_is_trained(settings, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        changed(TINY, "distilled", **settings).run(tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"hints": ("stage1", "stag1", 1)}, "Did you mean 'stage1'"),
        ({"hints": ("stage1", "stage1", 0)}, "epochs, to be a positive integer"),
        ({"hints": ("stage1", "stage1")}, "hint layer, guided layer, epochs"),
        ({"hints": 3}, "hint layer, guided layer, epochs.*hints=3"),
        ({"losses": (*soft_targets(), *soft_targets())}, "one loss for a student"),
        ({"losses": ()}, "one loss for a student"),
        ({"views": 2}, "no views for a student"),
    ],
)
def test_hints_are_checked_before_anything_is_trained(settings, complaint, tmp_path):
    hinted = HintTraining("hinted", *STUDENT, **{"hints": ("stage1", "stage1", 1), **settings})
    with pytest.raises(ValueError, match=complaint):
        with_stages(hinted).run(tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"seeds": (0, -1)}, r"seeds=\(0, -1\)"),
        ({"seeds": 5}, "Expected seeds as a tuple. Received: seeds=5"),
        ({"enlarge": 0}, "enlarge=0"),
        ({"validation": 1}, "validation=1"),
        ({"paper": 5}, "Expected paper as a dictionary"),
        ({"base": 5}, "Expected an Experiment. Received: base=5"),
        ({"split_by_seed": 5}, "split_by_seed"),
        ({"split_by_seed": True}, "depend on those of the same seed, Dependency\\('teacher'\\)"),
        ({"base": dataclasses.replace(TINY, data="mnist")}, "Expected data='mnist', as the base"),
        ({"data": 5}, "data"),
    ],
)
def test_an_experiment_is_checked_before_anything_is_trained(settings, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TINY, **settings).run(tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())


def test_every_seed_has_a_split_of_its_own_where_the_experiment_says_so(tmp_path):
    experiment = Experiment(
        "tiny", "digits", (Train("alone", *STUDENT),), (0, 1), validation=0.5, split_by_seed=True
    )
    results = experiment.run(tmp_path, verbose=0)
    whole = kdzoo.data.load("digits", validation=0.5)
    for row in results["rows"]:
        seed = row["seed"]
        model = keras.saving.load_model(tmp_path / f"alone-{seed}" / "model.keras")
        data = whole.resplit(seed)
        measured = kdzoo.evaluation.accuracy(model, *data.test.arrays())
        other = kdzoo.evaluation.accuracy(model, *whole.resplit(1 - seed).test.arrays())
        assert row["test_accuracy"] == measured != other
        on_validation = kdzoo.evaluation.accuracy(model, *data.validation.arrays())
        assert row["validation_accuracy"] == on_validation
    assert experiment.run(tmp_path, verbose=0)["rows"] == results["rows"]


def test_a_pretrained_model_is_refused_where_every_seed_has_a_split_of_its_own(tmp_path):
    """It may have seen the test images."""
    images, labels = np.zeros((40, 28, 28, 1), "uint8"), np.arange(40) % 10
    data = kdzoo.data.from_arrays(images, labels, test=(images, labels), name="mnist")
    kdzoo.data.export(data, tmp_path / "mnist")
    experiment = Experiment(
        "tiny",
        str(tmp_path / "mnist"),
        (Pretrained("teacher", "mlp_2x800/mnist"),),
        split_by_seed=True,
    )
    with pytest.raises(ValueError, match="Expected stages that are trained"):
        experiment.run(tmp_path / "run", verbose=0)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_name_of_a_base_is_not_given_twice(depth, tmp_path):
    """Else the settings of one would be looked up for the directory of the other."""
    base = dataclasses.replace(TINY, name="base")
    if depth == 2:
        base = dataclasses.replace(TINY, name="middle", stages=(Train("b", *STUDENT),), base=base)
    own = Distill("own", *STUDENT)
    with_base = dataclasses.replace(TINY, stages=(own,), base=base)
    with_base.check()
    for changes, complaint in (
        ({"stages": (Train("alone", *STUDENT), own)}, "'base' does not have. Received: 'alone'"),
        ({"name": "base"}, "Expected a name that no base has. Received: name='base'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            dataclasses.replace(with_base, **changes).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("record", "is_its"),
    [
        ("recorded_teacher", True),
        ("recorded_teacher-stage1-features", True),
        ("recorded_teacher-seed-1", False),
        ("recorded_teacher-seed-1-stage1", False),
        ("recorded_teacher-b", False),
        ("recorded_teacher-b-stage1", False),
        ("recorded_teachers", False),
    ],
)
def test_only_records_of_a_model_itself_keep_it_from_being_made(record, is_its, tmp_path):
    (tmp_path / record).mkdir()
    teachers = [
        dataclasses.replace(TEACHER, name=name, seeds=None) for name in ("teacher", "teacher b")
    ]
    runs = Runs(dataclasses.replace(TINY, stages=tuple(teachers)), tmp_path)
    node = Node("tiny", "teacher", 0)
    if is_its:
        with pytest.raises(ValueError, match=f"or delete {record}: "):
            runs.check_new(node)
    else:
        runs.check_new(node)
        others = (node._replace(seed=1), node._replace(stage="teacher b"))
        refused = [other for other in others if _is_refused(runs, other)]
        assert len(refused) == (record != "recorded_teachers")


def _is_refused(runs, node):
    try:
        runs.check_new(node)
    except ValueError:
        return True
    return False


@on_tensorflow
def test_a_finished_run_goes_on_with_nothing_to_do(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    assert TINY.run(tmp_path, verbose=0)["rows"] == json.loads(json.dumps(finished[1]["rows"]))


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
    teacher = Pretrained("teacher", name, seeds=(0,))
    recipe = with_stages(teacher, *TINY.stages[1:], data=str(unknown_digits), seeds=(0,))
    rows = {row["kind"]: row for row in recipe.run(tmp_path / "run", verbose=0)["rows"]}
    shipped = kdzoo.load(name)
    x, y = kdzoo.data.load(str(unknown_digits)).test.arrays()
    ours = keras.saving.load_model(tmp_path / "run" / "teacher-0" / "model.keras")
    np.testing.assert_array_equal(ours.predict(x, verbose=0), shipped.predict(x, verbose=0))
    accuracy = (shipped.predict(x, verbose=0).argmax(-1) == y).mean()
    assert rows["teacher"]["test_accuracy"] == pytest.approx(accuracy)
    assert (rows["teacher"]["seconds"], rows["teacher"]["history"]) == (0.0, {})
    assert rows["distilled"]["teacher_weights"] == fingerprint(shipped)
    assert recipe.smoke().stage("teacher") == Train(
        "teacher", "fitnet_mnist", Training(1), dict(recipe.built_from("teacher")[1]), seeds=(0,)
    )


def test_stages_have_directories_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="directories differ"):
        with_stages(Train("a b", *STUDENT), Train("a-b", *STUDENT)).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_that_is_gone_on_with_names_all_commits(tmp_path, monkeypatch):
    for commit in ("one", "two", "two"):
        monkeypatch.setattr(
            "kdzoo.experiments.training_time.versions", lambda now=commit: {"commit": now}
        )
        clock = Clock(tmp_path)
        clock.on_epoch_end(0)
    assert clock.versions == {"commit": "one, two"}
    clock.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "data", "complaint"),
    [
        ("fitnet_mnst/mnist", "unknown", "Did you mean 'fitnet_mnist/mnist'"),
        ("fitnet_mnist/mnist", "digits", r"images of \(8, 8, 1\)"),
        (
            "fitnet_mnist/mnist",
            "renamed",
            r"Expected a teacher of the 10 classes .* has 'zero', .* '0'",
        ),
        ("fitnet_mnist/mnist", "fewer", r"Expected a teacher of the 9 classes .* None, .* has '9'"),
    ],
)
def test_a_pretrained_teacher_of_other_data_is_refused(
    model, data, complaint, unknown_digits, tmp_path
):
    classes = {"renamed": ["zero", *"123456789"], "fewer": list("012345678")}
    for name, names in classes.items():
        x, y = np.zeros((60, 28, 28, 1), np.uint8), np.arange(60) % len(names)
        made = kdzoo.data.from_arrays(x, y, test=(x, y), class_names=names)
        kdzoo.data.export(made, tmp_path / name)
    places = {"unknown": str(unknown_digits), **{name: str(tmp_path / name) for name in classes}}
    teacher = Pretrained("teacher", model, seeds=(0,))
    recipe = with_stages(teacher, *TINY.stages[1:], data=places.get(data, data))
    with pytest.raises(ValueError, match=complaint):
        recipe.run(tmp_path / "run")
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
    with pytest.raises(ValueError, match="run with other settings; delete that folder"):
        changed(TINY, epochs=2).run(tmp_path, verbose=0)


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
    recipe.run(home, places[0], verbose=0, stages=["alone"])
    with pytest.raises(ValueError, match=r"was begun with, mine in version .*test split"):
        recipe.run(home, places[1], verbose=0)
    assert not (home / "distilled-0").exists()

    assert len(recipe.run(home, places[0], verbose=0)["rows"]) == 3


@on_tensorflow
def test_the_outputs_of_a_teacher_that_is_gone_are_not_left_to_another(tmp_path):
    recipe = changed(dataclasses.replace(TINY, seeds=(0,)), "distilled", views=1)
    recipe.run(tmp_path, verbose=0, stages=["distilled"])
    shutil.rmtree(tmp_path / "teacher-0")
    shutil.rmtree(tmp_path / "distilled-0")
    with pytest.raises(ValueError, match="put it back, or delete recorded_teacher"):
        recipe.run(tmp_path, verbose=0)
    assert not (tmp_path / "teacher-0").exists()
    shutil.rmtree(tmp_path / "recorded_teacher")
    assert len(recipe.run(tmp_path, verbose=0, stages=["distilled"])["rows"]) == 2


@on_tensorflow
def test_stages_are_made_one_at_a_time(finished, tmp_path):
    home, results = finished
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    assert TINY.run(tmp_path, verbose=0, stages=[])["rows"] == results["rows"]
    # A stage counts when it is finished for all seeds.
    more = dataclasses.replace(TINY, seeds=(*TINY.seeds, 7))
    assert list(more.run(tmp_path, verbose=0, stages=[])["summary"]) == ["teacher"]
    assert list(more.run(tmp_path, verbose=0, stages=["alone"])["summary"]) == ["teacher", "alone"]
    with pytest.raises(ValueError, match=r"Unknown stage: 'alon'\. Did you mean 'alone'"):
        TINY.run(tmp_path, verbose=0, stages=["alon"])
    with pytest.raises(ValueError, match=r"Expected a list of names\. Received: stages='alone'"):
        TINY.run(tmp_path, verbose=0, stages="alone")


@on_tensorflow
@pytest.mark.large
def test_what_one_seed_compiled_serves_the_next(tmp_path, monkeypatch):
    """Nothing is traced again, and each seed ends as it does alone."""
    traced, apply = [], keras.optimizers.Optimizer.apply
    monkeypatch.setattr(
        keras.optimizers.Optimizer,
        "apply",
        lambda optimizer, *given: traced.append(optimizer) or apply(optimizer, *given),
    )
    distilled = Distill("distilled", *STUDENT, losses=soft_targets(4.0))
    training = Training(1, augmentation=None)
    in_memory = dataclasses.replace(distilled, name="in memory", training=training)
    recipe = with_stages(Train("alone", "mlp_2x64", Training(2)), distilled, in_memory)
    results, counts = {}, {}
    for seeds in ((1,), (0, 1)):
        run = dataclasses.replace(recipe, seeds=seeds).run(tmp_path / str(len(seeds)), verbose=0)
        results[seeds] = {(row["kind"], row["seed"]): row for row in run["rows"]}
        counts[seeds] = len(traced)
        del traced[:]
    assert counts[0, 1] == counts[1,] > 0
    for key, row in results[1,].items():
        again = results[0, 1][key]
        assert again["history"]["loss"] == row["history"]["loss"]
        assert (again["weights"], again["test_errors"]) == (row["weights"], row["test_errors"])
