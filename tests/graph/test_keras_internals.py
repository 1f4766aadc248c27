"""What kdzoo uses of Keras beneath its public names: a new Keras that changes it fails here first.

Each test says by name which file of kdzoo has to change with it.
"""

import inspect
import io
import zipfile

import keras
import numpy as np
import pytest


def found(module, name):
    """What a private module of Keras has by a name, which may have a dot."""
    try:
        thing = __import__(module, fromlist=["_"])
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError):
        pytest.fail(f"Keras {keras.__version__} has no {module}.{name} any more")
    return thing


@pytest.mark.parametrize(
    ("module", "name", "arguments", "user"),
    [
        (
            "keras.src.saving.serialization_lib",
            "SafeModeScope.__init__",
            ["self", "safe_mode"],
            "zoo/files.py",
        ),
        (
            "keras",
            "Variable._initialize_with_initializer",
            ["self", "initializer"],
            "zoo/files.py",
        ),
        ("keras.src.saving.saving_lib", "save_model", ["model", "filepath"], "utils/saving.py"),
        (
            "keras.src.saving.saving_lib",
            "_save_state",
            ["saveable", "weights_store", "assets_store", "inner_path", "visited_saveables"],
            "checkpoints/state.py",
        ),
        (
            "keras.src.saving.saving_lib",
            "_load_state",
            ["saveable", "weights_store", "assets_store", "inner_path"],
            "checkpoints/state.py",
        ),
        (
            "keras.src.saving.saving_lib",
            "NpzIOStore.make",
            ["self", "path", "metadata"],
            "checkpoints/state.py",
        ),
        ("keras.src.saving.saving_lib", "NpzIOStore.get", ["self", "path"], "checkpoints/state.py"),
        (
            "keras.src.backend.common.stateless_scope",
            "get_stateless_scope",
            [],
            "zoo/weights.py",
        ),
        ("keras", "StatelessScope.add_update", ["self", "update"], "zoo/weights.py"),
        (
            "keras.src.backend.common.global_state",
            "get_global_attribute",
            ["name"],
            "zoo/weights.py",
        ),
        (
            "keras.src.backend.common.global_state",
            "set_global_attribute",
            ["name", "value"],
            "zoo/weights.py",
        ),
    ],
)
def test_a_private_function_takes_what_it_took(module, name, arguments, user):
    taken = list(inspect.signature(found(module, name)).parameters)
    assert taken[: len(arguments)] == arguments, (
        f"Keras {keras.__version__} changed {module}.{name}, which kdzoo/{user} uses: {taken}"
    )


def test_state_is_loaded_with_what_has_been_visited():
    taken = inspect.signature(found("keras.src.saving.saving_lib", "_load_state")).parameters
    assert "visited_saveables" in taken, "checkpoints/state.py gives it by its name"


def test_the_safe_mode_is_told_by_its_scope():
    scope = found("keras.src.saving.serialization_lib", "SafeModeScope")
    in_safe_mode = found("keras.src.saving.serialization_lib", "in_safe_mode")
    with scope(False):
        assert not in_safe_mode()
        with scope(True):
            assert in_safe_mode(), "zoo/files.py relies on the innermost scope"


def test_every_variable_of_a_layer_begins_in_the_function_that_is_watched(monkeypatch):
    """Otherwise `kdzoo/zoo/files.py` would bound nothing."""
    usual, seen = found("keras", "Variable._initialize_with_initializer"), []

    def watched(variable, initializer):
        seen.append(tuple(variable.shape))
        usual(variable, initializer)

    monkeypatch.setattr(keras.Variable, "_initialize_with_initializer", watched)
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3))
    layer.build((None, 2, 4))
    for shape in {tuple(weight.shape) for weight in layer.weights}:
        assert seen.count(shape) >= 2, "a variable was made that was not seen"


def test_a_variable_may_begin_with_another_initializer_that_it_keeps_none_of():
    with keras.StatelessScope() as scope:
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        scope.add_update((layer.kernel, np.ones((3, 2), "float32")))
        assert scope.get_current_value(layer.kernel).sum() == 6
        layer.kernel._initializer = lambda shape, dtype=None: np.full(shape, 7, dtype)
        waiting = found("keras.src.backend.common.global_state", "get_global_attribute")
        assert any(each is layer.kernel for each in waiting("uninitialized_variables"))
    np.testing.assert_array_equal(layer.kernel, np.full((3, 2), 7))


def test_a_model_is_saved_into_memory():
    buffer = io.BytesIO()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    found("keras.src.saving.saving_lib", "save_model")(model, buffer)
    names = {"config.json", "metadata.json", "model.weights.h5"}
    assert set(zipfile.ZipFile(buffer).namelist()) == names
