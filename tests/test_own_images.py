"""From a folder of images and a teacher to a file for a phone: commands, and lines of the page."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest
from picture_folders import CLASSES, write_pictures

import kdzoo
from kdzoo.cli import data as data_command
from kdzoo.cli import main, train_folder
from kdzoo.cli import train as train_command
from kdzoo.data import from_directory

PAGE = pathlib.Path(kdzoo.__file__).parents[1] / "docs" / "your_images.md"
TRAIN = ("--seeds=0", "--epochs=1", "--batch-size=16")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with a folder of small pictures, and a teacher with a softmax for larger ones."""
    directory = tmp_path_factory.mktemp("made")
    write_pictures(directory / "pictures", 10, 8, CLASSES[:3])
    layers = [keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    keras.Sequential(layers).save(directory / "teacher.keras")
    return directory


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """The current directory, with links to both, to the folder in a folder below as well."""
    (tmp_path / "below").mkdir()
    for name in ("pictures", "teacher.keras", "below/pictures"):
        (tmp_path / name).symlink_to(made / pathlib.Path(name).name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.tensorflow
def test_commands_make_a_verified_file(here, capsys):
    train = ["train", "below/pictures", "--teacher=teacher.keras", "--student=mlp_2x64", *TRAIN]
    train += ["--image-size=8", "--teacher-scale", "-1..1", "--no-augment-student"]
    assert main(train) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^1/3 teacher, pretrained: [\d.]+ s$", err, re.M)
    assert "3 classes, images (8, 8, 3): 22 to train on, 2 to validate with, 6 to test" in err
    assert re.search(r"teacher: teacher\.keras .*\n *alone: mlp_2x64 .*\n *distilled: mlp", out)
    results = json.loads((here / "runs" / "pictures" / "results.json").read_text())
    means = [results["summary"][name]["mean"] for name in ("teacher", "alone")]
    assert ("Note: The teacher is less often right" in out) == (means[0] < means[1])
    assert results["data_version"] == from_directory("pictures", 8).version
    assert results["rows"][0]["parameters"] == 12 * 12 * 3 * 3 + 3

    # What is finished is not made again, however the folder is spelled.
    train[1] = f"{here}/below/pictures/"
    assert main(train) == 0
    assert capsys.readouterr().err.count("finished before") == 3

    student = "runs/pictures/distilled-0/model.keras"
    assert main(["compress", student, "student.tflite", "pictures", "--quantize=int8"]) == 0
    table = dict(re.findall(r"^ +(\S.*?)  +(?:\S.*?)  +(\S.*?) *$", capsys.readouterr().out, re.M))
    assert {"accuracy of the file", "ms per image, median", "bytes"} <= {*table}
    assert float(table["zeros among the weights"].rstrip(" %")) < 1
    assert int(table["bytes"].replace(",", "")) == (here / "student.tflite").stat().st_size

    assert main(["evaluate", "student.tflite", "pictures"]) == 0
    out, err = capsys.readouterr()
    accuracy = re.search(r"accuracy +(\S+) %", out)[1]
    steps = ["load student.tflite", "read pictures", "measure accuracy on 6 images"]
    assert numbered(err) == [*steps, "count what it costs"]
    assert table["accuracy of the file"] == f"{accuracy} %"
    assert main(["export", student, "half.tflite", "--quantize=float16", "--data=pictures"]) == 0
    out, err = capsys.readouterr()
    assert "samples (representative data)" in out
    assert numbered(err) == [
        f"load {student}",
        "read pictures",
        "convert to half.tflite and verify it",
    ]
    assert main(["benchmark", "half.tflite", "--runs=3"]) == 0
    assert numbered(capsys.readouterr().err) == ["time 3 runs of half.tflite"]


def numbered(err):
    """The steps that lines on standard error tell of, which have their numbers and seconds."""
    lines = err.splitlines()
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"{number}/{len(lines)} .*: [\d.]+ s", line)
    return [line.partition(" ")[2].rpartition(":")[0] for line in lines]


def test_a_known_name_wins_over_a_folder(here, capsys):
    write_pictures(here / "digits", 5, 8, CLASSES[:2])
    assert not data_command.is_folder("digits")
    assert data_command.is_folder("./digits")
    assert data_command.is_folder(str(here / "digits"))
    model = kdzoo.create("mlp_2x64", 10, (8, 8, 1))
    assert data_command.load("digits", model=model).classes == 10
    assert "Note: digits is the known name; ./digits is the folder." in capsys.readouterr().err
    of_folder = data_command.load("./digits", model=model)
    assert (of_folder.classes, of_folder.input_shape) == (2, (8, 8, 1))  # As the model has it.
    kdzoo.data.export(of_folder, here / "exported")
    assert not data_command.is_folder("exported")


def test_a_folder_with_the_name_of_a_recipe_has_a_run_of_its_own(here, monkeypatch, capsys):
    write_pictures(here / "digits", 10, 8, CLASSES[:2])
    ran = []
    monkeypatch.setattr(train_command, "run", lambda *arguments: ran.append(arguments) or 1 / 0)
    size = ["--image-size=8"]
    for name, more in (("./digits", size), ("digits", []), ("./pictures", size)):
        with pytest.raises(ZeroDivisionError):
            main(["train", name, "--student=mlp_2x64", *TRAIN, *more])
    directories = ["runs/digits-folder", "runs/digits", "runs/pictures"]
    assert [str(directory) for _, directory, *_ in ran] == directories


@pytest.mark.parametrize(
    ("size", "expected"), [("16", (16, 16)), ("16x24", (16, 24)), (None, (12, 12))]
)
def test_size_of_images(size, expected, here):
    model = keras.saving.load_model("teacher.keras")
    assert data_command.load("pictures", None, size, model).input_shape == (*expected, 3)


def test_a_folder_alone_trains_a_student_alone(here):
    recipe, data = train_folder.of_folder("pictures", {"epochs": 3}, "16", False)
    assert data.input_shape == (16, 16, 3)
    (alone,) = recipe.stages
    assert (alone.name, alone.architecture, alone.training.epochs) == ("alone", "separable_050", 3)
    assert alone.training.augmentation == {"shift": 1, "flip": True}


def test_too_few_images_are_refused(here):
    write_pictures(here / "few", 3, 8, CLASSES[:2])
    with pytest.raises(ValueError, match="Expected about ten images of each class"):
        train_folder.of_folder("few", {}, "8", False)


def test_a_teacher_may_be_trained_on_the_folder(here):
    given = {"teacher": "mlp_2x128", "student": "mlp_2x64", "augment_student": False}
    recipe, _ = train_folder.of_folder("pictures", given, "8x16", True)
    assert [stage.title for stage in recipe.stages] == ["mlp_2x128", "mlp_2x64", "mlp_2x64"]
    assert recipe.stage("distilled").training.augmentation is None
    recipe.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pictures"], "Expected --image-size for pictures"),
        (["pictures", "--image-size=8", "--epochs=0"], "--epochs"),
        (["pictures", "--image-size=wide"], "Expected --image-size to be a side in pixels"),
        (
            ["pictures", "--image-size=8", "--temperature=2"],
            "Expected --teacher or --teacher-logits",
        ),
        (
            ["pictures", "--image-size=8", "--teacher-epochs=2"],
            "Expected --teacher beside --teacher",
        ),
        (["pictures", "--smoke"], "Expected a recipe or a data set beside --smoke"),
        (["pictures", "--teacher=teacher.keras", "--teacher-epochs=2"], "teaches as it is"),
        (
            ["pictures", "--teacher=mlp_2x64", "--teacher-scale=0..1"],
            "Expected the file of a model",
        ),
        (["pictures", "--teacher=teacher.keras"], "takes for pixels, one of 0..1, 0..255, -1..1"),
        (["pictures", "--teacher=none.keras", "--image-size=8"], "none.keras, not a file"),
        (["pictures", "--teacher=teacher.keras", "--teacher-logits=x.npz"], "Received: both"),
        (
            ["pictures", "--image-size=8", "--teacher-logits=x.npz", "--views=2"],
            "beside --teacher-l",
        ),
        (["digits", "--image-size=8"], "Received: 'digits', which is no folder"),
        (["none", "--image-size=8"], "Received: 'none', which is no folder"),
    ],
)
def test_options_that_do_not_go_together_are_a_sentence(options, message, here, capsys):
    assert main(["train", *options]) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said


