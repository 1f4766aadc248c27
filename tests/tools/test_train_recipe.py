"""A recipe that is trained in parts, on machines that keep nothing but what is committed."""

import dataclasses
import json
import shutil

import pytest

from kdzoo import recipes
from kdzoo.experiments import Dependency, Distill, Experiment, Train, Training, soft_targets
from tools import train_recipe

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


def test_an_unknown_recipe_is_named(capsys):
    with pytest.raises(SystemExit):
        train_recipe.main(["lenet_mnist"])
    assert "did you mean" in capsys.readouterr().err.lower()
