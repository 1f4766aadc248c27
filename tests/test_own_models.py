"""Models as people have them, in commands on a folder: any file, one column, other pixels.

What they give is computed by NumPy from their weights, of images and labels as Keras reads them.
"""

import dataclasses
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
from picture_folders import CLASSES, write_pictures

import kdzoo
from kdzoo.cli import main, train_folder, train_options

SIZE = 8
TRAINING = ("--prune=0.5", "--epochs=1", "--batch-size=16", "--no-augment")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with a folder of pictures and models of one column that know most of them."""
    directory = tmp_path_factory.mktemp("made")
    for part, each, seed in (("train", 12, 0), ("test", 20, 1)):
        write_pictures(directory / "two" / part, each, SIZE, CLASSES[:2], seed)
    images, labels = as_keras_reads(directory / "two" / "train")
    means = [images[labels == label].mean(0).ravel() for label in (0, 1)]
    kernel = 0.2 * (means[1] - means[0])  # So that many logits lie between 0 and a half.
    bias = -kernel @ (0.2 * means[0] + 0.8 * means[1])
    weights = [kernel[:, None], np.array([bias])]
    raw = keras.layers.Rescaling(1 / 255)
    for name, units, activation, first in (
        ("yes.keras", 1, "sigmoid", []),
        ("logit.keras", 1, None, []),
        ("raw.keras", 1, "sigmoid", [raw]),
        ("two.keras", 2, "softmax", []),
    ):
        layers = [*first, keras.layers.Flatten(), keras.layers.Dense(units, activation)]
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])
        if units == 1:
            model.layers[-1].set_weights(weights)
        model.save(directory / name)
    np.savez(directory / "weights.npz", kernel=weights[0], bias=weights[1])
    keep_as_others_do(keras.saving.load_model(directory / "yes.keras"), directory)
    return directory


def as_keras_reads(folder):
    """Images in [0, 1] and labels, the second class 1."""
    found = keras.utils.image_dataset_from_directory(
        folder, label_mode="binary", image_size=(SIZE, SIZE), shuffle=False, verbose=False
    )
    parts = [(images.numpy() / 255, labels.numpy()[:, 0]) for images, labels in found]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


NAMES = ("shared", "hdf5.keras", "teacher.model", "plain")


def keep_as_others_do(model, directory):
    """A model in a directory of save_pretrained, and in HDF5 under other names."""
    kdzoo.save_pretrained(model, directory / "shared")
    model.save(directory / "model.h5")
    for name in NAMES[1:]:
        shutil.copy(directory / "model.h5", directory / name)


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """The current directory, with links to all of it."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def logits_of(images):
    with np.load("weights.npz") as weights:
        return images.reshape(len(images), -1) @ weights["kernel"] + weights["bias"]


def accuracy_by_hand():
    """Of the models on the test images, with the threshold 0 of their logits."""
    images, labels = as_keras_reads("two/test")
    logits = logits_of(images)[:, 0]
    accuracy = np.mean((logits > 0) == labels)
    assert 0.9 < accuracy != np.mean((logits > 0.5) == labels)
    return f"{accuracy:.2%}".replace("%", " %")


def run(capsys, *arguments):
    """What a command shows in its table, and says beside it."""
    status, captured = main(list(arguments)), capsys.readouterr()
    assert status == 0, captured.err
    table = dict(re.findall(r"^ +(\S.*?)  +(?:.*  +)?(\S.*?) *$", captured.out, re.M))
    return table, captured.out + captured.err


def refused(capsys, *arguments):
    """The sentence that a command ends with."""
    assert main(list(arguments)) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


