"""What the README says of a recipe is what its results say, and they are of this recipe."""

import dataclasses
import json
import pathlib
import statistics

import pytest

import kdzoo
from kdzoo.recipes import RECIPES, Student
from kdzoo.recipes.results import summarize

RESULTS = sorted((pathlib.Path(kdzoo.__file__).parent / "recipes" / "measured").glob("*.json"))
README = pathlib.Path(kdzoo.__file__).parents[1] / "README.md"


def by_name(path):
    return path.stem


@pytest.fixture(params=RESULTS, ids=by_name)
def results(request):
    return request.param.stem, json.loads(request.param.read_text())


def test_the_results_are_of_the_recipe_that_bears_the_name(results):
    name, content = results
    settings = json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))
    # A field that came later has a default that changes nothing of what came before.
    said = content["settings"]
    usual = json.loads(json.dumps(dataclasses.asdict(Student())))
    students = {kind: {**usual, **each} for kind, each in said.get("students", {}).items()}
    said = {**said, "students": students} if "students" in said else said
    assert {key: settings[key] for key in said} == said


def test_the_summary_follows_from_the_rows(results):
    _, content = results
    for kind, summary in content["summary"].items():
        expected = summarize(content["rows"], kind)
        if "bytes" in summary:
            ours = [row for row in content["rows"] if row["kind"] == kind]
            for name in ("bytes", "gzipped_bytes"):
                expected[name] = round(statistics.fmean(row[name] for row in ours))
        assert expected == summary


def test_the_readme_says_what_was_measured(results):
    """Each line of the recipe's table in the README: kind, accuracy, parameters or bytes."""
    _, content = results
    text = README.read_text(encoding="utf-8")
    for kind, summary in content["summary"].items():
        rows = [row for row in content["rows"] if row["kind"] == kind]
        accuracy = f"{100 * summary['mean']:.2f}"
        if len(rows) > 1:
            accuracy += f" ± {100 * summary['std']:.2f}"
        if "bytes" in summary:
            sizes = f"{summary['bytes']:,} | {summary['gzipped_bytes']:,}"
            assert f"| {kind} | {accuracy} | {sizes} |" in text, kind
        else:
            assert accuracy in text, f"{kind}: {accuracy}"
            assert f"{rows[0]['parameters']:,}" in text, kind


def test_the_readme_says_what_each_loss_adds():
    """The table of losses, with its differences from soft targets for each seed."""
    content = json.loads((RESULTS[0].parent / "losses_compared.json").read_text())
    text = README.read_text(encoding="utf-8")
    by_kind = {
        kind: {row["seed"]: row["test_accuracy"] for row in content["rows"] if row["kind"] == kind}
        for kind in content["summary"]
    }
    for kind in set(by_kind) - {"teacher", "soft targets"}:
        gains = (100 * (by_kind[kind][seed] - by_kind["soft targets"][seed]) for seed in (0, 1, 2))
        line = next(
            line for line in text.splitlines() if f"| {kind} | " in line.replace("student ", "")
        )
        assert line.endswith(f"| {', '.join(f'{gain:+.1f}' for gain in gains)} |"), kind
