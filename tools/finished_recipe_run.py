"""What a finished run of a recipe gives of one of its stages: the median model and figures."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo import data as data_sets
from kdzoo.compression.tfmot.unwrapping import plain_copy
from kdzoo.experiments.finished_stages import RESULT, Runs, check_product, load_trained
from kdzoo.experiments.stage import Node, as_tuple
from kdzoo.experiments.stages import deep_compress_stage
from kdzoo.experiments.summary_over_seeds import summarize
from kdzoo.export import LiteRTModel
from kdzoo.recipes import RECIPES
from kdzoo.utils import check_choice
from kdzoo.utils.types import PathLike
from kdzoo.zoo import load
from kdzoo.zoo.manifest import Pretrained
from tools.zoo_entries import Entry, rows_in

TFLITE = "model.tflite"  # The product of a compressed model that ships.
KDZ = deep_compress_stage.FILE  # That of a model whose weights ship as such a file.


class Source:
    """What a recipe's run says of one of its stages.

    Args:
        entry: What is published.
        run: Directory that the recipe ran in.
        directory: The zoo's.
        data_dir: As in `kdzoo.data.load`.

    Raises:
        ValueError: If the recipe has no such stage, or the run was made with other settings.
        FileNotFoundError: If the recipe is not finished there, or lacks a part.
    """

    def __init__(
        self,
        entry: Entry,
        run: pathlib.Path,
        directory: pathlib.Path,
        data_dir: PathLike | None,
    ) -> None:
        self.entry, self.recipe, self.directory = entry, RECIPES[entry.recipe], directory
        check_choice("stage", entry.stage, self.recipe.names)
        self._runs, self._data_dir = Runs(self.recipe, run), data_dir
        seeds = self.recipe.seeds_of(entry.stage)
        self.rows = self._finished(entry.stage, seeds)
        self.seed = summarize(self.rows, entry.stage)["median_seed"]
        self.starts = {seed: self._sources(seed).get("start", (None,))[0] for seed in seeds}
        self.alone: list[dict[str, Any]] = []
        if entry.alone:
            same = tuple(dict.fromkeys(node.seed for node in self.starts.values() if node))
            self.alone = self._finished(entry.alone, same or self.recipe.seeds_of(entry.alone))
        self.architecture, self.arguments = self._built_from()

    def _built_from(self) -> tuple[str, dict[str, Any]]:
        """The name of the architecture, and the builder's arguments, of what ships."""
        name, arguments = self.recipe.built_from(self.entry.stage)
        stage: Any = self.recipe.stage(self.entry.stage)
        if "widths" not in self.shipped_row():
            return name, arguments
        own = {"widths": list(stage.widths), "universal": stage.universal}
        own |= {"round_to": stage.round_to, **({"arguments": arguments} if arguments else {})}
        return "slimmable", {"network": name, **own}

    def _sources(self, seed: int) -> dict[str, tuple[Node, ...]]:
        return self.recipe.sources(self.entry.stage, seed)

    def _finished(self, name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a stage, one for each of some seeds, of the settings that it has now."""
        rows = []
        for node in (Node(self.recipe.owner(name).name, name, seed) for seed in seeds):
            row = self._runs.row(node)
            if row is None:
                raise FileNotFoundError(
                    f"Expected {self._runs.of_node(node) / RESULT}, as `kdzoo train {node.run}` "
                    "leaves it when the model is finished. Received: no such file."
                )
            rows.append(row)
        return rows

    @functools.cached_property
    def data(self) -> data_sets.Dataset:
        """The data set."""
        return data_sets.load(self.recipe.data, self._data_dir, self.recipe.validation)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = self.data.input_shape
        return height, width, channels

    @property
    def stem(self) -> str:
        """What the files of the model are called, but for their hash."""
        return self.entry.name.replace("/", "-")

    @property
    def run_directory(self) -> pathlib.Path:
        """The directory of the stage with the median seed."""
        return self._runs.of_node(Node(self.recipe.name, self.entry.stage, self.seed))

    def shipped_row(self) -> dict[str, Any]:
        """Returns the row of the median seed."""
        return next(row for row in self.rows if row["seed"] == self.seed)

    def measured(self, name: str) -> Any:
        """Returns what the row of the median seed says under a name.

        Raises:
            ValueError: If it does not say it.
        """
        if name not in self.shipped_row():
            raise ValueError(
                f"Expected {name!r} in {self.run_directory / RESULT}. Received: none; delete "
                f"{self.run_directory.name}, which is then trained again."
            )
        return self.shipped_row()[name]

    def start_row(self) -> dict[str, Any]:
        """Returns the row of the file that a compressed model had before."""
        start = self.starts[self.seed]
        if self.entry.start is None or start is None:
            raise ValueError(f"Expected a compressed model. Received: {self.entry.name!r}")
        return self._finished(self.entry.start, [start.seed])[0]

    def model(self) -> keras.Model:
        """Returns the trained model; of a compressed one the plain model with its weights."""
        model = load_trained(self.run_directory)
        return plain_copy(model) or model if self.entry.start else model

    def shipped(self, model: keras.Model) -> keras.Model | LiteRTModel:
        """Returns what a phone gets: the file of a compressed model, else the model."""
        return LiteRTModel(self.file()) if self.entry.start else model

    def file(self) -> pathlib.Path:
        """Returns the `.tflite` file of a compressed model.

        Raises:
            ValueError: If it is gone, or is not what the stage left.
        """
        return self._product(TFLITE)

    @property
    def ships_kdz(self) -> bool:
        """Whether the weights ship as the `.kdz` file that the stage left."""
        return KDZ in self.shipped_row().get("products", {})

    def kdz(self) -> pathlib.Path:
        """Returns the `.kdz` file of the stage.

        Raises:
            ValueError: If it is gone, or is not what the stage left.
        """
        return self._product(KDZ)

    def _product(self, name: str) -> pathlib.Path:
        path = self.run_directory / name
        check_product(path, self.shipped_row().get("products", {}).get(name))
        return path

    @functools.cached_property
    def _teacher_node(self) -> Node | None:
        """The teacher, also of the model that a compressed one started from; None for a teacher."""
        sources = self._sources(self.seed)
        while "teacher" not in sources and "start" in sources:
            start = sources["start"][0]
            sources = self.recipe.sources(start.stage, start.seed)
        return sources.get("teacher", (None,))[0]

    @property
    def role(self) -> Literal["teacher", "student", "network"]:
        """`"teacher"` or `"student"`; `"network"` of one of several costs without a teacher."""
        if self._teacher_node:
            return "student"
        is_dynamic = not {"exit_macs", "widths"}.isdisjoint(self.shipped_row())
        return "network" if is_dynamic else "teacher"

    def teacher(self) -> keras.Model | None:
        """Returns the teacher as it ships if that is this run's, else as it was trained."""
        if self._teacher_node is None:
            return None
        return self._shipped_teacher[0] or load_trained(self._runs.of_node(self._teacher_node))

    @functools.cached_property
    def _shipped_teacher(self) -> tuple[keras.Model | None, str | None]:
        """The teacher and the name of its weights' file, if it ships; else None for both."""
        row = self._row_of_teacher()
        if row is None or self._teacher_node is None:
            return None, None
        trained = load_trained(self._runs.of_node(self._teacher_node))
        shipped = load(row.name, directory=self.directory)
        if _are_rounded(trained.get_weights(), shipped.get_weights()):
            return shipped, row.files["weights"].file
        return None, None

    def _row_of_teacher(self) -> Pretrained | None:
        """The row of the zoo whose model may be the teacher."""
        if self._teacher_node is None:
            return None
        title = self.recipe.stage(self._teacher_node.stage).title
        rows = rows_in(self.directory)
        if "/" in title:
            return rows.get(title)
        row = rows.get(f"{title}/{self.recipe.data}")
        made_by = row and (row.training["recipe"], row.training["kind"])
        return row if made_by == self._teacher_node[:2] else None

    def accuracies(self, shipped: float) -> dict[str, Any]:
        """Returns what cards say of accuracy."""
        measured = {"accuracy": {**_spread(self.rows), "shipped": shipped}}
        measured["accuracy"]["shipped_seed"] = self.seed
        if self.alone:
            measured["alone"] = _spread(self.alone)
        return measured

    def training(self) -> dict[str, Any]:
        """Returns what cards say of the training."""
        entry, recipe, held_out = self.entry, self.recipe, self.data.validation
        teachers = as_tuple(recipe.stage(entry.stage).dependencies().get("teacher", ()))
        titles = [recipe.stage(teacher.stage).title for teacher in teachers]
        start = self.starts[self.seed]
        has_one_start = len(self.rows) > 1 and len(set(self.starts.values())) == 1
        return {
            "recipe": entry.recipe,
            "kind": entry.stage,
            "command": f"kdzoo train {entry.recipe}",
            "teacher": " + ".join(titles) or None,
            "epochs": recipe.epochs_of(entry.stage),
            "alone_epochs": recipe.epochs_of(entry.alone) if entry.alone else None,
            "examples": len(self.data.train),
            "held_out": 0 if held_out is None else len(held_out),
            "data_version": self.data.version,
            **self.trained(),
            **({"form": recipe.stage(entry.stage).title} if self._is_small_form else {}),
            **({"start_seed": start.seed} if start and has_one_start else {}),
        }

    @property
    def _is_small_form(self) -> bool:
        return self.ships_kdz or self.entry.start is not None

    def trained(self) -> dict[str, Any]:
        """Returns the part of `training` that another training would change."""
        return {
            "seeds": [row["seed"] for row in self.rows],
            "seconds": [row.get("seconds") for row in self.rows],
            "versions": self.measured("versions"),
            "teacher_weights": self._shipped_teacher[1],
        }


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of accuracies, and each by its seed."""
    by_seed = {str(row["seed"]): row["test_accuracy"] for row in rows}
    summary = summarize(rows, rows[0]["kind"])
    return {"mean": summary["mean"], "std": summary["std"], "by_seed": by_seed}


def _are_rounded(trained: Sequence[np.ndarray], shipped: Sequence[np.ndarray]) -> bool:
    """Whether all shipped weights are the trained ones, as they were or once in float16."""
    return len(trained) == len(shipped) and all(
        np.array_equal(ours, theirs) or np.array_equal(ours.astype("float16"), theirs)
        for ours, theirs in zip(trained, shipped, strict=True)
    )
