"""The page of keras.applications is what was tried."""

import json
import pathlib
import runpy

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "results" / "benchmarks"


def test_the_page_says_what_was_tried():
    script = runpy.run_path(str(BENCHMARKS / "applications.py"))
    results = json.loads((RESULTS / "applications.json").read_text())
    page = ROOT / "docs" / "applications.md"
    assert page.read_text(encoding="utf-8") == script["page"](results)


def test_twins_that_are_off_are_marked():
    """All agree to 1e-5 but those that make more of a rounding themselves."""
    results = json.loads((RESULTS / "applications.json").read_text())
    off = {
        name
        for name, each in results.items()
        if isinstance(each["twin"], float) and each["twin"] > 1e-5
    }
    assert off == {"EfficientNetV2L", "EfficientNetV2M"}
    assert all(results[name]["adapted"] for name in off)
