"""The committed results are of the recipe that bears their name, and add up."""

import json
import pathlib
import statistics

import pytest

from kdzoo.experiments.summary_over_seeds import summarize
from kdzoo.recipes import RECIPES

RESULTS = sorted((pathlib.Path(__file__).parents[2] / "results").glob("*.json"))


def by_name(path):
    return path.stem


@pytest.fixture(params=RESULTS, ids=by_name)
def results(request):
    return request.param.stem, json.loads(request.param.read_text())


def test_the_results_are_of_the_recipe_that_bears_the_name(results):
    name, content = results
    recipe = RECIPES[name]
    assert content["settings"] == recipe.described()
    for row in content["rows"]:
        assert row["identity"] == recipe.identity(row["kind"], row["seed"])


def test_the_summary_follows_from_the_rows(results):
    _, content = results
    for kind, summary in content["summary"].items():
        assert summarize(content["rows"], kind) == summary
        ours = [row for row in content["rows"] if row["kind"] == kind]
        for name in {"bytes", "gzipped_bytes"} & ours[0].keys():
            assert summary[name] == round(statistics.fmean(row[name] for row in ours))
