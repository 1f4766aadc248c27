"""The directory of a run: which data it is of, and what its finished stages left in it."""

import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.data import Dataset
from kdzoo.experiments.recorded_teachers import check_no_record
from kdzoo.experiments.run_files import read_data, read_result, write_json
from kdzoo.experiments.stage import Node, directory_name
from kdzoo.teacher_cache.fingerprints import fingerprint_of_data, fingerprint_of_model
from kdzoo.utils import first_line
from kdzoo.zoo.files import load_keras_file

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.experiment import Experiment

DATA = "data.json"  # Which images and labels a run is of.
RESULT = "result.json"  # Of a stage that is finished.


class Runs:
    """The run directories of an experiment and of those that it starts from."""

    def __init__(self, experiment: "Experiment", directory: pathlib.Path) -> None:
        self.experiment, self._directory = experiment, directory

    def of_run(self, name: str) -> pathlib.Path:
        """Returns the run directory of an experiment: of this one, or of a base."""
        own = self._directory
        return own if name == self.experiment.name else own.parent / name

    def of_node(self, node: Node) -> pathlib.Path:
        """Returns the directory of a stage with a seed."""
        return self.of_run(node.run) / directory_name(node.stage, node.seed)

    def row(self, node: Node) -> dict[str, Any] | None:
        """Returns the row of a stage with a seed, without its settings; None if it is unfinished.

        Raises:
            ValueError: If it was made with other settings than the experiment has, or from other
                models than there are.
        """
        directory = self.of_node(node)
        if not (directory / RESULT).exists():
            return None
        row = read_result(directory / RESULT)
        del row["settings"]
        if row.get("identity") != self.experiment.identity(node.stage, node.seed):
            raise ValueError(
                f"Expected {directory} to hold a run of this recipe. Received: a run with other "
                "settings; choose another directory or delete it."
            )
        for role, sources in self.experiment.sources(node.stage, node.seed).items():
            self._check_made_from(row.get(f"{role}_weights"), directory, sources)
        return row

    def rows(self, names: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
        """Returns the rows of the stages that are finished for all their seeds."""
        rows = {node: self.row(node) for node in self.experiment.nodes(names)}
        unfinished = {node.stage for node, row in rows.items() if row is None}
        return [row for node, row in rows.items() if row and node.stage not in unfinished]

    def _check_made_from(
        self, hashes: Any, directory: pathlib.Path, sources: tuple[Node, ...]
    ) -> None:
        """Raises if a model was made from other ones than there are. Older rows do not say."""
        hashes = [hashes] if isinstance(hashes, str) else hashes or []
        for wanted, node in zip(hashes, sources, strict=False):
            source, what = self.of_node(node), "nothing"
            if (source / RESULT).exists():
                what = "another model"
                if read_result(source / RESULT).get("weights", wanted) == wanted:
                    continue
            raise ValueError(
                f"Expected {source} to hold the model that {directory} was made from. Received: "
                f"{what} there; put it back, or delete {directory.name}, which is then trained "
                "again."
            )

    def check_new(self, node: Node) -> None:
        """Raises `ValueError` if recorded outputs lie there of a model that is about to be made."""
        stages = self.experiment.owner(node.stage).names
        check_no_record(self.of_run(node.run), node.stage, node.seed, stages)


def load_trained(directory: pathlib.Path) -> "keras.Model":
    """Returns the model of a stage that is finished.

    Raises:
        ValueError: If its file is gone or damaged, or holds another model than was measured.
    """
    path, model, reason = directory / "model.keras", None, "a file that holds another model"
    try:
        model = load_keras_file(path)
    except FileNotFoundError:
        reason = "no such file"
    except (ValueError, OSError) as error:
        reason = f"a damaged file, of which is said: {first_line(error)}"
    measured = read_result(directory / RESULT).get("weights")  # Older results do not say.
    if model is not None and measured in (None, fingerprint(model)):
        return model
    raise ValueError(
        f"Expected {path} as the training left it. Received: {reason}; put it back, or delete "
        f"{directory.name}, which is then trained again."
    )


def fingerprint(model: "keras.Model") -> str:
    """Returns the SHA-256 of a model's weights in half precision.

    So a model that was published in float16 and restored is still the one that was trained.
    """
    return fingerprint_of_model(model, "float16")


def what_data(data: Dataset) -> dict[str, Any]:
    """Returns what results say of the data that they are of."""
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    splits = {name: split for name, split in splits.items() if split is not None}
    return {
        "examples": {name: len(split) for name, split in splits.items()},
        "data_version": data.version,
        "data_sha256": {name: fingerprint_of_data(split) for name, split in splits.items()},
    }


def check_same_data(directory: pathlib.Path, name: str, now: Mapping[str, Any]) -> None:
    """Raises `ValueError` if a run is of other images; of a new one it keeps what they are."""
    path = directory / DATA
    if not os.path.lexists(path):
        keep_data(directory, name, now)
        return
    before = read_data(path)
    differing = sorted(set(now["data_sha256"].items()) ^ set(before["sha256"].items()))
    if differing:
        raise ValueError(
            f"Expected the images and labels that {directory} was begun with, {before['name']} in "
            f"version {before.get('version')}. Received: {name} in version {now['data_version']}, "
            f"whose {differing[0][0]} split is another; choose another directory, or train anew "
            "what was restored."
        )


def keep_data(directory: pathlib.Path, name: str, results: Mapping[str, Any]) -> None:
    """Writes which data a run is of."""
    version, sha256 = results["data_version"], results["data_sha256"]
    write_json(directory / DATA, {"name": name, "version": version, "sha256": sha256})
