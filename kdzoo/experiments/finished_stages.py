"""What the finished stages of a run left in its directory: rows, products and models."""

import pathlib
from typing import TYPE_CHECKING, Any

from kdzoo.experiments.keep_teacher_outputs import check_no_record
from kdzoo.experiments.run_json_files import read_result
from kdzoo.experiments.stage import Node, directory_name
from kdzoo.experiments.stage_outcome import MODEL, fingerprint, product_path
from kdzoo.utils import check_choice, digest_of_file, first_line
from kdzoo.zoo.files import load_keras_file

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.experiment import Experiment

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
        if (row["kind"], row["seed"]) != (node.stage, node.seed):
            raise ValueError(
                f"Expected {directory} to hold {node.stage!r} with seed {node.seed}. Received: "
                f"{row['kind']!r} with seed {row['seed']}; put it back where it was, or delete "
                f"{directory.name}, which is then trained again."
            )
        identity = row.get("identity")
        if identity != self.experiment.identity(node.stage, node.seed):
            what = "a run with other settings" if identity else "a run of an earlier kdzoo"
            raise ValueError(
                f"Expected {directory} to hold a run of this recipe. Received: {what}; delete that "
                "folder, which is then trained again, or choose another directory for the run."
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
        """Raises if a model was made from other ones than there are.

        A row that was restored from results of an earlier kdzoo may not say which they were.
        """
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

    def product(self, node: Node, name: str) -> pathlib.Path:
        """Returns the file of a named product of a stage that is finished.

        Args:
            node: The stage with a seed.
            name: Name of the product, `"model"` or another.

        Raises:
            ValueError: If the stage has no such product, or its file is gone or damaged.
        """
        directory = self.of_node(node)
        row = read_result(directory / RESULT)
        hashes = {MODEL: row.get("weights"), **row.get("products", {})}
        check_choice(f"product of {node.stage!r}", name, hashes)
        path = product_path(directory, name)
        if path.name == f"{name}.keras":
            _load(path, hashes[name])
        else:
            check_product(path, hashes[name])
        return path

    def check_products(self, node: Node) -> None:
        """Raises `ValueError` if a named product of a finished stage is gone or damaged."""
        for name in read_result(self.of_node(node) / RESULT).get("products", {}):
            self.product(node, name)

    def check_new(self, node: Node) -> None:
        """Raises `ValueError` if recorded outputs lie there of a model that is about to be made."""
        stages = self.experiment.owner(node.stage).names
        check_no_record(self.of_run(node.run), node.stage, node.seed, stages)


def check_product(path: pathlib.Path, sha256: str | None) -> None:
    """Raises `ValueError` unless a file is what a stage left; None for results that do not say."""
    if path.is_file() and sha256 in (None, digest_of_file(path)):
        return
    raise _not_as_left(path, "another or a damaged file" if path.exists() else "no such file")


def load_trained(directory: pathlib.Path) -> "keras.Model":
    """Returns the model of a stage that is finished.

    Raises:
        ValueError: If its file is gone or damaged, or holds another model than was measured.
    """
    # A model that was restored from the file that ships does not say.
    measured = read_result(directory / RESULT).get("weights")
    return _load(directory / f"{MODEL}.keras", measured)


def _load(path: pathlib.Path, sha256: str | None) -> "keras.Model":
    """A model, whose weights have the hash if there is one."""
    model, reason = None, "a file that holds another model"
    try:
        model = load_keras_file(path)
    except FileNotFoundError:
        reason = "no such file"
    except (ValueError, OSError) as error:
        reason = f"a damaged file, of which is said: {first_line(error)}"
    if model is None or sha256 not in (None, fingerprint(model)):
        raise _not_as_left(path, reason)
    return model


def _not_as_left(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        f"Expected {path} as the training left it. Received: {reason}; put it back, or delete "
        f"{path.parent.name}, which is then trained again."
    )
