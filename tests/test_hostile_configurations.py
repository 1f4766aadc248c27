"""Configurations of attackers for what kdzoo registers with Keras, TF-MOT's part left out."""

import json
import pathlib
import random

import hostile
import keras
import pytest
from keras.src.saving import serialization_lib

import kdzoo

FILES = pathlib.Path(__file__).parent / "compatibility" / "files"


@pytest.fixture
def made(monkeypatch):
    """What Keras makes objects of, or takes for a function, a list of classes and functions."""
    found = []
    usual = serialization_lib._retrieve_class_or_fn

    def noting(*args, **kwargs):
        found.append(usual(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(serialization_lib, "_retrieve_class_or_fn", noting)
    return found


def bases():
    """Good configurations of a Distiller with each loss, an ensemble, masks, exits and widths."""
    paths = [*sorted(FILES.glob("distiller_*.keras")), FILES / "ensemble.keras"]
    models = [keras.saving.load_model(path) for path in paths]
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    masks = kdzoo.compression.magnitude_masks(dense, 0.5)
    models.append(kdzoo.compression.apply_masks(dense, masks))
    deep = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(2)]
    )
    dynamic = kdzoo.dynamic
    models.append(dynamic.ExitLearner(dynamic.add_exits(deep, at=["one"])))
    models.append(dynamic.WidthLearner(dynamic.Slimmable(deep, (0.5, 1.0), round_to=2)))
    return [json.loads(json.dumps(keras.saving.serialize_keras_object(model))) for model in models]


@pytest.mark.parametrize("cases", [60, pytest.param(2000, marks=pytest.mark.large)])
def test_nothing_runs_and_only_known_classes_are_made(cases, made, tmp_path):
    payload = hostile.runs(tmp_path / "ran")
    good, values, rng = bases(), hostile.values(payload), random.Random(0)
    loaded = 0
    for case in range(cases):
        config = hostile.changed(rng.choice(good), values, rng)
        with hostile.watching() as unmarshalled:
            try:
                keras.saving.deserialize_keras_object(config)
                loaded += 1
            except Exception:
                # Keras reports what it stumbles over in its own ways; what counts is below.
                pass
        assert not (tmp_path / "ran").exists(), (case, config)
        assert unmarshalled == [], (case, config)
        strange = [value for value in made if not _is_known(value)]
        assert strange == [], (case, config)
        made.clear()
    assert 0 < loaded < cases


def _is_known(found):
    return found is None or found.__module__.partition(".")[0] in ("keras", "kdzoo")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("teacher", {"class_name": "Dense"}),
        ("teacher_transform", {"class_name": "function", "module": "os", "config": "system"}),
        ("fuse_batch_norm", {"class_name": "Dense"}),
        ("student", [1]),
        ("distillation_losses", {"class_name": "Dense"}),
        ("distillation_loss_weights", [{"class_name": "Dense"}]),
        ("student_loss_weight", "half"),
        ("name", {}),
    ],
)
def test_the_fields_of_a_distiller_are_checked(field, value):
    distiller = keras.saving.load_model(FILES / "distiller_soft_targets.keras")
    config = {**distiller.get_config(), field: value}
    with pytest.raises(ValueError, match=f"Distiller. Received: .*{field}"):
        kdzoo.Distiller.from_config(config)


@pytest.mark.parametrize(("field", "value"), [("members", {}), ("average", []), ("more", 1)])
def test_the_fields_of_an_ensemble_are_checked(field, value):
    ensemble = keras.saving.load_model(FILES / "ensemble.keras")
    with pytest.raises(ValueError, match=f"Ensemble. Received: .*{field}"):
        kdzoo.Ensemble.from_config({**ensemble.get_config(), field: value})


def test_a_subclass_of_the_distiller_may_have_arguments_of_its_own():
    class Own(kdzoo.Distiller):
        def __init__(self, *args, more, **kwargs):
            super().__init__(*args, **kwargs)
            self.more = more

    distiller = keras.saving.load_model(FILES / "distiller_soft_targets.keras")
    assert Own.from_config({**distiller.get_config(), "more": 3}).more == 3


def test_a_subclass_of_an_ensemble_may_have_arguments_of_its_own():
    class Own(kdzoo.Ensemble):
        def __init__(self, *args, more, **kwargs):
            super().__init__(*args, **kwargs)
            self.more = more

    ensemble = keras.saving.load_model(FILES / "ensemble.keras")
    assert Own.from_config({**ensemble.get_config(), "more": 3}).more == 3
