"""What a stage works with: the data, a seed, a directory, and the models it depends on."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kdzoo.data import Dataset
from kdzoo.experiments import precision as precisions
from kdzoo.experiments.finished_stages import Runs
from kdzoo.experiments.keep_teacher_outputs import record_directory
from kdzoo.experiments.stage import Built, Node
from kdzoo.utils.types import PathLike


@dataclasses.dataclass(frozen=True)
class StageContext:
    """What a stage works with.

    Attributes:
        data: The data set.
        seed: The stage's seed.
        directory: Where checkpoints and files go.
        built: Name of the architecture and arguments of the builder of its model.
        options: Further arguments of `kdzoo.schemes.train`: settings, callbacks, verbose.
        sources: Role -> the nodes that it depends on.
        runs: The run directories.
        model: Function of a node and a precision, which returns its finished model.
        data_dir: Where other data sets lie, as in `kdzoo.data.load`.
        kept: What seeds of the stage keep for the next one: name -> a model whose steps are
            compiled, which takes the weights of another seed.
    """

    data: Dataset
    seed: int
    directory: pathlib.Path
    built: Built
    options: Mapping[str, Any]
    sources: Mapping[str, tuple[Node, ...]]
    runs: Runs
    model: Callable[[Node, str], keras.Model]
    data_dir: PathLike | None = None
    kept: dict[str, keras.Model] = dataclasses.field(default_factory=dict)

    def settled(self, setting: str, precision: str, known: str | None = None) -> str:
        """Returns the dtype policy that the stage computes in; what `"auto"` is stays chosen.

        Args:
            setting: Name of the setting, `"precision"` or `"teacher_precision"`.
            precision: Its value.
            known: What `"auto"` has to be, where that is known.
        """
        return precisions.settled(setting, precision, self.directory, known)

    def source(self, role: str, precision: str = "float32") -> keras.Model:
        """Returns the model that the stage learns or starts from.

        Args:
            role: As in `Stage.dependencies`.
            precision: The dtype policy that it computes in.
        """
        return self.all_sources(role, precision)[0]

    def all_sources(self, role: str, precision: str = "float32") -> list[keras.Model]:
        """Returns the models of all seeds that the stage depends on.

        Args:
            role: As in `Stage.dependencies`.
            precision: The dtype policy that they compute in.
        """
        return [self.model(node, precision) for node in self.sources[role]]

    def product(self, role: str, name: str) -> pathlib.Path:
        """Returns the file of a named product of the stage that it depends on, unchanged.

        Args:
            role: As in `Stage.dependencies`.
            name: Name of the product, as in `Outcome.products`.

        Raises:
            ValueError: If the stage has no such product, or its file is gone or damaged.
        """
        return self.all_products(role, name)[0]

    def all_products(self, role: str, name: str) -> list[pathlib.Path]:
        """Returns the files of a named product of all that the stage depends on in a role.

        Args:
            role: As in `Stage.dependencies`.
            name: Name of the product.
        """
        return [self.runs.product(node, name) for node in self.sources[role]]

    def record_directory(self, role: str) -> pathlib.Path:
        """Returns where the outputs of the model of a role are recorded, the first of several.

        Args:
            role: As in `Stage.dependencies`.
        """
        return self.record_directories(role)[0]

    def record_directories(self, role: str) -> list[pathlib.Path]:
        """Returns where the outputs of each model of a role are recorded, with its own run.

        Args:
            role: As in `Stage.dependencies`.
        """
        return [
            record_directory(self.runs.of_run(node.run), node.stage, node.seed)
            for node in self.sources[role]
        ]
