"""Commands that are killed at random moments, and two of the same at once."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.cli import main
from kdzoo.utils import one_process

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
KILLS = 20
# What takes seconds and changes nothing comes before the clock starts.
READY = """
import sys
import keras, tensorflow, kdzoo, kdzoo.schemes, kdzoo.compression, kdzoo.export, kdzoo.recipes
print("ready", flush=True)
"""
COMMAND = READY + "from kdzoo.cli import main\nsys.exit(main())"
RECORD = """
images, labels = kdzoo.data.load("digits").train.arrays()
data = kdzoo.data.from_arrays(images[:400], labels[:400], name="digits")
keras.utils.set_random_seed(0)
teacher = kdzoo.create("mlp_2x64", 10, images.shape[1:])
shifts = kdzoo.data.Augmentation(shift=1)
kdzoo.data.record_teacher(teacher, data.train, sys.argv[1], 20, augmentation=shifts)
"""
SMALL = ("--teacher=mlp_2x64", "--student=mlp_2x64", "--teacher-epochs=2", "--epochs=3")
SMALL += ("--seeds=0", "--batch-size=64")


def started(code, arguments):
    """A process that is ready to begin its work."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finished(code, arguments):
    """Runs to the end; returns the seconds."""
    process = started(code, arguments)
    began = time.perf_counter()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]
    return time.perf_counter() - began


def killed_until_the_end(code, arguments_in, check, directory):
    """Runs a command that is killed twenty times, and compares what it leaves.

    Args:
        code: What the process runs.
        arguments_in: Function from a directory to the arguments.
        check: Function of the undisturbed directory and another, to compare them.
        directory: Where all of them lie.
    """
    undisturbed, rng, kills, rounds = directory / "undisturbed", random.Random(0), 0, 0
    seconds = finished(code, arguments_in(undisturbed))
    run = directory / "round-0"
    while kills < KILLS:
        process = started(code, arguments_in(run))
        try:
            process.communicate(timeout=rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0
        check(undisturbed, run)
        rounds += 1
        run = directory / f"round-{rounds}"
    finished(code, arguments_in(run))
    check(undisturbed, run)
    hidden = [path for path in directory.rglob(".*") if path.is_dir()]
    assert hidden == []


def assert_same_weights(one, other):
    one, other = (keras.saving.load_model(path).get_weights() for path in (one, other))
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_same_run(one, other):
    """All that was measured but for times, and every weight bit for bit."""
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    for row in [row for result in results for row in result["rows"]]:
        row.pop("seconds")
    assert results[0] == results[1]
    for row in results[0]["rows"]:
        path = pathlib.Path(f"{row['kind']}-{row['seed']}", "model.keras")
        assert_same_weights(one / path, other / path)


def assert_same_files(one, other):
    """The same files with the same bytes, whatever `.keras` files say of when they were saved."""
    there = [sorted(path.relative_to(run) for path in run.rglob("*")) for run in (one, other)]
    assert there[0] == there[1]
    for path in [path for path in there[0] if (one / path).is_file()]:
        if path.suffix == ".keras":
            assert_same_weights(one / path, other / path)
        elif path.name != "state.json":
            assert (one / path).read_bytes() == (other / path).read_bytes(), path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model on digits, as a file."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    shape = kdzoo.data.load("digits").train.arrays()[0].shape[1:]
    kdzoo.create("mlp_2x64", 10, shape).save(path)
    return path


def compressing(trained, directory, *options):
    paths = (trained, directory / "small.tflite", "digits", "--directory", directory / "run")
    return ["compress", *map(str, paths), "--epochs=2", *options]


@pytest.mark.large
@pytest.mark.tensorflow
class TestKills:
    def test_train(self, tmp_path):
        def arguments(directory):
            return ["train", "digits", *SMALL, "--directory", directory]

        killed_until_the_end(COMMAND, arguments, assert_same_run, tmp_path)

    def test_compress(self, trained, tmp_path):
        def arguments(directory):
            return compressing(trained, directory, "--prune=0.5", "--cluster=8")

        killed_until_the_end(COMMAND, arguments, assert_same_files, tmp_path)

    def test_record_teacher(self, tmp_path):
        killed_until_the_end(
            READY + RECORD, lambda directory: [directory], assert_same_files, tmp_path
        )

    def test_export(self, trained, tmp_path):
        def arguments(directory):
            return ["export", trained, directory / "model.tflite", "--quantize=float16"]

        killed_until_the_end(COMMAND, arguments, assert_same_files, tmp_path)


@pytest.mark.tensorflow
class TestTwoAtOnce:
    """What the first holds is held by this process, which is another as far as locks go."""

    def test_train(self, tmp_path, capsys):
        with one_process(tmp_path / "run"):
            assert main(["train", "digits", *SMALL, "--directory", str(tmp_path / "run")]) == 1
        assert "in which another process works" in capsys.readouterr().err
        assert list((tmp_path / "run").iterdir()) == []

    def test_compress(self, trained, tmp_path, capsys):
        with one_process(tmp_path / "run"):
            assert main(compressing(trained, tmp_path, "--prune=0.5")) == 1
        assert "in which another process works" in capsys.readouterr().err
        assert list((tmp_path / "run").iterdir()) == []

    def test_a_recipe_of_compression(self, tmp_path):
        recipe = kdzoo.recipes.RECIPES["prune_separable_cifar10"].smoke()
        for held in (tmp_path / "run", tmp_path / recipe.base.name):
            with one_process(held), pytest.raises(ValueError, match="another process works"):
                recipe.run(tmp_path / "run", verbose=0)

    def test_record_teacher(self, tmp_path):
        images = np.zeros((12, 4, 4, 1), "uint8")
        data = kdzoo.data.from_arrays(images, np.arange(12) % 3, classes=3, validation=0)
        teacher = keras.Sequential(
            [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        with one_process(tmp_path), pytest.raises(ValueError, match="another process works"):
            kdzoo.data.record_teacher(teacher, data.train, tmp_path)

    @pytest.mark.large
    def test_exports_to_one_file_both_end(self, trained, tmp_path):
        arguments = ["export", trained, tmp_path / "model.tflite"]
        running = [started(COMMAND, arguments) for _ in range(2)]
        for process in running:
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said
        assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
        assert kdzoo.export.LiteRTModel(tmp_path / "model.tflite").outputs
