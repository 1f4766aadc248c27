"""Shipped models and committed results beside a run that made only a part of them."""

import json

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.results import directory_name, write_json
from kdzoo.recipes.source import rows_in
from kdzoo.recipes.student import Student
from kdzoo.utils import atomic_path


def restore(entry, run, directory, measured):
    """Puts a shipped model where its recipe would have left it, so that it is not trained again.

    Only of a recipe that trains, not of one that compresses; only the model that ships, so that
    further seeds are trained; and only if the committed results are of the settings that the recipe
    has now.

    Args:
        entry: The `Entry`.
        run: Directory of the recipe's run, a path.
        directory: The zoo's, a path.
        measured: Directory with the committed results, `RECIPE.json`, a path.

    Returns:
        Whether it was restored: False if it was there, does not ship or has other settings.

    Raises:
        ValueError: If the weights are damaged.
    """
    from kdzoo.recipes import RECIPES
    from kdzoo.zoo import load

    recipe, shipped = RECIPES[entry.recipe], rows_in(directory).get(entry.name)
    results = measured / f"{entry.recipe}.json"
    if shipped is None or not isinstance(recipe, Comparison) or not results.exists():
        return False
    seed = shipped.measured["accuracy"]["shipped_seed"]
    home = run / directory_name(entry.kind, seed)
    results = json.loads(results.read_text())
    rows = {(row["kind"], row["seed"]): row for row in results["rows"]}
    row = rows.get((entry.kind, seed))
    settings = _settings_of(results["settings"], entry.kind)
    if (home / "result.json").exists() or settings != recipe.settings_of(entry.kind):
        return False
    if row is None or row["test_accuracy"] != shipped.measured["accuracy"]["shipped"]:
        return False
    model = load(entry.name, directory=directory)
    home.mkdir(parents=True, exist_ok=True)
    with atomic_path(home / "model.keras") as path:
        model.save(path)
    settings = {"kind": entry.kind, "seed": seed, **settings}
    write_json(home / "result.json", {**row, "settings": settings})
    return True


def with_committed(results, path):
    """Returns results with the rows of kinds that they lack and that were committed before.

    Args:
        results: What the recipe's `run` returned.
        path: The committed results of the same recipe, a path. What was made with other settings
            is not added; nothing is where the file is not there.
    """
    if not path.exists():
        return results
    committed, ours = json.loads(path.read_text()), json.loads(json.dumps(results["settings"]))
    added = {
        kind: summary
        for kind, summary in committed["summary"].items()
        if kind not in results["summary"] and _are_alike(committed["settings"], ours, kind)
    }
    rows = results["rows"] + [row for row in committed["rows"] if row["kind"] in added]
    return {**results, "summary": {**results["summary"], **added}, "rows": rows}


def _are_alike(settings, others, kind):
    """Whether a kind of model is the same in two recipes."""
    if "students" not in settings:  # Of a recipe that compresses.
        return settings == others
    ours = _settings_of(settings, kind)
    return ours is not None and ours == _settings_of(others, kind)


def _settings_of(settings, kind):
    """What a kind of model depended on in a recipe as it was; None if that had other fields."""
    try:
        students = {name: Student(**each) for name, each in settings["students"].items()}
        recipe = Comparison(**{**settings, "students": students})
        return recipe.settings_of(kind) if kind in ("teacher", *recipe.kinds) else None
    except TypeError:
        return None
