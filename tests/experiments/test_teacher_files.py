"""Teachers from a file, and from logits that were computed elsewhere."""

import json
import shutil

import keras
import numpy as np
import pytest
from picture_folders import write_pictures

import kdzoo
from kdzoo.data import from_directory
from kdzoo.experiments import Distill, Experiment, Training
from kdzoo.experiments.stages.distill_from_logits_stage import distill_from_logits
from kdzoo.experiments.stages.teacher_file_stage import teacher_file

SIZE = 8
TRAINING = Training(2, batch_size=16, augmentation=None)
STUDENT = "mlp_2x64"
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 0.2, (SIZE * SIZE * 3, 3)).astype("float32"), RNG.normal(size=3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a folder of pictures, a linear teacher of it, and that teacher's logits."""
    directory = tmp_path_factory.mktemp("own")
    data = from_directory(write_pictures(directory / "own", 10, SIZE, ("a", "b", "c")), SIZE)
    write_teacher(directory / "teacher.keras")
    splits = (data.train, data.validation, data.test)
    paths = [path for split in splits for path in split.paths]
    images = np.concatenate([split.arrays()[0] for split in splits])
    write_logits(directory / "logits.npz", paths, logits_of(images))
    return directory


def write_teacher(path, activation="softmax", units=3, shape=(SIZE, SIZE, 3), scale=1 / 255):
    first = [layer for layer in (scale and keras.layers.Rescaling(scale),) if layer]
    dense = keras.layers.Dense(units, activation)
    model = keras.Sequential([keras.Input(shape), *first, keras.layers.Flatten(), dense])
    if dense.weights[0].shape == WEIGHTS[0].shape:
        dense.set_weights(WEIGHTS)
    model.save(path)


def logits_of(images):
    """What the teacher gives before its softmax, for images in [0, 1], in NumPy."""
    return images.reshape(len(images), -1) @ WEIGHTS[0] + WEIGHTS[1]


def write_logits(path, paths, logits, **more):
    np.savez(path, **{"paths": np.array(paths), "logits": logits, **more})


@pytest.fixture
def data(place):
    return from_directory(place / "own", SIZE)


def experiment(*stages, validation=None):
    return Experiment("own", "own", stages, seeds=(0,), validation=validation)


def test_logits_of_elsewhere_give_the_steps_of_the_model_itself(place, tmp_path):
    data = from_directory(place / "own", SIZE, validation=0)
    in_every_step = Training(2, batch_size=16, augmentation={})  # Changes nothing.
    stages = (
        teacher_file("teacher", place / "teacher.keras"),
        Distill("by model", STUDENT, in_every_step),
        distill_from_logits("by logits", STUDENT, TRAINING, place / "logits.npz"),
    )
    results = experiment(*stages, validation=0).run(tmp_path, dataset=data, verbose=0)
    teacher, by_model, by_logits = results["rows"]
    images, labels = data.test.arrays()
    accuracy = np.mean(logits_of(images).argmax(-1) == labels)
    assert teacher["test_accuracy"] == by_logits["teacher_test_accuracy"] == accuracy
    assert by_model["history"].keys() == by_logits["history"].keys()
    for name in by_model["history"]:
        ours, theirs = by_model["history"][name], by_logits["history"][name]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    ours, theirs = (
        keras.saving.load_model(tmp_path / f"by-{what}-0" / "model.keras").get_weights()
        for what in ("model", "logits")
    )
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=2e-4)


def test_a_teacher_gives_its_logits_for_images_of_the_data(place, data, tmp_path):
    run = experiment(teacher_file("teacher", place / "teacher.keras"))
    results = run.run(tmp_path / "run", dataset=data, verbose=0)
    assert results["data_version"] == data.version
    assert results["settings"]["data"] == "own"
    model = keras.saving.load_model(tmp_path / "run" / "teacher-0" / "model.keras")
    images = data.test.arrays()[0]
    expected = logits_of(images)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)
    # The same file in another place is the same teacher, and what is finished is not made again.
    shutil.copy(place / "teacher.keras", tmp_path / "copy.keras")
    again = experiment(teacher_file("teacher", tmp_path / "copy.keras"))
    said = json.loads(json.dumps(again.run(tmp_path / "run", dataset=data, verbose=0)["rows"]))
    assert said == json.loads(json.dumps(results["rows"]))
    write_teacher(tmp_path / "copy.keras", activation=None)
    with pytest.raises(ValueError, match=r"copy\.keras with the SHA-256 .* another file there"):
        again.run(tmp_path / "run", dataset=data)
    other = experiment(teacher_file("teacher", tmp_path / "copy.keras"))
    with pytest.raises(ValueError, match="Received: a run with other settings"):
        other.run(tmp_path / "run", dataset=data)


