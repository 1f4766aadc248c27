"""The demo: everything it promises is there, and the lines it ends with run."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import keras
import pytest

import kdzoo
from kdzoo import demo
from kdzoo.cli import main
from kdzoo.cli.train_options import changed
from kdzoo.recipes import RECIPES

FILES = {
    "curves.png",
    "results.json",
    "student_alone.keras",
    "student_alone.tflite",
    "student_distilled.keras",
    "student_distilled.tflite",
    "student_int8.tflite",
    "teacher.keras",
    "teacher.tflite",
    "training",
}


@pytest.fixture
def small(monkeypatch):
    """Puts a recipe of seconds into the demo's place and returns it."""
    recipe = changed(
        RECIPES["digits"],
        {
            **{"teacher": "mlp_2x64", "teacher_epochs": 3, "epochs": 2, "batch_size": 32},
            "seeds": (0, 1),
        },
    )
    monkeypatch.setitem(RECIPES, "digits", recipe)
    return recipe


@pytest.mark.tensorflow
def test_writes_and_tells_what_it_promises(small, tmp_path, monkeypatch, capsys):
    directory = tmp_path / "demo"
    monkeypatch.setenv("COLUMNS", "160")  # Wide enough that no name in the table is broken.
    assert main(["demo", "--directory", str(directory)]) == 0
    out = capsys.readouterr().out
    assert {path.name for path in directory.iterdir()} == FILES
    content = json.loads((directory / "results.json").read_text())
    names = ["teacher", "student alone", "student distilled", "int8 file of it"]
    assert [row["name"] for row in content["table"]] == names
    for row, file in zip(
        content["table"],
        ("teacher", "student_alone", "student_distilled", "student_int8"),
        strict=True,
    ):
        assert row["bytes"] == (directory / f"{file}.tflite").stat().st_size
        assert row["latency_ms"] > 0
        assert f"{row['bytes']:,}" in out
        assert row["name"] in out
    assert content["table"][3]["bytes"] < content["table"][2]["bytes"] / 2
    assert "of 2 splits of the data, each with its own training and test images: " in out
    lines = demo.recipe_in_python(directory, content)
    assert lines in out

    # What is exported is of one split, and the int8 files were tested each on its own.
    whole, shown = kdzoo.data.load("digits", validation=0.5), demo.shown_split(content)
    accuracies = {
        row["kind"]: row["test_accuracy"] for row in content["rows"] if row["seed"] == shown
    }
    for variant, file in (("teacher", "teacher"), ("alone", "student_alone")):
        model = keras.saving.load_model(directory / f"{file}.keras")
        test = whole.resplit(shown).test.arrays()
        assert kdzoo.evaluation.accuracy(model, *test) == accuracies[variant]
    students, files = content["table"][2:]
    assert files["accuracy"] == pytest.approx(students["accuracy"], abs=0.02)

    # Again, without matplotlib: nothing is trained anew, and the plot alone is missing.
    before = (directory / "student_distilled.keras").read_bytes()
    (directory / "curves.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["demo", "--directory", str(directory)]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("finished before") == 6
    assert "no plot: Expected matplotlib" in captured.out
    assert "pip install 'kdzoo[report]'" in captured.out
    assert (directory / "student_distilled.keras").read_bytes() == before

    # The lines it ends with, as they are.
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "recipe", "exec"), {})
    student = keras.saving.load_model(tmp_path / "student.keras")
    file = kdzoo.export.LiteRTModel(tmp_path / "student.tflite")
    images = kdzoo.data.load("digits").test.arrays()[0]
    assert kdzoo.evaluation.agreement(student, file, images) > 0.9
    assert file.inputs[0].dtype == "float32"
    assert file.inputs[0].range == pytest.approx((0, 1), abs=0.01)


def test_what_another_recipe_left_is_trained_anew(small, tmp_path, monkeypatch):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "settings.json").write_text("{}")
    (tmp_path / "training" / "stale").write_text("")
    ran = []
    monkeypatch.setattr(
        type(small), "run", lambda self, directory, **options: ran.append(directory)
    )
    demo.train(tmp_path, print)
    assert ran == [tmp_path / "training"]
    assert [path.name for path in ran[0].iterdir()] == ["settings.json"]
    (tmp_path / "training" / "model").write_text("")
    demo.train(tmp_path, print)
    assert (tmp_path / "training" / "model").exists()


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="is about the other backends")
def test_says_that_it_needs_tensorflow(tmp_path, capsys):
    assert main(["demo", "--directory", str(tmp_path)]) == 1
    assert "Expected the TensorFlow backend" in capsys.readouterr().err


def test_curves_need_what_they_draw(tmp_path):
    from kdzoo.evaluation import plots

    with pytest.raises(ValueError, match=r"metrics=\['accuracy'\]"):
        plots.training_curves({"a": [{"loss": [1.0]}]}, tmp_path / "curves.png")
    history = {"val_accuracy": [0.5, 0.9], "val_loss": [1.0, 0.5]}
    plots.training_curves({"a": [history, history], "b": [history]}, tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_the_plot_needs_a_teacher_and_both_students(tmp_path):
    from kdzoo.evaluation import plots

    rows = [
        {"kind": kind, "seed": seed, "test_accuracy": 0.9, "history": {"val_accuracy": [0.5, 0.9]}}
        for kind in ("teacher", "alone", "distilled")
        for seed in (0, 1)
    ]
    path = tmp_path / "curves.svg"
    plots.distilled_and_alone({"rows": rows, "settings": {"split_by_seed": True}}, path)
    assert path.read_text().startswith("<?xml")
    with pytest.raises(ValueError, match=r"Received: rows of \['alone', 'distilled'\]"):
        plots.distilled_and_alone({"rows": rows[2:], "settings": {}}, path)
    with pytest.raises(ValueError, match="with 'val_accuracy' in their history"):
        plots.distilled_and_alone({"rows": [*rows, {**rows[0], "history": {}}]}, path)


@pytest.mark.large
@pytest.mark.tensorflow
def test_the_real_one_wins(tmp_path):
    root = pathlib.Path(kdzoo.__file__).parents[1]
    command = "import sys; from kdzoo_command import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", command, "demo", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    summary, accuracies = results["summary"], {}
    for row in results["rows"]:
        accuracies.setdefault(row["kind"], {})[row["seed"]] = row["test_accuracy"]
    gains = [accuracies["distilled"][seed] - alone for seed, alone in accuracies["alone"].items()]
    # results/digits.json: 0.85 points, with a deviation of 0.7 from split to split.
    assert statistics.fmean(gains) > 0.004
    assert sum(gain > 0 for gain in gains) >= len(gains) - 1
    assert summary["teacher"]["mean"] > summary["distilled"]["mean"]
    assert summary["alone"]["mean"] > 0.955
    assert f"of {len(gains)} splits of the data" in ended.stdout
