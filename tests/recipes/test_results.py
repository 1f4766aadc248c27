"""The committed results are of the recipe that bears their name, and add up."""

import dataclasses
import json
import pathlib
import statistics

import pytest

from kdzoo.recipes import RECIPES, Comparison, Student
from kdzoo.recipes.results import summarize

RESULTS = sorted((pathlib.Path(__file__).parents[2] / "results").glob("*.json"))


def by_name(path):
    return path.stem


@pytest.fixture(params=RESULTS, ids=by_name)
def results(request):
    return request.param.stem, json.loads(request.param.read_text())


def test_the_results_are_of_the_recipe_that_bears_the_name(results):
    name, content = results
    settings = json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))
    said = with_later_fields(content["settings"])
    assert {key: settings[key] for key in said} == said


def with_later_fields(said):
    """A field that came later has a default that changes nothing of what came before."""
    if "comparison" in said:
        return {**said, "comparison": with_later_fields(said["comparison"])}
    recipe = json.loads(json.dumps(dataclasses.asdict(Comparison("", "", "", 1, 1))))
    student = json.loads(json.dumps(dataclasses.asdict(Student())))

    def whole(part):
        students = {kind: {**student, **each} for kind, each in part.get("students", {}).items()}
        return {**part, "students": students} if students else part

    return whole({**recipe, **said, "smoke_settings": whole(said.get("smoke_settings", {}))})


def test_the_summary_follows_from_the_rows(results):
    _, content = results
    for kind, summary in content["summary"].items():
        expected = summarize(content["rows"], kind)
        if "bytes" in summary:
            ours = [row for row in content["rows"] if row["kind"] == kind]
            for name in ("bytes", "gzipped_bytes"):
                expected[name] = round(statistics.fmean(row[name] for row in ours))
        assert expected == summary