def test_a_directory_is_the_teacher_of_all_its_files(tmp_path):
    write_teacher(tmp_path / "teacher.keras")
    kdzoo.save_pretrained(keras.saving.load_model(tmp_path / "teacher.keras"), tmp_path / "one")

    def sha256():
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
        found = teacher_file("t", tmp_path / "copy").sha256
        shutil.rmtree(tmp_path / "copy")
        return found

    (tmp_path / "one" / "more").mkdir()
    whole, more = sha256(), tmp_path / "one" / "more" / "notes.txt"
    assert sha256() == whole
    changed = [whole]
    for change in (
        lambda: more.write_text("a"),
        lambda: more.write_text("b"),
        lambda: more.rename(more.with_name("other.txt")),
        lambda: (tmp_path / "one" / "README.md").write_text("Another card."),
    ):
        change()
        changed.append(sha256())
    assert len(set(changed)) == len(changed)
    with pytest.raises(FileNotFoundError, match=r"Expected config\.json"):
        teacher_file("t", tmp_path)


def test_a_run_is_of_its_images(place, data, tmp_path):
    run = experiment(teacher_file("teacher", place / "teacher.keras"))
    run.run(tmp_path / "run", dataset=data, verbose=0)
    others = from_directory(place / "own", SIZE, crop_to_aspect_ratio=True, test=0.4)
    with pytest.raises(ValueError, match=r"Expected the images and labels that .* was begun with"):
        run.run(tmp_path / "run", dataset=others)
    with pytest.raises(ValueError, match="Expected the data set 'own', by its `name`"):
        run.run(tmp_path / "run", dataset=kdzoo.data.load("digits"))


@pytest.mark.parametrize(
    ("how", "scale", "message"),
    [
        ({"scale": None}, None, "takes for pixels, one of 0..1, 0..255, .*--teacher-scale"),
        ({"units": 4}, None, "Expected a teacher of the 3 classes of 'own'. .*4\\)"),
        ({"shape": (SIZE, SIZE, 1)}, None, "for images of 3 channels"),
        ({}, "0..2", "Unknown scale: '0..2'"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(how, scale, message, data, tmp_path):
    write_teacher(tmp_path / "teacher.keras", **how)
    run = experiment(
        teacher_file("teacher", tmp_path / "teacher.keras", scale), Distill("d", STUDENT, TRAINING)
    )
    with pytest.raises(ValueError, match=message):
        run.run(tmp_path / "run", dataset=data)


def _names(place):
    with np.load(place / "logits.npz") as content:
        return content["paths"], content["logits"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, x: (n[5:], x[5:]), r"none for [abc]/\d{4}\.png, .* and 2 more"),
        (lambda n, x: (np.append(n, n[:1]), np.append(x, x[:1], 0)), r"'[abc]/\d{4}\.png' twice"),
        (lambda n, x: (n, x[:, :2]), "Expected logits of the 3 classes of 'own'.* of 2"),
        (lambda n, x: (n, np.exp(x) / np.exp(x).sum(-1, keepdims=True)), "Received: probabilities"),
        (lambda n, x: (n, np.where(x > 1, np.nan, x)), "finite numbers 'logits'"),
        (lambda n, x: (n[1:], x), r"'paths' of <U10 \(29,\) and 'logits' of float"),
        (lambda n, x: (n.astype(object), x), "allow_pickle"),
        (lambda n, x: (np.arange(len(n)), x), "Expected strings 'paths'"),
    ],
)
def test_logits_that_do_not_fit_are_refused(change, message, place, data, tmp_path):
    write_logits(tmp_path / "logits.npz", *change(*_names(place)))
    stage = distill_from_logits("d", STUDENT, TRAINING, tmp_path / "logits.npz")
    with pytest.raises(ValueError, match=message):
        experiment(stage).run(tmp_path / "run", dataset=data)


def test_paths_may_be_written_otherwise(place, data, tmp_path):
    from kdzoo.teacher_cache.logits_file import LogitsFile

    names, logits = _names(place)
    write_logits(tmp_path / "logits.npz", [f".\\{n}".replace("/", "\\") for n in names], logits)
    found = LogitsFile(tmp_path / "logits.npz").of(data.test)
    np.testing.assert_array_equal(found, logits_of(data.test.arrays()[0]).astype("float32"))
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(ValueError, match=r"Expected an \.npz file with the arrays"):
        LogitsFile(tmp_path / "text.npz")


def test_settings_that_do_not_go_with_logits_are_refused(place):
    augmented = Training(1, augmentation={"flip": True})
    with pytest.raises(ValueError, match="Expected augmentation=None"):
        distill_from_logits("d", STUDENT, augmented, place / "logits.npz").check()
