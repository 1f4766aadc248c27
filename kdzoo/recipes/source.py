"""What is published of a finished recipe: the models of one kind, and what the run says of them."""

import dataclasses
import functools

import numpy as np

from kdzoo.recipes.results import directory_name, load_trained, summarize
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
        """The kinds that its recipe is to make for it, besides what all are made from."""
        from kdzoo.recipes import RECIPES, CompressionComparison

        is_compressed = isinstance(RECIPES[self.recipe], CompressionComparison)
        if self.kind == "teacher":
            return ()
        return (self.kind,) if is_compressed or self.alone is None else (self.kind, self.alone)


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
        from kdzoo.recipes import RECIPES, CompressionComparison

        self.entry, self.run, self.recipe = entry, run, RECIPES[entry.recipe]
        self.directory, self._data_dir = directory, data_dir
        self.is_compressed = isinstance(self.recipe, CompressionComparison)
        if entry.kind not in self.recipe.all_kinds:
            raise unknown_name("kind of model", entry.kind, self.recipe.all_kinds)
        self.rows = self.finished(self.recipe, run, entry.kind)
        self.alone = self.finished(*self.base, entry.alone) if entry.alone else []
        self.seed = summarize(self.rows, entry.kind)["median_seed"]
        self.architecture, self.arguments = self.recipe.built_from(entry.kind)

    def finished(self, recipe, run, kind):
        """Returns the rows of a kind, one for each seed, of the settings that it has now.

        Args:
            recipe: The recipe that made it.
            run: The directory of its run.
            kind: The kind of model.

        Raises:
            ValueError: If it was made with other settings.
            FileNotFoundError: If it is not finished.
        """
        rows = []
        for seed in recipe.seeds_of(kind):
            home = run / directory_name(kind, seed)
            rows.append(recipe.finished_row(kind, seed, home))
            if rows[-1] is None:
                raise FileNotFoundError(
                    f"Expected {home / 'result.json'}, as `kdzoo train {self.entry.recipe}` "
                    "leaves it when the model is finished. Received: no such file."
                )
        return rows

    @functools.cached_property
    def data(self):
        """The data set."""
        import kdzoo.data

        return kdzoo.data.load(self.recipe.data, self._data_dir, self.recipe.validation)

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

    @property
    def has_one_start(self):
        """Whether all seeds of a compressed model started from one student."""
        return self.is_compressed and self.recipe.start_seed is not None

    @property
    def start_seed(self):
        """The seed of the student that a compressed model started from; None for another."""
        return self.recipe.start_seed_of(self.seed) if self.is_compressed else None

    def model(self):
        """The trained model; of a compressed one the plain model with its weights."""
        model = load_trained(self.home)
        if self.is_compressed:
            from kdzoo.compression.tfmot.unwrapping import plain_copy

            return plain_copy(model) or model
        return model

    def shipped(self, model):
        """What a phone gets: the file of a compressed model, else the model."""
        from kdzoo.export import LiteRTModel

        return LiteRTModel(self.home / "model.tflite") if self.is_compressed else model

    def teacher(self):
        """The teacher as it ships if that is this run's, else as it was trained; None for one."""
        if self.entry.kind == "teacher":
            return None
        return self._teacher[0]

    @functools.cached_property
    def _teacher(self):
        """The teacher, and the name of its weights' file; None for that if it does not ship."""
        from kdzoo.zoo import load

        trained = load_trained(self.base[1] / directory_name("teacher", 0))
        recipe = self.recipe
        name = recipe.teacher if "/" in recipe.teacher else f"{recipe.teacher}/{recipe.data}"
        row = rows_in(self.directory).get(name)
        if row is not None:
            shipped = load(name, directory=self.directory)
            if _are_rounded(trained.get_weights(), shipped.get_weights()):
                return shipped, row.files["weights"].file
        return trained, None

    def accuracies(self, shipped):
        """What cards say of accuracy, that of the shipped weights included."""
        measured = {"accuracy": {**_spread(self.rows), "shipped": shipped}}
        measured["accuracy"]["shipped_seed"] = self.seed
        if self.alone:
            measured["alone"] = _spread(self.alone)
        return measured

    def training(self):
        """What cards say of the training."""
        kind, (base, _) = self.entry.kind, self.base
        held_out = self.data.validation
        return {
            "recipe": self.entry.recipe,
            "kind": kind,
            "command": f"kdzoo train {self.entry.recipe}",
            "teacher": self.recipe.teacher if self._is_taught() else None,
            "epochs": self._epochs(kind),
            "alone_epochs": base.all_epochs_of(self.entry.alone) if self.entry.alone else None,
            "examples": len(self.data.train),
            "held_out": 0 if held_out is None else len(held_out),
            "data_version": self.data.version,
            **self.trained(),
            **({"form": self.recipe.kinds[kind].in_words()} if self.is_compressed else {}),
            **({"start_seed": self.start_seed} if self.has_one_start else {}),
        }

    def trained(self):
        """The part of `training` that another training would change."""
        shipped = next(row for row in self.rows if row["seed"] == self.seed)
        is_teacher = self.entry.kind == "teacher"
        return {
            "seeds": [row["seed"] for row in self.rows],
            "seconds": [row["seconds"] for row in self.rows],
            "versions": shipped["versions"],
            "teacher_weights": None if is_teacher else self._teacher[1],
        }

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


def is_whole(row, directory):
    """Whether the files that a row names are there and are what it says, byte for byte.

    Args:
        row: The `kdzoo.zoo.Pretrained`.
        directory: The zoo's, a path.
    """
    from kdzoo.zoo.checked_files import read_checked

    try:
        for each in row.files.values():
            read_checked(directory / each.file, each.sha256, each.bytes)
    except (FileNotFoundError, ValueError):
        return False
    return True
