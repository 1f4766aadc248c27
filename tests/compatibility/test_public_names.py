"""What users rely on is still there: names, signatures, options, fields, keys of files and logs."""

import importlib.util
import json
import pathlib

import keras
import pytest

import kdzoo
from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Experiment,
    Train,
    Training,
)

HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"
ROOT = pathlib.Path(kdzoo.__file__).parents[1]
BEFORE = json.loads((HERE / "public_names.json").read_text())
# What came since: `list_public_names.py` wrote it too.
NOW = json.loads((HERE / "public_names_now.json").read_text())
KEYS = json.loads((HERE / "keys_of_files.json").read_text())  # Of the files of f6c64fd.
RENAMED = {"answers": "teacher_outputs"}  # Parameters, in their place; the old names warn.


@pytest.fixture(scope="module")
def now():
    spec = importlib.util.spec_from_file_location("listing", HERE / "list_public_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changes(before, after):
    """How a signature changed for those who call it as before, a list of sentences."""
    found, ours = [], {name: (kind, default) for name, kind, default in after}
    for name, kind, default in before:
        if name not in ours:
            found.append(f"parameter {name!r} is gone")
        elif ours[name][0] != kind and (kind, ours[name][0]) != (
            "KEYWORD_ONLY",
            "POSITIONAL_OR_KEYWORD",
        ):
            found.append(f"parameter {name!r} is {ours[name][0]} and was {kind}")
        elif default is not None and ours[name][1] != default:
            found.append(f"the default of {name!r} is {ours[name][1]} and was {default}")
    known = {name for name, *_ in before}
    positions = [
        name if RENAMED.get(name, name) in known else RENAMED[name]
        for name, kind, _ in before
        if kind == "POSITIONAL_OR_KEYWORD"
    ]
    if [name for name, *_ in after if name in ours][: len(positions)] != positions:
        found.append(f"positions were {positions}")
    for name, (kind, default) in ours.items():
        if name not in known and default is None and not kind.startswith("VAR_"):
            found.append(f"parameter {name!r} is new and has no default")
    return found


def listed(part):
    """(name, what was known of it) in either list, each once."""
    for name, known in BEFORE[part].items():
        yield name, known
    for name, known in NOW[part].items():
        if known != BEFORE[part].get(name):
            yield name, known


def of_backend(name, before):
    """The parameters of a test, left to TensorFlow where a name is one of TF-MOT's."""
    of_tfmot = before == {"kind": "class"} or name.endswith("Scheme")
    marks = [pytest.mark.tensorflow] if of_tfmot else []
    which = "before" if before == BEFORE["names"].get(name) else "now"
    return pytest.param(name, before, marks=marks, id=f"{name}-{which}")


@pytest.mark.parametrize(("name", "before"), [of_backend(*known) for known in listed("names")])
def test_a_public_name_is_there(name, before, now):
    value = kdzoo
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    after = now.described(value)
    assert after["kind"] == before["kind"]
    assert changes(before.get("parameters", []), after.get("parameters", [])) == []
    assert set(before.get("fields", [])) <= set(after.get("fields", []))
    for member, parameters in before.get("members", {}).items():
        assert member in after["members"], member
        if parameters != "property":
            assert changes(parameters, after["members"][member]) == [], member


@pytest.mark.tensorflow
def test_the_list_of_now_is_complete(now):
    """What is added is held from then on: `list_public_names.py` writes the list anew."""
    assert NOW["names"].keys() == now.public_names().keys()
    assert NOW["commands"].keys() == now.commands().keys()


@pytest.mark.parametrize(("command", "before"), [*listed("commands")])
def test_an_option_of_the_command_line_is_there(command, before, now):
    after = now.commands()[command]
    for option, (spellings, default) in before.items():
        assert set(spellings) <= set(after[option][0])
        assert after[option][1] == default


def test_the_names_in_logs_are_there():
    state = json.loads((FILES / "checkpoint" / "epoch-0002" / "state.json").read_text())
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="student")
    teacher = keras.models.clone_model(student)
    teacher.name = "teacher"
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(2.0))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile("adam", loss, metrics=["accuracy"])
    x, y = keras.ops.ones((4, 4)), keras.ops.zeros((4,), "int32")
    history = distiller.fit(x, y, validation_data=(x, y), verbose=0).history
    assert set(state["history"]) <= set(history)


