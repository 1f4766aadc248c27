"""The command line: quick to answer, honest about errors, and proof against a kill."""

import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.cli import list_names, main, model_files, terminal
from kdzoo.zoo import manifest
from kdzoo.zoo.manifest import File

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
COMMAND = "import sys; from kdzoo_command import main; sys.exit(main())"
SMALL = ("--teacher=mlp_2x64", "--student=mlp_2x64", "--teacher-epochs=2", "--epochs=3")
SMALL += ("--seeds=0", "--batch-size=64")
BY_FITNET = ("--teacher=fitnet_mnist/mnist", "--student=mlp_2x64")


def run(*arguments, before="", cwd=None):
    """Runs `kdzoo` in a process of its own, as the installed script would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{COMMAND}", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=600,
    )


@pytest.fixture
def student(tmp_path):
    """Returns the path of a saved model for the digits."""
    path = tmp_path / "student.keras"
    kdzoo.create("mlp_2x64", 10, (8, 8, 1)).save(path)
    return path


class TestStart:
    def test_no_keras_and_less_than_a_second_for_help_list_and_card(self):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # `import keras` does nothing yet; a use of it would import `keras.src`.
        forbidden = "import sys; sys.modules['keras.src'] = None"
        name = "mlp_2x800/mnist"
        for arguments, said in (
            (["--help"], "Usage: kdzoo"),
            (["list"], name),
            (["card", name], kdzoo.card(name)),
        ):
            ended = run(*arguments, before=forbidden)
            assert ended.returncode == 0, ended.stderr
            assert said.strip() in ended.stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Time of the processor: the suite may run beside other work.
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert spent < 3 * 1.0

    @pytest.mark.large
    def test_once_keras_runs_every_module_does(self):
        """None is left for two threads to run at once, or a file to ask for its classes in vain."""
        script = """
import sys
import kdzoo_command
sys.meta_path.insert(0, kdzoo_command.ImportsWhenUsed())
import kdzoo.recipes
import keras
exec("import keras")  # A second time, as the tops of two modules do.
from kdzoo.cli import terminal
assert terminal.percent(1.0) and "keras.src" not in sys.modules
waiting = [name for name, module in sys.modules.items() if type(module).__name__ == "Waiting"]
assert {"keras", "kdzoo.registration"} <= set(waiting), waiting
terminal.start_keras()
waiting = [name for name, module in sys.modules.items() if type(module).__name__ == "Waiting"]
assert not waiting, waiting
import keras
for name in ("Distiller", "Ensemble", "SoftTargets", "QuantizedModel"):
    assert keras.saving.get_registered_object(f"kdzoo>{name}"), name
"""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_no_module_is_there_twice(self):
        """A package that runs while one of its modules is imported has imported that already."""
        script = """
