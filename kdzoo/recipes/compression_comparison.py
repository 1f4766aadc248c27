"""A trained student made small in several ways: accuracy of the file against its bytes."""

import dataclasses
import functools
import json
import statistics

from kdzoo.recipes.comparison import Comparison, with_defaults
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.results import (
    check_made_from,
    directory_name,
    fingerprint,
    finished_rows,
    load_trained,
    read_finished,
    stage_rows,
    summarize,
    write_json,
    write_results,
)
from kdzoo.recipes.settings import check_kinds, check_seeds
from kdzoo.recipes.student import check_dictionaries
from kdzoo.utils import (
    check_directory,
    check_integer,
    check_positive_integer,
    check_text,
    one_process,
    shown,
)

FLOAT = "float32"  # The kind that is the trained student as it is.
_TEACHER = ("teacher", 0)


@dataclasses.dataclass(frozen=True)
class CompressionComparison:
    """Trains a teacher and a student by another recipe, then compresses it in several ways.

    Everything is measured on the `.tflite` files, over all test images; nothing is chosen on them.

    Attributes:
        base: Name of the recipe that trains teacher and student. They go beside the directory of
            this one, into one of its name, and serve that recipe and all that start from it.
        comparison: That recipe, a `Comparison`.
        start: The kind of its students that are compressed.
        kinds: Kind -> `Compression`.
        seeds: Of the compression and, without `start_seed`, of the student that each starts from;
            as many of them as that one is trained for.
        start_seed: Seed of the student that all compression starts from; None for its own.
        seed_counts: Kind -> for how many of the seeds, from the first, it is made; all by default.
        alone: The kind of student that is the same network without a teacher; it is trained too, to
            stand beside. None for none.
    """

    base: str
    comparison: Comparison
    start: str
    kinds: dict
    seeds: tuple = (0, 1, 2)
    alone: str | None = None
    start_seed: int | None = None
    seed_counts: dict = dataclasses.field(default_factory=dict)

    @property
    def data(self):
        """Name of the data set."""
        return self.comparison.data

    @property
    def teacher(self):
        """Name of the teacher's architecture."""
        return self.comparison.teacher

    @property
    def started_from(self):
        """The recipe that trains teacher and student, with the seeds that this one starts from."""
        seeds = self.seeds if self.start_seed is None else (self.start_seed,)
        return dataclasses.replace(self.comparison, seeds=seeds)

    @property
    def start_seeds(self):
        """The seeds of the student that is compressed."""
        return self.started_from.seeds_of(self.start)

    def start_seed_of(self, seed):
        """Returns the seed of the student that the compression of a seed starts from."""
        return seed if self.start_seed is None else self.start_seed

    @property
    def start_kinds(self):
        """The kinds of students of that recipe that are trained."""
        return tuple(filter(None, (self.start, self.alone)))

    @property
    def all_kinds(self):
        """The kinds of model that it makes, the plain student's file included."""
        return (FLOAT, *self.kinds)

    @property
    def student(self):
        """Name of the student's architecture."""
        return self.built_from(self.start)[0]

    @property
    def validation(self):
        """As in the `Comparison` that it starts from."""
        return self.comparison.validation

    def built_from(self, _):
        """Returns the architecture's name and the builder's arguments, the same for all kinds."""
        return self.comparison.built_from(self.start)

    @property
    def paper(self):
        """Nothing: no paper has measured just this."""
        return {}

    def smoke(self):
        """Returns the same recipe in seconds: one epoch and one seed on the embedded digits."""
        comparison = self.comparison
        if comparison.students:  # The one that is compressed is enough.
            settings = {**comparison.smoke_settings}
            settings.pop("students", None)
            only = {self.start: comparison.students[self.start]}
            comparison = dataclasses.replace(comparison, students=only, smoke_settings=settings)
        comparison = comparison.smoke()
        kinds = {kind: dataclasses.replace(each, epochs=1) for kind, each in self.kinds.items()}
        return dataclasses.replace(
            self,
            base=f"{self.base}-smoke",
            comparison=comparison,
            kinds=kinds,
            seeds=comparison.seeds,
            start_seed=None,
            alone=None,
        )

    def seeds_of(self, kind):
        """Returns the seeds that a kind is made for."""
        start = self.start_seeds
        if kind == FLOAT:
            return start
        seeds = start if self.start_seed is None else self.seeds
        return seeds[: self.seed_counts.get(kind)]

    def check(self):
        """Raises `ValueError` unless names are known and numbers in range."""
        for field in ("base", "start"):
            check_text(field, getattr(self, field))
        if self.alone is not None:
            check_text("alone", self.alone)
        if self.start_seed is not None:
            check_integer("start_seed", self.start_seed, least=0)
        if not isinstance(self.comparison, Comparison):
            raise ValueError(
                f"Expected a Comparison. Received: comparison={shown(self.comparison)}"
            )
        check_dictionaries({"kinds": self.kinds, "seed_counts": self.seed_counts})
        for compression in self.kinds.values():
            if not isinstance(compression, Compression):
                raise ValueError(
                    "Expected kinds as a dictionary, the name of a kind -> Compression. Received: "
                    f"kinds={shown(self.kinds)}"
                )
            compression.check()
        check_seeds(self)
        check_kinds("kind of compressed model", self.seed_counts, self.kinds)
        for kind, count in self.seed_counts.items():
            check_positive_integer(f"seed_counts of {kind!r}", count)
        check_kinds("kind of student", self.start_kinds, self.comparison.kinds)
        most = len(self.start_seeds)
        if self.start_seed is None and len(self.seeds) > most:
            raise ValueError(
                f"Expected at most {most} seeds, as many as there are of {self.start!r}, where it "
                f"starts. Received: seeds={shown(self.seeds)}"
            )

    def run(
        self,
        directory,
        data_dir=None,
        verbose="auto",
        report=lambda line: None,
        callbacks=(),
        kinds=None,
    ):
        """Trains and compresses what is missing and returns the results.

        Args:
            directory: Where checkpoints, compressed models, files and `results.json` go; what the
                recipe that this one starts from trains goes beside it.
            data_dir: Where the data set lies, as in `kdzoo.data.load`.
            verbose: As in `keras.Model.fit`.
            report: Called with a line of text when a stage starts.
            callbacks: Callbacks for every `fit`.
            kinds: Keys of `kinds`, what to compress to besides the float32 file; all when None.

        Returns:
            The content of `results.json`, as of a `Comparison`, with bytes for each file.

        Raises:
            ValueError: As `Comparison.run`.
        """
        self.check()
        kinds = check_kinds("kind of compressed model", kinds, self.kinds)
        directory = check_directory(directory)
        data = self.started_from.load_data(data_dir)
        with one_process(directory):
            finished_rows(self, self.all_kinds, directory)  # Others are refused now.
            home = directory.parent / self.base
            with one_process(home):
                self.started_from.train(self.start_kinds, data, home, verbose, report, callbacks)
            options = {"verbose": verbose, "callbacks": callbacks}
            start = _Start(self, data, home)
            for (kind, seed), row in stage_rows(self, (FLOAT, *kinds), directory).items():
                report(f"{kind}, seed {seed}")
                home = directory / directory_name(kind, seed)
                if row is None:
                    self._stage(kind, seed, start, data, home, options)
            return write_results(self, self.all_kinds, data, directory, _summarize)

    def _stage(self, kind, seed, start, data, home, options):
        """Makes, measures and saves one compressed model."""
        from kdzoo.compression.tfmot.compression_monitor import measure_compression
        from kdzoo.compression.tfmot.unwrapping import plain_copy
        from kdzoo.graph.saving import save_model
        from kdzoo.recipes.clock import Clock
        from kdzoo.recipes.compress import compress, export, measure_file

        compression = self.kinds.get(kind, Compression())
        clock = Clock(home)
        options = {**options, "callbacks": [*options["callbacks"], clock]}
        model, history = start.student(self.start_seed_of(seed)), {}
        made_from = {"start_weights": fingerprint(model)}
        if kind != FLOAT:
            taught = {}
            if compression.taught:
                recorded = start.recorded(compression.epochs)
                taught = {"teacher": start.teacher, "recorded": recorded}
                made_from["teacher_weights"] = fingerprint(start.teacher)
            model, history = compress(
                model, compression, data, home, **taught, seed=seed, **options
            )
        # How far the file agrees is measured on all test images, whatever comes out.
        written = export(model, home / "model.tflite", compression, data, min_agreement=0)
        save_model(model, home / "model.keras")
        row = {
            "kind": kind,
            "seed": seed,
            **measure_file(written.path, model, data),
            **measure_compression(plain_copy(model) or model),
            "seconds": clock.seconds,
            "versions": clock.versions,
            **made_from,
            "history": history,
        }
        write_json(home / "result.json", {**row, "settings": self.stage_settings(kind, seed)})
        clock.clear()

    def finished_row(self, kind, seed, home):
        """Returns what was measured of a compressed model, or None: as of a `Comparison`."""
        settings = self.stage_settings(kind, seed)

        def fits(made):
            for part in ("student", "teacher"):
                made[part] = with_defaults(made[part], settings[part])
            return made == settings

        row, base = read_finished(home, fits), home.parent.parent / self.base
        start = self.start, self.start_seed_of(seed)
        for field, source in (("start_weights", start), ("teacher_weights", _TEACHER)):
            check_made_from(row, field, home, base / directory_name(*source))
        return row

    def stage_settings(self, kind, seed):
        """Returns what identifies one compressed model, as JSON gives it back."""

        settings = {
            "kind": kind,
            "seed": seed,
            "compression": dataclasses.asdict(self.kinds.get(kind, Compression())),
            "student": self.comparison.settings_of(self.start),
            "teacher": self.comparison.settings_of("teacher"),
        }
        if self.start_seed_of(seed) != seed:
            settings["start_seed"] = self.start_seed
        return json.loads(json.dumps(settings))


