"""What is published of a finished recipe: the models of one kind, and what the run says of them."""

import dataclasses
import json

import numpy as np

from kdzoo.recipes.results import directory_name, summarize
from kdzoo.utils import unknown_name


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo, and the part of a recipe that trains it.

    Attributes:
        name: `"architecture/data set"`, as `kdzoo.load` will know it, and `"/int8"` or the like
            of a compressed one.
        recipe: Name of the recipe.
        kind: The kind of model within it, `"teacher"` or one of its students.
        alone: The kind that is the same network on the same budget without a teacher; None for a
            teacher. Of a compressed model a kind of the recipe that it starts from: that network
            alone, in float32.
    """

    name: str
    recipe: str
    kind: str
    alone: str | None = None

    @property
    def kinds(self):
        """The kinds that its recipe is to train for it, besides the teacher."""
        from kdzoo.recipes import RECIPES

        known = RECIPES[self.recipe].kinds
        return [kind for kind in (self.kind, self.alone) if kind in known]


class Source:
    """What a recipe's run says of one of its kinds.

    Args:
        entry: The `Entry`.
        run: Directory that the recipe ran in, a path.
        directory: The zoo's, a path.
        data_dir: As in `kdzoo.data.load`.

    Raises:
        ValueError: As `publish`.
        FileNotFoundError: As `publish`.
    """

    def __init__(self, entry, run, directory, data_dir):
        import kdzoo.data
        from kdzoo.recipes import RECIPES, CompressionComparison

        self.entry, self.run, self.recipe = entry, run, RECIPES[entry.recipe]
        self.directory = directory
        self.is_compressed = isinstance(self.recipe, CompressionComparison)
        results = run / "results.json"
        if not results.is_file():
            raise FileNotFoundError(
                f"Expected {results}, as `kdzoo train {entry.recipe}` writes it when it is "
                "finished. Received: none there."
            )
        self.results = json.loads(results.read_text())
        kinds = (() if self.is_compressed else ("teacher",)) + tuple(self.recipe.kinds)
        if entry.kind not in kinds:
            raise unknown_name("kind of model", entry.kind, kinds)
        if not self.rows(entry.kind):
            raise FileNotFoundError(
                f"Expected a run with the kind {entry.kind!r}. Received: {results} without it; "
                f"`kdzoo train {entry.recipe}` trains what is missing."
            )
        for row in self.rows(entry.kind):
            self._finished(self.recipe, run, entry.kind, row["seed"])
        self.alone = self._rows_alone()
        self.seed = self.results["summary"][entry.kind]["median_seed"]
        self.data = kdzoo.data.load(self.recipe.data, data_dir, self.recipe.validation)
        self.architecture, self.arguments = self.recipe.built_from(entry.kind)

    def _finished(self, recipe, run, kind, seed):
        """The row of a model that was trained with the settings that the recipe has now."""
        home = run / directory_name(kind, seed)
        row = recipe.finished_row(kind, seed, home)
        if row is None:
            raise FileNotFoundError(f"Expected {home / 'result.json'}. Received: no such.")
        return row

    @property
    def base(self):
        """The recipe that trained teacher and students, and the directory that it ran in."""
        if self.is_compressed:
            return self.recipe.started_from, self.run.parent / self.recipe.base
        return self.recipe, self.run

    @property
    def stem(self):
        """What the files of the model are called, but for their hash."""
        return self.entry.name.replace("/", "-")

    @property
    def home(self):
        """The directory of the run of the median seed."""
        return self.run / directory_name(self.entry.kind, self.seed)

    def model(self):
        """The trained model; of a compressed one the plain model with its weights."""
        import keras

        model = keras.saving.load_model(self.home / "model.keras")
        if self.is_compressed:
            from kdzoo.compression.within import plain_copy

            return plain_copy(model) or model
        return model

    def shipped(self, model):
        """What a phone gets: the file of a compressed model, else the model."""
        from kdzoo.export import LiteRTModel

        return LiteRTModel(self.home / "model.tflite") if self.is_compressed else model

    def teacher(self):
        """The teacher as it ships if that is this run's, else as it was trained; None for one."""
        import keras

        from kdzoo.zoo import load

        if self.entry.kind == "teacher":
            return None
        trained = self.base[1] / directory_name("teacher", 0) / "model.keras"
        trained = keras.saving.load_model(trained)
        name = f"{self.recipe.teacher}/{self.data.name}"
        if name in rows_in(self.directory):
            shipped = load(name, directory=self.directory)
            if _are_rounded(trained.get_weights(), shipped.get_weights()):
                return shipped
        return trained

    def accuracies(self, shipped):
        """What cards say of accuracy, that of the shipped weights included."""
        measured = {"accuracy": {**_spread(self.rows(self.entry.kind)), "shipped": shipped}}
        measured["accuracy"]["shipped_seed"] = self.seed
        if self.alone:
            measured["alone"] = _spread(self.alone)
        return measured

    def _rows_alone(self):
        """The rows of the same network without a teacher; none for a teacher."""
        recipe, run = self.base
        kind = self.entry.alone
        if kind is None:
            return []
        return [self._finished(recipe, run, kind, seed) for seed in recipe.seeds_of(kind)]

    def rows(self, kind):
        """The rows of a kind, one for each seed."""
        return [row for row in self.results["rows"] if row["kind"] == kind]

    def training(self):
        """What cards say of the training."""
        kind, examples = self.entry.kind, self.results["examples"]
        return {
            "recipe": self.entry.recipe,
            "kind": kind,
            "command": f"kdzoo train {self.entry.recipe}",
            "teacher": self.recipe.teacher if self._is_taught() else None,
            "epochs": self._epochs(kind),
            "alone_epochs": self.base[0].all_epochs_of(self.entry.alone)
            if self.entry.alone
            else None,
            "seeds": [row["seed"] for row in self.rows(kind)],
            "seconds": [row["seconds"] for row in self.rows(kind)],
            "examples": examples["train"],
            "held_out": examples.get("validation", 0),
            "data_version": self.results["data_version"],
            "versions": self._versions(),
            **({"form": self.recipe.kinds[kind].in_words()} if self.is_compressed else {}),
        }

    def _versions(self):
        """Those that trained the shipped model; of older results, those that wrote them."""
        row = next(row for row in self.rows(self.entry.kind) if row["seed"] == self.seed)
        return row.get("versions", self.results["versions"])

    def _is_taught(self):
        if self.entry.kind == "teacher":
            return False
        kind = self.recipe.kinds[self.entry.kind]
        return kind.taught if self.is_compressed else bool(kind.losses)

    def _epochs(self, kind):
        """Epochs in all, those of hints and of what a compressed model started from included."""
        if self.is_compressed:
            start, compression = self.recipe.comparison, self.recipe.kinds[kind]
            before = start.all_epochs_of(self.recipe.start)
            return before + compression.epochs * len(compression.steps)
        return self.recipe.all_epochs_of(kind)


def _spread(rows):
    """Mean and standard deviation of accuracies, and each by its seed."""
    by_seed = {str(row["seed"]): row["test_accuracy"] for row in rows}
    summary = summarize(rows, rows[0]["kind"])
    return {"mean": summary["mean"], "std": summary["std"], "by_seed": by_seed}


def _are_rounded(trained, shipped):
    """Whether all shipped weights are the trained ones, as they were or once in float16."""
    return len(trained) == len(shipped) and all(
        np.array_equal(ours, theirs) or np.array_equal(ours.astype("float16"), theirs)
        for ours, theirs in zip(trained, shipped, strict=True)
    )


def rows_in(directory):
    """The rows of a zoo's manifest, name -> `Pretrained`; none where there is no manifest yet."""
    from kdzoo.zoo.manifest import read_manifest

    try:
        return dict(read_manifest(directory))
    except FileNotFoundError:
        return {}
