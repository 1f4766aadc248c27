"""What was tried of keras.applications: the clones agree."""

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "results" / "benchmarks"


def test_clones_that_are_off_are_marked():
    """All agree to 1e-5, except those that turn a rounding into more than that themselves."""
    results = json.loads((RESULTS / "applications.json").read_text())
    off = {
        name
        for name, found in results.items()
        if isinstance(found["twin"], float) and found["twin"] > 1e-5
    }
    assert off == {"EfficientNetV2L", "EfficientNetV2M"}
    assert all(results[name]["adapted"] for name in off)
