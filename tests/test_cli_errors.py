"""Mistakes on the command line: named before Keras starts, by the argument that is wrong."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.cli import main, terminal
from kdzoo.cli.compress_directory import mark, work_directory
from kdzoo.experiments import Training, retraining
from kdzoo.utils import atomic_path, check_writable

ROOT = pathlib.Path(kdzoo.__file__).parents[1]


@pytest.fixture
def no_keras(monkeypatch, tmp_path):
    """Fails if Keras is to start; the working directory is empty but for a file of a model."""

    def start(*ignored, **ignored_too):
        raise AssertionError("Keras was started")

    monkeypatch.setattr(terminal, "start_keras", start)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"PK nothing")
    (tmp_path / "photos" / "a").mkdir(parents=True)


def said(capsys, *arguments):
    """The sentence that a command ends with."""
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    *steps, sentence = captured.err.splitlines()
    assert all(re.match(r"\d/\d (load|read) ", step) for step in steps)
    return sentence


COMPRESS = ("compress", "m.keras", "out.tflite", "digits")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # The argument that is wrong, not the first that is missing.
        (("compress", "m.keras", "out.h5", "digits"), "a .tflite file or a .keras or .kdz file"),
        (("compress", "m.keras", "o.kdz", "digits", "--quantize=int8"), "beside --quantize int8"),
        (("compress", "m.keras", "o.kdz", "digits", "--quantize=qat"), "beside --quantize qat"),
        (("compress", "m.keras", "o.keras", "digits", "--prune=0.5", "--sparse"), "beside --spars"),
        (("load", "mlp_2x800/mnist", "s.tflite"), "`kdzoo export mlp_2x800/mnist s.tflite` makes"),
        (("benchmark", "mlp_2x800/mnist"), "`kdzoo export mlp_2x800/mnist FILE.tflite` makes"),
        # What would be ignored.
        ((*COMPRESS, "--prune", "0.5", "--temperature", "2"), "--teacher beside --temperature"),
        (
            (*COMPRESS, "--prune", "0.5", "--student-loss-weight", "1"),
            "--teacher beside --student-loss-weight",
        ),
        *(
            ((*COMPRESS, *options, f"{option}={value}"), f"--filters beside {option}")
            for options in ((), ("--prune=0.5",))
            for option, value in (
                ("--filters-target", "macs"),
                ("--filters-importance", "l1"),
                ("--filters-scope", "local"),
            )
        ),
        (
            (*COMPRESS, "--filters=0.5", "--teacher=none", "--temperature=2"),
            "--teacher beside --temperature. Received: --teacher none",
        ),
        # Numbers by layer.
        *(
            ((*COMPRESS, "--scheme=deep-compression", option), words)
            for option, words in (
                ("--prune=a=0.5,b", "logits=0.9. Received: 'a=0.5,b'"),
                ("--prune=a=2:4", "logits=0.9. Received: 'a=2:4'"),
                ("--prune==0.5", "logits=0.9. Received: '=0.5'"),
                ("--prune=a=0.5,b=0.6,a=0.5", "each layer once in --prune. Received: 'a' twice"),
                ("--cluster=a=0.5", "logits=16. Received: 'a=0.5'"),
                ("--cluster=many", "logits=16. Received: 'many'"),
                ("--cluster=a=4,a=8", "each layer once in --cluster. Received: 'a' twice"),
            )
        ),
        ((*COMPRESS, "--quantize", "int8", "--epochs", "2"), "quantize qat beside --epochs"),
        ((*COMPRESS, "--quantize", "float16", "--batch-size", "2"), "qat beside --batch-size"),
        ((*COMPRESS, "--quantize", "dynamic", "--no-augment"), "qat beside --augment"),
        ((*COMPRESS, "--quantize", "int8", "--learning-rate", "1"), "qat beside --learning-rate"),
        (("export", "m.keras", "o.tflite", "--image-size", "9"), "--data beside --image-size"),
        (("export", "m.keras", "o.tflite", "--crop"), "--data beside --crop"),
        (("export", "m.keras", "o.tflite", "--budget=50%"), "--data NAME beside --budget"),
        *(
            (("export", "m.keras", "o.tflite", "--data=digits", f"--budget={budget}"), "as 50%")
            for budget in ("half", "-5", "0%", "50%%", "nan", "1e999", "", "٣")
        ),
        (("export", "m.keras", "o.tflite", "--data-dir", "x"), "--data beside --data-dir"),
        (("evaluate", "m.keras", "photos", "--data-dir", "x"), "of a data set beside --data-dir"),
        (("export", "m.keras", "o.tflite", "--data=photos", "--data-dir=x"), "beside --data-dir"),
        (
            ("compress", "m.keras", "o.tflite", "./photos", "--prune=0.5", "--data-dir=x"),
            "a data set",
        ),
        (("train", "photos", "--image-size=8", "--data-dir=x"), "beside --data-dir"),
        (
            ("data", "export", "photos", "new", "--image-size=8", "--data-dir=x"),
            "beside --data-dir",
        ),
        # What there is not.
        (("evaluate", "m.keras", "digits", "--teacher", "t.keras"), "t.keras, not a file"),
        (("evaluate", "m.keras", "./nowhere"), "'./nowhere', which is no directory"),
        (("export", "m.keras", "o.tflite", "--data", "./nowhere"), "'./nowhere', which is no"),
        (("export", "n.keras", "o.tflite"), "n.keras, not a file"),
        ((*COMPRESS, "--prune", "0.5", "--teacher", "t.keras"), "t.keras, not a file"),
        (("compress", "m.keras", "o.tflite", "~/no", "--prune=0.5"), "'~/no', which is no"),
        (("train", "digits", "--teacher", "t.keras", "--student", "mlp_2x64"), "t.keras, not a"),
        (("train", "photos", "--student", "mlp_2x46", "--image-size", "8"), "mean 'mlp_2x64'?"),
        (("train", "photos", "--teacher", "mlp_2x46", "--image-size", "8"), "mean 'mlp_2x64'?"),
        (("train", "digits", "--teacher", "mlp_2x80/mnist"), "mean 'mlp_2x800/mnist'?"),
        (("train", "photos", "--teacher-logits", "no.npz", "--image-size=8"), "no.npz, not a file"),
        # Sizes.
        (("train", "photos", "--teacher", "mlp_2x64"), "Expected --image-size for photos"),
        (("train", "photos", "--image-size", "8by8"), "HEIGHTxWIDTH"),
        (("evaluate", "m.keras", "photos", "--image-size", "0.5"), "HEIGHTxWIDTH"),
        (("evaluate", "m.keras", "digits", "--image-size", "8"), "a folder of images by class"),
        (("data", "export", "photos", "new"), "Expected --image-size for photos"),
        (("create", "mlp_2x64", "o.keras", "--classes", "1"), "Received: --classes=1"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_it_is_said_before_keras_starts(arguments, words, no_keras, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert words in said(capsys, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "mlp_2x64", "{}/o.keras"),
        ("load", "mlp_2x800/mnist", "{}/new/o.keras"),
        ("export", "m.keras", "{}/o.tflite"),
        ("compress", "m.keras", "{}/o.tflite", "digits", "--prune", "0.5"),
        ("compress", "m.keras", "o.tflite", "digits", "--prune", "0.5", "--directory", "{}/run"),
        ("train", "digits", "--directory", "{}/run"),
        ("train", "photos", "--image-size", "8", "--directory", "{}/run"),
        ("data", "export", "digits", "{}/digits"),
        ("demo", "--directory", "{}/demo"),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_place_that_cannot_be_written_is_named_first(
    arguments, no_keras, tmp_path, monkeypatch, capsys
):
    place, usual = tmp_path / "locked", os.access
    place.mkdir()
    monkeypatch.setattr(
        os, "access", lambda path, mode: pathlib.Path(path) != place and usual(path, mode)
    )
    error = said(capsys, *(argument.format(place) for argument in arguments))
    assert f"Received: {place}, which cannot; choose another place." in error
    assert not list(place.iterdir())


def test_a_file_is_named_that_cannot_be_written(tmp_path, monkeypatch):
    """Not the temporary one beside it."""
    check_writable(tmp_path / "new" / "file")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with (
        pytest.raises(PermissionError, match=re.escape(f"for {tmp_path / 'file'}.")),
        atomic_path(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize(
    ("backend", "words"), [("torch", "Received: KERAS_BACKEND=torch"), ("jaxx", "=jaxx")]
)
@pytest.mark.parametrize("arguments", [["list"], ["evaluate", "-m", "kdzoo"], []])
def test_a_backend_that_is_not_served_is_one_sentence(backend, words, arguments):
    if backend == "jaxx" and arguments:
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-m", "kdzoo", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("kdzoo: Expected KERAS_BACKEND to be tensorflow or jax")
    assert words in done.stderr


def test_a_size_that_a_network_cannot_take_is_named_as_the_option(tmp_path, capsys):
    error = said(capsys, "create", "resnet_20", str(tmp_path / "o.keras"), "--input-shape=4,4,1")
    assert "Expected --input-shape to be (height, width, channels)" in error
    assert "Received: --input-shape=4,4,1" in error


def test_a_model_for_other_images_comes_with_the_remedy(tmp_path, capsys):
    path = tmp_path / "m.keras"
    kdzoo.create("mlp_2x64", 10, (9, 8, 1)).save(path)
    error = said(capsys, "evaluate", str(path), "digits")
    assert "makes one for them by --input-shape 8,8,1 --classes 10" in error


def test_the_zoo_builds_a_network_for_such_images_in_another_way(tmp_path, capsys):
    path = str(tmp_path / "m.keras")
    assert main(["create", "separable_050", path, "--input-shape", "28,28,1"]) == 0
    note = capsys.readouterr().err
    assert "separable_050/fashion_mnist is built with halvings=1" in note
    assert "`kdzoo load separable_050/fashion_mnist FILE.keras --classes N`" in note
    assert main(["create", "separable_025", str(tmp_path / "other.keras")]) == 0
    assert capsys.readouterr().err == ""


class TestHelp:
    @pytest.mark.parametrize("command", [[], ["train"], ["data"], ["data", "export"]])
    def test_by_one_letter(self, command, capsys):
        assert main([*command, "-h"]) == 0
        short = capsys.readouterr().out
        assert main([*command, "--help"]) == 0
        assert capsys.readouterr().out == short
        assert short.startswith("Usage: kdzoo")

    def test_every_help_is_a_sentence(self):
        for command, options in commands():
            for name, option in options.items():
                if name == "help":
                    continue
                assert option.help, (command, name)
                assert option.help[0].isupper(), (command, name)
                assert option.help.endswith("."), (command, name)

    def test_defaults_are_those_of_the_settings(self):
        """What an option shows in whose place a configuration has the default."""
        shown = {name: option.show_default for name, option in dict(commands())["train"].items()}
        for training, prefix in ((Training(20), ""), (Training(20, 2e-3), "teacher_")):
            for field in ("epochs", "learning_rate", "optimizer"):
                default = f"the recipe's, else {getattr(training, field)}"
                assert shown[prefix + field] == default
        for field in ("batch_size", "weight_decay"):
            assert shown[field] == f"the recipe's, else {getattr(Training(20), field)}"
        shown = {name: option.show_default for name, option in dict(commands())["compress"].items()}
        settings = {**dataclasses.asdict(retraining()), **COMPRESSION}
        for field in ("epochs", "learning_rate", "batch_size", *COMPRESSION):
            assert float(shown[field]) == settings[field], field

    def test_completion_can_be_installed(self, capsys):
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert "--install-completion" in out
        assert "--show-completion" in out

    def test_defaults_stand_without_brackets(self, capsys):
        for command, options in commands():
            main([*command.split(), "-h"])
            out = " ".join(capsys.readouterr().out.split())
            assert "default: (" not in out, command
            for option in options.values():
                default = getattr(option, "show_default", None)
                if isinstance(default, str):
                    assert f"default: {default}" in out, (command, option.name)

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("kdzoo compress --filters-i", ["--filters-importance"]),
            ("kdzoo compress --filters-scope l", ["local"]),
            ("kdzoo create separable_0", ["separable_025", "separable_050", "separable_075"]),
            ("kdzoo card lenet_5", ["lenet_5/mnist"]),
        ],
    )
    def test_completion_needs_no_keras(self, words, expected):
        script = "import sys; sys.modules['keras.src'] = None; from kdzoo_command import main; "
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_KDZOO_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", f"{script}sys.exit(main())"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.split() == expected, done.stderr


COMPRESSION = {"temperature": 4.0, "student_loss_weight": 0.1}


def commands():
    """(command, name of an option -> the option), of each command."""
    import typer.main

    from kdzoo.cli import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for inner, found in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), {option.name: option for option in found.params}


class TestProgress:
    def lines(self, capsys, count, **settings):
        from kdzoo.cli.progress import TrainingProgress

        with TrainingProgress(**settings) as progress:
            progress.stage("1/2 teacher, seed 0")
            report = progress.callback()
            report.set_params({"epochs": count})
            for epoch in range(count):
                report.on_epoch_begin(epoch)
                report.on_epoch_end(epoch, {"accuracy": 0.5})
            progress.stage("2/2 alone, seed 0: finished before")
            progress.step("convert")
        return capsys.readouterr().err.splitlines()

    @pytest.mark.parametrize(
        ("epochs", "told"),
        [(3, [1, 2, 3]), (10, list(range(1, 11))), (20, list(range(2, 21, 2))), (1, [1])],
    )
    def test_lines_are_of_epochs_and_not_of_seconds(self, epochs, told, capsys):
        lines = [line for line in self.lines(capsys, epochs) if ": epoch " in line]
        expected = [f"1/2 teacher, seed 0: epoch {epoch}/{epochs}" for epoch in told]
        assert [line.partition(",  ")[0].rpartition(", training")[0] for line in lines] == expected

    def test_steps_that_follow_are_numbered_with_the_stages(self, capsys):
        lines = self.lines(capsys, 2, further=1, epochs=False)
        assert [re.sub(r"[\d.]+ s", "N s", line) for line in lines] == [
            "1/3 teacher, seed 0: N s, training accuracy 50.0%",
            "2/3 alone, seed 0: finished before",
            "3/3 convert: N s",
        ]

    def test_what_is_made_without_an_epoch_was_not_finished_before(self, capsys):
        """A teacher from a file, or one whose last epoch had been kept."""
        from kdzoo.cli.progress import TrainingProgress

        with TrainingProgress() as progress:
            progress.stage("1/1 teacher, pretrained")
        assert re.fullmatch(r"1/1 teacher, pretrained: [\d.]+ s\n", capsys.readouterr().err)
        with TrainingProgress(steps=1) as progress:
            progress.stage("prune net")
        assert capsys.readouterr().err == "1/1 prune net: finished before\n"

    def test_each_training_of_a_stage_has_lines_of_its_own(self, capsys):
        from kdzoo.cli.progress import TrainingProgress

        with TrainingProgress(steps=3) as progress:
            report = progress.callback()
            report.set_params({"epochs": 1})
            progress.stage("deep_compression net")
            for number, name in enumerate(("prune-1", "share"), 1):
                report.on_stage_begin(number, 2, name)
                if name == "share":  # The first was trained before a kill.
                    report.on_epoch_end(0, {"accuracy": 0.5})
            progress.stage("filters net")
            report.on_stage_begin(1, 1, "step-1")
            report.on_epoch_end(0, {})
            progress.step("write")
        lines = capsys.readouterr().err.splitlines()
        share = "1/3 deep_compression net, training 2 of 2 (share): "
        assert [re.sub(r"[\d.]+ s", "N s", line) for line in lines] == [
            "1/3 deep_compression net, training 1 of 2 (prune-1): finished before",
            f"{share}epoch 1/1, training accuracy 50.0%",
            f"{share}N s, training accuracy 50.0%",
            "1/3 deep_compression net: N s, training accuracy 50.0%",
            "2/3 filters net: epoch 1/1",
            "2/3 filters net: N s",
            "3/3 write: N s",
        ]

    def test_stages_without_numbers_are_numbered(self, capsys):
        from kdzoo.cli.progress import TrainingProgress

        with TrainingProgress(steps=2) as progress:
            progress.step("convert")
            progress.step("time")
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["1/2 convert", "2/2 time"]


def test_a_title_is_whole_in_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    made = terminal.table("a", ">b", title="averyveryverylong/path/to/student.keras on digits")
    made.add_row("x", "1")
    terminal.show(made)
    assert "averyveryverylong/path/to/student.keras" in capsys.readouterr().out


class TestCompressedElsewhere:
    """Where `kdzoo compress` keeps what it makes of several models of one name."""

    def directory(self, stem="net", given=None, quantize="int8", identity="0" * 64):
        from kdzoo.experiments import Compression

        prune = 0.5 if quantize == "pruned" else None
        compression = Compression(prune=prune, quantize=None if prune else quantize)
        return work_directory(given, stem, identity, compression)

    def test_another_model_has_a_directory_of_its_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        usual = pathlib.Path("runs/compress-net")
        assert self.directory() == usual
        usual.mkdir(parents=True)
        (usual / "compressed_from.txt").write_text("0" * 64)
        (usual / "model.keras").write_bytes(b"trained for days")
        assert self.directory() == usual  # It goes on there.
        assert self.directory(identity="1" * 64) == usual.with_name("compress-net-11111111")
        with pytest.raises(ValueError, match=r"without what was made of .*/compress-net, wh"):
            self.directory(given=usual, identity="1" * 64)
        (usual / "model.keras").unlink()  # What failed before anything was made is no obstacle.
        assert self.directory(identity="1" * 64) == usual

    def test_a_folder_is_the_same_however_it_is_spelled(self, tmp_path, monkeypatch):
        from kdzoo.cli.compress_directory import identity_of
        from kdzoo.experiments import Compression

        monkeypatch.chdir(tmp_path)
        for name in ("photos/a", "digits/a"):
            (tmp_path / name).mkdir(parents=True)

        def identity(data):
            return identity_of([], Compression(prune=0.5), data, None, False, 0)

        monkeypatch.setenv("HOME", str(tmp_path))
        names = (
            "photos",
            "./photos",
            "photos/",
            f"{tmp_path}/photos",
            "digits/../photos",
            "~/photos",
        )
        assert len({identity(name) for name in names}) == 1
        assert len({identity(name) for name in ("photos", "digits", "./digits", "photos/a")}) == 4
        assert identity("./digits") == identity(f"{tmp_path}/digits/")

    def test_those_of_earlier_versions_stay(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        usual = pathlib.Path("runs/compress-net")
        usual.mkdir(parents=True)
        (usual / "model.keras").write_bytes(b"trained for days")
        assert self.directory() == usual.with_name("compress-net-00000000")
        assert self.directory(quantize="pruned") == usual  # Its checkpoints tell what it is of.
        mark(usual, "1" * 64)  # Which will refuse it, perhaps.
        assert self.directory(quantize="pruned") == usual
        mark(usual, "1" * 64, is_done=True)
        assert self.directory(quantize="pruned") != usual
        assert self.directory(identity="1" * 64) == usual


@pytest.mark.tensorflow
def test_a_file_is_evaluated_with_what_it_takes_gives_and_costs(tmp_path, capsys):
    import keras

    model = kdzoo.create("separable_025", 10, (8, 8, 1))
    random = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:  # Constants that are alike are in the file once.
        layer.beta.assign(random.random(layer.beta.shape))
    model.get_layer("logits").bias.assign(random.random(10))
    images = random.random((64, 8, 8, 1), "float32")
    kdzoo.export.to_litert(model, tmp_path / "f.tflite", "int8", images, min_agreement=0)
    assert main(["evaluate", str(tmp_path / "f.tflite"), "digits"]) == 0
    shown = dict(re.findall(r"^ +(\S.*?)  +(\S.*?) *$", capsys.readouterr().out, re.M))
    # A converter makes of kernel and normalization a kernel and a bias.
    folded = model.count_params() - sum(3 * layer.gamma.shape[0] for layer in norms)
    assert shown["parameters in the file"] == f"{folded:,}"
    assert shown["MACs"] == f"{kdzoo.evaluation.count_macs(model):,}"
    assert shown["input"].startswith("float32, 1×8×8×1, 0 to ")
    assert shown["output"].startswith("float32, 1×10, ")


@pytest.mark.tensorflow
def test_a_file_is_held_against_the_data(tmp_path):
    from kdzoo.cli import fit_to_data

    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    path, names = tmp_path / "f.tflite", ["a", "b", "c"]
    kdzoo.export.to_litert(model, path, labels=names)
    file = kdzoo.export.LiteRTModel(path)

    def check(shape, class_names):
        images, labels = np.zeros((6, *shape), "float32"), np.arange(6) % 3
        data = kdzoo.data.from_arrays(images, labels, class_names=class_names, name="held")
        fit_to_data.check_fit(path, file, data)

    check((4, 4, 1), names)
    for shape, class_names, words in (
        ((4, 4, 3), names, r"images of 'held', \(4, 4, 3\).*f\.tflite for \(4, 4, 1\)"),
        ((4, 4, 1), [*names, "d"], r"classes of 'held', \(4,\).*f\.tflite for \(3,\)"),
        ((4, 4, 1), ["a", "c", "b"], r"f\.tflite, with the label 'b' where the data have 'c'"),
    ):
        with pytest.raises(ValueError, match=words):
            check(shape, class_names)
    file.labels = names[:2]
    with pytest.raises(ValueError, match="with the label None where the data have 'c'; rename"):
        check((4, 4, 1), names)


@pytest.mark.parametrize("said", ["", "Unable to allocate 3. TiB"])
def test_too_little_memory_is_a_sentence(said, monkeypatch, capsys):
    from kdzoo.cli import model_files

    def file_of(*args, **settings):
        raise MemoryError(said)

    monkeypatch.setattr(model_files, "file_of", file_of)
    assert main(["evaluate", "model.keras", "digits"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("kdzoo: Expected data and a model that memory has room for. Received: ")
    assert said in error
    assert "(--image-size)" in error


@pytest.mark.tensorflow
@pytest.mark.parametrize("form", ["int8", "sparse_80"])
def test_shipped_files_cost_what_the_manifest_says(form):
    from kdzoo.utils.litert.network_costs import network_costs
    from kdzoo.zoo.manifest import find

    name = f"separable_050/cifar10/{form}"
    costs, measured = network_costs(kdzoo.zoo.tflite(name).read_bytes()), find(name).measured
    assert costs.macs == measured["macs"]
    assert 0.95 * measured["parameters"] < costs.parameters < measured["parameters"]
    if form == "sparse_80":  # In int8, what is small is rounded to zero.
        assert costs.zeros == pytest.approx(measured["sparsity"], abs=0.001)


@pytest.mark.tensorflow
@pytest.mark.parametrize("command", ["evaluate", "compress"])
def test_a_model_for_raw_pixels_is_refused(command, tmp_path, capsys):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    path = tmp_path / "model.keras"
    keras.Model(inputs, keras.layers.Dense(10)(x)).save(path)
    more = [str(tmp_path / "small.tflite"), "digits", "--prune=0.5"]
    assert main([command, str(path), *({"compress": more}.get(command, ["digits"]))]) == 1
    assert (
        "whose first layers take pixels in [0, 255]; say so by --scale=0..255"
        in capsys.readouterr().err
    )


@pytest.mark.large
@pytest.mark.tensorflow
def test_a_model_that_ends_in_a_softmax_is_compressed(tmp_path, monkeypatch, capsys):
    """Like a teacher from a file: its softmax is taken away, and a line says so."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(layers)
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    model.save("model.keras")
    options = ["--prune=0.5", "--epochs=1", "--teacher=model.keras", "--no-augment"]
    assert main(["compress", "model.keras", "plain.tflite", "digits", "--quantize=float16"]) == 0
    note = "Note: the softmax at the end of model.keras is left out: the file gives logits."
    assert capsys.readouterr().err.splitlines()[0] == note
    images = kdzoo.data.load("digits").test.arrays()[0][:50]
    logits = kdzoo.export.LiteRTModel("plain.tflite").predict(images)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(shares, model.predict(images, verbose=0), atol=2e-2)
    assert main(["compress", "model.keras", "small.tflite", "digits", *options]) == 0
    assert capsys.readouterr().err.splitlines()[0] == note
    (directory,) = pathlib.Path("runs").glob("compress-model-*")  # Of the second way.
    pruned = keras.saving.load_model(directory / "model.keras")
    zeros = float(np.mean(pruned.weights[0].numpy() == 0))
    assert zeros == pytest.approx(0.5, abs=0.01)