import sys
import kdzoo_command
sys.meta_path.insert(0, kdzoo_command.ImportsWhenUsed())
from kdzoo.data.augmentation import Augmentation
import kdzoo.data
assert kdzoo.data.Augmentation is Augmentation
assert sys.modules["kdzoo.data.augmentation"].Augmentation is Augmentation
assert kdzoo.data.augmentation.__spec__.origin.endswith("augmentation.py")
"""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"kdzoo {kdzoo.__version__}\n"

    @pytest.mark.parametrize("arguments", [[], ["data"]])
    def test_help_where_nothing_is_asked(self, arguments, capsys):
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith("Usage: kdzoo")

    def test_every_command_has_help(self, capsys):
        main(["--help"])
        listed = capsys.readouterr().out.partition("Commands:")[2]
        assert "..." not in listed
        commands = re.findall(r"^  (\w+) ", listed, re.M)
        expected = "list card pair create load train evaluate compress export benchmark demo data"
        assert commands == expected.split()
        for command in commands:
            assert main([command, "--help"]) == 0
            assert capsys.readouterr().out.startswith(f"Usage: kdzoo {command}")


class TestList:
    def test_shows_every_name(self, capsys):
        from kdzoo.data.catalog import DATASETS
        from kdzoo.recipes import RECIPES

        assert main(["list"]) == 0
        words = capsys.readouterr().out.split()
        assert {*kdzoo.list_models(), *DATASETS, *RECIPES} <= set(words)

    def test_shows_one_kind(self, capsys):
        assert main(["list", "recipes"]) == 0
        out = capsys.readouterr().out
        assert "fashion_mnist" in out
        assert "svhn_cropped" not in out

    def test_shows_those_of_a_data_set_or_family(self, capsys):
        assert main(["list", "--dataset", "mnist"]) == 0
        words = capsys.readouterr().out.split()
        assert {*kdzoo.list_pretrained("mnist"), *kdzoo.list_pairs("mnist")} <= set(words)
        assert not set(words) & {*kdzoo.list_pairs("cifar10"), *kdzoo.list_models("resnet")}
        assert main(["list", "--family", "resnet"]) == 0
        words = capsys.readouterr().out.split()
        assert set(kdzoo.list_models("resnet")) <= set(words)
        assert not set(kdzoo.list_models("mlp")) & set(words)

    def test_a_damaged_manifest_is_no_empty_list(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "manifest.json").write_text('{"vers')
        monkeypatch.setattr(manifest, "weights_directory", lambda: tmp_path)
        for arguments in (["list"], ["list", "--dataset", "mnist"], ["list", "pretrained"]):
            assert main(arguments) == 1
            assert "to be a manifest" in capsys.readouterr().err


class TestNames:
    """What Python does by name, the command line does too."""

    @pytest.mark.large_on_jax
    def test_create_writes_a_fresh_model(self, tmp_path, capsys):
        path = tmp_path / "student.keras"
        arguments = ["--classes", "7", "--input-shape", "16,16,3"]
        assert main(["create", "separable_025", str(path), *arguments]) == 0
        model = keras.saving.load_model(path)
        assert (model.name, model.input_shape[1:]) == ("separable_025", (16, 16, 3))
        assert model.output_shape == (None, 7)
        assert f"{model.count_params():,} parameters" in capsys.readouterr().out

    @pytest.mark.large_on_jax
    def test_load_writes_the_pretrained_model(self, tmp_path):
        path = tmp_path / "student.keras"
        assert main(["load", "fitnet_mnist/mnist", str(path)]) == 0
        images = np.random.default_rng(0).random((2, 28, 28, 1), "float32")
        expected = kdzoo.load("fitnet_mnist/mnist").predict(images, verbose=0)
        found = keras.saving.load_model(path).predict(images, verbose=0)
        np.testing.assert_array_equal(found, expected)
        path = tmp_path / "student.kdz"
        assert main(["load", "fitnet_mnist/mnist", str(path)]) == 0
        found = kdzoo.load_compressed(path).predict(images, verbose=0)
        np.testing.assert_array_equal(found, expected)
        path = tmp_path / "mine.keras"
        assert main(["load", "fitnet_mnist/mnist", str(path), "--classes", "3"]) == 0
        assert keras.saving.load_model(path).output_shape == (None, 3)

    def test_models_are_not_written_over(self, tmp_path, capsys):
        for arguments, suffix in (
            (["create", "mlp_2x64"], "keras"),
            (["load", "fitnet_mnist/mnist"], "keras"),
            (["load", "separable_025/cifar10/int8"], "tflite"),
        ):
            path = tmp_path / f"trained.{suffix}"
            path.write_bytes(b"for days")
            assert main([*arguments, str(path)]) == 1
            assert f"Received: {path}, which exists" in capsys.readouterr().err
            assert path.read_bytes() == b"for days"

    def test_a_directory_to_share_serves_as_a_model(self, student, tmp_path, capsys):
        saved = keras.saving.load_model(student)
        kdzoo.save_pretrained(saved, tmp_path / "shared")
        assert main(["evaluate", str(student), "digits"]) == 0
        by_file = capsys.readouterr().out
        assert main(["evaluate", str(tmp_path / "shared"), "digits"]) == 0
        by_directory = capsys.readouterr().out
        for row in ("accuracy", "parameters"):
            pattern = rf"{row} +(\S+)"
            assert re.search(pattern, by_file)[1] == re.search(pattern, by_directory)[1]
        (weights,) = (tmp_path / "shared").glob("*.safetensors")
        assert f"{weights.stat().st_size:,}" in by_directory
        (tmp_path / "shared" / "config.json").write_text("{}")
        assert main(["evaluate", str(tmp_path / "shared"), "digits"]) == 1
        assert "to be a model of kdzoo" in capsys.readouterr().err

    @pytest.mark.large_on_jax
    def test_python_runs_the_package(self):
        done = subprocess.run(
            [sys.executable, "-m", "kdzoo", "pair", "mnist_mlp"], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "Did you mean 'mnist_mlp_2x800'?" in done.stderr

    def test_pair_says_who_teaches_whom_and_how(self, capsys):
        assert main(["pair", "mnist_mlp_2x800"]) == 0
        out = capsys.readouterr().out
        for part in ("mlp_2x1200/mnist", "SoftTargets (temperature=20.0)", "(28, 28, 1)", "0.1"):
            assert part in out
        assert "not shipped" not in out
        assert ".distiller()" in out

    def test_pair_without_a_shipped_teacher_wants_one(self, monkeypatch, capsys):
        shipped = manifest.read_manifest()
        del shipped["mlp_2x1200/mnist"]
        monkeypatch.setattr(manifest, "read_manifest", lambda directory=None: shipped)
        assert main(["pair", "mnist_mlp_2x800"]) == 0
        out = capsys.readouterr().out
        assert "mlp_2x1200/mnist, not shipped" in out
        assert '("mnist_mlp_2x800").distiller(teacher)' in out

    @pytest.mark.large_on_jax
    @pytest.mark.parametrize("name", ["fitnet_mnist/mnist", "lenet_300_100/mnist/kdz"])
    def test_a_pretrained_model_is_evaluated_by_name(self, name, tmp_path, capsys):
        images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1)).astype("uint8")
        labels = np.arange(40, dtype="int32") % 10
        data = kdzoo.data.from_arrays(images, labels, test=(images, labels))
        kdzoo.data.export(data, tmp_path / "data")
        arguments = [str(tmp_path / "data"), "--teacher", "maxout_mnist/mnist"]
        assert main(["evaluate", name, *arguments]) == 0
        out = capsys.readouterr().out
        model = kdzoo.load(name)
        accuracy = kdzoo.evaluation.accuracy(model, images / np.float32(255), labels)
        assert f"{100 * accuracy:.2f} %" in out
        assert re.search(rf"parameters +{model.count_params():,}", out)
        size = kdzoo.zoo.manifest.find(name).files["weights"].bytes
        assert re.search(rf"bytes +{size:,}", out)

    @pytest.mark.tensorflow
    def test_an_ensemble_is_evaluated(self, student, tmp_path, capsys):
        path = tmp_path / "ensemble.keras"
        members = [keras.saving.load_model(student), kdzoo.create("mlp_2x64", 10, (8, 8, 1))]
        kdzoo.Ensemble(members).save(path)
        assert main(["evaluate", str(path), "digits"]) == 0
        out = capsys.readouterr().out
        count = sum(member.count_params() for member in members)
        assert re.search(rf"parameters +{count:,}", out)
        assert re.search(rf"MACs +{2 * (64 * 64 + 64 * 64 + 64 * 10):,}", out)
        larger = np.zeros((4, 28, 28, 1), "uint8"), np.arange(4) % 10
        data = kdzoo.data.from_arrays(*larger, test=larger, classes=10, name="larger")
        kdzoo.data.npy.write(data, tmp_path / "larger")
        assert main(["evaluate", str(path), str(tmp_path / "larger")]) == 1
        assert "for (8, 8, 1)" in capsys.readouterr().err

    @pytest.mark.tensorflow
    @pytest.mark.large
    def test_a_file_that_is_still_quantized_is_evaluated(self, student, tmp_path):
        from kdzoo.compression import quantize_model

        path = tmp_path / "quantized.keras"
        model = keras.saving.load_model(student)
        quantize_model(model).save(path)
        done = run("evaluate", path, "digits")  # A process of its own, as classes are registered.
        assert done.returncode == 0, done.stderr
        assert re.search(rf"parameters +{model.count_params():,}", done.stdout)
        assert re.search(rf"MACs +{64 * 64 + 64 * 64 + 64 * 10:,}", done.stdout)

    def test_brackets_in_a_path_are_no_markup(self, tmp_path, capsys):
        path = tmp_path / "[bold]" / "x[a].keras"
        path.parent.mkdir()
        kdzoo.create("mlp_2x64", 10, (8, 8, 1)).save(path)
        assert main(["evaluate", str(path), "digits"]) == 0
        found = "".join(capsys.readouterr().out.split())  # However a narrow terminal wraps it.
        assert f"{path}ondigits" in found

    @pytest.mark.parametrize("columns", ["30", "60", "72", "200"])
    def test_a_narrow_terminal_loses_no_digit(self, columns, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["list", "pretrained"]) == 0
        words = capsys.readouterr().out.split()
        for name in kdzoo.list_pretrained():
            row = manifest.read_manifest()[name]
            assert {name, f"{row.measured['parameters']:,}"} <= set(words)

    @pytest.mark.tensorflow
    @pytest.mark.parametrize(
        "command",
        [
            ("evaluate", "mlp_2x800/mnist", "DATA"),
            ("evaluate", "OWN", "DATA", "--teacher", "mlp_2x800/mnist"),
            ("export", "mlp_2x800/mnist", "out.tflite", "--data", "DATA"),
            ("compress", "mlp_2x800/mnist", "out.tflite", "DATA", "--prune", "0.5"),
            ("compress", "OWN", "o.tflite", "DATA", "--prune=0.5", "--teacher=mlp_2x800/mnist"),
        ],
    )
    def test_a_pretrained_model_of_other_classes_is_refused(
        self, command, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.chdir(tmp_path)
        images, labels = np.zeros((60, 28, 28, 1), np.uint8), np.arange(60) % 10
        names = manifest.find("separable_025/fashion_mnist").labels
        data = kdzoo.data.from_arrays(images, labels, test=(images, labels), class_names=names)
        kdzoo.data.export(data, "clothes")
        kdzoo.create("mlp_2x64").save("own.keras")
        places = {"DATA": "./clothes", "OWN": "own.keras"}
        before = sorted(tmp_path.rglob("*"))
        assert main([places.get(word, word) for word in command]) == 1
        said = "'mlp_2x800/mnist', of 10; where one has 'T-shirt/top', the other has '0'"
        assert said in " ".join(capsys.readouterr().err.split())
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("columns", ["20", "45"])
    def test_numbers_are_whole_beside_names_with_spaces(self, columns, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", columns)
        made = terminal.table("model", ">test accuracy", ">seconds")
        made.add_row("separable_025, distilled", "91.03 ± 0.16 %", "1,234.5")
        terminal.show(made)
        out = capsys.readouterr().out
        for whole in ("separable_025, distilled", "91.03 ± 0.16 %", "1,234.5"):
            assert whole in out

    def test_a_directory_has_no_file_to_time(self, tmp_path, capsys):
        kdzoo.save_pretrained(kdzoo.create("mlp_2x64", 3, (4, 4, 1)), tmp_path)
        assert main(["benchmark", str(tmp_path)]) == 1
        assert "a directory; `kdzoo export` makes such a file" in capsys.readouterr().err

    def test_the_table_of_a_recipe_names_each_architecture(self, capsys):
        from kdzoo.cli.result_tables import of_comparison
        from kdzoo.experiments import Experiment, Train, Training

        stages = (
            Train("teacher", "maxout_mnist", Training(1)),
            Train("a", "lenet_5", Training(1)),
            Train("b", "separable_025", Training(1), {"width": 1}),
        )
        row = {"parameters": 1, "seconds": 1.0, "test_errors": 1}
        names = ("teacher", "a", "b")
        terminal.show(
            of_comparison(
                {
                    "settings": Experiment("own", "mnist", stages).described(),
                    "summary": {name: {"mean": 0.5} for name in names},
                    "rows": [{"kind": name, **row} for name in names],
                }
            )
        )
        out = capsys.readouterr().out
        for name in ("teacher: maxout_mnist ", "a: lenet_5 ", "b: separable_025 (width=1)"):
            assert name in out

    @pytest.mark.tensorflow
    def test_the_file_of_a_compressed_model_serves_by_name(self, tmp_path, monkeypatch, capsys):
        zoo = tmp_path / "zoo"
        zoo.mkdir()
        row = manifest.find("fitnet_mnist/mnist")
        shutil.copy(manifest.weights_directory() / row.files["weights"].file, zoo)
        kdzoo.export.to_litert(kdzoo.load(row.name), zoo / "fitnet.tflite")
        content = (zoo / "fitnet.tflite").read_bytes()
        file = File("fitnet.tflite", hashlib.sha256(content).hexdigest(), len(content))
        of_file = manifest.find("separable_025/cifar10/int8").measured
        of_file = {name: of_file[name] for name in ("float", "sparsity", "signature")}
        row = dataclasses.replace(
            row,
            name="fitnet_mnist/mnist/file",
            files={**row.files, "tflite": file},
            measured={**row.measured, **of_file, "tflite_accuracy": 0.5},
        )
        manifest.write_manifest([row], zoo)
        monkeypatch.setattr(manifest, "weights_directory", lambda: zoo)
        out = tmp_path / "out.tflite"
        assert main(["load", row.name, str(out)]) == 0
        assert out.read_bytes() == content
        assert main(["benchmark", row.name]) == 0
        assert f"{len(content):,} bytes" in capsys.readouterr().out
        assert isinstance(model_files.load_model(pathlib.Path(row.name)), kdzoo.export.LiteRTModel)
        assert isinstance(
            model_files.load_model(pathlib.Path(row.name), takes_litert=False), keras.Model
        )
        (zoo / "fitnet.tflite").write_bytes(content[:-1] + b"!")
        assert main(["benchmark", row.name]) == 1
        assert "the file was altered" in capsys.readouterr().err


ERRORS = [
    (["lst"], 2, "No such command 'lst'"),
    (["list", "modls"], 1, "Did you mean 'models'?"),
    (["list", "data", "--family", "mlp"], 1, "Received: data with --family"),
    (["list", "--dataset", "cifar11"], 1, "Unknown data set with pretrained models: 'cifar11'"),
    (
        ["list", "--dataset", "mnist", "--family", "fitnet"],
        1,
        "pretrained models for 'mnist', one of fitnet_mnist, lenet, maxout, mlp, separable, ",
    ),
    (["create", "mlp_2x46", "out.keras"], 1, "Did you mean 'mlp_2x64'?"),
    (["create", "mlp_2x64", "out.h5"], 1, "Expected a .keras file"),
    (["create", "mlp_2x64", "out.keras", "--classes", "1"], 1, "classes=1"),
    (["create", "mlp_2x64", "out.keras", "--input-shape", "28x28"], 1, "--input-shape=28x28"),
    (["create", "mlp_2x64", "{broken}/out.keras"], 1, "Received: {broken}, a file, for"),
    (["load", "mlp_2x800/mnist", "{broken}/a/out.keras"], 1, "Received: {broken}, a file, for"),
    (["load", "mlp_2x80/mnist", "out.keras"], 1, "Did you mean 'mlp_2x800/mnist'?"),
    (["load", "mlp_2x800/mnist", "out.h5"], 1, "Expected a .keras or .kdz or .tflite file"),
    (["load", "mlp_2x800/mnist", "out.tflite"], 1, "mnist out.tflite` makes one"),
    (["load", "mlp_2x800/mnist", "out.tflite", "--classes", "3"], 1, "and --classes"),
    (["pair", "mnist_mlp"], 1, "Did you mean 'mnist_mlp_2x800'?"),
    (["evaluate", "mlp_2x80/mnist", "digits"], 1, "Did you mean 'mlp_2x800/mnist'?"),
    (["evaluate", "mlp_2x800/mnist", "digits"], 1, "mlp_2x800/mnist for (28, 28, 1)"),
    (["benchmark", "mlp_2x800/mnist"], 1, "mnist FILE.tflite` makes one"),
    (["export", "separable_025/cifar10/int8", "out.tflite"], 1, "/int8 out.tflite` writes it"),
    (["evaluate", ".", "digits"], 1, "Expected config.json in ."),
    (["train"], 2, "Missing argument"),
    (["card", "mlp_2x80/mnist"], 1, "Did you mean 'mlp_2x800/mnist'"),
    (["train", "digit"], 1, "Unknown recipe or data set: 'digit'. Did you mean 'digits'?"),
    (["train", "mnist"], 1, "name of a recipe (hinton_mnist, hinton_mnist_"),
    (["train", "./", "--teacher", "mlp_2x64"], 1, "Expected --image-size for ./"),
    (["train", "digits", "--student", "fitnet_mnist/mnist"], 1, "may be a pretrained model"),
    (["train", "digits", *BY_FITNET], 1, "for images of (8, 8, 1), as 'digits' has"),
    (["train", "digits", *BY_FITNET, "--teacher-epochs", "2"], 1, "Expected no --teacher-epochs"),
    (["train", "digits", "--directory", "{broken}"], 1, "Received: {broken}, a file"),
    (["train", "digits", "--directory", "{broken}/run"], 1, "Received: {broken}, a file, for"),
    (["train", "hinton_mnist", "--views", "2"], 1, "Expected --augment-student beside --views"),
    (["train", "digits", "--student", "mlp_2x46"], 1, "Did you mean 'mlp_2x64'?"),
    (["train", "digits", "--epochs", "0"], 2, "'--epochs'"),
    (["train", "digits", "--temperature", "-1"], 1, "temperature=-1"),
    (["train", "digits", "--student-loss-weight", "2"], 1, "student_loss_weight=2"),
    (["train", "digits", "--learning-rate", "0"], 1, "learning_rate=0"),
    (["train", "digits", "--optimizer", "sdg"], 1, "Did you mean 'sgd'?"),
    (["train", "digits", "--teacher-optimizer", "adam"], 1, "Did you mean 'adamw'?"),
    (["train", "digits", "--seeds", "0,x"], 1, "--seeds to be integers"),
    (["train", "digits", "--seeds", "1,1"], 1, "each once"),
    (["train", "./nowhere", *SMALL], 1, "nowhere"),
    (["train", "qat_separable_cifar10", "--epochs", "2"], 1, "Received: --epochs"),
    (["train", "zoo_cifar10", "--epochs", "2"], 1, "Expected no --epochs for 'zoo_cifar10'"),
    (["train", "zoo_mnist", "--temperature", "2"], 1, "Expected no --temperature"),
    (["train", "hinton_mnist_temperatures", "--student=lenet_5"], 1, "Expected no --student"),
    (["train", "zoo_cifar10_025_compressed", "--seeds=0,0"], 1, "Expected at least one seed, each"),
    (["train", "digits", "--seeds=-1"], 1, "Expected seeds to be integers from 0"),
    (["evaluate", "nowhere.keras", "digits"], 1, "nowhere.keras, not a file"),
    (["evaluate", "model.onnx", "digits"], 1, "Expected a .keras, .h5, .hdf5 or .tflite file"),
    (["evaluate", "{student}", "digit"], 1, "Did you mean"),
    (["evaluate", "{student}", "digits", "--split", "tset"], 1, "Did you mean 'test'?"),
    (["evaluate", "{broken}", "digits"], 1, "broken.keras, which is damaged or was not written"),
    (["evaluate", "{other}", "digits"], 1, "Received: {other} for (28, 28, 1)"),
    (["evaluate", "{student}", "empty"], 1, "at least 2, with its images in it. Received: empty"),
    (["export", "{student}", "{broken}/out.tflite"], 1, "Received: {broken}, a file, for"),
    (["export", "{student}", "out.onnx"], 1, "Expected a .tflite file"),
    (["export", "{student}", "out.tflite", "--quantize", "int9"], 1, "Did you mean 'int8'?"),
    (["export", "{student}", "out.tflite", "--quantize", "int8"], 1, "Expected --data NAME"),
    (["export", "{student}", "out.tflite", "--output-type", "class"], 1, "mean 'classes'?"),
    (["export", "{student}", "out.tflite", "--io", "uint"], 1, "Did you mean 'uint8'?"),
    (["compress", "{student}", "out.tflite", "digits"], 1, "at least one of --prune"),
    (["compress", "{student}", "out.tf", "digits", "--prune", "0.5"], 1, "a .tflite file"),
    (["compress", "nowhere.keras", "o.tflite", "digits", "--cluster", "4"], 1, "nowhere.keras"),
    (["compress", "{student}", "o.tflite", "digits", "--prune", "half"], 1, "such as 0.8"),
    (["compress", "{student}", "o.tflite", "digits", "--prune", "1.5"], 1, "prune=1.5"),
    (["compress", "{student}", "o.tflite", "digits", "--quantize", "qta"], 1, "mean 'qat'"),
    (["compress", "{student}", "o.kdz", "digits", "--filters", "2"], 1, "filters=2"),
    (["compress", "{student}", "o.kdz", "digits", "--low-rank", "0"], 1, "low_rank=0"),
    (["compress", "{student}", "o.kdz", "digits", "--low-rank", "conv=0.5"], 1, "as conv=8,fc1=20"),
    (["compress", "{student}", "o.kdz", "digits", "--binary", "ternary"], 1, "Unknown binary"),
    (
        ["compress", "{student}", "o.kdz", "digits", "--binary", "xnor", "--cluster", "4"],
        1,
        "binary='xnor' with cluster=4",
    ),
    (
        ["compress", "{student}", "o.kdz", "digits", "--filters=0.5", "--order=low-rank"],
        1,
        "each once: filters. Received: order",
    ),
    (["compress", "{student}", "{student}", "digits", "--filters=0.5"], 1, "which exists"),
    (
        ["compress", "{student}", "o.kdz", "digits", "--prune=0.5", "--scheme=deep-compresion"],
        1,
        "Did you mean 'deep-compression'?",
    ),
    (
        ["compress", "{student}", "o.kdz", "digits", "--prune=0.5", "--scheme=deep-compression"],
        1,
        "Expected cluster as a power of 2, from 2 to 256",
    ),
    (
        ["compress", "{student}", "o.kdz", "digits", "--prune=0.5", "--rounds=2"],
        1,
        "rounds=2 alone",
    ),
    (
        [
            *("compress", "{student}", "o.kdz", "digits", "--prune=0.5"),
            *("--scheme=deep-compression", "--cluster=logts=8"),
        ],
        1,
        "Did you mean 'logits'?",
    ),
    (
        ["compress", "{student}", "o.kdz", "digits", "--filters=0.5", "--filters-importance=l3"],
        1,
        "Unknown filters_importance",
    ),
    (
        ["compress", "{student}", "o.tflite", "digits", "--prune", "0.5", "--cluster", "2"],
        1,
        "as zero is one of them",
    ),
    (
        ["compress", "{student}", "o.tflite", "digits", "--quantize", "int8", "--sparse"],
        1,
        "sparse=True",
    ),
    (
        ["compress", "{student}", "o.tflite", "digits", "--quantize", "int8", "--teacher", "t"],
        1,
        "nothing else is trained",
    ),
    (["compress", "{other}", "o.tflite", "digits", "--cluster", "8"], 1, "for (28, 28, 1)"),
    (["benchmark", "nowhere.tflite"], 1, "nowhere.tflite"),
    (["benchmark", "{student}"], 1, "student.keras; `kdzoo export` makes such a file"),
    (["benchmark", "{broken}", "--threads", "0"], 2, "'--threads'"),
    (["data", "export", "digits", "{tmp}"], 1, "Expected a new or an empty directory"),
    (["data", "export", "digits", "{broken}/digits"], 1, "Received: {broken}, a file, for"),
    (["demo", "--directory", "{broken}"], 1, "Received: {broken}, a file"),
]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "status", "words"), ERRORS, ids=lambda value: str(value)[:60]
    )
    def test_is_one_sentence_and_a_status(
        self, arguments, status, words, student, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.chdir(tmp_path)
        names = {"student": str(student), "tmp": str(tmp_path)}
        names |= {"broken": str(tmp_path / "broken.keras"), "other": str(tmp_path / "other.keras")}
        pathlib.Path(names["broken"]).write_bytes(b"PK nothing")
        (tmp_path / "empty").mkdir()
        if "{other}" in arguments:
            kdzoo.create("mlp_2x64", 10, (28, 28, 1)).save(names["other"])
        before = sorted(tmp_path.rglob("*"))
        assert main([argument.format(**names) for argument in arguments]) == status
        captured = capsys.readouterr()
        assert words.format(**names) in captured.err
        *steps, sentence = captured.err.splitlines()
        assert all(re.match(r"\d/\d (load|read) ", step) for step in steps)
        assert sentence.startswith("kdzoo: ")
        assert captured.out == ""
        assert sorted(tmp_path.rglob("*")) == before

    def test_traceback_on_demand(self, monkeypatch):
        monkeypatch.setenv("KDZOO_TRACEBACK", "1")
        with pytest.raises(ValueError, match="Unknown recipe"):
            main(["train", "digit"])

    def test_a_defect_of_ours_keeps_its_traceback(self, monkeypatch):
        monkeypatch.setitem(list_names._TABLES, "models", (lambda: 1 / 0, set()))
        with pytest.raises(ZeroDivisionError):
            main(["list"])

    def test_interrupted(self, monkeypatch, capsys):
        def interrupt():
            raise KeyboardInterrupt

        monkeypatch.setitem(list_names._TABLES, "models", (interrupt, set()))
        assert main(["list"]) == 130
        assert capsys.readouterr().err.startswith("kdzoo: Interrupted")

    def test_interrupted_where_python_drops_it(self, monkeypatch, capsys, request):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Others may ignore it.
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

        class Collected:
            def __del__(self):
                raise KeyboardInterrupt

        def collect():
            Collected()
            for _ in range(500):  # Ends at the interrupt.
                time.sleep(0.01)
            raise AssertionError("The interrupt was lost")

        monkeypatch.setitem(list_names._TABLES, "models", (collect, set()))
        assert main(["list"]) == 130
        assert capsys.readouterr().err.startswith("kdzoo: Interrupted")


class TestFiles:
    def test_evaluate(self, student, tmp_path, capsys):
        assert main(["data", "export", "digits", str(tmp_path / "digits")]) == 0
        assert "tes" in capsys.readouterr().out
        data = str(tmp_path / "digits")
        assert main(["evaluate", str(student), data, "--teacher", str(student)]) == 0
        shown = dict(re.findall(r"^ +(\S.*?)  +(\S.*?) *$", capsys.readouterr().out, re.M))
        model = keras.saving.load_model(student)
        accuracy = kdzoo.evaluation.accuracy(model, *kdzoo.data.load("digits").test.arrays())
        assert shown["accuracy"] == f"{100 * accuracy:.2f} %"
        assert shown["agreement with the teacher"] == "100.00 %"
        assert shown["parameters"] == "8,970"
        assert shown["MACs"] == f"{64 * 64 + 64 * 64 + 64 * 10:,}"
        assert shown["bytes"] == f"{student.stat().st_size:,}"

    @pytest.mark.large_on_jax
    @pytest.mark.parametrize("cost", ["exit", "width"])
    def test_each_exit_and_each_width_is_evaluated(self, cost, tmp_path, capsys):
        model = kdzoo.create("mlp_2x64", 10, (8, 8, 1))
        if cost == "exit":
            made = kdzoo.dynamic.add_exits(model, at=["stage1"])
            parts = {f"exit {n}": kdzoo.dynamic.exit_model(made, n) for n in (1, 2)}
        else:
            made = kdzoo.dynamic.Slimmable(model, widths=(0.5, 1.0))
            parts = {f"width {w:g}": kdzoo.dynamic.extract(made, w) for w in (0.5, 1.0)}
        made.save(tmp_path / "several.keras")
        assert main(["evaluate", str(tmp_path / "several.keras"), "digits"]) == 0
        shown = dict(re.findall(r"^ +(\S.*?)  +(\S.*?) *$", capsys.readouterr().out, re.M))
        images, labels = kdzoo.data.load("digits").test.arrays()
        for name, part in parts.items():
            accuracy = np.mean(part.predict(images, verbose=0).argmax(1) == labels)
            macs = f"{kdzoo.evaluation.count_macs(part):,} MACs"
            if cost == "exit":
                costs = kdzoo.dynamic.exit_macs(made)
                macs = f"{costs[int(name[-1]) - 1]:,} MACs up to there"
            assert shown[name] == f"{100 * accuracy:.2f} %, {macs}"
        assert shown["accuracy"] == shown[name].partition(",")[0]
        all_of_it = made if cost == "exit" else part
        assert shown["parameters"] == f"{all_of_it.count_params():,}"

    @pytest.mark.tensorflow
    @pytest.mark.parametrize(
        ("cost", "remedy"),
        [("exit", "exit_model(model, exit=-1)"), ("width", "extract(model, width=0.5)")],
    )
    def test_of_several_exits_or_widths_one_is_compressed(self, cost, remedy, tmp_path, capsys):
        model = kdzoo.create("mlp_2x64", 10, (8, 8, 1))
        made = kdzoo.dynamic.add_exits(model, at=["stage1"])
        made = made if cost == "exit" else kdzoo.dynamic.Slimmable(model, widths=(0.5, 1.0))
        made.save(tmp_path / "several.keras")
        paths = [str(tmp_path / name) for name in ("several.keras", "small.tflite")]
        assert main(["compress", *paths, "digits", "--prune", "0.5"]) == 1
        assert remedy in " ".join(capsys.readouterr().err.split())

    @pytest.mark.tensorflow
    def test_of_a_distiller_the_student_is_taken(self, student, tmp_path, capsys):
        model = keras.saving.load_model(student)
        teacher = kdzoo.create("mlp_2x64", 10, (8, 8, 1))
        distiller = kdzoo.Distiller(teacher, model, kdzoo.losses.SoftTargets(4.0))
        path, output = str(tmp_path / "distiller.keras"), str(tmp_path / "student.tflite")
        distiller.save(path)
        assert main(["evaluate", path, "digits", "--teacher", str(student)]) == 0
        out = capsys.readouterr().out
        assert re.search(r"agreement with the teacher +100.00 %", out)
        assert re.search(r"parameters +8,970", out)
        assert main(["export", path, output, "--data", "digits", "--output-type", "numbers"]) == 0
        assert "gives 100.0 % of the variance of Keras's numbers, and" in capsys.readouterr().out
        assert kdzoo.export.LiteRTModel(output).inputs[0].shape == (1, 8, 8, 1)

    @pytest.mark.large
    @pytest.mark.tensorflow
    def test_benchmark_starts_quietly(self, tmp_path):
        path = tmp_path / "model.tflite"
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        kdzoo.export.to_litert(model, path)
        ended = run("benchmark", path, "--runs", "2")
        assert ended.returncode == 0
        assert re.fullmatch(r"1/1 time 2 runs of .*model\.tflite: \d+\.\d s\n", ended.stderr)

    @pytest.mark.tensorflow
    def test_export_evaluate_and_benchmark(self, student, tmp_path, capsys):
        output = tmp_path / "student.tflite"
        options = ["--quantize", "int8", "--data", "digits", "--io", "uint8"]
        assert main(["export", str(student), str(output), *options]) == 0
        size = f"{output.stat().st_size:,} bytes"
        out = capsys.readouterr().out
        assert f"int8, uint8 inputs and outputs, {size}; on 128 samples" in out
        assert "(representative data) it gives Keras's class" in out
        file = kdzoo.export.LiteRTModel(output)
        assert (file.inputs[0].dtype, file.labels) == ("uint8", list("0123456789"))
        assert main(["evaluate", str(output), "digits", "--teacher", str(student)]) == 0
        assert "agreement with the teacher" in capsys.readouterr().out
        assert main(["benchmark", str(output), "--threads", "2", "--runs", "20"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"ms \(quartiles .*, 20 runs, batch 1, 2 threads", out)
        assert size in out


@pytest.mark.tensorflow
class TestOneNetworkOfSeveralCosts:
    @pytest.fixture
    def network(self):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(16, "relu", name="one")]
        layers += [
            keras.layers.Dense(16, "relu", name="two"),
            keras.layers.Dense(10, name="logits"),
        ]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    def test_exits_are_written_for_a_budget_and_timed(self, network, tmp_path, capsys):
        exits = kdzoo.dynamic.add_exits(network, ["one"])
        exits.save(tmp_path / "exits.keras")
        files = str(tmp_path / "exits.keras"), str(tmp_path / "exits.tflite")
        for refused, words in (
            ("10%", "at least 1,184, 74.0 % of the last exit's cost"),
            ("1000", "at least 1,184"),
        ):
            assert main(["export", *files, "--data", "digits", "--budget", refused]) == 1
            assert words in capsys.readouterr().err
        # By hand: 64 * 16 + 16 * 10 to the first exit, 16 * 16 + 16 * 10 behind it.
        assert main(["export", *files, "--data", "digits", "--budget", "90%"]) == 0
        said = re.search(r"at ([\d,]+) multiply-accumulates in the mean", capsys.readouterr().out)
        mean = int(said[1].replace(",", ""))
        assert 0.95 * 0.9 * 1600 < mean <= 0.9 * 1600
        images, _ = kdzoo.data.load("digits").validation.arrays()
        runner = kdzoo.export.DynamicRunner(files[1])
        assert runner.labels == list("0123456789")
        costs = np.array([1184, 1600])[runner.predict(images).exits - 1]
        assert costs.mean() == pytest.approx(mean, abs=1)
        assert main(["benchmark", files[1], "--runs", "3"]) == 0
        out = capsys.readouterr().out
        rows = [re.findall(rf"exit{number} +(\S+) +\S+ to \S+ +(\S+)", out)[0] for number in (1, 2)]
        (first, also_first), (second, both) = [map(float, row) for row in rows]
        assert first == also_first
        assert both == pytest.approx(first + second, rel=0.02)
        assert "3 runs, batch 1, 1 thread" in out
        assert main(["evaluate", files[1], "digits"]) == 1
        assert "of several exits; `kdzoo benchmark` times each" in capsys.readouterr().err

    def test_widths_are_written_and_timed(self, network, tmp_path, capsys):
        kdzoo.dynamic.Slimmable(network, (0.5, 1.0)).save(tmp_path / "slim.keras")
        files = str(tmp_path / "slim.keras"), str(tmp_path / "slim.tflite")
        assert main(["export", *files, "--data", "digits"]) == 0
        assert "'width_050', Keras's class on 100.0 % in 'width_100'" in capsys.readouterr().out
        assert main(["benchmark", files[1], "--runs", "3"]) == 0
        assert re.search(r"width_050 .*\n.*width_100 ", capsys.readouterr().out)
        for option, words in (("--scale=0..255", "no --scale"), ("--budget=50%", "of several wi")):
            assert main(["export", *files, "--data", "digits", option]) == 1
            assert words in capsys.readouterr().err


# Each really kills the process, with nothing between the step and the signal.
KILLED = """
import os, pathlib, shutil, signal, sys
def kill(*ignored, **ignored_too):
    os.kill(os.getpid(), signal.SIGKILL)
