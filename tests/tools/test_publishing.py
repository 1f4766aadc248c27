"""From a finished recipe into a zoo: files, rows, cards, and what is left to train."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load

import kdzoo
import kdzoo.data
from kdzoo import recipes
from kdzoo.experiments import (
    Compress,
    Compression,
    DeepCompress,
    Dependency,
    Distill,
    Experiment,
    HintTraining,
    Train,
    TrainExits,
    Training,
    TrainWidths,
    retraining,
    soft_targets,
)
from kdzoo.experiments.finished_stages import Runs, fingerprint
from kdzoo.experiments.stage import Node
from kdzoo.utils import one_process
from kdzoo.zoo.manifest import read_manifest
from tools import cards
from tools import train_zoo as zoo
from tools.finished_recipe_run import Source
from tools.publish_into_zoo_weights import is_published, publish
from tools.restore_committed_runs import Committed
from tools.zoo_entries import Entry

pytestmark = pytest.mark.tensorflow

_STUDENT = ("mlp_2x64", Training(4, augmentation=None))
SMALL = Experiment(
    "small",
    "digits",
    (
        Train("teacher", "mlp_2x128", Training(4, learning_rate=2e-3), seeds=(0,)),
        Distill("small", *_STUDENT, losses=(("SoftTargets", {}, 1.0),)),
        Train("small alone", *_STUDENT),
    ),
    validation=0,
)
_START = Dependency("small")
_HALF = Compression(prune=0.5, training=retraining(2, augmentation=None))
COMPRESSED = Experiment(
    "compressed",
    "digits",
    (
        Compress("float32", _START),
        Compress("int8", _START, Compression(quantize="qat", training=retraining(1))),
        Compress("half", _START, _HALF, teacher=Dependency("teacher", 0)),
    ),
    seeds=(0, 1),
    base=SMALL,
    validation=0,
)
CODED = Experiment(
    "coded",
    "digits",
    (
        Train("dense", "mlp_2x64", Training(2, augmentation=None)),
        DeepCompress(
            "small",
            Dependency("dense"),
            Training(1, augmentation=None),
            sparsity={"stage1": 0.9},
            bits={"stage1": 4},
            rounds=1,
            teacher=Dependency("dense"),
        ),
    ),
    seeds=(0,),
    validation=0,
)
_TWO_EXITS = {"exits": 2, "first_layers": 1, "more_layers": 1, "channels": 4, "growth": 2}
EXITS = Experiment(
    "exits",
    "digits",
    (
        TrainExits(
            "exits",
            "msdnet_small",
            Training(20, augmentation=None),
            {**_TWO_EXITS, "scales": 2, "head_channels": 4},
        ),
    ),
    seeds=(0,),
    validation=0,
)
SEVERAL = Entry("msdnet_small/digits", "exits", "exits")
WIDTHS = dataclasses.replace(
    EXITS,
    name="widths",
    stages=(
        TrainWidths(
            "switchable", "separable_025", Training(2, augmentation=None), widths=(0.5, 1.0)
        ),
    ),
)
SLIMMABLE = Entry("slimmable/digits", "widths", "switchable")
STUDENT = Entry("mlp_2x64/digits", "small", "small", "small alone")
TEACHER = Entry("mlp_2x128/digits", "small", "teacher")
INT8 = Entry("mlp_2x64/digits/int8", "compressed", "int8", "small alone", "float32")
KDZ = Entry("mlp_2x64/digits/kdz", "coded", "small", "dense")
SPARSE = Entry("mlp_2x64/digits/sparse_50", "compressed", "half", start="float32")


def changed(recipe, *names, seeds=None, **training):
    """The recipe with other settings of the training of some stages, or with other seeds."""
    stages = []
    for stage in recipe.stages:
        if stage.name in names:
            own = dataclasses.replace(stage.training, **training)
            stage = dataclasses.replace(stage, training=own, seeds=seeds or stage.seeds)
        stages.append(stage)
    return dataclasses.replace(recipe, stages=tuple(stages))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directory of the recipe's finished run."""
    home = tmp_path_factory.mktemp("runs")
    keras.utils.set_random_seed(0)
    SMALL.run(home / "small", verbose=0)
    return home


@pytest.fixture(autouse=True)
def named(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "small", SMALL)
    monkeypatch.setitem(recipes.RECIPES, "compressed", COMPRESSED)


@pytest.fixture(scope="module")
def data():
    return kdzoo.data.load("digits", validation=0)