class TestAnyFile:
    @pytest.mark.parametrize("name", NAMES)
    def test_it_teaches(self, name, here, capsys):
        given = {"teacher": name, "student": "mlp_2x64"}
        recipe, data = train_folder.of_folder("two", given, None, False)
        assert data.input_shape == (SIZE, SIZE, 3)  # The teacher's.
        teacher = recipe.stage("teacher")
        assert teacher.title == name
        images = data.test.arrays()[0]
        model = dataclasses.replace(teacher, scale="0..1").own_model(data)
        logits = logits_of(images)
        expected = np.concatenate([np.zeros_like(logits), logits], -1)  # Of a sigmoid: two classes.
        np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)
        said = refused(capsys, "train", "two", f"--teacher={name}", "--teacher-epochs=2")
        assert "teaches as it is" in said

    @pytest.mark.parametrize("name", NAMES)
    def test_it_is_measured(self, name, here, capsys):
        assert run(capsys, "evaluate", name, "two")[0]["accuracy"] == accuracy_by_hand()

    def test_an_architecture_wins_over_a_directory(self, here):
        shutil.copytree("shared", "mlp_2x64")
        assert not train_options.is_file("mlp_2x64")
        assert train_options.is_file("./mlp_2x64")
        assert not train_options.is_file("nowhere")
        assert train_options.is_file("nowhere.keras")

    def test_what_is_no_model_is_a_sentence(self, here, capsys):
        pathlib.Path("saved").mkdir()
        pathlib.Path("saved", "saved_model.pb").touch()
        for name, words in (("saved", "TFSMLayer"), ("two", "Expected config.json in two")):
            said = refused(capsys, "train", "two", f"--teacher={name}", "--image-size=8")
            assert words in said


class TestOneColumn:
    @pytest.mark.parametrize("name", ["yes.keras", "logit.keras"])
    def test_it_is_a_yes_to_the_second_class(self, name, here, capsys):
        teacher = f"--teacher={'yes' if name[0] == 'l' else 'logit'}.keras"
        table, _ = run(capsys, "evaluate", name, "two", teacher)
        assert table["accuracy"] == accuracy_by_hand()
        assert table["agreement with the teacher"] == "100.00 %"

    def test_of_more_classes_it_is_refused(self, here, capsys):
        write_pictures(here / "three", 2, SIZE, CLASSES[:3])
        assert "yes.keras for (2,)" in refused(capsys, "evaluate", "yes.keras", "three")

    @pytest.mark.tensorflow
    def test_its_file_gives_one_too(self, here, capsys):
        _, said = run(capsys, "export", "yes.keras", "yes.tflite", "--data=two", "--quantize=int8")
        assert "Keras's label, 0 or 1, for " in said
        file = kdzoo.export.LiteRTModel("yes.tflite")
        assert file.labels == [CLASSES[1]]
        images, labels = as_keras_reads("two/test")
        answers = file.predict(images)
        np.testing.assert_allclose(answers, 1 / (1 + np.exp(-logits_of(images))), atol=0.02)
        accuracy = np.mean((answers[:, 0] > 0.5) == labels)
        table, _ = run(capsys, "evaluate", "yes.tflite", "two")
        assert table["accuracy"] == f"{accuracy:.2%}".replace("%", " %")

    @pytest.mark.tensorflow
    def test_a_teacher_of_two_columns_is_refused_and_one_of_one_becomes_two(self, here, capsys):
        table, _ = run(capsys, "evaluate", "two.keras", "two", "--teacher=yes.keras")
        images, _ = as_keras_reads("two/test")
        model = keras.saving.load_model("two.keras")
        same = (model.predict(images, verbose=0).argmax(-1) == 1) == (logits_of(images)[:, 0] > 0)
        assert table["agreement with the teacher"] == f"{np.mean(same):.2%}".replace("%", " %")
        for command in (("compress", "yes.keras", "o.tflite"), ("evaluate", "yes.keras")):
            more = TRAINING if len(command) == 3 else ()
            said = refused(capsys, *command, "two", "--teacher=two.keras", *more)
            assert "Expected a teacher of one column, as the model" in said


