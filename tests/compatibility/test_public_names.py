"""What users rely on is still there: names, signatures, options, fields, keys of files and logs."""

import importlib.util
import json
import pathlib

import keras
import pytest

import kdzoo

HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"
BEFORE = json.loads((HERE / "public_names.json").read_text())
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
    positions = [
        RENAMED.get(name, name) for name, kind, _ in before if kind == "POSITIONAL_OR_KEYWORD"
    ]
    if [name for name, *_ in after if name in ours][: len(positions)] != positions:
        found.append(f"positions were {positions}")
    known = {name for name, *_ in before}
    for name, (kind, default) in ours.items():
        if name not in known and default is None and not kind.startswith("VAR_"):
            found.append(f"parameter {name!r} is new and has no default")
    return found


def of_backend(name):
    """A parameter, left to TensorFlow where a name is one of TF-MOT's."""
    of_tfmot = BEFORE["names"][name] == {"kind": "class"} or name.endswith("Scheme")
    return pytest.param(name, marks=[pytest.mark.tensorflow] if of_tfmot else [])


@pytest.mark.parametrize("name", [of_backend(name) for name in BEFORE["names"]])
def test_a_public_name_is_there(name, now):
    before = BEFORE["names"][name]
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


@pytest.mark.parametrize("command", BEFORE["commands"])
def test_an_option_of_the_command_line_is_there(command, now):
    after = now.commands()[command]
    for option, (spellings, default) in BEFORE["commands"][command].items():
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
