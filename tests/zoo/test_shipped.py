"""What ships is what the committed results of its recipe say, and what its pair teaches."""

import json
import math
import pathlib
import re
import statistics

import pytest

import kdzoo
from kdzoo.experiments import HintTraining
from kdzoo.recipes import RECIPES
from kdzoo.zoo import manifest
from tools import train_zoo as zoo
from tools.entries import Entry

MEASURED = pathlib.Path(__file__).parents[2] / "results"
ENTRIES = {entry.name: entry for entry in zoo.ENTRIES}
ROWS = manifest.read_manifest()
# Shipped students that learned otherwise than their pair teaches, which is in one stage.
IN_STAGES = {"fitnet_mnist/mnist"}


def measured(recipe):
    return json.loads((MEASURED / f"{recipe}.json").read_text())


# What the zoo set out to reach on the test images.
TARGETS = {
    "wide_resnet_16_4/cifar10": 0.94,
    "separable_050/cifar10": 0.916,
    "separable_025/cifar10": 0.88,
    "separable_050/fashion_mnist": 0.93,
}
MOST_PARAMETERS = {"separable_050/cifar10": 250_000, "separable_025/cifar10": 60_000}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_reached(name):
    measured = ROWS[name].measured
    assert measured["accuracy"]["shipped"] >= TARGETS[name]
    assert measured["parameters"] <= MOST_PARAMETERS.get(name, math.inf)


@pytest.mark.parametrize("name", [name for name in ROWS if name.endswith("/int8")])
def test_an_int8_file_loses_at_most_three_tenths_of_a_point(name):
    measured = ROWS[name].measured
    assert measured["tflite_accuracy"] >= measured["float"] - 0.003


def test_of_students_with_one_seed_the_readme_says_why():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    assert "a student or a small form with one seed takes more than half an hour to train" in readme
    for name, row in ROWS.items():
        if row.role == "student":
            [count] = {len(row.training["seeds"]), len(row.training["seconds"])}
            assert count in (1, 3)
            assert count == 3 or row.training["seconds"][0] > 1800, name
    assert "of small forms those of training one student again" in readme
    several = [
        row for row in ROWS.values() if "tflite" in row.files if row.training["seeds"] != [0]
    ]
    assert len(several) == 4
    assert {row.training["start_seed"] for row in several} == {0}


def test_a_student_alone_learned_for_as_many_epochs():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    said = re.search(r"of small forms for the (\d+) \(int8\) or (\d+) \(zeros\) less", readme)
    again = {"int8": int(said[1]), "sparse_80": int(said[2])}
    for name, row in ROWS.items():
        if row.role == "student":  # Compressing trains further.
            more = row.training["epochs"] - row.training["alone_epochs"]
            assert more == again.get(name.rpartition("/")[2], 0), name


def test_the_readme_says_which_small_form_is_the_better():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    said = readme.partition("int8 is the better: ")[2].partition("<!--")[0]
    for name in (name.removesuffix("/sparse_80") for name in ROWS if name.endswith("/sparse_80")):
        forms = (ROWS[f"{name}/{form}"].measured for form in ("int8", "sparse_80"))
        pairs = [(form["tflite_accuracy"], form["bytes"][".tflite, gzipped"]) for form in forms]
        assert pairs[0][0] > pairs[1][0]
        assert pairs[0][1] < pairs[1][1]
        found = re.search(
            rf"`{name.partition('/')[0]}` ([\d.]+) % in ([\d,]+)(?: bytes gzipped)?, "
            r"against ([\d.]+) % in ([\d,]+)\b",
            said,
        )
        assert found.groups() == tuple(
            text for accuracy, size in pairs for text in (f"{100 * accuracy:.2f}", f"{size:,}")
        )


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_its_recipe_measured(name):
    row, entry = ROWS[name], ENTRIES[name]
    recipe = RECIPES[entry.recipe]
    is_compressed = entry.start is not None
    results = measured(entry.recipe)
    for field, kind in (("accuracy", entry.stage), ("alone", entry.alone)):
        if kind is None:
            assert field not in row.measured
            continue
        if field == "alone" and is_compressed:
            results = measured(recipe.base.name)
        rows = [each for each in results["rows"] if each["kind"] == kind]
        accuracies = [each["test_accuracy"] for each in rows]
        said = row.measured[field]
        assert said["by_seed"] == {str(each["seed"]): each["test_accuracy"] for each in rows}
        assert said["mean"] == pytest.approx(statistics.fmean(accuracies), abs=1e-6)
        spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
        assert said["std"] == pytest.approx(spread, abs=1e-6)
        if field == "accuracy":
            seed = str(said["shipped_seed"])
            assert said["by_seed"][seed] == statistics.median_low(accuracies)
            assert row.training["seeds"] == [each["seed"] for each in rows]
            assert row.training["seconds"] == [each["seconds"] for each in rows]
    results = measured(entry.recipe)
    training = row.training
    assert (row.architecture, row.arguments) == recipe.built_from(entry.stage)
    assert (training["recipe"], training["kind"]) == (entry.recipe, entry.stage)
    assert training["command"] == f"kdzoo train {entry.recipe}"
    assert training["data_version"] == results["data_version"]
    assert training["alone_epochs"] == (entry.alone and recipe.epochs_of(entry.alone))
    shipped = row.measured["accuracy"]["shipped_seed"]
    [made] = [
        each for each in results["rows"] if (each["kind"], each["seed"]) == (entry.stage, shipped)
    ]
    assert training["versions"] == made.get("versions", results["versions"])
    stage = recipe.stage(entry.stage)
    assert training["epochs"] == recipe.epochs_of(entry.stage)
    if is_compressed:
        [begun] = recipe.sources(entry.stage, shipped)["start"]
        [start] = [
            each
            for each in results["rows"]
            if (each["kind"], each["seed"]) == ("float32", begun.seed)
        ]
        assert row.measured["float"] == start["test_accuracy"]
        assert training["form"] == stage.compression.in_words(stage.teacher is not None)
    else:
        assert training["epochs"] == len(made["history"]["loss"])
    is_taught = "teacher" in stage.dependencies()
    teachers_name = recipe.stage("teacher").title
    assert training["teacher"] == (teachers_name if is_taught else None)
    teacher = ROWS.get(f"{teachers_name}/{recipe.data}") if row.role == "student" else None
    shipped_teacher = teacher and teacher.files["weights"].file
    assert training["teacher_weights"] == shipped_teacher
    assert (row.role == "student") == (shipped_teacher is not None)
    assert row.training["examples"] == results["examples"]["train"]
    assert row.training["held_out"] == results["examples"].get("validation", 0)
    if row.role == "student" and not is_compressed:
        assert row.measured["accuracy"]["mean"] > row.measured["alone"]["mean"]


