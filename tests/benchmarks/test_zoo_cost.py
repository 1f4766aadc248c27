"""The benchmarks of the zoo: they run, and the README says what they measured."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import kdzoo
from kdzoo.recipes import RECIPES

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "results" / "benchmarks"
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    for each, figures in measured.items():
        line = next(line for line in printed.splitlines() if line.startswith(each))
        ratio = float(re.search(r"/ \w+:? ([\d.]+)", line)[1])
        assert ratio == pytest.approx(figures["ratio"], abs=0.006)


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
    "name", ["depthwise_forms", "separable_alternatives", "optimizers", "half_precision"]
)
def test_forms_are_compared(name, tmp_path):
    found, _ = smoke(name, tmp_path / "figures.json")
    if name == "half_precision":
        assert found["models"].keys() == results(name)["models"].keys()
        return
    if name == "depthwise_forms":
        assert found.keys() == results(name).keys()
        assert found["milliseconds"].keys() == results(name)["milliseconds"].keys()
        return
    if name == "optimizers":
        tried = [
            [(row["network"], row["optimizer"]) for row in each["rows"]]
            for each in (found, results(name))
        ]
        assert sorted(tried[0]) == sorted(tried[1])
        return
    assert len(found["rows"]) == 5
    assert all(row["parameters"] <= 60_000 for row in found["rows"])


def test_the_readme_says_what_depthwise_layers_cost():
    found = results("depthwise_forms")["milliseconds"]
    said = re.search(
        r"take (\d+) ms of processor time a step instead of (\d+), and (\d+) in float32",
        " ".join(README.split()),
    )
    forms = ("accelerated, bfloat16", "own op, bfloat16", "own op")
    assert said.groups() == tuple(f"{found[form]:.0f}" for form in forms)
    # The recipes train separable networks in bfloat16, with TensorFlow's op: no other is near.
    assert sorted(found, key=found.get)[:2] == ["own op", "accelerated, bfloat16"]


def test_the_readme_says_what_half_precision_saves():
    found = results("half_precision")["models"]
    said = re.search(
        r"step takes ([\d.]+) of its time in float32, one of `fitnet_1`, without depthwise layers, "
        r"([\d.]+)",
        " ".join(README.split()),
    )
    shown = {f"{found[name]['ratio']:.2f}" for name in ("separable_025", "separable_050")}
    assert shown == {said[1]}
    assert f"{found['fitnet_1']['ratio']:.2f}" == said[2]
    # These are what the recipes train in it.
    for name, figures in found.items():
        assert figures["quartiles"][2] < 1, name


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
        shown = {None: "", 0.0: "diverged"}
        cells = [accuracies.get(way) for way in found["settings"]]
        cells = (shown[each] if each in shown else f"{100 * each:.2f}" for each in cells)
        row = " ".join(f"| {network} | {' | '.join(cells)} |".split())
        assert row in " ".join(README.split())


def test_the_readme_says_why_separable_has_its_blocks():
    rows = results("separable_alternatives")["rows"]
    assert len(rows) == 5
    for row in rows:
        cells = (
            f"{100 * row['validation_accuracy']:.1f}",
            f"{row['processor_seconds_per_epoch']:.0f}",
            f"{row['macs'] / 1e6:.1f}",
            *(f"{row['latency_ms'][kind]:.2f}" for kind in ("float32", "int8")),
        )
        assert f"| {row['network']} | {' | '.join(cells)} |" in README
    (ours, *others), quicker = rows, set()
    assert ours["network"] == "separable_025"
    for other in others:
        assert ours["validation_accuracy"] > other["validation_accuracy"]
        slow = other["network"] in ("inverted residuals", "residual 3x3 convolutions")
        for kind in ("float32", "int8"):  # What is less than a tenth apart may be so by chance.
            ratio = other["latency_ms"][kind] / ours["latency_ms"][kind]
            assert ratio > (1.8 if slow else 0.9)
        if other["processor_seconds_per_epoch"] < ours["processor_seconds_per_epoch"]:
            quicker.add(other["network"])
    assert quicker == {"no ReLU after the depthwise convolution"}


def test_the_readme_says_how_long_loading_takes():
    shown = []
    for name in ("load_time", "load_time_jax"):
        found = results(name)["models"]
        assert set(found) == set(kdzoo.list_pretrained())
        ratios = [each["ratio"] for each in found.values()]
        assert max(ratios) <= 1.2
        shown += [f"{min(ratios):.2f}", f"{max(ratios):.2f}"]
    said = re.search(
        r"Loading takes ([\d.]+) to ([\d.]+) of the time of `kdzoo.create` on TensorFlow and "
        r"([\d.]+) to ([\d.]+) on JAX,",
        " ".join(README.split()),
    )
    assert list(said.groups()) == shown
    again = results("load_time_jax_again")["models"]
    slowest = max(again, key=lambda name: again[name]["ratio"])
    times = again[slowest]["seconds"]
    shown = [f"{bound(each['ratio'] for each in again.values()):.2f}" for bound in (min, max)]
    shown += [slowest, *(f"{1e3 * np.median(times[what]):.1f}" for what in ("load", "create"))]
    said = re.search(
        r"Measured again, .* quickly: ([\d.]+) to ([\d.]+), the most for `(\S+)`, ([\d.]+) ms "
        r"instead of ([\d.]+), which misses the target of 1\.2\.",
        " ".join(README.split()),
    )
    assert list(said.groups()) == shown


def test_the_readme_says_what_learning_from_a_record_costs():
    found = results("recorded_teacher")
    said = re.search(
        r"An epoch from a record takes ([\d.]+) of the time of [^(]*"
        r"\(quartiles ([\d.]+) and ([\d.]+)",
        " ".join(README.split()),
    )
    first, median, third = (f"{each:.2f}" for each in found["quartiles"])
    assert said.groups() == (median, first, third)
    assert found["ratio"] <= found["limit"]
