"""What reads files: every loader of kdzoo and every command that takes a path, on good files."""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil

from damaging import Damage, damage

FIXTURES = pathlib.Path(__file__).parents[1] / "compatibility" / "files"
SHAPE, CLASSES = (8, 8, 1), 3


@dataclasses.dataclass(frozen=True)
class Subject:
    """Something that reads files.

    Attributes:
        name: What it is called.
        needs: What it finds in its directory, names in the directory of good files.
        damaged: Which of its files are damaged, a pattern.
        run: Function of the directory to name -> array or number, what it has loaded; or, of a
            command, to its status.
        weight: How many cases it gets, relative to the others.
        sealed: Whether the format has checksums, so that damage leads to an error or changes
            nothing.
        writes: Below which names it may write.
        tensorflow: Whether it needs the TensorFlow backend.
        spoil: Function that damages instead, of a directory, names of files and a random generator.
        known: By which further names its errors may call the file.
    """

    name: str
    needs: tuple
    damaged: str
    run: object
    weight: int = 1
    sealed: bool = False
    writes: tuple = ()
    tensorflow: bool = False
    spoil: object = damage
    known: tuple = ()

    def files(self, place):
        """The files that may be damaged, relative to the directory."""
        found = (path for path in place.glob(self.damaged) if path.is_file())
        return sorted(path.relative_to(place).as_posix() for path in found)


def network(name="student", width=4, dropout=False):
    import keras

    layers = keras.layers
    inputs = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(width, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="stage1")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(2 * width, 1, activation="relu", name="stage2")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(0.5, seed=0, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def distiller(dropout=True):
    """A distiller that trains, perhaps with dropout's seed among its state."""
    import keras

    import kdzoo

    keras.utils.set_random_seed(0)  # A checkpoint does not hold the teacher.
    made = kdzoo.Distiller(
        network("teacher", 6), network(dropout=dropout), kdzoo.losses.SoftTargets(2.0)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="cross_entropy")
    made.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return made


def data():
    import numpy as np

    import kdzoo

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (36, *SHAPE)).astype("uint8")
    labels = (np.arange(36) % CLASSES).astype("int32")
    images[:, 0, 0, 0] = 255
    test = images[24:], labels[24:]
    return kdzoo.data.from_arrays(
        images[:24], labels[:24], CLASSES, 0.25, test, name="random", class_names=["a", "b", "c"]
    )


def make_good(directory):
    """Writes good files of every kind, by the code as it is, beside those of earlier versions."""
    import keras

    import kdzoo

    shutil.copytree(FIXTURES, directory)
    keras.utils.set_random_seed(0)
    student = network()
    student.save(directory / "student.keras")
    kdzoo.zoo.save_weights(student, directory / "student.safetensors")
    made = data()
    kdzoo.data.npy.write(made, directory / "full")
    record(directory)
    train(directory / "state", 2)
    zoo(directory / "zoo")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = command(*_TRAIN, "--directory=run")(directory)
    if status != 0:
        raise RuntimeError(f"Expected a run to begin with. Received: status {status}")


# Its data by a name that is the same wherever the case lies, as it is one of the run's settings.
_TRAIN = ("train", "full", "--teacher=mlp_2x64", "--student=mlp_2x64", "--teacher-epochs=1")
_TRAIN += ("--epochs=1", "--seeds=0", "--batch-size=9")


def record(place):
    """Records a teacher, or goes on with it."""
    import kdzoo

    kdzoo.data.record_teacher(
        kdzoo.load_pretrained(FIXTURES / "teacher"),
        kdzoo.data.load(FIXTURES / "data").train,
        place / "recording",
        2,
        augmentation=kdzoo.data.Augmentation(shift=1),
        dtype="float32",
    )


def train(directory, epochs):
    import kdzoo

    made, given = distiller(), data()
    kdzoo.schemes.train(
        made,
        lambda epoch: given.train.batches(6, initial_epoch=epoch),
        epochs,
        directory,
        settings={"seed": 0},
        verbose=0,
    )
    return weights_of(made.student) | {"iterations": int(made.optimizer.iterations)}