@pytest.mark.parametrize("data", sorted({row.dataset for row in ROWS.values()}))
def test_all_of_a_data_set_are_of_the_same_images_and_classes(data):
    """Which the large tests compare with the data set itself."""
    rows = [row for row in ROWS.values() if row.dataset == data]
    facts = {(row.labels, row.input_shape, row.measured["test_sha256"]) for row in rows}
    assert len(facts) == 1
    assert all(size == 64 for size in (len(row.measured["test_sha256"]) for row in rows))
    for row in rows:
        known = measured(row.training["recipe"]).get("data_sha256")
        assert known is None or known["test"] == row.measured["test_sha256"]


def test_the_readme_says_which_student_had_fewer_epochs():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    said = re.search(
        r"On CIFAR-10 `separable_100` was trained for (\d+) epochs, which took an hour and a half, "
        r"the narrower ones for (\d+)\.",
        readme,
    )
    widths = {width: ROWS[f"separable_{width}/cifar10"].training for width in ("025", "050", "100")}
    assert int(said[1]) == widths["100"]["epochs"]
    assert {int(said[2])} == {widths[each]["epochs"] for each in ("025", "050")}
    assert widths["100"]["seconds"][0] / 3600 == pytest.approx(1.5, abs=0.1)


def test_the_readme_says_how_long_the_pair_of_cifar100_was_trained():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    said = re.search(
        r"a teacher of (\d+) epochs and a student of (\d+), whose soft targets", readme
    )
    rows = [row for row in ROWS.values() if row.dataset == "cifar100"]
    assert [row.role for row in rows] == ["student", "teacher"]
    assert [row.training["epochs"] for row in rows] == [int(said[2]), int(said[1])]
    assert rows[0].training["alone_epochs"] == rows[0].training["epochs"]
    stage = RECIPES["zoo_cifar100"].stage(rows[0].training["kind"])
    assert stage.teacher_weight[0] > stage.teacher_weight[1] == 0


def test_the_readme_says_of_which_images_the_copies_are_not_exact():
    readme = " ".join((MEASURED.parent / "README.md").read_text().split())
    said = "20 of the 10,000 test images (19 ships and a horse) were decoded from JPEG copies"
    assert said in kdzoo.card("separable_050/cifar10")
    assert f"of CIFAR-10, {said}" in readme


@pytest.mark.parametrize("name", kdzoo.list_pairs())
def test_a_pair_teaches_as_the_shipped_student_was_taught(name):
    pair = kdzoo.pair(name)
    if pair.teacher.startswith("keras.applications."):
        return
    name = f"{pair.student}/{pair.dataset}"
    # Of one pair the recipe says how it is trained, and no student is shipped yet.
    unshipped = Entry(name, f"zoo_{pair.dataset}", f"{pair.student}, distilled")
    entry = ENTRIES.get(name, unshipped)
    recipe = RECIPES[entry.recipe]
    assert recipe.base is None
    assert pair.teacher == f"{recipe.stage('teacher').title}/{recipe.data}"
    assert recipe.built_from(entry.stage) == (pair.student, pair.arguments)
    student = recipe.stage(entry.stage)
    taught = [(name, arguments) for name, arguments, _ in student.losses]
    assert [(name, arguments) for name, arguments, _ in pair.losses] == taught
    assert (entry.name in IN_STAGES) == isinstance(student, HintTraining)
    if entry.name not in IN_STAGES:
        assert pair.student_loss_weight == student.student_loss_weight
        assert pair.losses == student.losses