def test_the_median_model_is_shipped_as_it_was_measured(runs, data, tmp_path):
    zoo_directory = tmp_path / "zoo"
    results = json.loads((runs / "small" / "results.json").read_text())
    for entry in (TEACHER, STUDENT):
        row = publish(entry, runs / "small", zoo_directory)
        assert read_manifest(zoo_directory)[entry.name] == row
        model = kdzoo.load(entry.name, directory=zoo_directory)
        accuracy = kdzoo.evaluation.accuracy(model, *data.test.arrays())
        assert row.measured["accuracy"]["shipped"] == accuracy
        summary = results["summary"][entry.stage]
        assert row.measured["accuracy"]["shipped_seed"] == summary["median_seed"]
        assert row.measured["accuracy"]["mean"] == summary["mean"]
        # What was shipped is the run's own model, or it in half precision.
        seed = summary["median_seed"]
        trained = keras.saving.load_model(runs / "small" / f"{entry.stage}-{seed}" / "model.keras")
        for ours, theirs in zip(model.get_weights(), trained.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    row = read_manifest(zoo_directory)[STUDENT.name]
    assert row.architecture == "mlp_2x64"
    assert row.measured["parameters"] == model.count_params()
    assert set(row.measured["alone"]["by_seed"]) == {"0", "1", "2"}
    x = data.test.arrays()[0]
    teacher = kdzoo.load(TEACHER.name, directory=zoo_directory)
    assert row.measured["agreement"] == np.mean(
        teacher.predict(x, verbose=0).argmax(1) == model.predict(x, verbose=0).argmax(1)
    )
    assert row.measured["bytes"][".tflite int8"] < row.measured["bytes"][".tflite float32"]
    assert row.training == {
        "recipe": "small",
        "kind": "small",
        "command": "kdzoo train small",
        "teacher": "mlp_2x128",
        "epochs": 4,
        "alone_epochs": 4,
        "seeds": [0, 1, 2],
        "seconds": [row["seconds"] for row in results["rows"] if row["kind"] == "small"],
        "examples": 1000,
        "held_out": 0,
        "data_version": data.version,
        "versions": results["versions"],
        "teacher_weights": read_manifest(zoo_directory)[TEACHER.name].files["weights"].file,
    }
    training = read_manifest(zoo_directory)[TEACHER.name].training
    assert (training["teacher"], training["alone_epochs"], training["seeds"]) == (None, None, [0])
    # Published anew, the same files keep their row, times included.
    assert publish(STUDENT, runs / "small", zoo_directory) == row
    # A file that has changed takes the old one's place.
    old = zoo_directory / row.files["weights"].file
    weights = trained.get_weights()
    trained.set_weights([weight + 0.01 for weight in weights])
    later = tmp_path / "later"
    shutil.copytree(runs / "small", later)
    put(trained, later / f"small-{row.measured['accuracy']['shipped_seed']}")
    again = publish(STUDENT, later, zoo_directory)
    assert again.files["weights"].file != old.name
    assert not old.exists()


def put(model, home):
    """Has a run as if it had trained this model in one of its directories."""
    row = json.loads((home / "result.json").read_text())
    model.save(home / "model.keras")
    for path in home.parent.glob("*/result.json"):
        before, after = (f'weights": "{text}"' for text in (row["weights"], fingerprint(model)))
        path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize("changes", [False, True])
def test_weights_are_halved_where_no_image_is_lost(changes, runs, tmp_path, monkeypatch):
    # Of the trained model, of it in float16 and, if that is another, of it in float32.
    found = iter([0.95, 0.94 if changes else 0.95, 0.95])
    monkeypatch.setattr(kdzoo.evaluation, "accuracy", lambda model, *test: next(found))
    row = publish(TEACHER, runs / "small", tmp_path)
    content = (tmp_path / row.files["weights"].file).read_bytes()
    kinds = {tensor.dtype.name for tensor in load(content).values() if tensor.ndim > 1}
    assert kinds == {"float32" if changes else "float16"}
    assert row.measured["accuracy"]["shipped"] == 0.95
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_nothing_stays_of_what_fails(runs, tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError("no file")

    monkeypatch.setattr("tools.publish_into_zoo_weights.to_litert", fail)
    with pytest.raises(RuntimeError, match="no file"):
        publish(TEACHER, runs / "small", tmp_path)
    assert not list(tmp_path.iterdir())


def test_epochs_of_hints_and_of_what_a_model_started_from_count():
    hints = HintTraining("hints", *_STUDENT, hints=("stage1", "stage1", 2), losses=soft_targets())
    recipe = dataclasses.replace(SMALL, stages=(*SMALL.stages, hints))
    assert recipe.epochs_of("hints") == 6
    assert recipe.epochs_of("teacher") == 4
    assert [COMPRESSED.epochs_of(name) for name in COMPRESSED.names] == [4, 5, 6]


def test_what_is_left_to_train_is_estimated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "ENTRIES", (STUDENT, INT8))
    runs = tmp_path / "runs"
    for stage, seconds in (("teacher", 600), ("small", 120)):
        home = runs / "small" / f"{stage}-0"
        home.mkdir(parents=True)
        row = {"kind": stage, "seed": 0, "seconds": seconds, "test_accuracy": 0.5}
        row |= {"identity": SMALL.identity(stage, 0), "settings": SMALL.settings(stage, 0)}
        (home / "result.json").write_text(json.dumps(row))
    zoo.main(["--estimate", "--runs", str(runs)])
    small, compressed = capsys.readouterr().out.splitlines()
    # Two seeds of a stage of which one has been timed, and three of one that has not.
    assert small == "small: 5 models to train, about 4 minutes for 2 of them"
    # The students to start from are counted above; int8 beside float32 for two seeds.
    assert compressed == "compressed: 4 models to train, not timed yet"
    assert not (tmp_path / "zoo_weights").exists()
    # A run with other settings is said now, not when hours later its turn comes.
    row["identity"] = SMALL.identity("small", 1)
    (home / "result.json").write_text(json.dumps(row))
    for arguments in (["--estimate"], ["--measured", str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            zoo.main([*arguments, "--runs", str(runs)])
        assert ended.value.code == 1
        assert "a run with other settings" in capsys.readouterr().err


def test_agreement_is_with_the_teacher_that_taught(runs, data, tmp_path):
    publish(TEACHER, runs / "small", tmp_path / "zoo")
    row = publish(STUDENT, runs / "small", tmp_path / "zoo")
    # The zoo still has the teacher of before, when teacher and students are trained anew.
    later = tmp_path / "later"
    shutil.copytree(runs / "small", later)
    teacher = keras.saving.load_model(later / "teacher-0" / "model.keras")
    teacher.set_weights([np.flip(weight, -1) for weight in teacher.get_weights()])
    put(teacher, later / "teacher-0")
    again = publish(STUDENT, later, tmp_path / "zoo")
    expected = kdzoo.evaluation.agreement(
        teacher, kdzoo.load(STUDENT.name, directory=tmp_path / "zoo"), data.test.arrays()[0]
    )
    assert again.measured["agreement"] == expected != row.measured["agreement"]


def test_nothing_is_measured_for_a_broken_manifest(runs, tmp_path):
    (tmp_path / "manifest.json").write_text("<<<<<<< ours")
    with pytest.raises(ValueError, match="manifest"):
        publish(TEACHER, runs / "small", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_the_run_of_another_recipe_is_not_published(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(
        recipes.RECIPES, "small", changed(SMALL, "small", "small alone", learning_rate=1e-4)
    )
    publish(TEACHER, runs / "small", tmp_path)  # Its own settings are the same.
    with pytest.raises(ValueError, match="a run with other settings"):
        publish(STUDENT, runs / "small", tmp_path)
    assert list(read_manifest(tmp_path)) == [TEACHER.name]


@pytest.mark.large
@pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning")
@pytest.mark.parametrize(
    ("other", "stage"), [("small-1", "int8"), ("small-1", "half"), ("teacher-0", "half")]
)
def test_what_a_compressed_model_was_made_from_is_not_exchanged(other, stage, runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    base, home = tmp_path / "runs" / "small", tmp_path / "runs" / "compressed" / f"{stage}-1"
    row = {"kind": stage, "seed": 1, "test_accuracy": 0.5, "settings": {}}
    row["identity"] = COMPRESSED.identity(stage, 1)
    for field, source in (("start_weights", "small-1"), ("teacher_weights", "teacher-0")):
        row[field] = json.loads((base / source / "result.json").read_text())["weights"]
        if stage == "int8":  # It is not taught.
            break
    home.mkdir(parents=True)
    (home / "result.json").write_text(json.dumps(row))
    found = Runs(COMPRESSED, home.parent)
    node = Node("compressed", stage, 1)
    assert found.row(node)["start_weights"] == row["start_weights"]
    path = base / other / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "another"}))
    with pytest.raises(ValueError, match=f"{other} to hold the model that {home} was made from"):
        found.row(node)


@pytest.mark.large
def test_compressed_models_come_as_files_too(runs, data, tmp_path, monkeypatch, capsys):
    COMPRESSED.run(runs / "compressed", verbose=0)
    x, y = data.test.arrays()
    for entry in (INT8, SPARSE):
        row = publish(entry, runs / "compressed", tmp_path)
        file = kdzoo.export.LiteRTModel(kdzoo.zoo.tflite(entry.name, directory=tmp_path))
        accuracy = kdzoo.evaluation.accuracy(file, x, y)
        assert row.measured["tflite_accuracy"] == accuracy
        for side, [tensor] in (("input", file.inputs), ("output", file.outputs)):
            said = row.measured["signature"][side]
            assert said["shape"] == list(tensor.shape)
            assert (said["dtype"], said["scale"], said["zero_point"]) == ("float32", None, None)
            assert (tensor.step is not None) == (entry is INT8)
        model = kdzoo.load(entry.name, directory=tmp_path)
        assert kdzoo.evaluation.agreement(model, file, x) > 0.9
        rows = json.loads((runs / "compressed" / "results.json").read_text())["rows"]
        floats = {row["seed"]: row["test_accuracy"] for row in rows if row["kind"] == "float32"}
        assert row.measured["float"] == floats[row.measured["accuracy"]["shipped_seed"]]
        error = kdzoo.evaluation.calibration_error(file, x, y)
        assert row.measured["calibration_error"] == round(error, 6)
        training, card = row.training, kdzoo.card(entry.name, directory=tmp_path)
        if entry is INT8:
            of_two_seeds = [
                row["test_accuracy"]
                for row in json.loads((runs / "small" / "results.json").read_text())["rows"]
                if row["kind"] == "small alone" and row["seed"] in COMPRESSED.seeds
            ]
            assert row.measured["alone"]["mean"] == np.mean(of_two_seeds)
            assert "| the same network alone, neither quantized nor pruned, 4 epochs |" in card
        taught = entry is SPARSE
        assert training["teacher"] == ("mlp_2x128" if taught else None)
        assert training["epochs"] == 4 + (2 if taught else 1)
        assert f"| accuracy of the shipped `.tflite` file | {100 * accuracy:.2f} %" in card
        assert f"| bytes, weights | {row.files['weights'].bytes:,} |" in card
        form = "50% of the weights in pruned kernels zero, trained again by its teacher"
        assert (form if taught else "int8, trained aware of it") in card
    kernel = model.get_layer("stage1").get_weights()[0]
    assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.01)
    # Beside the students that they were made from, they are there again without training.
    for name in ("small", "compressed"):
        shutil.copyfile(runs / name / "results.json", tmp_path / f"{name}.json")
        ignored = shutil.ignore_patterns("*") if name == "compressed" else None
        shutil.copytree(runs / name, tmp_path / "again" / name, ignore=ignored)
    places = tmp_path / "again", tmp_path, tmp_path
    assert not Committed((INT8, SPARSE), tmp_path, *places[1:]).missing("compressed")
    assert len(Committed((INT8, SPARSE), *places).restore("compressed")) == 6
    assert is_published(SPARSE, tmp_path / "again" / "compressed", tmp_path)
    for entry in (INT8, SPARSE):  # And can be published again, with other figures to measure.
        restored = Source(entry, tmp_path / "again" / "compressed", tmp_path, None).model()
        shipped = kdzoo.load(entry.name, directory=tmp_path)
        for ours, theirs in zip(restored.get_weights(), shipped.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    source = Source(INT8, tmp_path / "again" / "compressed", tmp_path, None)
    source.file().write_bytes(b"another")
    with pytest.raises(ValueError, match=r"model\.tflite as the training left it"):
        source.shipped(source.model())
    del source.shipped_row()["sparsity"]
    with pytest.raises(ValueError, match=r"Expected 'sparsity' in .*result.json. Received: none"):
        source.measured("sparsity")
    (tmp_path / read_manifest(tmp_path)[INT8.name].files["tflite"].file).unlink()
    shutil.rmtree(tmp_path / "again" / "compressed")
    left = Committed((INT8, SPARSE), *places).missing("compressed")
    assert {node.stage for node in left} == {"float32", "half"}
    path = kdzoo.zoo.tflite(SPARSE.name, directory=tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        kdzoo.zoo.tflite(SPARSE.name, directory=tmp_path)
    assert not is_published(SPARSE, runs / "compressed", tmp_path)
    monkeypatch.setattr(zoo, "ENTRIES", (INT8,))
    zoo.main(["--estimate", "--runs", str(runs)])
    assert "compressed: finished" in capsys.readouterr().out
    zoo.main(["--estimate", "--runs", str(tmp_path / "none")])
    # A teacher and two seeds of a student to start from; two seeds of float32 and of int8.
    assert "compressed: 7 models to train" in capsys.readouterr().out


def test_weights_ship_as_the_kdz_file_that_was_measured(data, tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "coded", CODED)
    monkeypatch.setattr(zoo, "ENTRIES", (KDZ,))
    [row] = [row for row in CODED.run(tmp_path / "runs" / "coded")["rows"] if "bytes" in row]
    home = tmp_path / "runs" / "coded"
    shipped = publish(KDZ, home, tmp_path / "zoo")
    file = tmp_path / "zoo" / shipped.files["weights"].file
    made = home / "small-0" / "model.kdz"
    assert file.read_bytes() == made.read_bytes()
    assert (file.suffix, shipped.files["weights"].bytes) == (".kdz", row["bytes"])
    model = kdzoo.load(KDZ.name, directory=tmp_path / "zoo")
    for ours, theirs in zip(
        model.get_weights(), kdzoo.load_compressed(made).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    zeros = sum((w == 0).sum() for w in model.get_weights() if w.ndim > 1)
    size = sum(w.size for w in model.get_weights() if w.ndim > 1)
    assert shipped.measured["sparsity"] == pytest.approx(zeros / size)
    assert zeros > 0.8 * 64**2
    assert shipped.measured["accuracy"]["shipped"] == row["test_accuracy"]
    assert shipped.measured["accuracy"]["shipped"] == kdzoo.evaluation.accuracy(
        model, *data.test.arrays()
    )
    plain = sum(weight.nbytes for weight in model.get_weights())
    assert shipped.measured["bytes"]["weights, not compressed"] == plain
    card = kdzoo.card(KDZ.name, directory=tmp_path / "zoo")
    assert f"| bytes, weights | {row['bytes']:,} |" in card
    assert "neither quantized nor pruned, 2 epochs" in card
    # Without its run, it is there again of what was committed; the file as it was.
    shutil.copyfile(home / "results.json", tmp_path / "coded.json")
    committed = Committed((KDZ,), tmp_path / "again", tmp_path / "zoo", tmp_path)
    assert {node.stage for node in committed.restore("coded")} == {"dense", "small"}
    again = tmp_path / "again" / "coded"
    assert is_published(KDZ, again, tmp_path / "zoo")
    assert (again / "small-0" / "model.kdz").read_bytes() == made.read_bytes()
    with pytest.raises(ValueError, match="dense-0, which is then trained again"):
        publish(KDZ, again, tmp_path / "new")  # Whom it agrees with is not there.
    shutil.copyfile(home / "dense-0" / "model.keras", again / "dense-0" / "model.keras")
    assert publish(KDZ, again, tmp_path / "new").files == shipped.files
    (again / "small-0" / "model.kdz").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"model\.kdz as the training left it"):
        publish(KDZ, again, tmp_path / "other")


@pytest.mark.large
def test_a_network_of_several_exits_ships_with_all_of_them(data, tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "exits", EXITS)
    EXITS.run(tmp_path / "runs" / "exits", verbose=0)
    row = publish(SEVERAL, tmp_path / "runs" / "exits", tmp_path / "zoo")
    assert read_manifest(tmp_path / "zoo")[SEVERAL.name] == row
    assert row.role == "network"
    model = kdzoo.load(SEVERAL.name, directory=tmp_path / "zoo")
    images, labels = data.test.arrays()
    for exit_of_two, logits in zip(
        row.measured["exits"], model.predict(images, verbose=0), strict=True
    ):
        assert exit_of_two["accuracy"] == np.mean(logits.argmax(1) == labels)
    assert [one["macs"] for one in row.measured["exits"]] == kdzoo.dynamic.exit_macs(model)
    assert row.measured["accuracy"]["shipped"] == row.measured["exits"][1]["accuracy"]
    times = row.measured["latency_ms"]
    assert set(times) == {f"{t}, up to exit {n}" for t in ("float32", "int8") for n in (1, 2)}
    assert times["float32, up to exit 2"]["median"] > times["float32, up to exit 1"]["median"]
    ramp = np.linspace(0, 1, 64, dtype="float32").reshape(1, 8, 8, 1)
    last = model.predict(ramp, verbose=0)[1][0]
    np.testing.assert_allclose(row.measured["logits_of_ramp"], last, atol=1e-4)
    card = kdzoo.card(SEVERAL.name, directory=tmp_path / "zoo")
    first = row.measured["exits"][0]
    assert f"| exit 1 | {100 * first['accuracy']:.2f} %, {first['macs']:,} MACs up to t" in card
    assert "Output: a list of 2 times 10 logits" in card
    # A fresh head for each exit, on features that stay.
    again = kdzoo.load(SEVERAL.name, 7, directory=tmp_path / "zoo")
    assert [tuple(output.shape) for output in again.outputs] == [(None, 7)] * 2
    kernel = next(weight.path for weight in model.weights if weight.path.endswith("conv/kernel"))
    features = (
        next(weight.numpy() for weight in one.weights if weight.path == kernel)
        for one in (model, again)
    )
    np.testing.assert_array_equal(*features)


@pytest.mark.large
def test_a_network_of_several_widths_ships_with_all_of_them(data, tmp_path, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "widths", WIDTHS)
    [made] = WIDTHS.run(tmp_path / "runs" / "widths", verbose=0)["rows"]
    row = publish(SLIMMABLE, tmp_path / "runs" / "widths", tmp_path / "zoo")
    assert read_manifest(tmp_path / "zoo")[SLIMMABLE.name] == row
    assert (row.role, row.architecture) == ("network", "slimmable")
    model = kdzoo.load(SLIMMABLE.name, directory=tmp_path / "zoo")
    trained = keras.saving.load_model(tmp_path / "runs" / "widths" / "switchable-0" / "model.keras")
    for width, said in zip((0.5, 1.0), row.measured["widths"], strict=True):
        small, before = (kdzoo.dynamic.extract(one, width) for one in (model, trained))
        for ours, theirs in zip(small.get_weights(), before.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
        assert said == {
            "width": width,
            "accuracy": kdzoo.evaluation.accuracy(small, *data.test.arrays()),
            "macs": kdzoo.evaluation.count_macs(small),
            "parameters": kdzoo.evaluation.count_parameters(small),
        }
    assert row.measured["macs"] == made["width_macs"][1]
    assert row.measured["accuracy"]["shipped"] == row.measured["widths"][1]["accuracy"]
    forms = {f"{t}, width {w}" for t in ("float32", "int8") for w in ("0.5", "1")}
    assert set(row.measured["latency_ms"]) == forms
    assert "extract(model, width=0.5)" in kdzoo.card(SLIMMABLE.name, directory=tmp_path / "zoo")
    with pytest.raises(ValueError, match="whose widths share one head"):
        kdzoo.load(SLIMMABLE.name, 7, directory=tmp_path / "zoo")


def test_what_is_not_there_is_not_published(runs, tmp_path):
    with pytest.raises(FileNotFoundError, match="kdzoo train small"):
        publish(STUDENT, runs / "elsewhere", tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'small'"):
        publish(dataclasses.replace(STUDENT, stage="smal"), runs / "small", tmp_path)


def test_cards_that_drifted_are_named_and_mended(runs, tmp_path, capsys):
    publish(TEACHER, runs / "small", tmp_path)
    arguments = ["--directory", str(tmp_path)]
    card = tmp_path / "cards" / "mlp_2x128-digits.md"
    assert cards.main([*arguments, "--check"]) == 1
    assert not card.exists()
    assert cards.main(arguments) == 0
    assert cards.main([*arguments, "--check"]) == 0
    assert card.read_text() == kdzoo.card(TEACHER.name, directory=tmp_path)
    card.write_text("other")
    (tmp_path / "cards" / "gone.md").write_text("of a model that is no more")
    capsys.readouterr()
    assert cards.main([*arguments, "--check"]) == 1
    assert capsys.readouterr().out.split() == [str(card), str(card.with_name("gone.md"))]
    assert cards.main(arguments) == 0
    assert not card.with_name("gone.md").exists()
    with pytest.raises(SystemExit) as ended:
        cards.main(["--directory", str(tmp_path / "elsewhere")])
    assert ended.value.code == 1
    assert "elsewhere" in capsys.readouterr().err


def test_what_is_trained_is_published_and_what_is_left_is_said(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "ENTRIES", (TEACHER, STUDENT))
    arguments = ["--runs", str(runs), "--directory", str(tmp_path / "zoo")]
    arguments += ["--measured", str(tmp_path)]
    zoo.main(["--estimate", "--runs", str(tmp_path / "none")])
    assert "small: 7 models to train, not timed yet" in capsys.readouterr().out
    zoo.main([*arguments, "--only", "mlp_2x64"])
    assert "small: finished" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        zoo.main(["--only", "typo"])
    assert "Unknown part of the zoo: 'typo'" in capsys.readouterr().err
    assert list(read_manifest(tmp_path / "zoo")) == [TEACHER.name, STUDENT.name]
    measured = (runs / "small" / "results.json").read_text()
    assert (tmp_path / "small.json").read_text() == measured


def test_the_zoo_of_the_package_is_found_from_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    zoo.main(["--estimate", "--only", "mlp_2x800"])
    assert capsys.readouterr().out == "hinton_mnist: finished\n"
    monkeypatch.setattr(
        zoo, "MEASURED", tmp_path / "site-packages" / "kdzoo" / "recipes" / "measured"
    )
    for given in ([], ["--directory", "zoo"], ["--measured", "measured"]):
        with pytest.raises(SystemExit) as ended:
            zoo.main(["--only", "mlp_2x800", *given])
        assert ended.value.code == 2
        assert "Expected --directory and --measured, where to write" in capsys.readouterr().err
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "manifest.json").write_text("<<<<<<< ours")
    with pytest.raises(SystemExit) as ended:
        zoo.main(["--estimate", "--directory", "zoo"])
    assert ended.value.code == 1
    assert "to be a manifest of pretrained models" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["zoo", "manifest.json"]


@pytest.mark.large
def test_a_part_is_trained_and_published_and_another_beside_it(tmp_path, monkeypatch, capsys):
    recipe = changed(dataclasses.replace(SMALL, seeds=(0,)), *SMALL.names, epochs=1)
    monkeypatch.setitem(recipes.RECIPES, "small", recipe)
    monkeypatch.setattr(zoo, "ENTRIES", (TEACHER, STUDENT))

    def make(runs, *arguments):
        places = {"--runs": runs, "--directory": "zoo", "--measured": ""}
        places = [part for name, place in places.items() for part in (name, str(tmp_path / place))]
        zoo.main([*places, *arguments])
        return capsys.readouterr().out

    make("runs", "--only", "mlp_2x128")
    alone = json.loads((tmp_path / "small.json").read_text())
    assert [row["kind"] for row in alone["rows"]] == list(alone["summary"]) == ["teacher"]
    assert list(read_manifest(tmp_path / "zoo")) == [TEACHER.name]

    # Elsewhere, with what ships and no run, the student alone is left to train.
    asked = ["--only", "mlp_2x64"]
    assert "small: 3 models to train" in make("others", *asked, "--estimate", "--anew")
    assert "small: 2 models to train" in make("others", *asked, "--estimate")
    assert not (tmp_path / "others").exists()
    said = make("others", *asked)
    assert "small: 2 models to train" in said
    assert "small: teacher, seed 0, restored from what was committed" in said
    assert "mlp_2x128/digits: published" in said
    both = json.loads((tmp_path / "small.json").read_text())
    assert list(both["summary"]) == ["teacher", "small", "small alone"]
    assert both["rows"][0] == alone["rows"][0]
    file = read_manifest(tmp_path / "zoo")[TEACHER.name].files["weights"].file
    assert read_manifest(tmp_path / "zoo")[STUDENT.name].training["teacher_weights"] == file
    dtype = next(iter(load((tmp_path / "zoo" / file).read_bytes()).values())).dtype
    teacher = keras.saving.load_model(tmp_path / "runs" / "small" / "teacher-0" / "model.keras")
    copy = keras.saving.load_model(tmp_path / "others" / "small" / "teacher-0" / "model.keras")
    for ours, theirs in zip(teacher.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(ours.astype(dtype), theirs)

    # All is there again from nothing, and nothing is measured twice unless it is asked for.
    said = make("third")
    assert "small: finished" in said
    assert said.count(": published") == 2
    assert json.loads((tmp_path / "small.json").read_text()) == both
    assert "mlp_2x128/digits: published" not in make("third", "--only", "mlp_2x128", "--again")
    assert json.loads((tmp_path / "small.json").read_text()) == both
    (tmp_path / "zoo" / file).unlink()
    make("runs", "--only", "mlp_2x128")
    assert (tmp_path / "zoo" / file).is_file()

    # Anew, nothing is dropped that there were results of.
    assert "restored" not in make("fourth", "--only", "mlp_2x128", "--anew")
    again = json.loads((tmp_path / "small.json").read_text())
    assert [row["kind"] for row in again["rows"]] == [row["kind"] for row in both["rows"]]

    # A teacher that was trained again is not published beside students that it did not teach.
    home = tmp_path / "third" / "small" / "teacher-0"
    teacher.set_weights([weight + 0.01 for weight in teacher.get_weights()])
    teacher.save(home / "model.keras")
    result = json.loads((home / "result.json").read_text())
    assert result["weights"] == fingerprint(copy)
    new = {"seconds": 1e6, "weights": fingerprint(teacher)}
    (home / "result.json").write_text(json.dumps({**result, **new}))
    (tmp_path / "small.json").unlink()
    for there in ("another model", "nothing"):
        with pytest.raises(SystemExit):
            make("third")
        said = f"small-0 was made from. Received: {there} there"
        assert said in capsys.readouterr().err
        if home.exists():
            home.rename(tmp_path / "away")
    (tmp_path / "away").rename(home)
    shutil.rmtree(home.with_name("small-0"))
    assert ": published" not in make("third")
    rows = read_manifest(tmp_path / "zoo")
    another = rows[TEACHER.name].files["weights"].file
    assert rows[STUDENT.name].training["teacher_weights"] == another != file

    # Of what is damaged nothing is restored, nor what has learned from it.
    path = tmp_path / "zoo" / another
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    said = make("fifth", "--estimate")
    assert "mlp_2x128/digits: its files are damaged or gone; put them back, or it is made" in said
    assert "mlp_2x64/digits: its" not in said
    # The student alone has learned from nobody.
    assert "small: 2 models to train" in said
    assert "restored" not in make("fifth", "--only", "mlp_2x128").replace(
        "small alone, seed 0, r", ""
    )
    assert not Committed((), tmp_path, tmp_path / "zoo", tmp_path).broken


@pytest.mark.large
def test_only_what_is_as_the_recipe_wants_it_is_restored(runs, tmp_path, monkeypatch):
    zoo_directory = tmp_path / "zoo"
    monkeypatch.setattr(zoo, "ENTRIES", (TEACHER, STUDENT))
    publish(TEACHER, runs / "small", zoo_directory)
    publish(STUDENT, runs / "small", zoo_directory)
    path = tmp_path / "small.json"
    shutil.copyfile(runs / "small" / "results.json", path)

    def missing(recipe, run="none"):
        monkeypatch.setitem(recipes.RECIPES, "small", recipe)
        committed = Committed((TEACHER, STUDENT), tmp_path / run, zoo_directory, tmp_path)
        return {node.stage for node in committed.missing("small")}

    assert missing(SMALL) == {"teacher", "small", "small alone"}
    assert missing(changed(SMALL, "teacher", epochs=5)) == {"small alone"}
    assert missing(changed(SMALL, "small", "small alone", epochs=5)) == {"teacher"}
    assert missing(dataclasses.replace(SMALL, seeds=(0, 1))) == {"teacher"}
    assert missing(changed(SMALL, "small", seeds=(0,))) == {"teacher", "small alone"}

    # Beside the teacher of another training, nobody whom the committed one has taught.
    shutil.copytree(runs / "small" / "teacher-0", tmp_path / "run" / "small" / "teacher-0")
    assert missing(SMALL, "run") == {"small", "small alone"}
    result = tmp_path / "run" / "small" / "teacher-0" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "seconds": 1e6}))
    assert missing(SMALL, "run") == {"small alone"}

    # What is restored is what was committed, and finished.
    Committed((TEACHER, STUDENT), tmp_path / "all", zoo_directory, tmp_path).restore("small")
    again = SMALL.run(tmp_path / "all" / "small", verbose=0)
    results = json.loads(path.read_text())
    assert again["rows"] == results["rows"]
    assert again["summary"] == results["summary"]
    models = {each.parent.name for each in (tmp_path / "all").glob("*/*/model.keras")}
    assert models == {"teacher-0", f"small-{results['summary']['small']['median_seed']}"}

    # With the images that they are of: a run of others is neither gone on with nor restored into.
    kept = tmp_path / "all" / "small" / "data.json"
    said = json.loads(kept.read_text())
    assert said == json.loads((runs / "small" / "data.json").read_text())
    assert said["sha256"] == results["data_sha256"]
    shutil.rmtree(tmp_path / "all" / "small" / "small-0")
    assert missing(SMALL, "all") == {"small"}
    kept.write_text(json.dumps({**said, "sha256": {**said["sha256"], "test": "0" * 64}}))
    assert missing(SMALL, "all") == set()
    with pytest.raises(ValueError, match="test split is another; choose another directory, or tr"):
        SMALL.run(tmp_path / "all" / "small", verbose=0)

    # Which images come first, and nothing while another process works there.
    def fail(*arguments):
        raise KeyboardInterrupt

    killed = Committed((TEACHER, STUDENT), tmp_path / "killed", zoo_directory, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(killed, "_copy", fail)
        with pytest.raises(KeyboardInterrupt):
            killed.restore("small")
    assert [path.name for path in (tmp_path / "killed" / "small").glob("*.json")] == ["data.json"]
    works = pytest.raises(ValueError, match="in which another process works")
    with one_process(tmp_path / "killed" / "small"), works:
        killed.restore("small")
    assert killed.restore("small")
    assert not killed.restore("small")

    # Not by figures that are others than the zoo's.
    results["rows"][0]["seconds"] += 1
    path.write_text(json.dumps(results))
    assert missing(SMALL) == {"small alone"}


def test_every_entry_of_the_zoo_names_what_there_is():
    names = [entry.name for entry in zoo.ENTRIES]
    assert len(set(names)) == len(names)
    # All is published, so nothing is left to train.
    assert set(names) == set(read_manifest())
    for entry in zoo.ENTRIES:
        recipe = recipes.RECIPES[entry.recipe]
        architecture, dataset, *_ = entry.name.split("/")
        assert recipe.data == dataset
        assert recipe.built_from(entry.stage)[0] == architecture
        if entry.alone:
            assert not recipe.stage(entry.alone).dependencies()
            assert recipe.built_from(entry.alone) == recipe.built_from(entry.stage)
        if entry.start:
            start = recipe.stage(entry.stage).start
            assert recipe.stage(entry.start).start == start
            assert recipe.stage(entry.start).title == "float32"


@pytest.mark.large
def test_nothing_of_the_zoo_is_left_to_train(tmp_path, capsys):
    zoo.main(["--estimate", "--runs", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{name}: finished" for name in dict.fromkeys(e.recipe for e in zoo.ENTRIES)]
