"""The student distilled beside the same student alone: same data, budget, seeds and start."""

import dataclasses
import importlib.metadata
import json
import pathlib
import statistics
import time

import numpy as np

from kdzoo.utils import atomic_path
from kdzoo.zoo import architecture


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Trains a teacher once, then for each seed the student alone and the student distilled.

    Both students of a seed start from the same weights and see the same batches in the same
    order. Everything is trained with AdamW and a cosine decay to zero; nothing is chosen on the
    test set.

    Attributes:
        data: Name of a data set, or a directory that `kdzoo data export` wrote.
        teacher: Name of the teacher's architecture.
        student: Name of the student's architecture.
        teacher_epochs: Epochs of the teacher.
        epochs: Epochs of each student.
        seeds: A student of each kind is trained for each.
        temperature: Of the soft targets.
        student_loss_weight: Share of the loss on labels.
        batch_size: Images a step.
        teacher_learning_rate: Initial learning rate of the teacher.
        learning_rate: Initial learning rate of the students.
        weight_decay: Decoupled weight decay of all.
        augment_student: Whether the students see augmented images; the teacher always does,
            where an augmentation is known for the data set.
        teacher_arguments: Further arguments of the teacher's builder.
        student_arguments: Further arguments of the student's builder.
        validation: Fraction of the training images that is held out; `None` for a tenth, 0 to
            train on all of them, with settings that were chosen before.
        precision: The policy that all are trained in, `"float32"` or `"mixed_bfloat16"`; what is
            measured, saved and asked for its answers is in float32.
        paper: What the paper reports for each kind, test errors, to stand beside ours.
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
    validation: float | None = None
    precision: str = "float32"
    paper: dict = dataclasses.field(default_factory=dict)

    def smoke(self):
        """Returns the same recipe in seconds: one epoch and one seed on the embedded digits."""
        return dataclasses.replace(
            self, data="digits", teacher_epochs=1, epochs=1, seeds=self.seeds[:1], validation=None
        )

    def run(self, directory, data_dir=None, verbose="auto", report=lambda line: None, callbacks=()):
        """Trains what is missing and returns the results.

        Args:
            directory: Where checkpoints, finished models (`.keras`) and `results.json` go. A run
                that was killed goes on from there; finished parts are not trained again.
            data_dir: Where the data set lies, as in `kdzoo.data.load`.
            verbose: As in `keras.Model.fit`.
            report: Called with a line of text when a stage starts.
            callbacks: Callbacks for every `fit`, for example one that shows progress.

        Returns:
            The content of `results.json`: a dictionary with the settings, one row per trained
            model, the mean and standard deviation of each kind, and the versions used.

        Raises:
            ValueError: If a name is unknown, a setting is out of range, or the directory holds a
                run with other settings; all but the last are found before anything is trained.
        """
        import kdzoo.data

        directory = pathlib.Path(directory)
        self._check_settings()
        data = kdzoo.data.load(self.data, data_dir=data_dir, validation=self.validation)
        self._check_data(data)
        stages = [("teacher", 0)]
        stages += [(kind, seed) for seed in self.seeds for kind in ("alone", "distilled")]
        rows, teacher = [], None
        for number, (kind, seed) in enumerate(stages, start=1):
            report(f"{number}/{len(stages)} {kind}, seed {seed}")
            model, row = self._stage(kind, seed, data, teacher, directory, verbose, callbacks)
            teacher = model if kind == "teacher" else teacher
            rows.append(row)
        results = {
            "settings": dataclasses.asdict(self),
            "summary": {kind: _summary(rows, kind) for kind in ("teacher", "alone", "distilled")},
            "examples": {
                part: len(getattr(data, part))
                for part in ("train", "validation", "test")
                if getattr(data, part) is not None
            },
            "versions": _versions(),
            "rows": rows,
        }
        _write_json(directory / "results.json", results)
        return results

    def _check_settings(self):
        """Raises unless the names are known and the numbers in range."""
        from kdzoo import checks
        from kdzoo.losses import SoftTargets

        for name in (self.teacher, self.student):
            architecture(name)
        SoftTargets(self.temperature)
        checks.share(self.student_loss_weight)
        for field in ("teacher_epochs", "epochs", "batch_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"Expected {field} to be an integer of at least 1. Received: {field}={value!r}"
                )
        for field in ("teacher_learning_rate", "learning_rate"):
            value = getattr(self, field)
            if not 0 < value < float("inf"):
                raise ValueError(f"Expected {field} above 0. Received: {field}={value!r}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(
                f"Expected at least one seed, each once. Received: seeds={tuple(self.seeds)}"
            )

    def _check_data(self, data):
        """Raises unless the data have all splits and images that both networks take."""
        import kdzoo

        for part in ("test",) if self.validation == 0 else ("validation", "test"):
            if getattr(data, part) is None:
                raise ValueError(
                    f"Expected data with a {part} split. Received: data={self.data!r} without one."
                )
        for name, arguments in (
            (self.teacher, self.teacher_arguments),
            (self.student, self.student_arguments),
        ):
            kdzoo.create(name, data.classes, data.input_shape, **arguments)

    def _stage(self, kind, seed, data, teacher, directory, verbose, callbacks=()):
        """Trains one model, or loads it if it is finished; returns it and its row."""
        import keras

        home = directory / f"{kind}-{seed}"
        settings = {"kind": kind, "seed": seed, **self._settings(kind)}
        finished = home / "result.json"
        if finished.exists():
            row = json.loads(finished.read_text())
            if row.pop("settings") != settings:
                raise ValueError(
                    f"Expected {home} to hold a run of this recipe. Received: a run with other "
                    "settings; choose another directory or delete it."
                )
            return keras.saving.load_model(home / "model.keras"), row
        start = time.perf_counter()
        model, history = self._fit(kind, seed, data, teacher, home, settings, verbose, callbacks)
        if self.precision != "float32":
            weights, model = model.get_weights(), self._create(kind, data)
            model.set_weights(weights)
        with atomic_path(home / "model.keras") as path:
            model.save(path)
        row = {
            "kind": kind,
            "seed": seed,
            "parameters": model.count_params(),
            **_measure(model, data),
            "seconds": round(time.perf_counter() - start, 1),
            "history": history,
        }
        _write_json(finished, {**row, "settings": settings})
        return model, row

    def _settings(self, kind):
        """The fields that a model of this kind depends on: a teacher serves other students too."""
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        del fields["seeds"], fields["paper"]
        of_students = ("student", "epochs", "temperature", "learning_rate", "augment_student")
        of_students += ("student_loss_weight", "student_arguments")
        return {
            name: value
            for name, value in fields.items()
            if kind != "teacher" or name not in of_students
        }

    def _fit(self, kind, seed, data, teacher, home, settings, verbose, callbacks):
        """Trains one model, or goes on with it; returns it and its history."""
        import keras

        from kdzoo.schemes import train

        keras.utils.set_random_seed(seed)
        is_teacher = kind == "teacher"
        model, trained = self._build(kind, data, teacher)
        epochs = self.teacher_epochs if is_teacher else self.epochs
        augmentation = None
        if is_teacher or self.augment_student:
            augmentation = _usual_augmentation(data.name)

        # Where the images stay as they are, the teacher's answers do too: it is asked once.
        answers = None
        if kind == "distilled" and augmentation is None:
            answers = _answers(teacher, data.train.arrays()[0])
            trained.teacher = None

        def batches(epoch):
            return data.train.batches(
                self.batch_size,
                True,
                augmentation,
                seed=seed,
                initial_epoch=epoch,
                answers=answers,
            )

        rate = self.teacher_learning_rate if is_teacher else self.learning_rate
        steps = epochs * -(-len(data.train) // self.batch_size)
        trained.compile(
            keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(rate, steps), weight_decay=self.weight_decay
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        validation = data.validation and data.validation.batches(500)
        history = train(
            trained, batches, epochs, home, validation, settings, callbacks, verbose=verbose
        )
        return model, history

    def _create(self, kind, data, precision="float32"):
        """Returns a fresh model of this kind that computes in this precision."""
        import keras

        import kdzoo

        name, arguments = (
            (self.teacher, self.teacher_arguments)
            if kind == "teacher"
            else (self.student, self.student_arguments)
        )
        usual = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            return kdzoo.create(name, data.classes, data.input_shape, **arguments)
        finally:
            keras.config.set_dtype_policy(usual)

    def _build(self, kind, data, teacher):
        """Returns a fresh model, and what is to be trained: itself or its Distiller."""
        import kdzoo

        model = self._create(kind, data, self.precision)
        if kind != "distilled":
            kdzoo.fuse_batch_normalization(model)
            return model, model
        distiller = kdzoo.Distiller(
            teacher,
            model,
            kdzoo.losses.SoftTargets(self.temperature),
            student_loss_weight=self.student_loss_weight,
        )
        return model, distiller


def _answers(teacher, images, batch_size=500):
    """The teacher's logits on all images, a NumPy array."""
    from keras import ops

    parts = (images[at : at + batch_size] for at in range(0, len(images), batch_size))
    return np.concatenate([ops.convert_to_numpy(teacher(part, training=False)) for part in parts])


def _measure(model, data):
    """The accuracy on the test images and, where there are some, on those held out."""
    from kdzoo.evaluation import accuracy

    x, y = data.test.arrays()
    share = accuracy(model, x, y)
    measured = {"test_accuracy": share, "test_errors": round((1 - share) * len(y))}
    if data.validation is not None:
        measured["validation_accuracy"] = accuracy(model, *data.validation.arrays())
    return measured


def _usual_augmentation(name):
    """What `batches` takes: "default" where the data set has one, None where none is known."""
    from kdzoo.data.augmentation import DEFAULTS

    return "default" if name.partition("/")[0].partition(":")[0] in DEFAULTS else None


def _summary(rows, kind):
    """Mean and sample standard deviation of the test accuracy, and the seed of the median run."""
    ours = sorted((row["test_accuracy"], row["seed"]) for row in rows if row["kind"] == kind)
    values = [accuracy for accuracy, _ in ours]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median_seed": ours[(len(ours) - 1) // 2][1],
    }


def _versions():
    found = {}
    for package in ("kdzoo", "keras", "tensorflow", "jax", "tensorflow-datasets", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _write_json(path, content):
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


RECIPES = {
    "hinton_mnist": Comparison(
        data="mnist",
        teacher="mlp_2x1200",
        teacher_arguments={"dropout": 0.5, "input_dropout": 0.2, "max_norm": 4.0},
        student="mlp_2x800",
        teacher_epochs=300,
        epochs=100,
        temperature=20.0,
        batch_size=256,
        precision="mixed_bfloat16",
        teacher_learning_rate=1e-3,
        learning_rate=1e-3,
        weight_decay=0.0,
        augment_student=False,
        validation=0,
        paper={"teacher": 67, "alone": 146, "distilled": 74},
    ),
    "digits": Comparison(
        data="digits",
        teacher="wide_resnet_16_1",
        teacher_arguments={"depth": 10},
        student="mlp_2x128",
        teacher_epochs=30,
        epochs=40,
        temperature=2.0,
        batch_size=64,
        teacher_learning_rate=4e-3,
        learning_rate=5e-3,
        augment_student=False,
    ),
    "fashion_mnist": Comparison(
        data="fashion_mnist",
        teacher="wide_resnet_16_1",
        student="separable_025",
        teacher_epochs=8,
        epochs=12,
        # Without augmentation: the student learns from the teacher what shifts do not change.
        augment_student=False,
        # 14x14 in the first stage: a network for a phone, and one that two cores can train.
        student_arguments={"halvings": 1},
    ),
}
