"""The stages that leave smaller models: of a low rank, and of binary weights."""

import json

import keras
import numpy as np
import pytest
import safetensors.numpy
from tiny_experiments import TEACHER, with_stages

import kdzoo
from kdzoo.experiments import Dependency, DistillBinary, Factorize, TrainBinary, Training
from kdzoo.zoo import load_weights

TRAINED = Dependency("teacher", 0)
ONCE = Training(1, augmentation=None)
NET = ("mlp_2x64", ONCE, {"hidden": (24,), "batch_norm": True})
STAGES = (
    Factorize("half", TRAINED, 0.5, training=ONCE, teacher=TRAINED),
    Factorize("energy", TRAINED, energy=0.8, training=Training(1)),
    TrainBinary("signs", *NET, sign_activations=True),
    DistillBinary("drawn", *NET, method="stochastic"),
)

pytestmark = pytest.mark.tensorflow


def recipe(*stages):
    return with_stages(*stages, seeds=(0,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run of all of them, and its rows by name."""
    directory = tmp_path_factory.mktemp("small")
    rows = recipe(*STAGES).run(directory, verbose=0)["rows"]
    return directory, {row["kind"]: row for row in rows}


def load(directory, name):
    return keras.saving.load_model(directory / f"{name}-0" / "model.keras")


def test_a_low_rank_is_a_stage_of_a_recipe(finished):
    directory, rows = finished
    start, data = load(directory, "teacher"), kdzoo.data.load("digits").test.arrays()
    for name, row in ((name, rows[name]) for name in ("half", "energy")):
        model = load(directory, name)
        assert row["test_accuracy"] == pytest.approx(kdzoo.evaluation.accuracy(model, *data))
        assert row["parameters"] == model.count_params()
        assert row["start_parameters"] == start.count_params()
        assert len(row["history"]["loss"]) == 1
        saved = row["kernel_parameters_before"] - row["kernel_parameters_after"]
        assert start.count_params() - model.count_params() == saved > 0
        assert row["kernel_parameters_predicted"] == row["kernel_parameters_after"]
        untrained, _ = kdzoo.compression.factorize(
            start, **{"half": {"ratio": 0.5}, "energy": {"energy": 0.8}}[name]
        )
        found = kdzoo.evaluation.accuracy(untrained, *data)
        assert row["untrained_test_accuracy"] == pytest.approx(found)
    assert rows["half"]["parameters"] <= start.count_params() / 2


@pytest.mark.parametrize("name", ["signs", "drawn"])
def test_binary_weights_are_a_stage_of_a_recipe(finished, name):
    directory, rows = finished
    row, model = rows[name], load(directory, name)
    file = directory / f"{name}-0" / "binary.safetensors"
    tensors = safetensors.numpy.load_file(file)
    signs = [tensor for path, tensor in tensors.items() if path.endswith(".signs")]
    assert sum(map(len, signs)) * 8 == (64 + 10) * 24
    assert row["kernel_factor"] == 32
    assert row["packed_bytes"] == file.stat().st_size
    assert row["file_factor"] == pytest.approx(row["float32_bytes"] / row["packed_bytes"])
    data = kdzoo.data.load("digits").test.arrays()
    assert row["test_accuracy"] == pytest.approx(kdzoo.evaluation.accuracy(model, *data))
    kernel = model.get_layer("stage1_dense").get_weights()[0]
    assert (len(np.unique(kernel)) == 2) == (name == "signs")
    load_weights(model, file)
    assert row["binary_test_accuracy"] == pytest.approx(kdzoo.evaluation.accuracy(model, *data))
    json.dumps(row)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (TrainBinary("s", *NET, method="ternary"), "Unknown method"),
        (DistillBinary("s", *NET, sign_activations=2), "sign_activations"),
        (Factorize("s", TRAINED), "one of rank, energy, ratio and accuracy. Received: none"),
        (Factorize("s", TRAINED, 0.5, method="cp"), "Unknown method"),
        (Factorize("s", TRAINED, 0.5, temperature=0), "temperature"),
        (Factorize("s", TRAINED, 0.5, training=3), "Expected a Training"),
    ],
)
def test_what_is_refused(stage, message):
    with pytest.raises(ValueError, match=message):
        recipe(TEACHER, stage).check()
