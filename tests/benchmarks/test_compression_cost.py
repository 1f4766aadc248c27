"""The benchmark of compression: it runs, and the README says what it measured."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "results" / "benchmarks"
WHAT = ["prune_low_magnitude", "cluster_weights", "quantize_model", "inference of the stripped"]


@pytest.mark.large
@pytest.mark.tensorflow
def test_it_runs(tmp_path):
    path = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "compression_cost.py", "--smoke", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(path.read_text())["rows"]
    assert [row["what"] for row in rows] == WHAT
    for row in rows:
        line = next(each for each in done.stdout.splitlines() if each.startswith(row["what"]))
        assert f"x {row['ratio']:.3f}" in line
        assert line.endswith("met" if row["ratio"] <= 1.05 else "missed")


def test_the_readme_says_what_was_measured():
    rows = json.loads((RESULTS / "compression_cost.json").read_text())["rows"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.search(
        r"([\d.]+) of its time in pruning, ([\d.]+) in clustering, ([\d.]+) in quantization-aware "
        r"training; a stripped model runs as a plain one does, ([\d.]+)",
        " ".join(text.split()),
    )
    assert list(said.groups()) == [f"{row['ratio']:.2f}" for row in rows]