class _Start:
    """What is compressed and who teaches it, each loaded when it is first wanted.

    Args:
        recipe: The `CompressionComparison`.
        data: The `kdzoo.data.Dataset`.
        home: Directory of the run that trained them.
    """

    def __init__(self, recipe, data, home):
        self._recipe, self._data, self._home = recipe, data, home

    def student(self, seed):
        """The student of a seed."""
        return self._load(self._recipe.start, seed)

    @functools.cached_property
    def teacher(self):
        """The teacher."""
        return self._load(*_TEACHER)

    def recorded(self, epochs):
        """The training images with the teacher's answers for some epochs; None without views."""
        from kdzoo.recipes.fitting import Fitting

        recipe, start = self._recipe.started_from, self._recipe.start
        if not recipe.views:
            return None
        fitting = Fitting(recipe, start, recipe.seeds[0], self._data, self.teacher)
        return fitting.recorded(self._home, epochs)

    def _load(self, kind, seed):
        return load_trained(self._home / directory_name(kind, seed))


def _summarize(rows, kind):
    ours = [row for row in rows if row["kind"] == kind]
    sizes = {
        name: round(statistics.fmean(row[name] for row in ours))
        for name in ("bytes", "gzipped_bytes")
    }
    return {**summarize(rows, kind), **sizes}
