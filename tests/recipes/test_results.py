"""What the README says of a recipe is what its results say, and they are of this recipe."""

import json
import pathlib
import statistics

import pytest

import kdzoo
from kdzoo.experiments.results import summarize
from kdzoo.recipes import RECIPES
from tools.cards import END, START

RESULTS = sorted((pathlib.Path(__file__).parents[2] / "results").glob("*.json"))
README = pathlib.Path(kdzoo.__file__).parents[1] / "README.md"


def own_text():
    """The README without the zoo's table, which `make cards` writes."""
    text = README.read_text(encoding="utf-8")
    return text[: text.index(START)] + text[text.index(END) :]


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
        for name in ("bytes", "gzipped_bytes") if "bytes" in ours[0] else ():
            assert summary[name] == round(statistics.fmean(row[name] for row in ours))


def test_the_readme_says_what_was_measured(results):
    """Each line or paragraph on the recipe in the README: kind, accuracy, parameters or bytes.

    What the zoo's own recipes measured is in its table, which follows from the manifest.
    """
    name, content = results
    if name.startswith("zoo_"):
        pytest.skip("It is in the zoo's table.")
    text = own_text()
    if "table" in content:
        check_printed(content["table"], text.splitlines())
        return
    lines = [line for line in text.splitlines() if line.startswith("|")]
    lines += [part.replace("\n", " ") for part in text.split("\n\n") if "\n|" not in part]
    for kind, summary in content["summary"].items():
        rows = [row for row in content["rows"] if row["kind"] == kind]
        accuracy = f"{100 * summary['mean']:.2f}"
        if len(rows) > 1:
            accuracy += f" ± {100 * summary['std']:.2f}"
        if "bytes" in summary:
            sizes = f"{summary['bytes']:,} | {summary['gzipped_bytes']:,}"
            assert f"| {kind} | {accuracy} | {sizes} |" in text, kind
        else:
            parameters = f"{rows[0]['parameters']:,}"
            assert parameters in text, kind
            _, is_by_temperature, temperature = kind.partition(", T=")
            part = f"| {temperature} |" if is_by_temperature else parameters
            assert any(accuracy in line and part in line for line in lines), kind


def check_printed(table, lines):
    """Asserts that the README shows what the demo prints of its table."""
    for row in table:
        spread = f" ± {100 * row['std']:.1f}" if row["std"] else ""
        expected = [
            f" {row['name']} ",
            f" {100 * row['accuracy']:.1f}{spread} % ",
            f" {row['parameters']:,} ",
            f" {row['bytes']:,} ",
            f" {row['latency_ms']:.4f}",
        ]
        assert any(all(part in line for part in expected) for line in lines), expected


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


def test_the_readme_says_what_compression_costs():
    """The sentences under its table, where they name a figure."""
    measured = {
        name: json.loads((RESULTS[0].parent / f"{name}_cifar10.json").read_text())
        for name in ("separable", "qat_separable", "prune_separable", "prune_2_of_4")
    }
    text = " ".join(README.read_text(encoding="utf-8").split())
    means = {
        (name, kind): 100 * each["mean"]
        for name, content in measured.items()
        for kind, each in content["summary"].items()
    }
    cost = means["qat_separable", "float32"] - means["prune_separable", "80 % zeros"]
    assert f"80 % zeros {cost:.2f} points" in text
    ahead = means["separable", "teacher"] - means["separable", "distilled"]
    gain = means["prune_separable", "90 % zeros, taught"] - means["prune_separable", "90 % zeros"]
    said = f"The teacher, {ahead:.1f} points better than its student, helps where much is lost, "
    assert f"{said}{gain:.1f} points at 90 %" in text
    costs = [
        means[name, kind] - means[name, f"{kind}, taught"]
        for name, kind in means
        if (name, f"{kind}, taught") in means and kind != "90 % zeros"
    ]
    assert len(costs) == 4
    assert f"elsewhere costs {min(costs):.1f} to {max(costs):.1f} points" in text
    agreement = {}
    for row in measured["qat_separable"]["rows"]:
        agreement.setdefault(row["kind"], []).append(100 * row["agreement"])
    aware = min(agreement["int8 aware"] + agreement["int8 aware, taught"])
    assert f"the same argmax on {aware:.2f} % of the images at least where" in text
    assert f"on {min(agreement['int8 after training']):.2f} % where it came after" in text
    for share, epochs in ((50, 5), (80, 12), (90, 5)):
        stage = RECIPES["prune_separable_cifar10"].stage(f"{share} % zeros")
        assert stage.epochs == epochs
