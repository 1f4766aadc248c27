"""A trained student made small in several ways: accuracy of the file against its bytes."""

import dataclasses
import functools
import json
import pathlib
import statistics

from kdzoo.recipes.comparison import Comparison, with_defaults
from kdzoo.recipes.results import (
    directory_name,
    read_finished,
    summarize,
    versions,
    write_json,
    write_results,
)
from kdzoo.recipes.settings import check_kinds

FLOAT = "float32"  # The kind that is the trained student as it is.


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
        seeds: Of students and of their compression; as many of them as the student is trained for.
        alone: The kind of student that is the same network without a teacher; it is trained too, to
            stand beside. None for none.
    """

    base: str
    comparison: Comparison
    start: str
    kinds: dict
    seeds: tuple = (0, 1, 2)
    alone: str | None = None

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
        """The recipe that trains teacher and student, with the seeds of this one."""
        return dataclasses.replace(self.comparison, seeds=self.seeds)

    @property
    def start_kinds(self):
        """The kinds of students of that recipe that are trained."""
        return tuple(filter(None, (self.start, self.alone)))

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
            alone=None,
        )

    def seeds_of(self, _):
        """Returns the seeds that each kind is made for: those of the student it starts from."""
        return self.started_from.seeds_of(self.start)

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
        import keras

        for compression in self.kinds.values():
            compression.check()
        check_kinds(self.start_kinds, self.comparison.kinds)
        kinds = check_kinds(kinds, self.kinds)
        directory = pathlib.Path(directory)
        home = directory.parent / self.base
        comparison = self.started_from
        data = comparison.load_data(data_dir)
        teacher = comparison.train(self.start_kinds, data, home, verbose, report, callbacks)
        options = {"verbose": verbose, "callbacks": callbacks}

        @functools.cache
        def recorded():
            from kdzoo.recipes.fitting import Fitting

            fitting = Fitting(comparison, self.start, self.seeds[0], data, teacher)
            return fitting.recorded(home) if comparison.views else None

        for seed in self.seeds_of(self.start):
            path = home / directory_name(self.start, seed) / "model.keras"
            student = keras.saving.load_model(path)
            for kind in (FLOAT, *kinds):
                report(f"{kind}, seed {seed}")
                stage = kind, seed, student, teacher, data, directory
                self._stage(*stage, recorded, options)
        return write_results(self, (FLOAT, *self.kinds), data, directory, _summarize)

    def _stage(self, kind, seed, student, teacher, data, directory, recorded, options):
        """Makes, measures and saves one compressed model, unless it is there."""
        from kdzoo.compression.monitor import measure_compression
        from kdzoo.compression.within import plain_copy
        from kdzoo.recipes.clock import Clock
        from kdzoo.recipes.compress import compress, export, measure_file
        from kdzoo.recipes.compression import Compression
        from kdzoo.utils import atomic_path

        compression = self.kinds.get(kind, Compression())
        home = directory / directory_name(kind, seed)
        if self.finished_row(kind, seed, home) is not None:
            return
        clock = Clock(home)
        options = {**options, "callbacks": [*options["callbacks"], clock]}
        model, history = student, {}
        if kind != FLOAT:
            asked = recorded() if compression.taught else None
            taught = {"teacher": teacher, "recorded": asked}
            model, history = compress(
                student, compression, data, home, **taught, seed=seed, **options
            )
        # How far the file agrees is measured on all test images, whatever comes out.
        written = export(model, home / "model.tflite", compression, data, min_agreement=0)
        with atomic_path(home / "model.keras") as path:
            model.save(path)
        row = {
            "kind": kind,
            "seed": seed,
            **measure_file(written.path, model, data),
            **measure_compression(plain_copy(model) or model),
            "seconds": clock.seconds,
            "versions": versions(),
            "history": history,
        }
        write_json(home / "result.json", {**row, "settings": self._settings_of(kind, seed)})
        clock.clear()

    def finished_row(self, kind, seed, home):
        """Returns what was measured of a compressed model, or None: as of a `Comparison`."""
        settings = self._settings_of(kind, seed)

        def fits(made):
            for part in ("student", "teacher"):
                made[part] = with_defaults(made[part], settings[part])
            return made == settings

        return read_finished(home, fits)

    def _settings_of(self, kind, seed):
        """What a compressed model depends on, as JSON gives it back."""
        from kdzoo.recipes.compression import Compression

        settings = {
            "kind": kind,
            "seed": seed,
            "compression": dataclasses.asdict(self.kinds.get(kind, Compression())),
            "student": self.comparison.settings_of(self.start),
            "teacher": self.comparison.settings_of("teacher"),
        }
        return json.loads(json.dumps(settings))


def _summarize(rows, kind):
    ours = [row for row in rows if row["kind"] == kind]
    sizes = {
        name: round(statistics.fmean(row[name] for row in ours))
        for name in ("bytes", "gzipped_bytes")
    }
    return {**summarize(rows, kind), **sizes}