def zoo(directory):
    """A zoo of one model."""
    from kdzoo.zoo import manifest

    directory.mkdir()
    row = manifest.find("fitnet_mnist/mnist")
    shutil.copy(manifest.weights_directory() / row.files["weights"].file, directory)
    manifest.write_manifest([row], directory)


def weights_of(model):
    return {f"weight_{number}": weight for number, weight in enumerate(model.get_weights())}


def keras_file(name):
    def load(place):
        from kdzoo.zoo.files import load_keras_file

        return weights_of(load_keras_file(place / f"{name}.keras"))

    return load


def hdf5_file(place):
    import kdzoo

    return weights_of(kdzoo.load_model(place / "of_keras_2.h5"))


def shared(name):
    def load(place):
        import kdzoo

        return weights_of(kdzoo.load_pretrained(place / name))

    return load


def load_weights(place):
    import kdzoo

    model = network()
    kdzoo.zoo.load_weights(model, place / "student.safetensors")
    return weights_of(model)


def restore(name):
    def load(place):
        import kdzoo

        made = distiller(dropout=name == "state")
        checkpoint = kdzoo.callbacks.EpochCheckpoint(place / name, {"seed": 0})
        epochs = checkpoint.restore(made)
        if not epochs:
            return {}
        iterations = int(made.optimizer.iterations)
        return weights_of(made.student) | {"epochs": epochs, "iterations": iterations}

    return load


def resume(place):
    return train(place / "state", 3)


def load_data(place):
    import kdzoo

    found = kdzoo.data.load(place / "full")
    parts = {"train": found.train, "validation": found.validation, "test": found.test}
    arrays = {name: part.arrays() for name, part in parts.items()}
    return {
        f"{name}_{what}": array
        for name, pair in arrays.items()
        for what, array in zip(("images", "labels"), pair, strict=True)
    }


def read_record(name):
    def load(place):
        import keras
        import numpy as np

        import kdzoo

        given = kdzoo.data.load(FIXTURES / "data").train
        found = kdzoo.data.with_recorded_teacher(given, place / name)
        outputs = {}
        for epoch in range(min(found.views, 4)):
            batches = [y for _, y in found.batches(6, initial_epoch=epoch)]
            for number, batch in enumerate(batches):
                values = keras.tree.flatten(batch["teacher"])
                for part, value in enumerate(values):
                    outputs[f"{epoch}_{number}_{part}"] = np.asarray(value)
        return outputs

    return load


def go_on_recording(place):
    record(place)
    return read_record("recording")(place)


def run_litert(place):
    import numpy as np

    import kdzoo

    model = kdzoo.export.LiteRTModel(place / "shared.tflite")
    images = np.load(FIXTURES / "shared.npz")["inputs"]
    labels = {f"label_{label}": 1 for label in model.labels or ()}
    return {"outputs": np.asarray(model.predict(images)), **labels}


def time_litert(place):
    from kdzoo import evaluation

    evaluation.latency(place / "shared.tflite", runs=2, warmup=0)
    return {}


def load_zoo(place):
    import kdzoo
    from kdzoo.zoo import manifest

    names = kdzoo.list_pretrained(directory=place / "zoo")
    rows = [manifest.find(name, place / "zoo") for name in names]
    found = weights_of(kdzoo.zoo.load(names[0], directory=place / "zoo")) if names else {}
    return found | {f"row_{row.name}": row.classes for row in rows}


def load_trained(place):
    from kdzoo.experiments import finished_stages

    return weights_of(finished_stages.load_trained(place / "run" / "teacher-0"))


def read_run(place):
    from kdzoo.experiments import run_json_files, same_data_check

    for path in sorted((place / "run").glob("*/result.json")):
        run_json_files.read_result(path)
    if os.path.lexists(place / "run" / same_data_check.DATA):  # Of a new run it is written.
        made = data()
        same_data_check.check_same_data(place / "run", made.name, same_data_check.what_data(made))
    return {}


def command(*arguments):
    """A command in this process; `{}` in an argument stands for the directory."""

    def run(place):
        from kdzoo.cli import main

        with _of_zoo(place), contextlib.chdir(place):
            return main([argument.replace("{}", str(place)) for argument in arguments])

    return run


