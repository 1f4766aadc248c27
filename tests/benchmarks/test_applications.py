"""What was tried of keras.applications: the clones agree."""

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "results" / "benchmarks"


def test_clones_that_are_off_are_marked():
    """All agree to 1e-5, except those that turn a rounding into more than that themselves."""
    results = json.loads((RESULTS / "applications.json").read_text())
    off = {
        name: found
        for name, found in results.items()
        if isinstance(found["twin"], float) and found["twin"] > 1e-5
    }
    measured = {name for name, found in off.items() if "rounding" in found}
    assert all(off[name]["twin"] <= off[name]["rounding"] for name in measured)
    assert off.keys() - measured == {"EfficientNetV2L", "EfficientNetV2M"}
    assert all(off[name]["adapted"] for name in off.keys() - measured)
