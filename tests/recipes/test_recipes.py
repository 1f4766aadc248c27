"""Every recipe runs in its smoke mode, and its parts are what its docstring says."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.recipes import RECIPES, Comparison, Compression, CompressionComparison, Student, compress
from kdzoo.recipes.fitting import Fitting, record
from kdzoo.recipes.results import directory_name

SMALL = Comparison(
    data="digits",
    teacher="mlp_2x64",
    student="mlp_2x64",
    teacher_epochs=1,
    epochs=2,
    seeds=(0,),
    augment_student=False,
)


SOFT = ("SoftTargets", {"temperature": 3.0}, 1.0)

# On JAX, which compiles for long, the simplest of them.
COMPRESSING = sorted(name for name, recipe in RECIPES.items() if not isinstance(recipe, Comparison))
SMOKE = {"jax": ["hinton_mnist"]}.get(
    keras.backend.backend(), sorted(set(RECIPES) - {"digits", "fashion_mnist", *COMPRESSING})
)
# Many networks, or ones of the same kinds as in the recipes that are left.
LONG = ("hinton_mnist_temperatures", "losses_compared", "separable_cifar10", "zoo_cifar10")
LONG += ("zoo_cifar100", "zoo_fashion_mnist")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.large] if name in LONG else []) for name in SMOKE],
)
def test_a_recipe_runs_in_its_smoke_mode(name, tmp_path):
    recipe = RECIPES[name].smoke()
    results = recipe.run(tmp_path, verbose=0)
    assert set(results["summary"]) == {"teacher", *recipe.kinds}
    for row in results["rows"]:
        assert 0 < row["test_accuracy"] <= 1
        assert row["test_errors"] == round((1 - row["test_accuracy"]) * 797)
        losses = [loss for loss in row["history"]["loss"] if loss is not None]
        assert np.isfinite(losses).all()
    json.dumps(results)


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_mode_trains_for_an_epoch(name):
    recipe = RECIPES[name].smoke()
    if isinstance(recipe, CompressionComparison):
        assert {each.epochs for each in recipe.kinds.values()} == {1}
        recipe = recipe.comparison
    for kind in recipe.all_kinds:
        in_stages = kind != "teacher" and recipe.kinds[kind].hints
        assert recipe.all_epochs_of(kind) == (2 if in_stages else 1)


@pytest.mark.tensorflow
def test_a_kind_may_have_epochs_of_its_own(tmp_path):
    """The smoke mode gives it one all the same; another number is another run."""
    students = {"usual": Student(), "long": Student(epochs=3)}
    recipe = dataclasses.replace(SMALL, students=students)
    rows = recipe.run(tmp_path, verbose=0)["rows"]
    epochs = {row["kind"]: len(row["history"]["loss"]) for row in rows}
    assert epochs == {"teacher": 1, "usual": 2, "long": 3}
    assert [recipe.epochs_of(kind) for kind in epochs] == [1, 2, 3]
    assert {each.epochs for each in recipe.smoke().students.values()} == {None, 1}
    other = dataclasses.replace(recipe, students={**students, "long": Student(epochs=4)})
    with pytest.raises(ValueError, match="a run with other settings"):
        other.run(tmp_path, verbose=0)
    with pytest.raises(ValueError, match="Expected epochs to be"):
        dataclasses.replace(SMALL, students={"long": Student(epochs=0)}).run(tmp_path / "new")


@pytest.mark.parametrize("name", COMPRESSING)
def test_the_smoke_mode_of_a_compression_trains_no_more_than_it_compresses(name):
    recipe = RECIPES[name].smoke()
    assert recipe.start in recipe.comparison.kinds
    assert len(recipe.comparison.students) <= 1
    assert recipe.seeds == recipe.comparison.seeds == (0,)
    assert recipe.student == RECIPES[name].student == recipe.built_from("any")[0]


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning")
def test_recipes_of_compression_run_in_their_smoke_mode(tmp_path):
    """One after the other, so that they share the networks that they start from."""
    seconds = {}
    for name in COMPRESSING:
        recipe = RECIPES[name].smoke()
        results = recipe.run(tmp_path / name, verbose=0)
        assert set(results["summary"]) == {"float32", *recipe.kinds}
        for row in results["rows"]:
            share = next((s for s in (50, 80, 90) if row["kind"].startswith(f"{s} %")), None)
            # Of the pointwise and dense kernels, which hold most of the weights.
            assert share is None or 0.7 * share < 100 * row["sparsity"] < share
        teacher = json.loads((tmp_path / f"{recipe.base}/teacher-0/result.json").read_text())
        seconds.setdefault(recipe.base, set()).add(teacher["seconds"])
    assert len(seconds) == 2
    assert all(len(each) == 1 for each in seconds.values())


COMPRESSION = CompressionComparison(
    base="small",
    comparison=dataclasses.replace(
        SMALL, students={"distilled": Student((SOFT,)), "alone": Student()}
    ),
    start="distilled",
    kinds={
        "half": Compression(prune=0.5, epochs=1, augment=False, taught=True),
        "int8": Compression(quantize="int8"),
    },
    seeds=(0,),
)


@pytest.mark.tensorflow
def test_compressed_students_are_measured_as_files(tmp_path):
    home = tmp_path / "compressed"
    part = COMPRESSION.run(home, verbose=0, kinds=["int8"])
    assert list(part["summary"]) == ["float32", "int8"]
    results = COMPRESSION.run(home, verbose=0)
    assert results["rows"][0] == part["rows"][0]
    with pytest.raises(ValueError, match=r"kind of compressed model: 'int9'\. Did you mean 'int8'"):
        COMPRESSION.run(home, verbose=0, kinds=["int9"])
    with pytest.raises(ValueError, match=r"Expected a list of names\. Received: kinds='int8'"):
        COMPRESSION.run(home, verbose=0, kinds="int8")
    student = keras.saving.load_model(tmp_path / "small" / "distilled-0" / "model.keras")
    images, labels = kdzoo.data.load("digits").test.arrays()
    rows = {row["kind"]: row for row in results["rows"]}
    assert rows["float32"]["test_accuracy"] == kdzoo.evaluation.accuracy(student, images, labels)
    for kind, row in rows.items():
        file = home / directory_name(kind, 0) / "model.tflite"
        predicted = kdzoo.export.LiteRTModel(file).predict(images).argmax(-1)
        assert row["test_accuracy"] == np.mean(predicted == labels)
        assert row["bytes"] == file.stat().st_size == results["summary"][kind]["bytes"]
        assert row["gzipped_bytes"] < row["bytes"]
    assert rows["half"]["sparsity"] == pytest.approx(0.5, abs=0.005)
    assert rows["int8"]["bytes"] < 0.5 * rows["float32"]["bytes"]

    # Each says what it was made from, that is, whose run it may stand beside.
    made = {
        name: json.loads((tmp_path / "small" / f"{name}-0" / "result.json").read_text())["weights"]
        for name in ("distilled", "teacher")
    }
    assert {row["start_weights"] for row in rows.values()} == {made["distilled"]}
    assert rows["half"]["teacher_weights"] == made["teacher"] != made["distilled"]

    # Of the recipe that it started from it trained what it needs, and that serves the recipe.
    small = tmp_path / "small"
    assert sorted(path.name for path in small.glob("*/")) == ["distilled-0", "teacher-0"]
    models = {path: path.stat().st_mtime_ns for path in small.glob("*/model.keras")}
    COMPRESSION.comparison.run(small, verbose=0)
    assert {path: path.stat().st_mtime_ns for path in models} == models
    whole = (small / "results.json").read_text()
    COMPRESSION.run(home, verbose=0)
    assert (small / "results.json").read_text() == whole

    # What is finished is not made again, also if there was no such field as `views` at the time; a
    # directory of other settings is refused.
    for path in home.glob("*/result.json"):
        row = json.loads(path.read_text())
        del row["settings"]["student"]["views"]
        path.write_text(json.dumps(row))
    again = COMPRESSION.run(home, verbose=0)
    assert again["rows"] == json.loads(json.dumps(results["rows"]))
    kinds = {**COMPRESSION.kinds, "half": Compression(prune=0.4, augment=False)}
    with pytest.raises(ValueError, match="run with other settings"):
        dataclasses.replace(COMPRESSION, kinds=kinds).run(home, verbose=0)
    with pytest.raises(ValueError, match=r"prune=2\.0"):
        dataclasses.replace(COMPRESSION, kinds={"all": Compression(2.0)}).run(tmp_path / "no")


@pytest.mark.tensorflow
def test_several_seeds_compress_one_student(tmp_path):
    """Of a student whose training takes long there is one seed; compressing it takes less."""
    kinds = {
        "half": Compression(prune=0.5, epochs=1, augment=False),
        "int8": Compression(quantize="int8"),
    }
    settings = {"kinds": kinds, "seeds": (0, 1), "start_seed": 0, "seed_counts": {"int8": 1}}
    recipe = dataclasses.replace(COMPRESSION, **settings)
    before = dataclasses.replace(COMPRESSION, kinds=kinds).run(tmp_path / "one", verbose=0)
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
        dataclasses.replace(COMPRESSION, kinds=kinds, seeds=(0, 1)).run(tmp_path / "one", verbose=0)
    once = {"distilled": Student((SOFT,), seed_count=1)}
    students = dataclasses.replace(COMPRESSION.comparison, students=once)
    for wrong, complaint in (
        ({"seeds": (0, 0)}, "each once"),
        ({"start_seed": None, "comparison": students}, "at most 1 seeds, .*'distilled'"),
        ({"seed_counts": {"haf": 1}}, "Did you mean 'half'"),
        ({"seed_counts": {"half": 0}}, "seed_counts of 'half' to be a positive integer"),
    ):
        with pytest.raises(ValueError, match=complaint):
            dataclasses.replace(recipe, **wrong).run(tmp_path / "no", verbose=0)


def test_students_that_tap_other_layers_share_a_run(tmp_path):
    """Each set of layers has a record of its own."""
    hint = ("Hint", {"teacher_layer": "stage1", "student_layer": "stage1"}, 1.0)
    students = {"soft": Student((SOFT,)), "hinted": Student((SOFT, hint))}
    recipe = dataclasses.replace(SMALL, students=students, views=1, augment_student=True, epochs=1)
    recipe.run(tmp_path, verbose=0)
    found = {path.parent.name for path in tmp_path.rglob("index.json")}
    assert found == {"recorded_teacher", "recorded_teacher-stage1"}


@pytest.mark.tensorflow
def test_compressing_takes_the_answers_that_the_student_learned_from(tmp_path, monkeypatch):
    comparison = dataclasses.replace(COMPRESSION.comparison, augment_student=True, views=3)
    recipe = dataclasses.replace(COMPRESSION, comparison=comparison)
    half = Compression(prune=0.5, epochs=1, taught=True)
    given, original = [], compress.compress

    def spy(*args, **options):
        given.append(options["recorded"].views)
        return original(*args, **options)

    monkeypatch.setattr("kdzoo.recipes.compress.compress", spy)
    dataclasses.replace(recipe, kinds={"half": half}).run(tmp_path / "compressed", verbose=0)
    assert given == [3]
    [record] = [path.parent for path in tmp_path.rglob("index.json")]
    assert record == tmp_path / "small" / "recorded_teacher"
    # Where it is gone, no more is asked than the epochs see, and later what they lack.
    shutil.rmtree(record)
    kinds = {"half": half, "slow": dataclasses.replace(half, epochs=2)}
    for number in range(2):
        dataclasses.replace(recipe, kinds=kinds).run(tmp_path / f"again {number}", verbose=0)
    assert given == [3, 1, 2, 2, 2]
    assert len(list(record.glob("*.arrayrecord"))) == 2
    files = [path.read_bytes() for path in tmp_path.glob("*/half-0/model.tflite")]
    assert len(files) == 3
    assert len(set(files)) == 1


def test_the_paper_is_quoted_for_kinds_that_there_are():
    for recipe in RECIPES.values():
        assert set(recipe.paper) <= {"teacher", *recipe.kinds}


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
def test_answers_asked_once_teach_as_the_teacher_does(losses, tmp_path, monkeypatch):
    """The same run, the teacher asked beforehand or at every step."""
    rows, tapped = [], len(losses) > 1
    networks = dict.fromkeys(("teacher", "student"), "separable_025") if tapped else {}
    recipe = Comparison(**{**vars(SMALL), **networks, "students": {"taught": Student(losses)}})
    for at_once in (True, False):
        monkeypatch.setattr(Fitting, "_answers_once", lambda self, at_once=at_once: at_once)
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
def test_a_teacher_is_asked_once_per_view_for_all_students(tmp_path, monkeypatch):
    """Its answers are recorded by the first student, and taught from by each."""
    import kdzoo.data

    recipe = dataclasses.replace(
        SMALL,
        students={"one": Student((SOFT,)), "two": Student((SOFT,)), "alone": Student()},
        epochs=3,
        views=2,
        augment_student=True,
        student_loss_weight=0.0,
    )
    asked, record = [], kdzoo.data.record_teacher
    monkeypatch.setattr(
        kdzoo.data, "record_teacher", lambda *args, **more: asked.append(record(*args, **more))
    )
    results = recipe.run(tmp_path, verbose=0)
    shards = {path: path.stat().st_mtime_ns for path in asked[0].glob("*.arrayrecord")}
    assert len(asked) == 2
    assert len(shards) == 2
    one, two, alone = (row["history"]["loss"] for row in results["rows"][1:])
    assert one == two
    assert not np.allclose(one, alone)

    # The same by hand: the record, and the live teacher on the same views of the images.
    teacher = keras.saving.load_model(tmp_path / "teacher-0" / "model.keras")
    data = kdzoo.data.load(recipe.data)
    kdzoo.data.record_teacher(teacher, data.train, asked[0], 2, augmentation="default")
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    recorded = kdzoo.data.with_recorded_teacher(data.train, asked[0], teacher)
    for images, targets in recorded.batches(100, initial_epoch=1):
        answers = teacher.predict_on_batch(np.asarray(images))
        np.testing.assert_allclose(np.asarray(targets["teacher"]), answers, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("views", "augmented"), [(0, True), (2.5, True), (2, False)])
def test_views_that_cannot_be(views, augmented, tmp_path):
    recipe = dataclasses.replace(SMALL, views=views, augment_student=augmented)
    with pytest.raises(ValueError, match="views"):
        recipe.run(tmp_path, verbose=0)


def test_recorded_layers_are_the_teachers():
    import kdzoo.data

    images = kdzoo.data.load("digits").test.arrays()[0][:30]
    teacher = kdzoo.create("mlp_2x64", 10, images.shape[1:])
    hidden = teacher.layers[-2].name
    answers = record(teacher, images, [hidden], batch_size=7)
    layer = keras.Model(teacher.input, teacher.get_layer(hidden).output)
    expected = keras.ops.convert_to_numpy(layer(images))
    assert answers[hidden].dtype == "float16"
    np.testing.assert_allclose(answers[hidden], expected, rtol=2**-10, atol=1e-6)
    logits = keras.ops.convert_to_numpy(teacher(images, training=False))
    np.testing.assert_allclose(answers["logits"], logits, rtol=1e-5, atol=1e-6)
    teacher.set_weights([1e5 * each for each in teacher.get_weights()])
    with pytest.raises(ValueError, match=f"up to 65504. Received: .*{hidden}"):
        record(teacher, images, [hidden])


def test_the_weight_of_the_teacher_falls():
    taught = Student((("SoftTargets", {}, 1.0),), teacher_weight=(4.0, 1.0))
    recipe = Comparison(**{**vars(SMALL), "students": {"taught": taught}})
    data = kdzoo.data.load("digits")
    (anneal,) = Fitting(recipe, "taught", 0, data, None)._annealing()
    assert [anneal.schedule(epoch) for epoch in range(2)] == [4.0, 1.0]


@pytest.mark.tensorflow
def test_half_precision_is_for_training_alone(tmp_path):
    recipe = Comparison(**{**vars(SMALL), "precision": "mixed_bfloat16"})
    recipe.run(tmp_path, verbose=0)
    model = keras.saving.load_model(tmp_path / "distilled-0" / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_kind_may_be_trained_in_a_precision_of_its_own(tmp_path, monkeypatch):
    students = {"usual": Student(), "half": Student(precision="mixed_bfloat16")}
    recipe = dataclasses.replace(SMALL, students=students, teacher_precision="mixed_bfloat16")
    policies = {}

    def note(fitting, model, home, options):
        policies[fitting.kind] = model.dtype_policy.name
        return {}

    monkeypatch.setattr(Fitting, "_train", note)
    recipe.run(tmp_path, verbose=0)
    half = "mixed_bfloat16"
    assert policies == {"teacher": half, "usual": "float32", "half": half}


def test_the_teacher_may_see_augmented_images_of_its_own(tmp_path):
    recipe = dataclasses.replace(
        SMALL, teacher_augmentation={"shift": 2, "cutout": 3}, augment_student=True
    )
    data = kdzoo.data.load("digits")
    own = kdzoo.data.Augmentation(shift=2, cutout=3)
    for kind, augmentation in (("teacher", own), ("alone", "default")):
        found, _ = next(iter(Fitting(recipe, kind, 0, data, None)._batches()(0)))
        batches = data.train.batches(recipe.batch_size, shuffle=True, augmentation=augmentation)
        np.testing.assert_array_equal(found, next(iter(batches))[0])
    assert recipe.smoke().teacher_augmentation is None  # Holes for other images than digits.
    wrong = dataclasses.replace(recipe, teacher_augmentation={"cutout": -1})
    with pytest.raises(ValueError, match="cutout=-1"):
        wrong.run(tmp_path)
    wrong = dataclasses.replace(recipe, teacher_augmentation={"cutuot": 8})
    with pytest.raises(ValueError, match="Did you mean 'cutout'"):
        wrong.run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_loss_has_its_weight():
    taught = Student((("SoftTargets", {}, 0.25), ("LogitRegression", {}, 3.0)))
    recipe = Comparison(**{**vars(SMALL), "students": {"taught": taught}})
    data = kdzoo.data.load("digits")
    teacher = recipe.create("teacher", data)
    fitting = Fitting(recipe, "taught", 0, data, teacher)
    distiller = fitting._distiller(recipe.create("taught", data), teacher)
    assert [type(loss).__name__ for loss in distiller.distillation_losses] == [
        "SoftTargets",
        "LogitRegression",
    ]
    assert distiller.distillation_loss_weights == (0.25, 3.0)


@pytest.mark.parametrize(
    ("student", "complaint"),
    [
        (Student((("SoftTarget", {}, 1.0),)), "Did you mean 'SoftTargets'"),
        (Student((("SoftTargets", {"temperature": -1}, 1.0),)), "`temperature` to be above 0"),
        (Student((("SoftTargets", {}, -1.0),)), "numbers of at least 0"),
        (
            Student(
                (("Hint", {"teacher_layer": "stage9", "student_layer": "stage1"}, 1.0),),
            ),
            "Did you mean 'stage",
        ),
        (Student(precision="mixed_float16"), "Did you mean 'mixed_bfloat16'"),
        (Student((SOFT,), hints=("stage1", "stag1", 1)), "Did you mean 'stage1'"),
        (Student((SOFT,), hints=("stage1", "stage1", 0)), "epochs, to be a positive integer"),
        (Student((SOFT,), hints=("stage1", "stage1")), "hint layer, guided layer, epochs"),
        (Student((SOFT, SOFT), hints=("stage1", "stage1", 1)), "one loss for a student"),
        (Student((), hints=("stage1", "stage1", 1)), "one loss for a student"),
    ],
)
def test_students_are_checked_before_anything_is_trained(student, complaint, tmp_path):
    recipe = Comparison(**{**vars(SMALL), "students": {"taught": student}})
    with pytest.raises(ValueError, match=complaint):
        recipe.run(tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())