@contextlib.contextmanager
def _of_zoo(place):
    """Lets the zoo of a case, where it has one, be that which comes with kdzoo."""
    from kdzoo.zoo import manifest

    usual = manifest.weights_directory
    if os.path.lexists(place / "zoo"):
        manifest.weights_directory = lambda: place / "zoo"
    try:
        yield
    finally:
        manifest.weights_directory = usual


def spoil_output(name):
    """Puts something where a command is to write."""

    def spoil(root, files, rng):
        from damaging import outside_of

        path = root / name
        outside = outside_of(path)
        ways = {
            "a file": lambda: path.write_bytes(b"for days"),
            "a directory with something": lambda: (path.mkdir(), (path / "x").write_text("x")),
            "an empty directory": path.mkdir,
            "a pipe": lambda: os.mkfifo(path),
            "a link to nowhere": lambda: path.symlink_to(outside / "nowhere"),
            "a link to a file outside": lambda: path.symlink_to(outside / "kept"),
            "a link to a directory outside": lambda: path.symlink_to(outside),
            "a link to itself": lambda: path.symlink_to(path),
            "nothing": lambda: None,
        }
        if not path.suffix:  # A directory by a link is where its owner wants it.
            del ways["a link to a directory outside"]
        how = rng.choice(list(ways))
        ways[how]()
        return Damage(how, name)

    return spoil


def _keras_subjects():
    plain = ("student", "distiller_soft_targets", "distiller_contrastive_representation")
    wrapped = ("pruned", "pruned_layer", "clustered", "clustered_layer", "quantized")
    wrapped += ("quantized_layer", "annotated_layer", "annotated_model")
    for name in (*plain, "ensemble", *wrapped):
        yield Subject(
            f"load_keras_file({name})",
            (f"{name}.keras",),
            "*.keras",
            keras_file(name),
            weight=8 if name == "student" else 2 if name in wrapped else 4,
            sealed=True,
            tensorflow=name in wrapped,
        )


def _loaders():
    yield from _keras_subjects()
    yield Subject("load_model(HDF5)", ("of_keras_2.h5",), "*.h5", hdf5_file, 24)
    for name in ("shared", "shared_float16"):
        yield Subject(
            f"load_pretrained({name})", (name,), f"{name}/*", shared(name), 8, sealed=True
        )
    yield Subject("load_weights", ("student.safetensors",), "*.safetensors", load_weights, 8)
    yield Subject(
        "restore(of today)", ("checkpoint",), "*/*/*", restore("checkpoint"), 4, writes=("checkp",)
    )
    yield Subject("restore", ("state",), "*/*/*", restore("state"), 14, True, ("state",))
    yield Subject("schemes.train", ("state",), "*/*/*", resume, 3, True, ("state",))
    yield Subject("data.load", ("full",), "full/*", load_data, 20, True)
    yield Subject("with_recorded_teacher", ("recorded",), "*/*", read_record("recorded"), 16, True)
    yield Subject(
        "with_recorded_teacher(top k)",
        ("recorded_top_k",),
        "*/*",
        read_record("recorded_top_k"),
        8,
        True,
    )
    yield Subject("record_teacher", ("recording",), "*/*", go_on_recording, 8, True, ("recording",))
    yield Subject("LiteRTModel", ("shared.tflite",), "*", run_litert, 20, tensorflow=True)
    yield Subject("latency", ("shared.tflite",), "*", time_litert, 6, tensorflow=True)
    yield Subject("load", ("zoo",), "zoo/*", load_zoo, 12, True, known=("fitnet_mnist/mnist",))
    yield Subject("load_trained", ("run",), "run/teacher-0/*", load_trained, 8, True)
    yield Subject("recipes' readers", ("run",), "run/**/*.json", read_run, 10)