class TestPixels:
    SCALE = "--scale=0..255"

    def test_they_are_what_the_model_takes(self, here, capsys):
        assert "say so by --scale=0..255" in refused(capsys, "evaluate", "raw.keras", "two")
        table, _ = run(capsys, "evaluate", "raw.keras", "two", self.SCALE)
        assert table["accuracy"] == accuracy_by_hand()
        assert table["parameters"] == f"{SIZE * SIZE * 3 + 1:,}"

    def test_of_a_teacher_the_remedy_is_another(self, here, capsys):
        said = refused(capsys, "evaluate", "yes.keras", "two", "--teacher=raw.keras")
        assert "put keras.layers.Rescaling(255) before it, or let it teach" in said

    def test_an_unknown_scale_is_named(self, here, capsys):
        for command in (("evaluate", "raw.keras", "two"), ("export", "raw.keras", "o.tflite")):
            assert "Unknown scale: '0..2'" in refused(capsys, *command, "--scale=0..2")

    @pytest.mark.tensorflow
    def test_a_file_makes_them_of_images_in_0_1(self, here, capsys):
        _, said = run(capsys, "export", "raw.keras", "scaled.tflite", "--data=two", self.SCALE)
        assert "It takes pixels in 0..1, and scales them itself (0..255)." in said
        _, said = run(capsys, "export", "raw.keras", "as_it_is.tflite")
        assert "scales" not in said
        images = as_keras_reads("two/test")[0].astype("float32")
        expected = 1 / (1 + np.exp(-logits_of(images)))
        for name, pixels in (("scaled", images), ("as_it_is", 255 * images)):
            found = kdzoo.export.LiteRTModel(f"{name}.tflite").predict(pixels)
            np.testing.assert_allclose(found, expected, atol=1e-4)
        table, _ = run(capsys, "evaluate", "as_it_is.tflite", "two", self.SCALE)
        assert table["accuracy"] == accuracy_by_hand()

    @pytest.mark.tensorflow
    def test_compression_trains_on_them(self, here, capsys):
        command = ("compress", "raw.keras", "small.tflite", "two", self.SCALE, *TRAINING)
        table, said = run(capsys, *command, "--teacher=logit.keras")
        assert "the sigmoid at the end of raw.keras is left out" in said
        file = kdzoo.export.LiteRTModel("small.tflite")
        assert file.labels == [CLASSES[1]]
        images, labels = as_keras_reads("two/test")
        accuracy = np.mean((file.predict(images)[:, 0] > 0) == labels)
        assert table["accuracy of the file"] == f"{accuracy:.2%}".replace("%", " %")
        assert accuracy > 0.6
        kept = keras.saving.load_model("runs/compress-raw/model.keras").get_weights()
        assert np.mean(kept[0] == 0) == pytest.approx(0.5, abs=0.01)
        said = refused(capsys, *command, "--scale=caffe")
        assert "let it teach a student" in said
        assert "without training, by `kdzoo export --scale caffe --quantize int8`" in said

    @pytest.mark.tensorflow
    def test_quantization_is_trained_on_them(self, here, capsys):
        command = ("compress", "raw.keras", "eight.tflite", "two", self.SCALE, *TRAINING[1:])
        run(capsys, *command, "--quantize=qat", "--learning-rate=1e-5")
        images = as_keras_reads("two/test")[0].astype("float32")
        found, logits = kdzoo.export.LiteRTModel("eight.tflite").predict(images), logits_of(images)
        np.testing.assert_allclose(found, logits, atol=0.15)
        assert np.abs(logits).max() > 0.3

    @pytest.mark.large
    @pytest.mark.tensorflow
    def test_a_model_of_trained_quantization_keeps_its_own(self, here, capsys):
        path = kdzoo_file("quantized.keras")
        said = refused(capsys, "export", str(path), "o.tflite", self.SCALE)
        assert "put keras.layers.Rescaling before it first" in said


def kdzoo_file(name):
    """A file of an earlier version."""
    return pathlib.Path(__file__).parent / "compatibility" / "files" / name