def test_students_of_logits_are_not_augmented(here, capsys):
    data = from_directory("pictures", 8)
    paths = np.array(data.train.paths)
    np.savez("logits.npz", paths=paths, logits=np.zeros((len(paths), 4)))
    options = ["--image-size=8", "--student=mlp_2x64", *TRAIN]
    assert main(["train", "pictures", "--teacher-logits=logits.npz", *options]) == 1
    said = capsys.readouterr().err
    assert "Note: images are not augmented" in said
    assert "Expected logits of the 3 classes of 'pictures'. Received: logits.npz, of 4" in said


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """600 pictures of 96 x 96 pixels, and a MobileNetV2 of them that ends in a softmax."""
    directory = tmp_path_factory.mktemp("photographs")
    write_pictures(directory / "photos", 120, 96)
    data = from_directory(directory / "photos", 96)
    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=5)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # That of MobileNetV2 wants thousands of steps.
    base.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    images, labels = data.train.arrays()
    base.fit(2 * images - 1, labels, 32, epochs=6, verbose=0)
    base.save(directory / "teacher.keras")
    return directory


@pytest.mark.large
@pytest.mark.tensorflow
def test_four_commands_of_the_page(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    page = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^    kdzoo (train|compress|evaluate|benchmark) (.*)$", page, re.M)
    said = {}
    for command, arguments in commands[:4]:
        assert main([command, *arguments.split()]) == 0, capsys.readouterr().err
        said[command] = capsys.readouterr().out
    assert [*said] == ["train", "compress", "evaluate", "benchmark"]
    rows = dict(re.findall(r"^ +(\S.*?)  +(?:\S.*?)  +(\S.*?) *$", said["compress"], re.M))
    results = json.loads((place / "runs" / "photos" / "results.json").read_text())
    assert results["summary"]["teacher"]["mean"] > 0.8
    assert float(rows["accuracy of the file"].rstrip(" %")) > 80
    assert float(rows["file and Keras agree"].rstrip(" %")) > 90
    assert float(rows["zeros among the weights"].rstrip(" %")) > 40


@pytest.mark.large
@pytest.mark.tensorflow
def test_lines_of_the_page(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[:1]
    assert len([line for line in code.splitlines() if line]) <= 15
    names = {}
    exec(code, names)
    assert names["accuracy"] > 0.8
    assert (place / "student.tflite").stat().st_size == names["report"].bytes
