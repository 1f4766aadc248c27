"""Every recipe runs in its smoke mode, and says what it trains."""

import json

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.data.catalog import DATASETS
from kdzoo.recipes import RECIPES, compute_budget, specialists_cifar100
from kdzoo.zoo.registry import architecture

# On JAX, which compiles for long, the simplest of them.
COMPRESSING = sorted(
    name
    for name, recipe in RECIPES.items()
    if recipe.base is not None and "float32" in recipe.names
)
# They compress a model that is there already, or train what they compress.
OF_THE_ZOO = [
    "cluster_separable_cifar10",
    "compression_pareto",
    "mobile_networks_cifar10",
    "qat_4_bit_cifar10",
]
SMOKE = {"jax": ["digits"]}.get(
    keras.backend.backend(), sorted(set(RECIPES) - {*COMPRESSING, *OF_THE_ZOO})
)
# Many networks, or ones of the same architectures as in the recipes that are left.
LONG = (
    "binary_connect_mnist",
    "born_again_fashion_mnist",
    "compute_budget",
    "compute_budget_107m",
    "deep_compression_lenet_300_100",
    "deep_compression_lenet_5",
    "early_exit_mnist",
    "ensemble_cifar10",
    "ensemble_digits",
    "fashion_mnist",
    "few_samples_cifar10",
    "fitnet_mnist",
    "fitnet_mnist_by_labels",
    "hard_weight_digits",
    "hinton_mnist",
    "hinton_mnist_again",
    "hinton_mnist_only_7_8",
    "hinton_mnist_temperatures",
    "hinton_mnist_without_3",
    "losses_compared",
    "losses_compared_unlike",
    "lottery_lenet",
    "low_rank_cifar10",
    "low_rank_lenet",
    "mimic_cifar10",
    "msdnet_cifar10",
    "mutual_learning_cifar100",
    "prune_filters_cifar10",
    "separable_cifar10",
    "slimmable_cifar10",
    "specialists_cifar100",
    "teacher_assistant_cifar10",
    "teacher_sweep_cifar10",
    "transfer_set_cifar10",
)
LONG += ("zoo_cifar10", "zoo_cifar100", "zoo_fashion_mnist", "zoo_mnist")


@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.large] if name in LONG else []) for name in SMOKE],
)
def test_a_recipe_runs_in_its_smoke_mode(name, tmp_path):
    recipe = RECIPES[name].smoke()
    results = recipe.run(tmp_path / name, verbose=0)  # Beside it, what it starts from.
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
        trainings *= getattr(stage, "generations", 1) * (getattr(stage, "clusters", None) or 1)
        if hasattr(stage, "controls"):  # Dense, a ticket, and controls, one as long as both.
            trainings = 6
        trainings += hasattr(stage, "hints") + hasattr(stage, "codebook_epochs")
        trainings -= hasattr(stage, "budgets")  # Thresholds, which no training finds.
        assert stage.epochs == trainings
        assert (node.seed,) == (stage.seeds or (0,))


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


def test_deep_compression_has_the_settings_of_the_paper():
    for name, preset in kdzoo.schemes.DEEP_COMPRESSION_PRESETS.items():
        stage = RECIPES[f"deep_compression_{name}"].stage("as in the paper")
        assert {"sparsity": stage.sparsity, "bits": stage.bits} == preset


@pytest.mark.tensorflow
def test_networks_have_the_multiplications_of_their_budget():
    """Those of FitNets 1 and 2, which the paper states as 30 M and 108 M."""
    teacher = kdzoo.create("separable_050")
    for recipe, networks, budget in (
        (compute_budget.BUDGET_30_M, compute_budget.OF_30_M, 30.15e6),
        (compute_budget.BUDGET_107_M, compute_budget.OF_107_M, 107.5e6),
    ):
        for layers, units in networks.items():
            model = kdzoo.create("fitnet_1", stages=units)
            assert abs(kdzoo.evaluation.count_macs(model) / budget - 1) < 0.01, layers
            assert sum(map(len, units)) + 2 == layers
            hint, guided, _ = recipe.stage(f"{layers} layers, hints").hints
            sizes = [
                network.get_layer(name).output.shape[1:3]
                for network, name in ((teacher, hint), (model, guided))
            ]
            assert sizes[0] == sizes[1], layers


@pytest.mark.tensorflow
def test_a_shallow_student_has_as_many_parameters_as_its_teacher():
    recipe = RECIPES["mimic_cifar10"]
    sizes = [
        kdzoo.create(architecture, 10, (32, 32, 3), **arguments).count_params()
        for architecture, arguments in map(recipe.built_from, ("of the teacher's size", "member"))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.001)


def test_the_groups_of_cifar100_are_five_classes_each():
    groups = specialists_cifar100.COARSE
    assert [len(group) for group in groups] == [5] * 20
    assert sorted(label for group in groups for label in group) == list(range(100))
    # Beaver, dolphin, otter, seal, whale; and the first five of its vehicles.
    assert groups[0] == (4, 30, 55, 72, 95)
    assert groups[18] == (8, 13, 48, 58, 90)


def test_rows_that_are_compared_with_another_recipe_are_trained_as_it():
    """By what identifies them, but for what is compared."""
    pairs = (
        ("born_again_fashion_mnist", "alone", "fashion_mnist", "alone"),
        ("mutual_learning_cifar100", "two peers", "zoo_cifar100", "resnet_20, alone"),
        ("fitnet_mnist_by_labels", "labels first", "fitnet_mnist", "hints"),
    )
    for one, stage, other, its_stage in pairs:
        found = [
            {**RECIPES[name].settings(of, 0), "kind": None, "type": None}
            for name, of in ((one, stage), (other, its_stage))
        ]
        compared = {"peers", "hints", "teacher"}
        assert [{key: part[key] for key in part if key not in compared} for part in found] == [
            {key: found[0][key] for key in found[0] if key not in compared}
        ] * 2
