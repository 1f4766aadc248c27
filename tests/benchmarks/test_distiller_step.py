"""The benchmark of the step: it runs, compares equal work and judges as it says."""

import importlib
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
CONTENDERS = {"kdzoo", "kdzoo, oneDNN off", "keras.distillation", "floor"}
if importlib.util.find_spec("torch"):
    CONTENDERS.add("pytorch")


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "distiller_step"))
    return importlib.import_module


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """What a smoke run prints, and its JSON."""
    path = tmp_path_factory.mktemp("step") / "figures.json"
    command = [sys.executable, BENCHMARKS / "distiller_step", "--smoke", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads(path.read_text())


@pytest.mark.large
@pytest.mark.tensorflow
def test_every_contender_has_its_numbers(smoke):
    printed, figures = smoke
    (row,) = figures["rows"]
    assert set(row["contenders"]) == CONTENDERS
    for name, found in row["contenders"].items():
        assert name in printed
        assert found["images_per_second"] > 0
        assert found["to_floor"]["median"] > 0
        assert found["peak_memory_bytes"] > 50e6
    assert row["contenders"]["floor"]["to_floor"]["median"] == 1
    assert row["evaluate"]["ratio"]["median"] > 0
    assert len(row["targets"]) == 3


@pytest.mark.large
@pytest.mark.tensorflow
def test_all_contenders_compute_the_same_step(smoke):
    (row,) = smoke[1]["rows"]
    losses = row["losses"]
    # Step for step with keras.distillation, so the updates are equal too; PyTorch at the start.
    assert losses["keras.distillation"] == pytest.approx(losses["kdzoo"], abs=1e-4)
    for name in CONTENDERS - {"floor"}:
        assert losses[name][0] == pytest.approx(losses["kdzoo"][0], abs=1e-4)
    assert len({tuple(found["parameters"]) for found in row["contenders"].values()}) == 1


def made_up_row(kdzoo, keras_time, torch_time, dtype="mixed_bfloat16", taps=True):
    """A row with these seconds a step, where the floor takes 1."""
    times = {"kdzoo": kdzoo, "keras.distillation": keras_time, "pytorch": torch_time, "floor": 1.0}
    contenders = {
        name: {
            "to_floor": {"median": seconds},
            "to_kdzoo": {"median": seconds / kdzoo},
            "peak_memory_bytes": 1000,
        }
        for name, seconds in times.items()
    }
    work = {"dtype": dtype, "taps": taps}
    return {"work": work, "contenders": contenders, "evaluate": {"ratio": {"median": 1.06}}}


def test_targets_are_judged_by_what_was_measured(module):
    row = made_up_row(kdzoo=1.09, keras_time=3.3, torch_time=1.1)
    row["contenders"]["kdzoo"]["peak_memory_bytes"] = 1001
    verdicts = {found["target"]: found["met"] for found in module("limits_and_tables").targets(row)}
    assert verdicts == {
        "step / floor": False,
        "memory / keras.distillation": False,
        "evaluate / student's own": False,
        "speed / keras.distillation": True,
        "speed / pytorch": False,
    }


def test_speedups_are_targets_in_bfloat16_with_taps_only(module):
    for dtype, taps in (("float32", True), ("mixed_bfloat16", False)):
        row = made_up_row(1.0, 2.0, 1.0, dtype, taps)
        found = {target["target"] for target in module("limits_and_tables").targets(row)}
        assert not any(target.startswith("speed") for target in found)


def test_ratios_are_taken_round_by_round(module):
    # The machine was ten times slower in the last two rounds, for both.
    ratio = module("limits_and_tables").ratio([1.0, 1.1, 10.5], [1.0, 1.0, 10.0])
    assert ratio["median"] == pytest.approx(1.05)


@pytest.mark.parametrize(
    ("parameters", "loss", "message"), [((1, 3), 2.0, "parameters"), ((1, 2), 2.01, "loss")]
)
def test_unequal_work_is_refused(module, parameters, loss, message):
    work = module("shared_work").Work("smoke", "float32", True)
    facts = {"kdzoo": {"parameters": (1, 2)}, "pytorch": {"parameters": parameters}}
    losses = {"kdzoo": [2.0], "pytorch": [loss], "floor": [9.0]}
    with pytest.raises(RuntimeError, match=message):
        module("measuring")._check_equal_work(work, facts, losses)


@pytest.mark.large
def test_a_contender_that_fails_says_why(module):
    step, work = module("measuring"), module("shared_work").Work("nowhere", "float32", True)
    process = step.Process("pytorch" if "pytorch" in CONTENDERS else "kdzoo", work)
    try:
        with pytest.raises(RuntimeError, match="KeyError: 'nowhere'"):
            process.receive()
    finally:
        process.close()


@pytest.mark.large
@pytest.mark.tensorflow
def test_the_benchmark_of_the_losses_runs(tmp_path):
    path = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "losses_cost.py", "--smoke", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 8
    assert all(row["seconds"] > 0 for row in rows)
