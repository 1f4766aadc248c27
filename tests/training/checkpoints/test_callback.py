"""What a checkpoint keeps, what it is refused for, and that no run harms another's."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.training.checkpoints import state


def names(run):
    return sorted(path.name for path in run.iterdir())


def assert_same(ours, theirs):
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_last_two_epochs_are_kept(tmp_path, compiled, fit):
    fit(compiled(), EpochCheckpoint(tmp_path), 3)
    assert names(tmp_path) == ["epoch-0002", "epoch-0003"]
    assert names(tmp_path / "epoch-0003") == ["state.json", "state.safetensors"]


def test_a_run_that_goes_on_ends_bit_equal(run, compiled, fit):
    keras.utils.set_random_seed(0)
    whole = compiled()
    history = fit(whole, EpochCheckpoint(run.parent / "whole"), 4).history
    checkpoint, model = EpochCheckpoint(run), compiled()
    fit(model, checkpoint, 4, checkpoint.restore(model))
    assert checkpoint.history == history
    assert_same(model.get_weights(), whole.get_weights())
    optimizers = ([ops.convert_to_numpy(v) for v in m.optimizer.variables] for m in (model, whole))
    assert_same(*optimizers)


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_run_without_restore_is_refused_before_it_trains(epochs, run, compiled, fit):
    model = compiled()
    before, there = model.get_weights(), sorted(run.rglob("*"))
    with pytest.raises(ValueError, match=r"epoch-0002; call `restore\(model\)` before"):
        fit(model, EpochCheckpoint(run), epochs)
    assert_same(model.get_weights(), before)
    assert sorted(run.rglob("*")) == there


def test_a_run_that_begins_before_the_newest_epoch_is_refused(run, compiled, fit):
    checkpoint, model = EpochCheckpoint(run), compiled()
    checkpoint.restore(model)
    before = model.get_weights()
    with pytest.raises(ValueError, match="initial_epoch=0; pass what"):
        fit(model, checkpoint, 4)
    assert_same(model.get_weights(), before)
    fit(model, checkpoint, 3, initial_epoch=2)
    assert names(run) == ["epoch-0002", "epoch-0003"]


def test_one_callback_serves_a_fit_after_another(tmp_path, compiled, fit):
    checkpoint, model = EpochCheckpoint(tmp_path), compiled()
    fit(model, checkpoint, 2)
    fit(model, checkpoint, 3, initial_epoch=2)
    assert [len(values) for values in checkpoint.history.values()] == [3]
    with pytest.raises(ValueError, match="after the 3 epochs"):
        fit(model, checkpoint, 1)
    fit(model, checkpoint, 3, initial_epoch=3)  # Nothing is left to do.
    assert names(tmp_path) == ["epoch-0002", "epoch-0003"]


def test_a_run_that_has_more_epochs_than_wanted_is_left_alone(run, compiled, fit):
    checkpoint, model = EpochCheckpoint(run), compiled()
    fit(model, checkpoint, 1, initial_epoch=checkpoint.restore(model))
    assert names(run) == ["epoch-0001", "epoch-0002"]


@pytest.mark.parametrize("model", [None, "net", keras.layers.Dense(3)])
def test_a_model_must_be_built_and_compiled(model, run):
    with pytest.raises(ValueError, match=r"a built and compiled keras\.Model"):
        EpochCheckpoint(run).restore(model)
    with pytest.raises(ValueError, match="Received: 'fresh'"):
        EpochCheckpoint(run).restore(keras.Sequential([keras.layers.Dense(3)], name="fresh"))


def test_the_directory_must_be_none_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="a file"):
        EpochCheckpoint(tmp_path / "file")


def test_weights_that_are_not_finite_are_not_kept(run, compiled):
    checkpoint, model = EpochCheckpoint(run), compiled()
    checkpoint.restore(model)
    checkpoint.set_model(model)
    model.layers[-1].bias.assign([1.0, math.nan, 1.0])
    with pytest.raises(ValueError, match="Expected finite weights after epoch 3"):
        checkpoint.on_epoch_end(2, {"loss": 1.0})
    assert names(run) == ["epoch-0001", "epoch-0002"]


def test_a_measure_that_is_not_finite_comes_back_as_nan(tmp_path, compiled):
    checkpoint, model = EpochCheckpoint(tmp_path), compiled()
    checkpoint.set_model(model)
    model.optimizer.build(model.trainable_variables)
    checkpoint.on_epoch_end(0, {"loss": 1.0, "val_loss": math.nan})
    state = json.loads((tmp_path / "epoch-0001" / "state.json").read_text())
    assert state["history"] == {"loss": [1.0], "val_loss": [None]}
    again = EpochCheckpoint(tmp_path)
    assert again.restore(model) == 1
    assert again.history["loss"] == [1.0]
    assert math.isnan(again.history["val_loss"][0])


@keras.saving.register_keras_serializable("kdzoo-tests")
class Least(keras.layers.Layer):
    """Has seen no value yet, and saves what it has seen in a way of its own."""

    def build(self, shape):
        self.least = self.add_weight(shape=(), initializer=lambda *a, **k: ops.array(math.inf))
        self.least.trainable = False
        self.seen = 0

    def call(self, x):
        return x

    def save_own_variables(self, store):
        store["least"], store["seen"] = ops.convert_to_numpy(self.least), np.array(self.seen)

    def load_own_variables(self, store):
        self.least.assign(store["least"])
        self.seen = int(store["seen"])


def test_a_layer_keeps_what_it_saves_in_a_way_of_its_own(tmp_path):
    def fresh():
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(3)(Least(name="least")(inputs)))
        model.compile("sgd", "mse")
        return model

    checkpoint, model = EpochCheckpoint(tmp_path), fresh()
    model.get_layer("least").seen = 7
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    again = fresh()
    again.get_layer("least").least.assign(0.0)
    assert EpochCheckpoint(tmp_path).restore(again) == 1
    assert again.get_layer("least").seen == 7
    assert_same(again.get_weights(), model.get_weights())


def test_weights_in_bfloat16_come_back(tmp_path, compiled):
    keras.config.set_dtype_policy("bfloat16")
    checkpoint, model = EpochCheckpoint(tmp_path), compiled()
    checkpoint.set_model(model)
    model.optimizer.build(model.trainable_variables)
    checkpoint.on_epoch_end(0)
    again = compiled()
    assert EpochCheckpoint(tmp_path).restore(again) == 1
    pairs = zip(again.weights, model.weights, strict=True)
    for ours, theirs in pairs:
        assert bool(ops.all(ops.equal(ours, theirs)))


def test_public_name_is_where_it_was():
    assert kdzoo.callbacks.EpochCheckpoint is EpochCheckpoint


def test_a_trained_model_of_mixed_precision_is_restored_again(tmp_path, fit):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    checkpoint = EpochCheckpoint(tmp_path / "run")
    fit(model, checkpoint, 1)
    expected = [np.array(variable) for variable in optimizer.variables]
    model.optimizer.dynamic_scale.assign(7.0)
    assert EpochCheckpoint(tmp_path / "run").restore(model) == 1
    for ours, theirs in zip(optimizer.variables, expected, strict=True):
        np.testing.assert_array_equal(np.array(ours), theirs)


def test_settings_may_hold_what_is_not_finite(tmp_path, compiled, fit):
    fit(compiled(), EpochCheckpoint(tmp_path / "run", {"clip": math.inf, "least": math.nan}), 1)
    assert (
        EpochCheckpoint(tmp_path / "run", {"clip": math.inf, "least": math.nan}).restore(compiled())
        == 1
    )
    with pytest.raises(ValueError, match="the checkpoint of a run with settings"):
        EpochCheckpoint(tmp_path / "run", {"clip": -math.inf}).restore(compiled())


def test_weights_are_fetched_once_an_epoch(tmp_path, compiled, monkeypatch):
    model, fetched = compiled(), []
    model.optimizer.build(model.trainable_variables)
    fetch = keras.ops.convert_to_numpy
    monkeypatch.setattr(
        keras.ops, "convert_to_numpy", lambda value: fetched.append(id(value)) or fetch(value)
    )
    checkpoint = EpochCheckpoint(tmp_path / "run")
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0, {"loss": 1.0})
    assert [fetched.count(id(weight)) for weight in model.trainable_weights] == [1] * 6


class Remembering(keras.layers.Layer):
    """Saves what it has seen in a way of its own, more with every epoch."""

    seen = ()

    def call(self, inputs):
        return inputs

    def save_own_variables(self, store):
        store["seen"] = store["vars/seen"] = np.array([*self.seen, np.inf], "float32")

    def load_own_variables(self, store):
        self.seen = tuple(np.array(store["seen"])[:-1])
        np.testing.assert_array_equal(store["seen"], store["vars/seen"])


@pytest.mark.parametrize("is_old", [False, True])
def test_what_a_layer_saves_in_its_own_way_may_have_another_length(is_old, tmp_path):
    def built():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Remembering()])
        model.compile("sgd", "mse")
        return model

    model, path = built(), tmp_path / "epoch-0001"
    model.layers[-1].seen = (1.0, 2.0, 3.0)
    if is_old:  # As the version before wrote it.
        model.optimizer.build(model.trainable_variables)
        path.mkdir()
        model.save_weights(path / "model.weights.h5")
        np.savez(path / "seeds.npz")
        state = {"epochs": 1, "settings": None, "history": {"loss": [1.0]}}
        (path / "state.json").write_text(json.dumps(state))
    else:
        model.fit(
            np.zeros((4, 4)), np.zeros((4, 3)), verbose=0, callbacks=[EpochCheckpoint(tmp_path)]
        )
    again = built()
    assert EpochCheckpoint(tmp_path).restore(again) == 1
    assert again.layers[-1].seen == (1.0, 2.0, 3.0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_is_looked_once_where_the_state_is(tmp_path, compiled, fit, monkeypatch):
    """As the walk over all attributes of a model takes longer than a short epoch."""
    walks, walk = [], state.save_state
    monkeypatch.setattr(
        state, "save_state", lambda model, store: walks.append(model) or walk(model, store)
    )
    model, checkpoint = compiled(), EpochCheckpoint(tmp_path / "run")
    fit(model, checkpoint, 3)
    assert len(walks) == 1
    again = compiled()
    assert EpochCheckpoint(tmp_path / "run").restore(again) == 3
    expected, found = state.state_of(model).arrays, state.state_of(again).arrays
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


def test_the_state_of_another_optimizer_is_looked_for_anew(compiled, fit):
    model, reader = compiled(), state.StateReader()
    model.optimizer.build(model.trainable_variables)
    assert "optimizer//4" in reader.read(model).arrays
    assert "optimizer//4" in reader.read(model).arrays
    model.compile("sgd", "mse")
    assert "optimizer//4" not in reader.read(model).arrays
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    assert "optimizer//4" in reader.read(model).arrays


def test_what_a_layer_saves_in_its_own_way_is_asked_for_every_time():
    class Chooses(keras.layers.Layer):
        """Saves one of its two weights, by what it was told."""

        chosen = 0

        def build(self, shape):
            self.both = [self.add_weight(shape=(size,)) for size in (1, 2)]

        def call(self, x):
            return x

        def save_own_variables(self, store):
            store["chosen"] = self.both[self.chosen]

    layer = Chooses()
    model, reader = keras.Sequential([keras.Input((4,)), layer]), state.StateReader()
    for layer.chosen in (0, 1, 0):
        arrays = reader.read(model).arrays
        assert [array.size for array in arrays.values()] == [layer.chosen + 1]
