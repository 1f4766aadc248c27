"""The benchmark of compression: it runs, and prints what it writes."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
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
        line = next(line for line in done.stdout.splitlines() if line.startswith(row["what"]))
        assert f"x {row['ratio']:.3f}" in line
        assert line.endswith("met" if row["ratio"] <= 1.05 else "missed")
