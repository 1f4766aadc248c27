"""Every writer of kdzoo at ten places of a disk that is full: run by `test_full_disks.py`.

python writers.py GROUP DIRECTORY [--disk]

A limit on the size of files stands for the full disk or, with `--disk`, the directory lies on one
of a few megabytes that is filled up. Prints one JSON object: name of the writer -> complaints.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import sys
import traceback

import keras
import numpy as np

import kdzoo

POINTS = 10
RNG = np.random.default_rng(0)


def network(name="student", units=8):
    inputs = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x), name=name)


def data():
    images = RNG.integers(0, 256, (600, 8, 8, 1), dtype=np.uint8)
    labels = RNG.integers(0, 3, 600)
    test = images[:9], labels[:9]
    return kdzoo.data.from_arrays(images, labels, test=test, name="tiny")


def checkpoint():
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)

    def write(directory, epoch):
        callback = kdzoo.callbacks.EpochCheckpoint(directory / "run")
        callback.set_model(model)
        callback.on_epoch_end(epoch, {"loss": 1.0})

    return (
        lambda directory: write(directory, 0),
        lambda directory: write(directory, 1),
        "epoch-0002",
    )


def keras_file():
    from kdzoo.graph.model_saving import save_model

    return *of_one_file(lambda path: save_model(network(), path), "model.keras"), "model.keras"


def safetensors():
    from kdzoo.zoo import save_weights

    writes = of_one_file(lambda path: save_weights(network(), path), "model.safetensors")
    return *writes, "model.safetensors"


def shared():
    def write(directory, units):
        kdzoo.save_pretrained(network(units=units), directory / "shared")

    return lambda directory: write(directory, 4), lambda directory: write(directory, 8), "shared"


def json_file():
    from kdzoo.experiments.run_json_files import write_json

    content = {"history": [0.25] * 999}
    return *of_one_file(lambda path: write_json(path, content), "results.json"), "results.json"


def manifest():
    from kdzoo.zoo.manifest import read_manifest, write_manifest

    rows = list(read_manifest().values())

    def before(directory):
        write_manifest(rows[:1], directory)

    return before, lambda directory: write_manifest(rows, directory), "manifest.json"


def npy():
    whole = data()
    return (
        lambda directory: None,
        lambda directory: kdzoo.data.npy.write(whole, directory / "data"),
        "data",
    )


def plot():
    from kdzoo.evaluation import plots

    history = {"val_accuracy": [0.5, 0.75], "val_loss": [1.0, 0.5]}
    writes = of_one_file(
        lambda path: plots.training_curves({"alone": [history]}, path), "curves.png"
    )
    return *writes, "curves.png"


def copied():
    from kdzoo.utils import copy_file

    source = pathlib.Path(kdzoo.__file__)
    return *of_one_file(lambda path: copy_file(source, path), "copy.py"), "copy.py"


def record():
    whole, teacher = data(), network("teacher")
    shifts = kdzoo.data.Augmentation(shift=1)

    def write(directory, views):
        kdzoo.data.record_teacher(
            teacher, whole.train, directory / "record", views, augmentation=shifts, dtype="float32"
        )

    return lambda directory: write(directory, 1), lambda directory: write(directory, 2), "record"


def tflite():
    from kdzoo.export import litert

    model = network()
    content = []
    convert = litert.convert

    def once(*arguments):  # Which takes the time; the disk is met when the file is written.
        content[:] = content or [convert(*arguments)]
        return content[0]

    litert.convert = once
    labels = ["a" * 999, "b" * 999, "c" * 999]
    writes = of_one_file(
        lambda path: kdzoo.export.to_litert(model, path, labels=labels), "student.tflite"
    )
    return *writes, "student.tflite"


def summaries():
    from kdzoo.compression import PruningSummaries, UpdatePruningStep, prune_low_magnitude

    x, y = RNG.random((8, 8, 8, 1), "float32"), RNG.integers(0, 3, 8)

    def write(directory):
        model = prune_low_magnitude(network())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)
        callbacks = [UpdatePruningStep(), PruningSummaries(directory / "logs")]
        model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks)

    return lambda directory: None, write, "logs"


def of_one_file(write, name):
    """A writer of one file, beside a file that was there before."""

    def before(directory):
        (directory / name).write_bytes(b"before")

    return before, lambda directory: write(directory / name)


GROUPS = {
    "any": (checkpoint, keras_file, safetensors, json_file, manifest, npy, plot, copied, record),
    "tensorflow": (tflite, summaries, shared),
}


def tree(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def limited(size):
    """Files may have so many bytes within the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def filled(room, directory):
    """The disk has room for so many bytes more within the block."""
    ballast = directory.parent / "ballast"
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    with open(ballast, "wb") as file:
        file.write(b"\0" * max(0, free - room))
    try:
        yield
    finally:
        ballast.unlink()


def complaints_of(make, directory, on_disk):
    """What a writer does wrong at ten limits, spread over the bytes that it writes."""
    prepare, write, name = make()
    directory.mkdir()
    prepare(directory)
    before = tree(directory)
    write(directory)
    written = [
        len(content) for path, content in tree(directory).items() if before.get(path) != content
    ]
    most = sum(written) if on_disk else max(written)
    shutil.rmtree(directory)
    found = []
    for point in range(POINTS):
        limit = most * point // POINTS
        directory.mkdir()
        prepare(directory)
        before = tree(directory)
        with filled(limit, directory) if on_disk else limited(limit):
            said = outcome(write, directory, name)
        after = {path: content for path, content in tree(directory).items() if path in before}
        hidden = [path.name for path in directory.rglob(".*")]
        if said or after != before or hidden:
            found.append([limit, most, said, sorted(before), sorted(tree(directory)), hidden])
        shutil.rmtree(directory)
    return found


def outcome(write, directory, name):
    """What is wrong with how a write ended; nothing if it named the file in one sentence."""
    try:
        write(directory)
    except OSError as error:
        text = str(error)
        if name in text and text.startswith("Expected room for") and "\n" not in text:
            return None
        return text
    except Exception:
        return traceback.format_exc()
    return "no error"


def main(group, directory, *options):
    run = pathlib.Path(directory) / "run"
    said = {make.__name__: complaints_of(make, run, bool(options)) for make in GROUPS[group]}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
