"""Every recipe runs in its smoke mode, and says what it trains."""

import json

import keras
import numpy as np
import pytest

from kdzoo.data.catalog import DATASETS
from kdzoo.recipes import RECIPES
from kdzoo.zoo.registry import architecture

# On JAX, which compiles for long, the simplest of them.
COMPRESSING = sorted(name for name, recipe in RECIPES.items() if recipe.base is not None)
OF_THE_ZOO = ["cluster_separable_cifar10"]  # They compress a model that is there already.
SMOKE = {"jax": ["hinton_mnist"]}.get(
    keras.backend.backend(), sorted(set(RECIPES) - {*COMPRESSING, *OF_THE_ZOO})
)
# Many networks, or ones of the same architectures as in the recipes that are left.
LONG = (
    "fashion_mnist",
    "few_samples_cifar10",
    "fitnet_mnist",
    "hard_weight_digits",
    "hinton_mnist_temperatures",
    "hinton_mnist_without_3",
    "losses_compared",
    "separable_cifar10",
    "transfer_set_cifar10",
)
LONG += ("zoo_cifar10", "zoo_cifar100", "zoo_fashion_mnist")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.large] if name in LONG else []) for name in SMOKE],
)
def test_a_recipe_runs_in_its_smoke_mode(name, tmp_path):
    recipe = RECIPES[name].smoke()
    results = recipe.run(tmp_path, verbose=0)
    assert set(results["summary"]) == set(recipe.names)
    for row in results["rows"]:
        assert 0 < row["test_accuracy"] <= 1
        assert row["test_errors"] == round((1 - row["test_accuracy"]) * 797)
        losses = [loss for loss in row["history"].get("loss", []) if loss is not None]
        assert np.isfinite(losses).all()
    json.dumps(results)


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_mode_trains_for_an_epoch(name):
    recipe = RECIPES[name].smoke()
    assert recipe.data == "digits"
    for node in recipe.needed():
        stage = recipe.stage(node.stage)
        if not stage.trains:
            continue
        trainings = len(stage.compression.steps) if hasattr(stage, "compression") else 1
        assert stage.epochs == trainings + (1 if hasattr(stage, "hints") else 0)
        assert node.seed == 0


@pytest.mark.parametrize("name", COMPRESSING)
def test_the_smoke_mode_of_a_compression_trains_no_more_than_it_compresses(name):
    recipe, whole = RECIPES[name].smoke(), RECIPES[name]
    start = whole.stage("float32").start.stage
    assert recipe.base.names == ("teacher", start)
    assert recipe.names == whole.names
    assert recipe.built_from("float32") == whole.built_from("float32")


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning")
def test_recipes_of_compression_run_in_their_smoke_mode(tmp_path):
    """One after the other, so that they share the networks that they start from."""
    seconds = {}
    for name in (*COMPRESSING, *OF_THE_ZOO):
        recipe = RECIPES[name].smoke()
        results = recipe.run(tmp_path / name, verbose=0)
        assert set(results["summary"]) == set(recipe.names)
        for row in results["rows"]:
            zeros = next((s for s in (50, 80, 90) if row["kind"].startswith(f"{s} %")), None)
            # Of the pointwise and dense kernels, which hold most of the weights.
            assert zeros is None or 0.7 * zeros < 100 * row["sparsity"] < zeros
        if recipe.base is None:
            continue
        teacher = json.loads(
            (tmp_path / recipe.base.name / "teacher-0" / "result.json").read_text()
        )
        seconds.setdefault(recipe.base.name, set()).add(teacher["seconds"])
    assert len(seconds) == 2
    assert all(len(times) == 1 for times in seconds.values())


def test_recipes_name_what_exists():
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.data in DATASETS
        assert set(recipe.paper) <= set(recipe.names)
        recipe.check()
        for stage in recipe.names:
            assert architecture(recipe.built_from(stage)[0])


def test_the_teacher_of_one_recipe_serves_another():
    one, other = RECIPES["hinton_mnist"], RECIPES["hinton_mnist_temperatures"]
    assert one.identity("teacher", 0) == other.identity("teacher", 0)
