"""A recipe's run again from what was committed of it: the results, and the models that ship."""

from kdzoo.graph.saving import save_model
from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison
from kdzoo.recipes.files import read_data, read_result, read_results
from kdzoo.recipes.results import DATA, directory_name, keep_data, write_json
from kdzoo.recipes.source import is_whole, rows_in
from kdzoo.recipes.student import Student
from kdzoo.utils import copy_file


class Committed:
    """What a zoo and its committed results know of the runs that made them.

    Args:
        entries: All `Entry`s of the zoo.
        runs: Directory with a directory of each recipe's run, a path.
        directory: The zoo's, a path.
        measured: Directory with the committed results, `RECIPE.json`, a path.

    Attributes:
        broken: Names of the models that the manifest lists and whose files are not as it says,
            which are not restored.
    """

    def __init__(self, entries, runs, directory, measured):
        self._entries, self._runs = entries, runs
        self._directory, self._measured = directory, measured
        rows = rows_in(directory)
        self.broken = sorted(name for name, row in rows.items() if not is_whole(row, directory))
        self._shipped = {name: row for name, row in rows.items() if name not in self.broken}

    def missing(self, name):
        """Returns what a run lacks and can have without training, (kind, seed) -> row.

        A kind is left out if it had other settings than the recipe gives it now or other seeds, if
        it is to ship and does not, and if it was taught by another teacher than the run has. All
        are if the run is of other images.

        Args:
            name: Name of the recipe.
        """
        from kdzoo.recipes import RECIPES

        recipe, committed = RECIPES[name], self._results(name)
        then = None if committed is None else _recipe_of(committed["settings"])
        if then is None or not self._is_of_the_same_data(recipe, name, committed):
            return {}
        if not self._has_what_it_starts_from(name, recipe):
            return {}
        return {
            stage: row
            for stage, row in self._rows(name).items()
            if _are_alike(recipe, then, *stage)
            and self._ships_or_need_not(name, stage[0])
            and not self._path(name, *stage).exists()
        }

    def restore(self, name):
        """Puts what a run lacks into its directory, so that it is not trained again.

        Args:
            name: Name of the recipe.

        Returns:
            The (kind, seed) that were restored, a list.
        """
        from kdzoo.recipes import RECIPES

        missing = self.missing(name)
        for (kind, seed), row in missing.items():
            home = self._path(name, kind, seed).parent
            home.mkdir(parents=True, exist_ok=True)
            shipped = self._shipped_of(name, kind)
            if shipped is not None and shipped.measured["accuracy"].get("shipped_seed") == seed:
                self._copy(shipped, home)
            settings = RECIPES[name].stage_settings(kind, seed)
            write_json(home / "result.json", {**row, "settings": settings})
        recipe, committed = RECIPES[name], self._results(name)
        home = self._home(recipe, name)
        if (
            missing
            and {"data_sha256", "data_version"} <= committed.keys()
            and not (home / DATA).exists()
        ):
            keep_data(home, recipe.data, committed)
        return list(missing)

    def _copy(self, shipped, home):
        from kdzoo.zoo import load, tflite

        model = load(shipped.name, directory=self._directory)
        save_model(model, home / "model.keras")
        if "tflite" in shipped.files:
            copy_file(tflite(shipped.name, self._directory), home / "model.tflite")

    def _home(self, recipe, name):
        """The directory that says which data a recipe's run is of."""
        return self._runs / getattr(recipe, "base", name)

    def _is_of_the_same_data(self, recipe, name, committed):
        path, known = self._home(recipe, name) / DATA, committed.get("data_sha256")
        if known is None or not path.exists():  # Older results do not say.
            return True
        return read_data(path)["sha256"] == known

    def _path(self, name, kind, seed):
        return self._runs / name / directory_name(kind, seed) / "result.json"

    def _results(self, name):
        path = self._measured / f"{name}.json"
        return read_results(path) if path.exists() else None

    def _rows(self, name):
        """The committed rows, (kind, seed) -> row; older ones share the versions of all."""
        results = self._results(name) or {"rows": []}
        return {
            (row["kind"], row["seed"]): {"versions": results["versions"], **row}
            for row in results["rows"]
        }

    def _has_what_it_starts_from(self, name, recipe):
        """Whether the committed teacher, and student to compress, are those that the run has."""
        stages = [(name, "teacher", 0)]
        if isinstance(recipe, CompressionComparison):
            stages = [(recipe.base, "teacher", 0)]
            stages += [(recipe.base, recipe.start, seed) for seed in recipe.start_seeds]
        return all(self._has(*stage) for stage in stages)

    def _has(self, name, kind, seed):
        """Whether a committed model is the one that the run has, or could have."""
        row, path = self._rows(name).get((kind, seed)), self._path(name, kind, seed)
        if row is None:
            return False
        if path.exists():
            there = read_result(path)
            return {key: there.get(key) for key in row} == row
        shipped = self._shipped_of(name, kind)
        return shipped is not None and shipped.measured["accuracy"].get("shipped_seed") == seed

    def _ships_or_need_not(self, name, kind):
        wanted = any((each.recipe, each.kind) == (name, kind) for each in self._entries)
        return not wanted or self._shipped_of(name, kind) is not None

    def _shipped_of(self, name, kind):
        """The `Pretrained` of a kind whose files are whole and whose figures are the committed."""
        for entry in self._entries:
            shipped = self._shipped.get(entry.name)
            if (entry.recipe, entry.kind) != (name, kind) or shipped is None:
                continue
            rows = [row for (each, _), row in self._rows(name).items() if each == kind]
            seconds = [row.get("seconds") for row in rows]
            accuracies = {str(row["seed"]): row["test_accuracy"] for row in rows}
            measured = shipped.measured["accuracy"]["by_seed"]
            if (shipped.training.get("seconds"), measured) == (seconds, accuracies):
                return shipped
        return None


def _are_alike(recipe, then, kind, seed):
    """Whether a kind of model has the settings and the seeds that it had then."""
    return (
        kind in recipe.all_kinds
        and kind in then.all_kinds
        and list(recipe.seeds_of(kind)) == list(then.seeds_of(kind))
        and recipe.stage_settings(kind, seed) == then.stage_settings(kind, seed)
    )


def _recipe_of(settings):
    """The recipe that results were made with; None if it had fields that there are no more."""
    try:
        if "base" in settings:
            kinds = {kind: Compression(**each) for kind, each in settings["kinds"].items()}
            comparison = _recipe_of(settings["comparison"])
            settings = {**settings, "kinds": kinds, "comparison": comparison}
            return comparison and CompressionComparison(**settings)
        students = settings.get("students", {})
        students = {kind: Student(**each) for kind, each in students.items()}
        return Comparison(**{**settings, "students": students})
    except (TypeError, KeyError, AttributeError, ValueError):
        return None
