"""What the precision "auto" is, that it stays so, and that it changes no recipe's identity."""

import json
import types

import pytest
from tiny_experiments import TINY, changed

from kdzoo.experiments import Training, build_and_fit, precision
from kdzoo.recipes import RECIPES
from kdzoo.utils import processor

HALF = "mixed_bfloat16"


@pytest.fixture
def on(tmp_path, monkeypatch):
    """Lets this process believe that its processor can do something."""

    def pretend(features, vendor="GenuineIntel"):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu avx2 {features}\n")
        monkeypatch.setattr(processor, "CPUINFO", str(path))

    return pretend


@pytest.mark.parametrize(
    ("vendor", "features", "expected"),
    [
        ("GenuineIntel", "", False),
        ("GenuineIntel", "avx512f avx512_vnni", False),  # Ice Lake: oneDNN, and no bfloat16.
        ("GenuineIntel", "avx512_bf16", False),  # Sapphire Rapids, AMX hidden.
        ("AuthenticAMD", "avx512_bf16", True),  # Zen 4.
        ("GenuineIntel", "avx512_bf16 amx_tile amx_int8 amx_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_processors(on, vendor, features, expected):
    on(features, vendor)
    assert precision.computes_bfloat16() is expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), False), ((8, 0), True), ((12, 1), True), (None, True)],
)
def test_accelerators_count_before_the_processor(on, monkeypatch, capability, expected):
    on("" if expected else "amx_bf16")
    details = types.SimpleNamespace(
        get_device_details=lambda device: {"compute_capability": capability} if capability else {}
    )
    config = types.SimpleNamespace(get_visible_devices=lambda kind: [kind], experimental=details)
    text = capability and ".".join(map(str, capability))
    device = types.SimpleNamespace(platform="gpu", compute_capability=text)
    libraries = precision.heavy_libraries
    monkeypatch.setattr(libraries, "tensorflow", lambda: types.SimpleNamespace(config=config))
    monkeypatch.setattr(libraries, "jax", lambda: types.SimpleNamespace(devices=lambda: [device]))
    assert precision.computes_bfloat16() is expected


def of_all(**settings):
    return changed(changed(TINY, "distilled", teacher_precision="auto"), **settings)


def test_auto_is_identified_and_described_as_bfloat16():
    auto, half = of_all(precision="auto"), of_all(precision=HALF)
    half = changed(half, "distilled", teacher_precision=HALF)
    float32 = changed(TINY, precision="float32")
    for name in TINY.names:
        assert auto.identity(name, 0) == half.identity(name, 0) != float32.identity(name, 0)
    assert auto.described() == half.described()
    assert json.dumps(auto.described()).count(HALF) == 4


def test_every_recipe_that_asks_for_bfloat16_leaves_it_to_the_machine():
    trainings = [
        stage.training
        for recipe in RECIPES.values()
        for stage in recipe.stages
        if isinstance(getattr(stage, "training", None), Training)
    ]
    assert {training.precision for training in trainings} == {"auto", "float32"}


@pytest.mark.parametrize(("features", "expected"), [("", "float32"), ("amx_bf16", HALF)])
def test_the_row_says_what_was_chosen(on, tmp_path, monkeypatch, features, expected):
    on(features)
    policies = []

    def note(model, training, context, batches, callbacks=(), reuse=False, loss=None):
        policies.append(getattr(model, "student", model).dtype_policy.name)
        return {}

    monkeypatch.setattr(build_and_fit, "fit", note)
    recipe = changed(TINY, "alone", precision="auto")
    results = recipe.run(tmp_path, verbose=0)
    assert policies == ["float32", expected, "float32", expected, "float32"]
    rows = {row["kind"]: row for row in results["rows"]}
    assert rows["alone"]["precisions"] == {"precision": expected}
    assert "precisions" not in rows["teacher"]
    assert not list(tmp_path.rglob(precision.FILE))
    # A finished model is of the same recipe on the other machine.
    on("amx_bf16" if not features else "")
    assert recipe.run(tmp_path, verbose=0)["rows"] == results["rows"]


def test_a_training_stays_in_the_precision_that_it_began_in(on, tmp_path):
    on("")
    assert precision.settled("precision", "auto", tmp_path) == "float32"
    on("amx_bf16")
    assert precision.settled("precision", "auto", tmp_path) == "float32"
    assert precision.settled("teacher_precision", "auto", tmp_path) == HALF
    assert precision.choices(tmp_path) == {"precision": "float32", "teacher_precision": HALF}
    assert precision.settled("precision", HALF, tmp_path) == HALF
    precision.forget(tmp_path)
    assert precision.settled("precision", "auto", tmp_path) == HALF


def test_a_training_of_before_there_was_a_choice_stays_in_bfloat16(on, tmp_path):
    on("")
    (tmp_path / "epoch-0003").mkdir()
    assert precision.settled("precision", "auto", tmp_path) == HALF
    assert precision.choices(tmp_path) == {"precision": HALF}


def test_a_record_of_a_teacher_is_gone_on_with(on, tmp_path):
    on("amx_bf16")
    found = precision.settled("teacher_precision", "auto", tmp_path, known="float32")
    assert found == "float32"


def test_a_damaged_choice_is_named(tmp_path):
    (tmp_path / precision.FILE).write_text('{"precision": "float8"}')
    with pytest.raises(ValueError, match=r"precisions\.json to be what a training computes in"):
        precision.settled("precision", "auto", tmp_path)