def test_the_keys_of_files_are_there(tmp_path):
    """Of a shared model and a data set; of checkpoints and records their own tests hold them."""
    model = kdzoo.load_pretrained(FILES / "shared")
    kdzoo.save_pretrained(model, tmp_path / "shared")
    kdzoo.data.npy.write(kdzoo.data.load(FILES / "data"), tmp_path / "data")
    for file in ("shared/config.json", "data/dataset.json"):
        before, after = (json.loads((root / file).read_text()) for root in (FILES, tmp_path))
        assert set(before) <= set(after), file


def assert_keys(name, content, rows="rows"):
    """Whether a file, and each of its rows, has the keys that the file of f6c64fd had."""
    before = KEYS[name]
    assert set(before["top"]) <= content.keys()
    for row in content[rows]:
        assert set(before["rows"]) <= row.keys()
    for summary in content.get("summary", {}).values():
        assert set(before["summary"]) <= summary.keys()


@pytest.mark.parametrize("name", sorted(KEYS.keys() - {"manifest.json"}))
def test_the_keys_of_committed_results_are_there(name):
    content = json.loads((ROOT / "results" / name).read_text())
    if name == "cluster_separable_cifar10.json":  # It starts from a model of the zoo, not a file.
        (pretrained,) = (row for row in content["rows"] if row["kind"] == "student")
        content["rows"].remove(pretrained)
        del content["summary"]["student"]
    assert_keys(name, content)


def test_the_keys_of_the_manifest_are_there():
    manifest = json.loads((ROOT / "zoo_weights" / "manifest.json").read_text())
    assert_keys("manifest.json", manifest, rows="models")
    for row in manifest["models"]:
        for part in ("training", "measured"):
            assert set(KEYS["manifest.json"][part]) <= row[part].keys()


@pytest.mark.tensorflow
def test_the_keys_of_new_results_are_there(tmp_path):
    """Of models that are trained, taught and compressed, as the recipes of f6c64fd wrote them."""
    start, teacher = Dependency("taught"), Dependency("teacher")
    trained = Experiment(
        "trained",
        "digits",
        (Train("teacher", "mlp_2x64", Training(1)), Distill("taught", "mlp_2x64", Training(1))),
        seeds=(0,),
    )
    half = Compress("half", start, Compression(quantize="float16"), teacher=teacher)
    compressed = Experiment("compressed", "digits", (half,), seeds=(0,), base=trained)
    compressed.run(tmp_path / "compressed", verbose=0)
    results = json.loads((tmp_path / "compressed" / "results.json").read_text())
    assert_keys("zoo_cifar10_025_compressed.json", results)
    trained.run(tmp_path / "trained", verbose=0)  # Nothing is trained again.
    results = json.loads((tmp_path / "trained" / "results.json").read_text())
    assert_keys("fitnet_mnist.json", results)
    assert "teacher_weights" in {row["kind"]: row for row in results["rows"]}["taught"]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([["b", "POSITIONAL_OR_KEYWORD", "1"]], "'a' is gone"),
        ([["a", "POSITIONAL_OR_KEYWORD", None], ["b", "POSITIONAL_OR_KEYWORD", "2"]], "default"),
        ([["b", "POSITIONAL_OR_KEYWORD", "1"], ["a", "POSITIONAL_OR_KEYWORD", None]], "positions"),
        ([["a", "KEYWORD_ONLY", None], ["b", "POSITIONAL_OR_KEYWORD", "1"]], "KEYWORD_ONLY"),
        (
            [
                ["a", "POSITIONAL_OR_KEYWORD", None],
                ["b", "POSITIONAL_OR_KEYWORD", "1"],
                ["c", "KEYWORD_ONLY", None],
            ],
            "'c' is new",
        ),
    ],
)
def test_the_comparison_finds_what_it_should(after, said):
    before = [["a", "POSITIONAL_OR_KEYWORD", None], ["b", "POSITIONAL_OR_KEYWORD", "1"]]
    assert any(said in sentence for sentence in changes(before, after))
    assert changes(before, before) == []
