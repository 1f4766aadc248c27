"""Run directories restored from committed results and the models that ship, without training."""

import pathlib
import shutil
from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import Any

import keras

from kdzoo.experiments import Pretrained as PretrainedStage
from kdzoo.experiments.finished_stages import RESULT, Runs
from kdzoo.experiments.run_json_files import read_data, read_result, read_results, write_json
from kdzoo.experiments.same_data_check import DATA, keep_data
from kdzoo.experiments.stage import Node
from kdzoo.experiments.stage_outcome import fingerprint
from kdzoo.graph.model_saving import save_model
from kdzoo.recipes import RECIPES
from kdzoo.utils import copy_file, one_process
from kdzoo.zoo import load, tflite
from kdzoo.zoo.manifest import Pretrained
from tools.finished_recipe_run import KDZ
from tools.zoo_entries import Entry, is_whole, rows_in

MODEL_FILE = "model.keras"


class Committed:
    """What a zoo and its committed results know of the runs that made them.

    Args:
        entries: All models of the zoo.
        runs: Directory with a directory of each recipe's run.
        directory: The zoo's.
        measured: Directory with the committed results, `RECIPE.json`.

    Attributes:
        broken: Names of the models that the manifest lists and whose files are not as it says,
            which are not restored.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        runs: pathlib.Path,
        directory: pathlib.Path,
        measured: pathlib.Path,
    ) -> None:
        self._entries, self._runs = entries, runs
        self._directory, self._measured = directory, measured
        rows = rows_in(directory)
        self.broken = sorted(name for name, row in rows.items() if not is_whole(row, directory))
        self._shipped = {name: row for name, row in rows.items() if name not in self.broken}
        self._taken: dict[Node, keras.Model] = {}

    def missing(self, name: str) -> dict[Node, dict[str, Any]]:
        """Returns what a run lacks and can have without training, node -> row.

        A stage is left out if it had other settings than the recipe gives it now or other seeds, if
        it is to ship and does not, and if it was made from another model than the run has. All
        are if the run is of other images.
        """
        if not self._is_of_the_same_data(name):
            return {}
        return {
            node: row
            for node, row in self._rows(name).items()
            if self._is_as_the_recipe_wants(node, row)
            and self._ships_or_need_not(node)
            and all(self._has(name, source) for source in RECIPES[name].sources_of(node))
            and not self._path(node).exists()
        }

    def restore(self, name: str) -> list[Node]:
        """Puts what a run lacks into its directory, so that it is not trained again.

        Returns:
            What was restored.
        """
        return self._put(name, self.missing)

    def restore_for(self, name: str) -> list[Node]:
        """Puts what a recipe, and what it starts from, lack into their runs, so that all can go on.

        Most models do not ship: their rows come back alone. A stage of which what is left to train
        needs the model is left out, and so is what was made from it; rows that came back alone
        before are taken out of the run, where they are in the way.

        Args:
            name: Name of the recipe, of which all stages are wanted.

        Returns:
            What was restored.
        """
        wanted = RECIPES[name].needed()
        runs = dict.fromkeys(node.run for node in wanted)
        all_nodes = {*wanted, *(node for run in runs for node in RECIPES[run].nodes())}
        nodes = {node: set(RECIPES[node.run].sources_of(node)) for node in all_nodes}
        for run in runs:
            alone = [node for node in nodes if node.run == run and self._came_back_alone(node)]
            if alone:
                with one_process(self._runs / run):
                    for node in alone:
                        shutil.rmtree(self._path(node).parent)
        rows = {node: row for run in runs for node, row in self.missing(run).items()}
        while lost := self._to_be_trained_after_all(wanted, nodes, rows):
            rows = {node: row for node, row in rows.items() if node not in lost}
        return [node for run in runs for node in self._put(run, lambda run: _of_run(rows, run))]

    def _came_back_alone(self, node: Node) -> bool:
        """Whether a run has the committed row of a stage, and nothing else of it."""
        path, committed = self._path(node), self._rows(node.run).get(node)
        if committed is None or not path.exists() or len([*path.parent.iterdir()]) > 1:
            return False
        there = read_result(path)
        return {key: there.get(key) for key in committed} == committed

    def _to_be_trained_after_all(
        self,
        wanted: Sequence[Node],
        nodes: Mapping[Node, Set[Node]],
        rows: Container[Node],
    ) -> set[Node]:
        """Of committed rows those whose models what is not among them is trained from, or will be.

        Args:
            wanted: What is to be trained if it is not there.
            nodes: All of the runs -> what it is made from.
            rows: What has a row that can be restored.
        """
        absent = {node for node in nodes if node not in rows and not self._path(node).exists()}
        needed = set().union(*(nodes[node] for node in absent.intersection(wanted)))
        return {
            node
            for node, sources in nodes.items()
            if node in rows
            and (sources & absent or (node in needed and not self._comes_with_its_model(node)))
        }

    def _comes_with_its_model(self, node: Node) -> bool:
        shipped = self._shipped_of(node)
        is_shipped = shipped is not None and _is_shipped(shipped, node)
        return is_shipped or self._taken_from_the_zoo(node) is not None

    def _taken_from_the_zoo(self, node: Node) -> keras.Model | None:
        """The model of a stage that trains nothing, if it is the one that was measured."""
        stage, row = RECIPES[node.run].stage(node.stage), self._rows(node.run).get(node)
        if row is None or not isinstance(stage, PretrainedStage):
            return None
        if node not in self._taken:
            self._taken[node] = load(stage.model)
        model = self._taken[node]
        return model if fingerprint(model) == row.get("weights") else None

    def _put(
        self, name: str, missing_of: Callable[[str], dict[Node, dict[str, Any]]]
    ) -> list[Node]:
        """Puts rows into the directory of a run, and the models that come with them."""
        if not missing_of(name):
            return []
        recipe, run, committed = RECIPES[name], self._runs / name, self._results(name)
        with one_process(run):
            missing = missing_of(name)  # Another process may have made some of it meanwhile.
            # First, as a run that was killed here has to say of which images it is.
            is_known = {"data_sha256", "data_version"} <= committed.keys()
            if missing and is_known and not (run / DATA).exists():
                keep_data(run, recipe.data, committed)
            for node, row in missing.items():
                self._restore(node, row)
        return list(missing)

    def _restore(self, node: Node, row: dict[str, Any]) -> None:
        """Puts the model that ships, if it is that of the node, and the row into a directory."""
        path = self._path(node)
        path.parent.mkdir(parents=True, exist_ok=True)
        shipped, taken = self._shipped_of(node), self._taken_from_the_zoo(node)
        if taken is not None:
            save_model(taken, path.parent / MODEL_FILE)
        if shipped is not None and _is_shipped(shipped, node):
            self._copy(shipped, path.parent)
            if "tflite" in shipped.files:  # Its weights ship in a plain model, without masks.
                row = {key: value for key, value in row.items() if key != "weights"}
        settings = RECIPES[node.run].settings(node.stage, node.seed)
        write_json(path, {**row, "settings": settings})

    def _copy(self, shipped: Pretrained, directory: pathlib.Path) -> None:
        save_model(load(shipped.name, directory=self._directory), directory / MODEL_FILE)
        weights = shipped.files["weights"].file
        if weights.endswith(".kdz"):
            copy_file(self._directory / weights, directory / KDZ)
        if "tflite" in shipped.files:
            copy_file(tflite(shipped.name, self._directory), directory / "model.tflite")

    def _is_of_the_same_data(self, name: str) -> bool:
        known = self._results(name).get("data_sha256")
        runs = dict.fromkeys((name, *(node.run for node in RECIPES[name].needed())))
        paths = [self._runs / run / DATA for run in runs]
        # Results of before data sets had hashes do not say.
        return known is None or all(
            read_data(path)["sha256"] == known for path in paths if path.exists()
        )

    def _path(self, node: Node) -> pathlib.Path:
        return Runs(RECIPES[node.run], self._runs / node.run).of_node(node) / RESULT

    def _results(self, name: str) -> dict[str, Any]:
        path = self._measured / f"{name}.json"
        return read_results(path) if path.exists() else {"rows": []}

    def _rows(self, name: str) -> dict[Node, dict[str, Any]]:
        """The committed rows; older ones share the versions of all."""
        results = self._results(name)
        return {
            Node(name, row["kind"], row["seed"]): {"versions": results["versions"], **row}
            for row in results["rows"]
        }

    def _is_as_the_recipe_wants(self, node: Node, row: dict[str, Any]) -> bool:
        """Whether a stage has the settings and the seeds that it had then."""
        recipe = RECIPES[node.run]
        seeds = [other.seed for other in self._rows(node.run) if other.stage == node.stage]
        return (
            node.stage in recipe.names
            and seeds == list(recipe.seeds_of(node.stage))
            and row.get("identity") == recipe.identity(node.stage, node.seed)
        )

    def _has(self, name: str, node: Node) -> bool:
        """Whether a committed model, and all it was made from, is what a run has or could have."""
        row, path = self._rows(node.run).get(node), self._path(node)
        if row is None or not all(self._has(name, it) for it in RECIPES[name].sources_of(node)):
            return False
        if path.exists():
            there = read_result(path)
            return {key: there.get(key) for key in row} == row
        if self._need_not_ship(node):  # Its row says which model it was.
            return self._is_as_the_recipe_wants(node, row)
        shipped = self._shipped_of(node)
        return shipped is not None and _is_shipped(shipped, node)

    def _ships_or_need_not(self, node: Node) -> bool:
        return self._need_not_ship(node) or self._shipped_of(node) is not None

    def _need_not_ship(self, node: Node) -> bool:
        return all((entry.recipe, entry.stage) != node[:2] for entry in self._entries)

    def _shipped_of(self, node: Node) -> Pretrained | None:
        """The model of a stage whose files are whole and whose figures are the committed."""
        for entry in self._entries:
            shipped = self._shipped.get(entry.name)
            if (entry.recipe, entry.stage) != node[:2] or shipped is None:
                continue
            rows = [row for other, row in self._rows(node.run).items() if other[:2] == node[:2]]
            seconds = [row.get("seconds") for row in rows]
            accuracies = {str(row["seed"]): row["test_accuracy"] for row in rows}
            measured = shipped.measured["accuracy"]["by_seed"]
            if (shipped.training.get("seconds"), measured) == (seconds, accuracies):
                return shipped
        return None


def _of_run(rows: Mapping[Node, dict[str, Any]], run: str) -> dict[Node, dict[str, Any]]:
    """The rows of one run."""
    return {node: row for node, row in rows.items() if node.run == run}


def _is_shipped(shipped: Pretrained, node: Node) -> bool:
    return shipped.measured["accuracy"].get("shipped_seed") == node.seed