def _commands():
    every = ("--data-dir", "{}/none")
    evaluated = ("evaluate", "{}/student.keras", "{}/full", *every)
    of_keras_2 = ("evaluate", "{}/of_keras_2.h5", "{}/full", *every)
    for name, needs, damaged, arguments, weight, tensorflow in (
        ("evaluate HDF5", ("of_keras_2.h5", "full"), "*.h5", of_keras_2, 4, False),
        ("evaluate file", ("student.keras", "full"), "*.keras", evaluated, 5, False),
        ("evaluate data", ("student.keras", "full"), "full/*", evaluated, 5, False),
        (
            "evaluate shared",
            ("shared", "full"),
            "shared/*",
            ("evaluate", "{}/shared", "{}/full", *every),
            4,
            False,
        ),
        (
            "evaluate teacher",
            ("student.keras", "ensemble.keras", "full"),
            "ensemble.keras",
            (*evaluated, "--teacher", "{}/ensemble.keras"),
            3,
            False,
        ),
        (
            "evaluate tflite",
            ("shared.tflite", "full"),
            "*.tflite",
            ("evaluate", "{}/shared.tflite", "{}/full", *every),
            5,
            True,
        ),
        (
            "export file",
            ("student.keras",),
            "*.keras",
            ("export", "{}/student.keras", "{}/out.tflite"),
            5,
            True,
        ),
        (
            "export shared",
            ("shared",),
            "shared/*",
            ("export", "{}/shared", "{}/out.tflite"),
            4,
            True,
        ),
        (
            "export data",
            ("student.keras", "full"),
            "full/*",
            ("export", "{}/student.keras", "{}/out.tflite", "--quantize=int8", "--data={}/full"),
            4,
            True,
        ),
        ("benchmark", ("shared.tflite",), "*", ("benchmark", "{}/shared.tflite", "--runs=2"), 5, 1),
        ("list", ("zoo",), "zoo/manifest.json", ("list", "pretrained"), 5, False),
        ("card", ("zoo",), "zoo/manifest.json", ("card", "fitnet_mnist/mnist"), 5, False),
        ("load", ("zoo",), "zoo/*", ("load", "fitnet_mnist/mnist", "{}/out.keras"), 4, False),
    ):
        known = ("fitnet_mnist/mnist",) if "zoo" in needs else ()
        yield Subject(
            f"kdzoo {name}",
            needs,
            damaged,
            command(*arguments),
            weight,
            writes=("out.keras", "out.tflite"),
            tensorflow=bool(tensorflow),
            known=known,
        )
    yield from _commands_that_train()
    yield from _commands_that_write()


def _commands_that_train():
    compress = ("compress", "{}/student.keras", "{}/out.tflite", "{}/full", "--directory={}/work")
    for name, damaged in (("file", "*.keras"), ("data", "full/*")):
        yield Subject(
            f"kdzoo compress {name}",
            ("student.keras", "full"),
            damaged,
            command(*compress, "--quantize=float16"),
            3,
            writes=("out.tflite", "work"),
            tensorflow=True,
        )
    for name, damaged, weight in (("run", "run/**/*", 8), ("data", "full/*", 3)):
        yield Subject(
            f"kdzoo train {name}",
            ("full", "run"),
            damaged,
            command(*_TRAIN, "--directory={}/run"),
            weight,
            writes=("run",),
        )


def _commands_that_write():
    for name, needs, arguments, output, tensorflow in (
        (
            "create",
            (),
            ("create", "mlp_2x64", "{}/out.keras", "--input-shape=8,8,1"),
            "out.keras",
            False,
        ),
        ("load", ("zoo",), ("load", "fitnet_mnist/mnist", "{}/out.keras"), "out.keras", False),
        ("data export", (), ("data", "export", "digits", "{}/out"), "out", False),
        (
            "export",
            ("student.keras",),
            ("export", "{}/student.keras", "{}/out.tflite"),
            "out.tflite",
            True,
        ),
        (
            "train",
            ("full",),
            (*_TRAIN, "--directory={}/out"),
            "out",
            False,
        ),
    ):
        yield Subject(
            f"kdzoo {name} over",
            needs,
            "*",
            command(*arguments),
            1 if name == "train" else 3,
            writes=(output,),
            tensorflow=tensorflow,
            spoil=spoil_output(output),
        )


def subjects(tensorflow):
    """Returns all subjects that a backend has, a list."""
    return [
        subject for subject in (*_loaders(), *_commands()) if tensorflow or not subject.tensorflow
    ]
