"""The student distilled beside the same student alone: same data, budget, seeds and start."""

import dataclasses

from kdzoo.graph.saving import save_model
from kdzoo.recipes.results import (
    check_data,
    check_made_from,
    check_no_record,
    directory_name,
    fingerprint,
    finished_rows,
    load_trained,
    measure,
    read_finished,
    stage_rows,
    write_json,
    write_results,
)
from kdzoo.recipes.settings import check_kinds, check_settings, check_teacher, settings_of
from kdzoo.recipes.student import Student
from kdzoo.utils import check_directory, first_line, one_process
from kdzoo.zoo.manifest import find


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Trains a teacher once, then for each seed a student of each kind: alone, distilled, ...

    All students of a seed and an architecture start from the same weights and see the same batches
    in the same order; with `views`, those without a teacher see every image augmented anew in each
    epoch, where the others see the recorded views in turn. Everything is trained with AdamW, unless
    it is given SGD, and a cosine decay to zero; nothing is chosen on the test set.

    Attributes:
        data: Name of a data set, or a directory that `kdzoo data export` wrote.
        teacher: Name of the teacher's architecture; or of a pretrained model, which teaches as it
            is: other fields on the teacher's training have no effect, and it may have seen the
            images that are held out.
        student: Name of the student's architecture.
        teacher_epochs: Epochs of the teacher.
        epochs: Epochs of each student that has no number of its own.
        seeds: A student of each kind is trained for each, or for its first `seed_count` of them.
        temperature: Of the soft targets.
        student_loss_weight: Share of the loss on labels.
        batch_size: Images a step.
        teacher_learning_rate: Highest learning rate of the teacher.
        learning_rate: Highest learning rate of the students.
        optimizer: Of the students: `"adamw"`, or `"sgd"`: Nesterov momentum of 0.9, the learning
            rate rising from zero over the first tenth of the steps.
        weight_decay: Decoupled weight decay of all. With SGD of momentum m it stands for a decay of
            1 - m times this one in the gradients, as papers give it: 0.005 for their 5e-4.
        teacher_optimizer: That of the teacher.
        teacher_weight_decay: That of the teacher, where it is another one.
        teacher_augmentation: Arguments of a `kdzoo.data.Augmentation` for the teacher's images; the
            data set's usual one when None.
        augment_student: Whether the students see augmented images; the teacher always does,
            where an augmentation is known for the data set.
        teacher_arguments: Further arguments of the teacher's builder.
        student_arguments: Further arguments of the student's builder.
        students: Kind -> `Student`; "alone" and, by soft targets, "distilled" when empty.
        validation: Fraction of the training images that is held out; `None` for a tenth, 0 to
            train on all of them, with settings that were chosen before.
        views: How many augmented views of each image the teacher is asked about, before the first
            student that learns from it; seeds and students share the answers, which are kept with
            the run. None to ask it at every step.
        enlarge: Every pixel becomes a square of this many pixels a side, for images that are too
            small for the networks.
        precision: The policy that all are trained in, `"float32"` or `"mixed_bfloat16"`; what is
            measured and saved, and logits that are given once for all epochs, are in float32.
        teacher_precision: That of the teacher, where it is another one; also of a teacher that is
            asked at every step.
        paper: What the paper reports for each kind, test errors, to stand beside ours.
        smoke_settings: Fields that the smoke mode replaces besides its own.
    """

    data: str
    teacher: str
    student: str
    teacher_epochs: int
    epochs: int
    seeds: tuple = (0, 1, 2)
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    batch_size: int = 128
    teacher_learning_rate: float = 2e-3
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    augment_student: bool = True
    teacher_arguments: dict = dataclasses.field(default_factory=dict)
    student_arguments: dict = dataclasses.field(default_factory=dict)
    students: dict = dataclasses.field(default_factory=dict)
    validation: float | None = None
    views: int | None = None
    enlarge: int = 1
    optimizer: str = "adamw"
    teacher_optimizer: str = "adamw"
    teacher_weight_decay: float | None = None
    teacher_augmentation: dict | None = None
    precision: str = "float32"
    teacher_precision: str | None = None
    paper: dict = dataclasses.field(default_factory=dict)
    smoke_settings: dict = dataclasses.field(default_factory=dict)

    @property
    def pretrained_teacher(self):
        """The `kdzoo.zoo.Pretrained` that teaches as it is; None where the teacher is trained."""
        return find(self.teacher) if "/" in str(self.teacher) else None

    @property
    def all_kinds(self):
        """The kinds of model that it trains."""
        return ("teacher", *self.kinds)

    @property
    def kinds(self):
        """Kind -> `Student`, what the recipe compares."""
        soft_targets = ("SoftTargets", {"temperature": self.temperature}, 1.0)
        return self.students or {"alone": Student(), "distilled": Student((soft_targets,))}

    def smoke(self):
        """Returns the same recipe in seconds: one epoch and one seed on the embedded digits."""
        settings = {
            "data": "digits",
            "teacher_epochs": 1,
            "epochs": 1,
            "seeds": self.seeds[:1],
            "validation": None,
            "views": self.views and 1,
            "teacher_augmentation": None,
            "students": self.students,
        }
        if self.pretrained_teacher:  # Digits are not what it knows: a fresh one of its kind.
            settings["teacher"], settings["teacher_arguments"] = self.built_from("teacher")
        for role in ("teacher", "student"):
            if role in self.smoke_settings:  # The recipe's arguments are for its own network.
                settings[f"{role}_arguments"] = {}
        settings = {**settings, **self.smoke_settings}
        students = {
            kind: dataclasses.replace(
                each, hints=each.hints and (*each.hints[:2], 1), epochs=each.epochs and 1
            )
            for kind, each in settings["students"].items()
        }
        return dataclasses.replace(self, **{**settings, "students": students})

    def run(
        self,
        directory,
        data_dir=None,
        verbose="auto",
        report=lambda line: None,
        callbacks=(),
        kinds=None,
    ):
        """Trains what is missing and returns the results.

        Args:
            directory: Where checkpoints, finished models (`.keras`) and `results.json` go. A run
                that was killed goes on from there; finished parts are not trained again.
            data_dir: Where the data set lies, as in `kdzoo.data.load`.
            verbose: As in `keras.Model.fit`.
            report: Called with a line of text when a stage starts.
            callbacks: Callbacks for every `fit`, for example one that shows progress.
            kinds: The kinds of student to train, keys of `kinds`; all when None.

        Returns:
            The content of `results.json`: a dictionary with the settings, one row per model of the
            kinds that are finished for all their seeds, whatever `kinds` names, the mean and
            standard deviation of each kind, and the versions of data set and packages.

        Raises:
            ValueError: If a name is unknown, a setting is out of range, or the directory holds a
                run with other settings or of other data, a student of another teacher, the
                answers of one that is gone, or a teacher whose file is damaged or gone, or another
                process works there. Nothing is trained then.
        """
        directory = check_directory(directory)
        kinds = check_kinds("kind of student", kinds, self.kinds)
        data = self.load_data(data_dir)
        with one_process(directory):
            finished_rows(self, self.all_kinds, directory)  # Others are refused now.
            self.train(kinds, data, directory, verbose, report, callbacks)
            return write_results(self, self.all_kinds, data, directory)

    def load_data(self, data_dir=None):
        """Returns the data set as the recipe takes it, once settings and data are checked.

        Args:
            data_dir: As in `run`.

        Raises:
            ValueError: As `run`.
        """
        import kdzoo.data

        check_settings(self)
        data = kdzoo.data.load(self.data, data_dir=data_dir, validation=self.validation)
        data = data.enlarged(self.enlarge) if self.enlarge > 1 else data
        self._check_data(data)
        return data

    def train(self, kinds, data, directory, verbose, report=lambda line: None, callbacks=()):
        """Trains what is missing of the teacher and of some kinds of student.

        Args:
            kinds: Keys of `kinds`.
            data: What `load_data` returned.
            directory: As in `run`, like the others.
            verbose: As there.
            report: As there.
            callbacks: As there.
        """
        stages = stage_rows(self, ("teacher", *kinds), directory)
        if stages["teacher", 0] is None and not self.pretrained_teacher:
            check_no_record(directory)
        check_data(directory, data)
        teacher, home = None, directory / directory_name("teacher", 0)
        taught = {kind for kind in kinds if self.kinds[kind].losses}
        waiting = {kind for (kind, _), row in stages.items() if row is None}
        if "teacher" not in waiting and taught & waiting:
            teacher = load_trained(home)
        for number, ((kind, seed), row) in enumerate(stages.items(), start=1):
            is_given = kind == "teacher" and self.pretrained_teacher
            report(f"{number}/{len(stages)} {kind}, {'pretrained' if is_given else f'seed {seed}'}")
            if row is not None:
                continue
            if teacher is None and kind in taught:
                teacher = load_trained(home)
            self._stage(kind, seed, data, teacher, directory, {"verbose": verbose}, callbacks)

    def _check_data(self, data):
        """Raises unless the data have all splits and images that all networks take."""
        for part in ("test",) if self.validation == 0 else ("validation", "test"):
            if getattr(data, part) is None:
                raise ValueError(
                    f"Expected data with a {part} split. Received: data={self.data!r} without one."
                )
        from kdzoo.recipes.fitting import Fitting

        check_teacher(self, data)
        teacher = self.create("teacher", data)
        for kind in self.kinds:
            Fitting(self, kind, self.seeds[0], data, teacher).check()

    def _stage(self, kind, seed, data, teacher, directory, options, callbacks):
        """Trains, measures and saves one model."""
        from kdzoo.recipes.clock import Clock
        from kdzoo.recipes.fitting import Fitting

        home = directory / directory_name(kind, seed)
        settings = self.stage_settings(kind, seed)
        clock = Clock(home)
        learned_from = {}
        if kind != "teacher" and self.kinds[kind].losses:
            learned_from = {"teacher_weights": fingerprint(teacher)}
        identity = {**settings, **learned_from}
        options = {**options, "settings": identity, "callbacks": [*callbacks, clock]}
        model, history = Fitting(self, kind, seed, data, teacher).run(home, options)
        save_model(model, home / "model.keras")
        row = {
            "kind": kind,
            "seed": seed,
            "parameters": model.count_params(),
            **measure(model, data),
            "seconds": clock.seconds if history else 0.0,  # A pretrained teacher takes none.
            "versions": clock.versions,
            "weights": fingerprint(model),
            **learned_from,
            "history": history,
        }
        write_json(home / "result.json", {**row, "settings": settings})
        clock.clear()

    def finished_row(self, kind, seed, home):
        """Returns what was measured of a finished model, or None if it is not finished.

        Args:
            kind: `"teacher"` or a key of `kinds`.
            seed: The model's seed.
            home: Directory of its training.

        Raises:
            ValueError: If it was trained with other settings than the recipe's, or taught by
                another teacher than the run has.
        """
        settings = self.stage_settings(kind, seed)
        row = read_finished(home, lambda made: with_defaults(made, settings) == settings)
        check_made_from(row, "teacher_weights", home, home.parent / directory_name("teacher", 0))
        return row

    def stage_settings(self, kind, seed):
        """Returns what identifies one model of the recipe, as JSON gives it back."""
        return {"kind": kind, "seed": seed, **self.settings_of(kind)}

    def settings_of(self, kind):
        """Returns the fields that a model of this kind may depend on."""
        return settings_of(self, kind)

    def built_from(self, kind):
        """Returns the architecture's name and the builder's arguments of a kind of model."""
        if kind == "teacher":
            row, own = self.pretrained_teacher, (self.teacher, self.teacher_arguments)
            return (row.architecture, row.arguments) if row else own
        student = self.kinds[kind]
        arguments = self.student_arguments if student.architecture is None else {}
        return student.architecture or self.student, {**arguments, **student.arguments}

    def seeds_of(self, kind):
        """Returns the seeds that a kind of model is trained for."""
        return (0,) if kind == "teacher" else self.seeds[: self.kinds[kind].seed_count]

    def epochs_of(self, kind):
        """Returns the epochs of a kind of model, without those of a stage of hints."""
        if kind == "teacher":
            return self.teacher_epochs
        return self.kinds[kind].epochs or self.epochs

    def all_epochs_of(self, kind):
        """Returns the epochs of a kind of model, those of a stage of hints included."""
        hints = None if kind == "teacher" else self.kinds[kind].hints
        return self.epochs_of(kind) + (hints[2] if hints else 0)

    def optimizer_of(self, kind):
        """Returns the optimizer of a kind of model, its highest learning rate and weight decay."""
        if kind == "teacher":
            decay = self.teacher_weight_decay
            decay = self.weight_decay if decay is None else decay
            return self.teacher_optimizer, self.teacher_learning_rate, decay
        student = self.kinds[kind]
        own = (student.optimizer, student.learning_rate, student.weight_decay)
        usual = (self.optimizer, self.learning_rate, self.weight_decay)
        return tuple(
            theirs if ours is None else ours for ours, theirs in zip(own, usual, strict=True)
        )

    def precision_of(self, kind):
        """Returns the policy that a kind of model is trained in."""
        if kind == "teacher":
            return self.teacher_precision or self.precision
        return self.kinds[kind].precision or self.precision

    def create(self, kind, data, precision="float32"):
        """Returns a fresh model of a kind.

        Args:
            kind: `"teacher"` or a key of `kinds`.
            data: The `kdzoo.data.Dataset` whose images and classes it is for.
            precision: The dtype policy that it computes in.
        """
        import keras

        import kdzoo

        name, arguments = self.built_from(kind)
        usual = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            return kdzoo.create(name, data.classes, data.input_shape, **arguments)
        except TypeError as error:
            raise ValueError(
                f"Expected arguments that {name!r} takes. Received: {arguments!r}: "
                f"{first_line(error)}"
            ) from error
        finally:
            keras.config.set_dtype_policy(usual)


def with_defaults(made, settings):
    """Returns the settings of a run, and defaults for fields that there were none of when it ran.

    Args:
        made: The settings that the run was made with.
        settings: Those that it is compared with.
    """
    fields = {field.name: field for field in dataclasses.fields(Comparison)}
    return {**{name: fields[name].default for name in settings if name in fields}, **made}
