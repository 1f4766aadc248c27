"""What is left of a recipe, timed where it was trained and guessed where it was not."""

import dataclasses
import json

import pytest

from kdzoo import recipes
from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Experiment,
    FitThresholds,
    MutualLearning,
    PruneFilters,
    Train,
    TrainExits,
    Training,
    TrainPruned,
    TrainWidths,
    retraining,
)
from kdzoo.experiments.stage import Node
from tools import estimate_recipes

STUDENT = ("mlp_2x64", Training(3))
DYNAMIC = (
    TrainExits("exits", *STUDENT, at=("stage1",)),
    TrainExits("exit", *STUDENT, at=("stage1",), only=1),
    FitThresholds("thresholds", Dependency("exits")),
    TrainWidths("widths", *STUDENT, widths=(0.25, 0.5, 0.75, 1.0)),
    TrainWidths("some widths", *STUDENT, widths=(0.25, 0.5, 0.75, 1.0), middle_widths=1),
    TrainWidths("width", *STUDENT, widths=(0.5, 1.0), only=0.5),
)
SMALL = Experiment(
    "small",
    "mnist",
    (
        Train("teacher", "mlp_2x128", Training(4), seeds=(0,)),
        Distill("student", *STUDENT),
        MutualLearning("peers", *STUDENT, peers=(("mlp_2x64", {}),), seeds=(0,)),
        Train("other", "vgg_8", Training(1), seeds=(0,)),
        Distill("last", *STUDENT, teacher=Dependency("other", 0), seeds=(0,)),
    ),
    seeds=(0, 1),
    validation=0,
)


def of_filters(filters, filters_target="macs", **settings):
    training = retraining(1)
    return Compression(
        filters=filters, filters_target=filters_target, training=training, **settings
    )


OF_STUDENT, LEFT = Dependency("student"), ("target_macs", 0.4)
PRUNED = dataclasses.replace(
    SMALL,
    stages=(
        *SMALL.stages,
        PruneFilters("pruned", OF_STUDENT, Training(5), LEFT, steps=3),
        PruneFilters("half of them", OF_STUDENT, Training(5), ("ratio", 0.5), steps=1),
        PruneFilters("to ms", OF_STUDENT, Training(5), ("target_latency_ms", 1.0), steps=1),
        TrainPruned("from new weights", Dependency("pruned"), Training(2)),
        Compress("filters", OF_STUDENT, Compression(filters=0.5, training=retraining(2))),
        Compress(
            "filters, int8",
            Dependency("filters"),
            Compression(cluster=16, quantize="qat", training=retraining(1)),
        ),
        Compress("file", Dependency("pruned"), Compression(quantize="int8")),
        Compress("channels", OF_STUDENT, of_filters(0.5, filters_target="channels")),
        Compress("channels in rounds", OF_STUDENT, of_filters(0.5, "channels", rounds=2)),
        Compress("rounds and zeros", OF_STUDENT, of_filters(0.4, rounds=3, prune=0.5)),
        PruneFilters("channels in steps", OF_STUDENT, Training(5), ("ratio", 0.5), steps=2),
        TrainPruned("half the channels", Dependency("channels in rounds"), Training(2)),
    ),
)
EPOCH = 60_000 * (784 * 64 + 64 * 64 + 64 * 10) / (1e6 * estimate_recipes.RATES["mlp"])


def guessed(stage, recipe=SMALL):
    return estimate_recipes.guessed_seconds(recipe, Node("small", stage, 0))


def test_a_guess_goes_by_images_and_multiplications():
    seconds = 3 * EPOCH
    assert guessed("student") == pytest.approx(seconds)
    assert guessed("peers") == pytest.approx(2 * seconds)
    assert guessed("other") is None


def test_a_guess_goes_by_what_of_a_network_is_trained():
    recipe = Experiment("dynamic", "mnist", DYNAMIC, seeds=(0,), validation=0)
    found = [
        estimate_recipes.guessed_seconds(recipe, Node("dynamic", stage.name, 0))
        for stage in DYNAMIC
    ]
    macs, head = 784 * 64 + 64 * 64 + 64 * 10, 64 * 10
    times = [1 / 16 + 1 / 4 + 9 / 16 + 1, 1 / 16 + 0.625**2 + 1, 1 / 4]
    expected = [macs + head, 784 * 64 + head, 0, *(macs * one for one in times)]
    a_second = 1e6 * estimate_recipes.RATES["mlp"]
    assert found == pytest.approx([60_000 * 3 * one / a_second for one in expected], rel=1e-4)


def test_networks_with_fewer_filters_count_with_what_is_left():
    expected = {
        "pruned": 5 * (0.8 + 0.6 + 0.4),
        "half of them": 5 * 0.25,
        "to ms": 5,
        "from new weights": 2 * 0.4,
        "filters": 2 * 0.5,
        "filters, int8": 2 * 0.5,
        "file": 0.0,
        # Half of the channels is a quarter of what multiplies them, three quarters 9/16.
        "channels": 1 / 4,
        "channels in rounds": 9 / 16 + 1 / 4,
        "rounds and zeros": 0.8 + 0.6 + 0.4 + 0.4,
        "channels in steps": 5 * (9 / 16 + 1 / 4),
        "half the channels": 2 * 1 / 4,
    }
    for stage, epochs in expected.items():
        assert guessed(stage, PRUNED) == pytest.approx(epochs * EPOCH), stage


def test_a_line_says_what_is_timed_and_what_is_guessed(monkeypatch, tmp_path):
    monkeypatch.setitem(recipes.RECIPES, "small", SMALL)
    row = {"kind": "teacher", "seed": 0, "seconds": 7200.0, "test_accuracy": 1.0}
    content = {"settings": {}, "versions": {}, "rows": [row]}
    (tmp_path / "small.json").write_text(json.dumps(content))
    line = estimate_recipes.line("small", tmp_path / "runs", tmp_path)
    assert line == "small: 6 models to train, about 2.0 hours (1 timed, 4 guessed, 1 not timed yet)"
