"""The stages of pruned networks: what they leave, and what they refuse."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_experiments import with_stages

import kdzoo
from kdzoo.experiments import Dependency, PruneFilters, Training, TrainPruned
from kdzoo.experiments.pruned_models import computing_like

START = Dependency("teacher", 0)
PRUNED = PruneFilters("pruned", START, Training(1), steps=1, teacher=START)
AGAIN = TrainPruned("again", Dependency("pruned", 0), Training(1))

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run of both, and its rows by name."""
    directory = tmp_path_factory.mktemp("pruned")
    rows = with_stages(PRUNED, AGAIN, seeds=(0,)).run(directory, verbose=0)["rows"]
    return directory, {row["kind"]: row for row in rows}


@pytest.mark.parametrize("name", ["pruned", "again"])
def test_a_row_has_costs_before_and_after(finished, name):
    directory, rows = finished
    models = {n: keras.saving.load_model(directory / f"{n}-0" / "model.keras") for n in rows}
    row, whole = rows[name], models["teacher"]
    assert row["parameters"] == models[name].count_params() == models["pruned"].count_params()
    assert row["macs"] == kdzoo.evaluation.count_macs(models[name]) == rows["pruned"]["macs"]
    assert row["unpruned_macs"] == kdzoo.evaluation.count_macs(whole)
    assert row["unpruned_parameters"] == whole.count_params()
    assert 0.3 * row["unpruned_macs"] < row["macs"] <= 0.5 * row["unpruned_macs"]
    assert row["latency_ms"] > 0 < row["unpruned_latency_ms"]
    assert row["test_accuracy"] == kdzoo.evaluation.accuracy(
        models[name], *kdzoo.data.load("digits").test.arrays()
    )
    assert len(row["history"]["loss"]) == 1
    for layer in models[name].layers:
        assert layer.dtype_policy.name == "float32"


def test_new_weights_are_new(finished):
    directory, _ = finished
    first, second = (
        keras.saving.load_model(directory / f"{name}-0" / "model.keras").get_weights()[0]
        for name in ("pruned", "again")
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.5


def test_precisions_are_those_of_another_model():
    def net(policy, width):
        inputs = keras.Input((4,))
        x = keras.layers.Dense(width, dtype=policy, name="a")(inputs)
        inner = keras.Sequential([keras.layers.Dense(3, dtype=policy, name="b")], name="inner")
        return keras.Model(inputs, keras.layers.Dense(2, name="out")(inner(x)))

    narrow, wide = net("float32", 5), net("mixed_bfloat16", 8)
    made = computing_like(narrow, wide)
    layers = {layer.name: layer for layer in [*made.layers, *made.get_layer("inner").layers]}
    policies = [layers[name].dtype_policy.name for name in ("a", "b", "out")]
    assert policies == ["mixed_bfloat16", "mixed_bfloat16", "float32"]
    for ours, theirs in zip(made.get_weights(), narrow.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (dataclasses.replace(PRUNED, target=("target_macs", 1.0)), "target_macs to lie in"),
        (dataclasses.replace(PRUNED, target=("target_bytes", 0.5)), "Unknown target"),
        (dataclasses.replace(PRUNED, target=("ratio", 1.0)), "ratio to lie in"),
        (dataclasses.replace(PRUNED, target=("target_latency_ms", 0.0)), "target_latency_ms to"),
        (dataclasses.replace(PRUNED, target=0.5), "Expected target as"),
        (dataclasses.replace(PRUNED, importance="taylor"), "Unknown importance"),
        (dataclasses.replace(PRUNED, steps=0), "steps to be a positive integer"),
        (dataclasses.replace(PRUNED, training=None), "Expected a Training"),
        (dataclasses.replace(PRUNED, start="teacher"), "Expected a Dependency"),
        (dataclasses.replace(AGAIN, training=None), "Expected a Training"),
        (dataclasses.replace(AGAIN, start="pruned"), "Expected a Dependency"),
    ],
)
def test_wrong_settings(stage, complaint):
    with pytest.raises(ValueError, match=complaint):
        stage.check()


@pytest.mark.parametrize(
    ("target", "title"),
    [
        (("ratio", 0.25), "25% fewer channels"),
        (("target_macs", 0.5), "macs to 50%"),
        (("target_latency_ms", 2.5), "latency to 2.5 ms"),
    ],
)
def test_any_target_of_filter_pruning_is_one_of_a_stage(target, title):
    stage = dataclasses.replace(PRUNED, target=target, teacher=None)
    stage.check()
    assert stage.title == title
    assert dataclasses.replace(stage, teacher=stage.start).title == f"{title}, taught"
