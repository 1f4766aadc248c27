"""A recipe that is trained in parts, of which nothing is kept but what is committed."""

import dataclasses
import json
import shutil

import keras
import pytest

import kdzoo
from kdzoo import recipes
from kdzoo.experiments import Dependency, Distill, Experiment, Train, Training, soft_targets
from kdzoo.experiments.finished_stages import RESULT, Runs, fingerprint
from kdzoo.zoo.manifest import weights_directory
from tools import train_recipe
from tools.restore_committed_runs import Committed

_STUDENT = ("mlp_2x64", Training(1, augmentation=None))
RECIPE = Experiment(
    "parts",
    "digits",
    (
        Train("teacher", "mlp_2x128", Training(1), seeds=(0,)),
        Distill("student", *_STUDENT, teacher=Dependency("teacher", 0)),
        Train("alone", *_STUDENT),
    ),
    seeds=(0, 1),
    validation=0,
)


@pytest.mark.large
def test_only_what_is_not_committed_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(train_recipe, "ENTRIES", ())
    path, run = tmp_path / "parts.json", tmp_path / "runs" / "parts"

    def train(recipe, report=lambda line: None):
        monkeypatch.setitem(recipes.RECIPES, "parts", recipe)
        train_recipe.train("parts", tmp_path / "runs", tmp_path, report=report)
        return json.loads(path.read_text())["rows"]

    def trained_anew(recipe):
        shutil.rmtree(run)
        rows = train(recipe)
        return rows, {file.parent.name for file in run.glob("*/model.keras")}

    # A run that ends in the middle: what is finished for all seeds is in the file by then.
    def stop(line):
        if "alone, seed 1" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, stop)
    begun = json.loads(path.read_text())["rows"]
    assert [(row["kind"], row["seed"]) for row in begun] == [
        *(("teacher", 0), ("student", 0), ("student", 1)),
    ]

    # On another machine, whose directory is empty, only the rest is trained.
    rows, trained = trained_anew(RECIPE)
    assert trained == {"alone-0", "alone-1"}
    assert [row for row in rows if row["kind"] != "alone"] == begun
    assert len(rows) == 5
    assert trained_anew(RECIPE) == (rows, set())

    # A student more of a teacher whose model is gone: it teaches anew, and so the other one, too.
    more = dataclasses.replace(RECIPE.stages[1], name="more", losses=soft_targets(2.0))
    extended = dataclasses.replace(RECIPE, stages=(*RECIPE.stages, more))
    again, trained = trained_anew(extended)
    assert trained == {"teacher-0", "student-0", "student-1", "more-0", "more-1"}
    assert [row for row in again if row["kind"] == "alone"] == [
        row for row in rows if row["kind"] == "alone"
    ]


def committed(tmp_path, recipe, without=()):
    """Writes results of all stages but some as if they were trained; returns what comes back."""
    tmp_path.mkdir(exist_ok=True)
    for run in dict.fromkeys(node.run for node in recipe.needed()):
        own, rows = recipes.RECIPES[run], []
        for node in own.nodes():
            stage = own.stage(node.stage)
            weights = None if stage.trains else fingerprint(kdzoo.load(stage.model))
            identity = own.identity(node.stage, node.seed)
            row = {"kind": node.stage, "seed": node.seed, "test_accuracy": 0.5}
            row |= {"weights": weights, "identity": identity, "versions": {}}
            rows += [] if node.stage in without else [row]
        content = {"settings": {}, "versions": {}, "rows": rows}
        (tmp_path / f"{run}.json").write_text(json.dumps(content))
    runs = tmp_path / "runs"
    found = Committed((), runs, weights_directory(), tmp_path).restore_for(recipe.name)
    assert all((Runs(recipe, runs / recipe.name).of_node(node) / RESULT).exists() for node in found)
    return {node.stage for node in found}


def test_students_of_a_model_of_the_zoo_come_back_with_it(tmp_path):
    recipe = recipes.RECIPES["compute_budget"]
    found = committed(tmp_path, recipe, without=["13 layers, hints"])
    assert found == set(recipe.names) - {"13 layers, hints"}
    model = keras.saving.load_model(tmp_path / "runs" / recipe.name / "teacher-0" / "model.keras")
    assert fingerprint(model) == fingerprint(kdzoo.load("separable_050/cifar10"))


@pytest.mark.large
def test_what_a_recipe_starts_from_comes_back_if_it_is_not_needed_any_more(tmp_path):
    recipe, base = (
        recipes.RECIPES[name] for name in ("teacher_assistant_cifar10", "teacher_sweep_cifar10")
    )
    # The assistant of 4 convolutions and its teacher are to be trained again, and all by that.
    left = committed(tmp_path / "some", recipe, without=["over 4"])
    assert left.isdisjoint({"assistant of 8", "over 6", "over 8"})
    assert left.isdisjoint({"plain_cnn_10", "plain_cnn_2 by plain_cnn_10"})
    assert {"plain_cnn_2 alone", "plain_cnn_4 by separable_050"} <= left
    assert committed(tmp_path / "all", recipe) == {*base.names, *recipe.names}
    # What was trained here and lost its model is another one's: it stays.
    mine = tmp_path / "all" / "runs" / recipe.name / "over-8-0" / "result.json"
    mine.write_text(json.dumps({**json.loads(mine.read_text()), "test_accuracy": 0.6}))
    # Then some are wanted anew: rows that came back alone make way.
    for path in (tmp_path / "all" / "runs" / recipe.name).glob("over-6-*"):
        shutil.rmtree(path)
    again = committed(tmp_path / "all", recipe, without=["over 6"])
    assert again.isdisjoint({"plain_cnn_10", "assistant of 6", "over 6", "over 4"})
    assert json.loads(mine.read_text())["test_accuracy"] == 0.6


def test_an_unknown_recipe_is_named(capsys):
    with pytest.raises(SystemExit):
        train_recipe.main(["lenet_mnist"])
    assert "did you mean" in capsys.readouterr().err.lower()
