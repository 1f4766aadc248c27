"""What ships is what the committed results of its recipe say, and what its pair teaches."""

import json
import math
import pathlib
import statistics

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kdzoo
from kdzoo.experiments import HintTraining
from kdzoo.recipes import RECIPES
from kdzoo.zoo import manifest
from tools import zoo_entries
from tools.zoo_entries import Entry

MEASURED = pathlib.Path(__file__).parents[2] / "results"
ENTRIES = {entry.name: entry for entry in zoo_entries.ENTRIES}
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


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "tflite" in row.files])
def test_a_file_takes_and_gives_floats(name):
    row = ROWS[name]
    interpreter = Interpreter(str(kdzoo.zoo.tflite(name)))
    interpreter.allocate_tensors()
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    ramp = np.linspace(0, 1, np.prod(row.input_shape), dtype="float32")
    interpreter.set_tensor(taken["index"], ramp.reshape((1, *row.input_shape)))
    interpreter.invoke()
    [logits] = interpreter.get_tensor(given["index"])
    assert (taken["dtype"], logits.dtype) == (np.float32, np.float32)
    # Of the weights in float32; an image of noise is far from what 8 bits were trained on.
    np.testing.assert_allclose(logits, row.measured["logits_of_ramp"], atol=2)
    assert {end["dtype"] for end in row.measured["signature"].values()} == {"float32"}


def test_only_what_takes_more_than_half_an_hour_has_one_seed():
    for name, row in ROWS.items():
        if row.role == "student":
            [count] = {len(row.training["seeds"]), len(row.training["seconds"])}
            assert count in (1, 3)
            assert count == 3 or row.training["seconds"][0] > 1800, name
    several = [
        row for row in ROWS.values() if "tflite" in row.files if row.training["seeds"] != [0]
    ]
    assert len(several) == 4
    assert {row.training["start_seed"] for row in several} == {0}


def test_a_student_alone_learned_for_as_many_epochs():
    again = {"int8": 3, "sparse_80": 12, "kdz": 40}  # Compressing trains further.
    for name, row in ROWS.items():
        if row.role == "student":
            more = row.training["epochs"] - row.training["alone_epochs"]
            assert more == again.get(name.rpartition("/")[2], 0), name


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_its_recipe_measured(name):
    row, entry = ROWS[name], ENTRIES[name]
    recipe = RECIPES[entry.recipe]
    is_compressed, is_coded = entry.start is not None, name.endswith("/kdz")
    results = measured(entry.recipe)
    for field, kind in (("accuracy", entry.stage), ("alone", entry.alone)):
        if kind is None:
            assert field not in row.measured
            continue
        if field == "alone" and is_compressed:
            results = measured(recipe.base.name)
        rows = [result for result in results["rows"] if result["kind"] == kind]
        accuracies = [result["test_accuracy"] for result in rows]
        said = row.measured[field]
        assert said["by_seed"] == {str(result["seed"]): result["test_accuracy"] for result in rows}
        assert said["mean"] == pytest.approx(statistics.fmean(accuracies), abs=1e-6)
        spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
        assert said["std"] == pytest.approx(spread, abs=1e-6)
        if field == "accuracy":
            seed = str(said["shipped_seed"])
            assert said["by_seed"][seed] == statistics.median_low(accuracies)
            assert row.training["seeds"] == [result["seed"] for result in rows]
            assert row.training["seconds"] == [result["seconds"] for result in rows]
    results = measured(entry.recipe)
    training = row.training
    assert (row.architecture, row.arguments) == recipe.built_from(entry.stage)
    assert (training["recipe"], training["kind"]) == (entry.recipe, entry.stage)
    assert training["command"] == f"kdzoo train {entry.recipe}"
    assert training["data_version"] == results["data_version"]
    assert training["alone_epochs"] == (entry.alone and recipe.epochs_of(entry.alone))
    shipped = row.measured["accuracy"]["shipped_seed"]
    [made] = [
        result
        for result in results["rows"]
        if (result["kind"], result["seed"]) == (entry.stage, shipped)
    ]
    assert training["versions"] == made.get("versions", results["versions"])
    stage = recipe.stage(entry.stage)
    assert training["epochs"] == recipe.epochs_of(entry.stage)
    if is_compressed:
        [begun] = recipe.sources(entry.stage, shipped)["start"]
        [start] = [
            result
            for result in results["rows"]
            if (result["kind"], result["seed"]) == ("float32", begun.seed)
        ]
        assert row.measured["float"] == start["test_accuracy"]
        assert training["form"] == stage.compression.in_words(stage.teacher is not None)
    else:
        begun = recipe.epochs_of(stage.start.stage) if is_coded else 0
        assert training["epochs"] == begun + len(made["history"]["loss"])
    if is_coded:
        assert training["form"] == stage.title
        assert row.files["weights"].bytes == made["bytes"]
        assert row.files["weights"].sha256 == made["products"]["model.kdz"]
    is_taught = "teacher" in stage.dependencies()
    # What is coded learns from what it was before, which does not ship.
    teachers_name = None
    if is_taught:
        teachers_name = recipe.stage(stage.start.stage if is_coded else "teacher").title
    assert training["teacher"] == teachers_name
    is_of_pair = row.role == "student" and not is_coded
    teacher = ROWS.get(f"{teachers_name}/{recipe.data}") if is_of_pair else None
    shipped_teacher = teacher and teacher.files["weights"].file
    assert training["teacher_weights"] == shipped_teacher
    assert is_of_pair == (shipped_teacher is not None)
    assert row.training["examples"] == results["examples"]["train"]
    assert row.training["held_out"] == results["examples"].get("validation", 0)
    if is_of_pair and not is_compressed:
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


def test_the_soft_targets_of_the_pair_of_cifar100_fade_out():
    rows = [row for row in ROWS.values() if row.dataset == "cifar100"]
    assert [row.role for row in rows] == ["student", "teacher"]
    assert rows[0].training["alone_epochs"] == rows[0].training["epochs"]
    stage = RECIPES["zoo_cifar100"].stage(rows[0].training["kind"])
    assert stage.teacher_weight[0] > stage.teacher_weight[1] == 0


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