import kdzoo.callbacks
at = kdzoo.callbacks.EpochCheckpoint
end = at.on_epoch_end
"""
MID_EPOCH = """
def on_train_batch_end(self, batch, logs=None):
    if {stage!r} in str(self.directory) and self.epoch == 2 and batch == 5:
        kill()
def on_epoch_begin(self, epoch, logs=None):
    self.epoch = epoch
at.on_train_batch_end, at.on_epoch_begin = on_train_batch_end, on_epoch_begin
"""
IN_CHECKPOINT = """
def on_epoch_end(self, epoch, logs=None):
    if {stage!r} in str(self.directory) and epoch == {epoch}:
        {what}
    end(self, epoch, logs)
at.on_epoch_end = on_epoch_end
"""
IN_SECOND, IN_THIRD = (IN_CHECKPOINT.replace("{epoch}", epoch) for epoch in "12")
BEFORE_RENAME = IN_SECOND.replace("{what}", "os.replace = kill")
BEFORE_REMOVAL = IN_SECOND.replace("{what}", "shutil.rmtree = kill")
# Of the epoch before the last two, which is moved aside first.
IN_REMOVAL = IN_THIRD.replace(
    "{what}",
    "shutil.rmtree = lambda path, **options: (path / 'old').exists() and "
    "(next((path / 'old').iterdir()).unlink(), kill())",
)
BEFORE_RESULT = """
import kdzoo.experiments.engine
write = kdzoo.experiments.engine.write_json
kdzoo.experiments.engine.write_json = lambda path, content: (
    kill() if {stage!r} in str(path) else write(path, content)
)
"""


def killed(directory, where, stage):
    """Runs a training that is killed at a given moment of a given stage."""
    ended = run("train", "digits", *SMALL, "--directory", directory, before=KILLED + where)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (directory / "results.json").exists()


def assert_same_result(directory, other):
    """Compares every weight of every model bit for bit, and all that was measured."""
    first, second = (json.loads((run / "results.json").read_text()) for run in (directory, other))
    for results in (first, second):
        for row in results["rows"]:
            row.pop("seconds")
    assert first == second
    for row in first["rows"]:
        path = pathlib.Path(f"{row['kind']}-{row['seed']}") / "model.keras"
        one, two = (keras.saving.load_model(run / path) for run in (directory, other))
        for left, right in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns the directory of a training that nothing disturbed."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    ended = run("train", "digits", *SMALL, "--directory", directory)
    assert ended.returncode == 0, ended.stderr
    # TensorFlow's start-up lines are held back: there are stages, and epochs if it takes long.
    lines = ended.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d/3 (teacher|alone|distilled), ", line)] == []
    assert "The distilled student had " in ended.stdout
    return directory


@pytest.mark.tensorflow  # The trainings themselves are tested on both backends.
class TestTrain:
    def test_smoke_says_that_it_runs_and_draws_the_errors(self, tmp_path, capsys):
        assert main(["train", "digits", "--smoke", "--directory", str(tmp_path / "run")]) == 0
        out = capsys.readouterr().out
        assert "A smoke run" in out
        assert "The distilled student" not in out
        assert (tmp_path / "run" / "errors.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.large
    def test_smoke_is_of_the_teacher_that_was_asked_for(self, tmp_path, capsys):
        command = ["train", "fashion_mnist", "--teacher", "mlp_2x800/mnist", "--smoke"]
        assert main([*command, "--directory", str(tmp_path / "run")]) == 0
        assert "teacher: mlp_2x800" in capsys.readouterr().out

    @pytest.mark.large
    def test_goes_on_after_sigkill_and_ends_with_the_same_result(self, undisturbed, tmp_path):
        killed(tmp_path / "run", MID_EPOCH.format(stage="distilled"), "distilled")
        directory = tmp_path / "run" / "distilled-0"
        kept = ["epoch-0001", "epoch-0002", "seconds.json"]
        assert sorted(path.name for path in directory.iterdir()) == kept
        ended = run("train", "digits", *SMALL, "--directory", tmp_path / "run")
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.startswith("1/3 teacher, seed 0: finished before\n")
        assert_same_result(undisturbed, tmp_path / "run")

    @pytest.mark.large
    @pytest.mark.parametrize(
        "moments",
        [
            [(MID_EPOCH, "alone"), (BEFORE_RENAME, "distilled")],
            [(BEFORE_REMOVAL, "alone"), (IN_REMOVAL, "distilled")],
            [(BEFORE_REMOVAL, "teacher"), (BEFORE_RENAME, "alone"), (BEFORE_RESULT, "distilled")],
        ],
        ids=["mid-epoch", "removal", "all"],
    )
    def test_goes_on_after_any_kill(self, moments, undisturbed, tmp_path):
        for where, stage in moments:
            killed(tmp_path / "run", where.replace("{stage!r}", repr(stage)), stage)
        ended = run("train", "digits", *SMALL, "--directory", tmp_path / "run")
        assert ended.returncode == 0, ended.stderr
        assert_same_result(undisturbed, tmp_path / "run")

    def test_refuses_the_directory_of_another_run(self, undisturbed, capsys):
        again = ["train", "digits", *SMALL, "--directory", str(undisturbed)]
        assert main([*again, "--temperature", "9"]) == 1
        assert "delete that folder" in capsys.readouterr().err

    def test_finished_runs_are_not_trained_again(self, undisturbed, capsys):
        assert main(["train", "digits", *SMALL, "--directory", str(undisturbed)]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("finished before") == 3
        assert "teacher: mlp_2x64" in captured.out

    @pytest.mark.large
    def test_a_teacher_predicts_once_for_each_view(self, tmp_path, capsys):
        x, y = np.zeros((60, 28, 28, 1), np.uint8), np.arange(60) % 10
        kdzoo.data.export(kdzoo.data.from_arrays(x, y, test=(x, y), name="mnist"), tmp_path / "x")
        options = ["--views=2", "--epochs=1", "--seeds=0", "--directory", str(tmp_path / "run")]
        assert main(["train", str(tmp_path / "x"), *BY_FITNET, *options]) == 0
        assert "teacher: fitnet_mnist/mnist" in capsys.readouterr().out
        recorded = json.loads((tmp_path / "run" / "recorded_teacher" / "index.json").read_text())
        assert recorded["views"] == 2

    def test_makes_a_comparison_for_a_data_set_without_a_recipe(self, tmp_path, monkeypatch):
        from kdzoo.experiments import Distill, Experiment, Train, Training

        ran = []

        def run(experiment, directory, data_dir, *ignored, **ignored_too):
            ran.append((experiment, directory, data_dir))
            raise ValueError("enough")

        monkeypatch.setattr(Experiment, "run", run)
        main(["train", "cifar10", *SMALL, "--seeds=3,4", "--data-dir", str(tmp_path)])
        student = ("mlp_2x64", Training(3, batch_size=64))
        teacher = Training(2, learning_rate=2e-3, batch_size=64)
        stages = (
            Train("teacher", "mlp_2x64", teacher, seeds=(0,)),
            Train("alone", *student),
            Distill("distilled", *student),
        )
        experiment = Experiment("cifar10", "cifar10", stages, seeds=(3, 4))
        assert ran == [(experiment, pathlib.Path("runs/cifar10"), tmp_path)]


ALL = ("teacher", "alone", "distilled")


class TestOptions:
    """What is given on the command line in the place of what a recipe says."""

    @pytest.mark.parametrize(
        ("recipe", "given", "changes"),
        [
            ("digits", {"teacher_epochs": 7}, {"teacher": {"epochs": 7}}),
            ("digits", {"teacher_learning_rate": 0.5}, {"teacher": {"learning_rate": 0.5}}),
            ("digits", {"teacher_optimizer": "sgd"}, {"teacher": {"optimizer": "sgd"}}),
            ("digits", {"epochs": 7}, {"alone": {"epochs": 7}, "distilled": {"epochs": 7}}),
            (
                "digits",
                {"weight_decay": 0.5},
                {name: {"weight_decay": 0.5} for name in ALL},
            ),
            (
                "digits",
                {"batch_size": 5},
                {name: {"batch_size": 5} for name in ALL},
            ),
            (
                "digits",
                {"augment_student": True, "views": 3},
                {
                    "alone": {"augmentation": "default"},
                    "distilled": {"augmentation": "default", "views": 3},
                },
            ),
            (
                "fashion_mnist",
                {"student": "lenet_5"},
                {name: {"architecture": "lenet_5", "arguments": {}} for name in ALL[1:]},
            ),
            (
                "digits",
                {"teacher": "mlp_2x64"},
                {"teacher": {"architecture": "mlp_2x64", "arguments": {}}},
            ),
            ("digits", {"student_loss_weight": 0.5}, {"distilled": {"student_loss_weight": 0.5}}),
            (
                "digits",
                {"temperature": 9.0},
                {"distilled": {"losses": (("SoftTargets", {"temperature": 9.0}, 1.0),)}},
            ),
            ("fitnet_mnist", {"views": 3}, {"distilled": {"views": 3}}),
        ],
    )
    def test_changes_its_settings_and_no_others(self, recipe, given, changes):
        from kdzoo.cli.train_options import changed
        from kdzoo.recipes import RECIPES

        before, after = RECIPES[recipe], changed(RECIPES[recipe], given)
        for stage, found in zip(before.stages, after.stages, strict=True):
            own, training = {}, {}
            for name, value in changes.get(stage.name, {}).items():
                part = (
                    own
                    if any(name == field.name for field in dataclasses.fields(stage))
                    else training
                )
                part[name] = value
            own["training"] = dataclasses.replace(stage.training, **training)
            assert found == dataclasses.replace(stage, **own)
        assert dataclasses.replace(after, stages=(), smoke_settings={}) == dataclasses.replace(
            before, stages=(), smoke_settings={}
        )

    def test_a_pretrained_teacher_takes_the_place_of_one_that_is_trained(self):
        from kdzoo.cli.train_options import changed
        from kdzoo.experiments import Pretrained
        from kdzoo.recipes import RECIPES

        after = changed(RECIPES["losses_compared"], {"teacher": "wide_resnet_16_1/mnist"})
        teacher = Pretrained("teacher", "wide_resnet_16_1/mnist", seeds=(0,))
        assert after.stages == (teacher, *RECIPES["losses_compared"].stages[1:])
        assert after.smoke_settings == {}

    def test_seeds_are_those_of_all_stages_without_their_own(self):
        from kdzoo.cli.train_options import changed
        from kdzoo.recipes import RECIPES

        for name in ("digits", "qat_separable_cifar10"):
            after = changed(RECIPES[name], {"seeds": (5, 6)})
            assert after == dataclasses.replace(RECIPES[name], seeds=(5, 6))
        starts = {node for node in after.needed() if node.stage == "distilled"}
        assert {node.seed for node in starts} == {5, 6}


def test_tensorflow_starts_without_a_word_where_keras_imports_it_later(
    tmp_path, monkeypatch, capfd
):
    """On JAX that is when a model is saved or loaded."""
    said = r"I0000 00:00:1795.9 93 port.cc:153] oneDNN custom operations are on.\nan error\n"
    (tmp_path / "tensorflow.py").write_text(f"import os\nos.write(2, b'{said}')\n")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    del sys.modules["tensorflow"]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [terminal.QuietTensorFlow(), *sys.meta_path])
    assert importlib.util.find_spec("tensorflow")  # As JAX does, to know whether it is there.
    assert importlib.import_module("tensorflow").__file__ == str(tmp_path / "tensorflow.py")
    assert capfd.readouterr().err == "an error\n"
    assert not any(isinstance(finder, terminal.QuietTensorFlow) for finder in sys.meta_path)


@pytest.mark.large
def test_create_on_jax_prints_nothing_of_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    done = run("create", "lenet_5", tmp_path / "net.keras")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it has the converter")
def test_a_tflite_file_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kdzoo.create("mlp_2x64", 10, (8, 8, 1)).save("net.keras")
    assert main(["compress", "net.keras", "net.tflite", "digits", "--filters=0.5"]) == 1
    assert "Expected the TensorFlow backend" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/*"))
