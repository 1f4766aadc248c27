"""Recipes of exits and widths that are killed at random moments, and go on to the same end."""

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import kdzoo

HERE = pathlib.Path(__file__).parent
ROOT = pathlib.Path(kdzoo.__file__).parents[1]
CHILD = """
import sys
sys.path.insert(0, {here!r})
from small_dynamic_stages import EXITS, THRESHOLDS, UNIVERSAL, WIDTHS
from tiny_experiments import changed, with_stages
names = "exits", "widths", "universal"
recipe = changed(with_stages({stages}, seeds=(0, 1)), *names, epochs=8)
print("begun", flush=True)
recipe.run(sys.argv[1], verbose=0)
"""


@pytest.mark.large
@pytest.mark.parametrize("stages", ["EXITS, THRESHOLDS", "WIDTHS, UNIVERSAL"])
def test_a_recipe_killed_at_random_moments_ends_as_an_undisturbed_one(stages, tmp_path):
    def start(name):
        command = [sys.executable, "-c", CHILD.format(here=str(HERE), stages=stages)]
        process = subprocess.Popen(
            [*command, tmp_path / name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout.readline() == "begun\n", process.communicate()[1][-2000:]
        return process

    def finish(name):
        process = start(name)
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-2000:]

    begun = time.perf_counter()
    finish("whole")
    takes, rng, killed = time.perf_counter() - begun, random.Random(stages), 0
    for _ in range(6):
        process = start("killed")
        try:
            process.wait(rng.uniform(0.2, 0.8) * takes)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
    assert killed >= 1
    finish("killed")
    found = [
        json.loads((tmp_path / name / "results.json").read_text())["rows"]
        for name in ("whole", "killed")
    ]
    for row in [*found[0], *found[1]]:
        del row["seconds"], row["versions"]  # Which name the commit, too.
    assert found[0] == found[1]
    for path in sorted((tmp_path / "whole").glob("*/model.keras")):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        expected, same = (keras.saving.load_model(file).get_weights() for file in (path, other))
        for ours, theirs in zip(expected, same, strict=True):
            np.testing.assert_array_equal(ours, theirs)
