"""The benchmarks of the zoo: they run, and the zoo is what did best in them."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import kdzoo
from kdzoo.recipes import RECIPES
from tools.compression_pareto import VARIANTS

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "results" / "benchmarks"


def results(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def smoke(name, path, arguments=("--smoke",)):
    """Runs a benchmark in its smoke mode; returns the figures and what it printed."""
    command = [sys.executable, BENCHMARKS / f"{name}.py", *arguments, "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.read_text()), done.stdout


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["load_time", "recorded_teacher"])
def test_it_runs_and_prints_what_it_writes(name, tmp_path):
    found, printed = smoke(name, tmp_path / "figures.json")
    assert found.keys() == results(name).keys()
    measured = found.get("models", {"from a recorded teacher": found})
    for what, figures in measured.items():
        line = next(line for line in printed.splitlines() if line.startswith(what))
        ratio = float(re.search(r"/ \w+:? ([\d.]+)", line)[1])
        assert ratio == pytest.approx(figures["ratio"], abs=0.006)


@pytest.mark.large
@pytest.mark.tensorflow
def test_files_of_the_zoo_are_timed_and_those_of_runs_where_they_are(tmp_path):
    run = tmp_path / "runs" / "compression_pareto" / "filters-1-2-0"
    run.mkdir(parents=True)
    shutil.copy(kdzoo.zoo.tflite("separable_025/cifar10/int8"), run / "model.tflite")
    arguments = ("--smoke", "--runs-dir", tmp_path / "runs")
    found, printed = smoke("pareto_latency", tmp_path / "figures.json", arguments)
    names = {variant.name for variant in VARIANTS if variant.zoo is not None}
    assert found["milliseconds"].keys() == {*names, "filters, 1/2"}
    assert all(time > 0 for time in found["milliseconds"].values())
    assert "not trained yet: float16, int8 weights" in printed


@pytest.mark.large
def test_kdz_files_are_timed_with_and_without_zeros(tmp_path):
    found, printed = smoke("kdz_speed", tmp_path / "figures.json")
    assert [row["zeros"] for row in found["rows"]] == [0.0, 0.9]
    for row, line in zip(found["rows"], printed.splitlines(), strict=True):
        assert row["plain_bytes"] == 4 * (100 * 200 + 200)
        rate = row["plain_bytes"] / 1e6 / row["seconds"]["load"][0]
        assert row["megabytes_per_second"]["load"] == pytest.approx(rate)
        assert f"loaded at {rate:.0f} MB/s" in line
    assert 2 * found["rows"][1]["bytes"] < found["rows"][0]["bytes"]


@pytest.mark.large
def test_loading_is_quick_here_too(tmp_path):
    names = ["separable_050/cifar10", "mlp_2x1200/mnist", "wide_resnet_16_4/cifar10"]
    found, _ = smoke("load_time", tmp_path / "figures.json", [*names, "--rounds", "5"])
    assert list(found["models"]) == names
    for name in names:
        assert found["models"][name]["ratio"] <= found["limit"], name


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    [
        *("depthwise_forms", "separable_alternatives", "optimizers", "half_precision"),
        *("files_of_signatures", "exits_in_int8"),
    ],
)
def test_forms_are_compared(name, tmp_path):
    found, _ = smoke(name, tmp_path / "figures.json")
    if name == "half_precision":
        assert found["models"].keys() == results(name)["models"].keys()
        return
    if name == "files_of_signatures":
        ((network, forms),) = found["models"].items()
        assert forms.keys() == results(name)["models"][network].keys() == {"float32", "int8"}
        return
    if name == "exits_in_int8":
        assert found["budgets"].keys() == results(name)["budgets"].keys()
        return
    if name == "depthwise_forms":
        assert found.keys() == results(name).keys()
        assert found["milliseconds"].keys() == results(name)["milliseconds"].keys()
        return
    if name == "optimizers":
        tried = [
            [(row["network"], row["optimizer"]) for row in figures["rows"]]
            for figures in (found, results(name))
        ]
        assert sorted(tried[0]) == sorted(tried[1])
        return
    assert len(found["rows"]) == 5
    assert all(row["parameters"] <= 60_000 for row in found["rows"])


def test_the_zoo_learns_by_what_did_best():
    found = results("optimizers")
    held_out = {}
    for row in found["rows"]:
        accuracies = held_out.setdefault(row["network"], {})
        accuracies[row["optimizer"]] = row["validation_accuracy"] or 0.0  # It diverged.
    assert len(held_out) == 4
    for network, accuracies in held_out.items():
        architecture, _, data_set = network.partition("/")
        training = RECIPES[f"zoo_{data_set}"].stage(f"{architecture}, alone").training
        optimizer = training.optimizer, training.learning_rate, training.weight_decay
        [ours] = [
            way
            for way, settings in found["settings"].items()
            if (settings["optimizer"], settings["learning_rate"], settings["weight_decay"])
            == optimizer
        ]
        assert accuracies[ours] >= max(accuracies.values()) - 1e-3, network


def test_no_other_block_does_better_than_that_of_separable():
    rows = results("separable_alternatives")["rows"]
    assert len(rows) == 5
    (ours, *others), quicker = rows, set()
    assert ours["network"] == "separable_025"
    for other in others:
        assert ours["validation_accuracy"] > other["validation_accuracy"]
        slow = other["network"] in ("inverted residuals", "residual 3x3 convolutions")
        for form in ("float32", "int8"):  # What is less than a tenth apart may be so by chance.
            ratio = other["latency_ms"][form] / ours["latency_ms"][form]
            assert ratio > (1.8 if slow else 0.9)
        if other["processor_seconds_per_epoch"] < ours["processor_seconds_per_epoch"]:
            quicker.add(other["network"])
    assert quicker == {"no ReLU after the depthwise convolution"}


def test_no_form_in_bfloat16_is_quicker_than_the_accelerated_one():
    """The recipes train separable networks in bfloat16, with TensorFlow's op."""
    found = results("depthwise_forms")["milliseconds"]
    assert sorted(found, key=found.get)[:2] == ["own op", "accelerated, bfloat16"]


def test_bfloat16_saves_time_wherever_the_recipes_train_in_it():
    for name, figures in results("half_precision")["models"].items():
        assert figures["quartiles"][2] < 1, name


@pytest.mark.parametrize(
    ("name", "missed"), [("load_time", set()), ("load_time_jax", {"lenet_300_100/mnist/kdz"})]
)
def test_every_model_but_one_loads_within_the_target(name, missed):
    found = results(name)
    assert set(found["models"]) == set(kdzoo.list_pretrained())
    slow = {name for name, row in found["models"].items() if row["ratio"] > found["limit"]}
    assert slow == missed


@pytest.mark.large
@pytest.mark.tensorflow
def test_whole_calls_are_measured_beside_their_steps(tmp_path):
    found, printed = smoke("epoch_overhead", tmp_path / "figures.json")
    assert list(found["calls"]) == ["fit", "evaluate", "predict"]
    for call, figures in found["calls"].items():
        assert figures["ratios"].keys() == figures["seconds"].keys()
        assert figures["ratios"]["steps"] == 1
        line = next(line for line in printed.splitlines() if line.startswith(f"{call}, "))
        assert f"arrays {figures['ratios']['arrays']:.3f}" in line
