"""A training that is stopped goes on where it was, and ends where it would have ended."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.schemes import scheme_stages, train
from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.utils import one_process
from kdzoo.utils.hashed_json import with_hash


def compiled(seed=0):
    """A distiller with everything that a checkpoint must keep: AdamW, dropout, batch norm."""
    keras.utils.set_random_seed(seed)

    def net(width):
        inputs = keras.Input((4, 4, 1))
        x = keras.layers.Dense(width)(keras.layers.Flatten()(inputs))
        x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(x))
        return keras.Model(inputs, keras.layers.Dense(3)(x))

    distiller = kdzoo.Distiller(net(8), net(4), kdzoo.losses.SoftTargets(2.0))
    schedule = keras.optimizers.schedules.CosineDecay(0.05, 20)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.AdamW(schedule), loss, metrics=["accuracy"])
    return distiller


def batches(epoch):
    """Five batches an epoch, shuffled and augmented differently in each."""
    rng = np.random.default_rng(3)
    images, labels = rng.random((40, 4, 4, 1), "float32"), rng.integers(0, 3, 40)
    data = kdzoo.data.from_arrays(images, labels, classes=3, validation=0)
    shifts = kdzoo.data.Augmentation(shift=1)
    return data.train.batches(8, shuffle=True, augmentation=shifts, seed=1, initial_epoch=epoch)


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epochs:
            raise KeyboardInterrupt


def normed(seed):
    """A convolution and a batch normalization that the fused kernel can stand in for."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def alone(directory):
    model = normed(0)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train(model, batches, 1, directory, verbose=0)
    return [model]


def together(directory):
    peers = [normed(0), normed(1)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    kdzoo.schemes.mutual_learning(peers, batches, directory, epochs=1, loss=loss, verbose=0)
    return peers


@pytest.mark.tensorflow
@pytest.mark.parametrize("trained", [alone, together])
def test_normalizations_are_fused_while_it_trains_and_no_longer(trained, tmp_path, monkeypatch):
    tf, kernels = pytest.importorskip("tensorflow"), []
    fused = tf.raw_ops.FusedBatchNormV3

    def counted(**arguments):
        kernels.append(arguments["is_training"])
        return fused(**arguments)

    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", counted)
    models = trained(tmp_path)
    assert kernels.count(True) >= len(models)
    for model in models:
        (norm,) = (layer for layer in model.layers if "normalization" in layer.name)
        assert "call" not in vars(norm)
        assert np.abs(norm.moving_mean.numpy()).max() > 0


@pytest.mark.large_on_jax
def test_two_processes_do_not_train_in_one_directory(tmp_path):
    with one_process(tmp_path / "run"):
        with pytest.raises(ValueError, match="in which another process works"):
            train(compiled(), batches, 1, tmp_path / "run", verbose=0)
        assert not list((tmp_path / "run").iterdir())
    assert len(train(compiled(), batches, 1, tmp_path / "run", verbose=0)["loss"]) == 1


def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path):
    whole = compiled()
    expected = train(whole, batches, 4, tmp_path / "whole", verbose=0)
    # The weights at the start come from another seed: they must be those of the checkpoint.
    for stop, seed in ((2, 0), (3, 5), (None, 9)):
        part = compiled(seed)
        part.teacher = whole.teacher
        callbacks = [] if stop is None else [StopAfter(stop)]
        arguments = {"callbacks": callbacks, "verbose": 0}
        if stop is None:
            history = train(part, batches, 4, tmp_path / "part", **arguments)
        else:
            with pytest.raises(KeyboardInterrupt):
                train(part, batches, 4, tmp_path / "part", **arguments)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(expected, 4)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    for ours, theirs in zip(part.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_an_epoch_that_another_callback_rejects_is_not_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(compiled(), batches, 2, tmp_path, callbacks=[StopAfter(1)], verbose=0)
    assert not list(tmp_path.glob("epoch-*"))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(compiled(), batches, 1, tmp_path, verbose=0)
    again = compiled()
    assert train(again, None, 1, tmp_path, verbose=0) == first


def test_the_last_two_epochs_are_kept_and_whole(tmp_path):
    train(compiled(), batches, 3, tmp_path, settings={"seed": 1}, verbose=0)
    names = ["epoch-0002", "epoch-0003", "finished"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    files = {path.name for path in (tmp_path / "epoch-0002").iterdir()}
    assert files == {"state.safetensors", "state.json"}
    state = json.loads((tmp_path / "epoch-0002" / "state.json").read_text())
    assert (state["epochs"], state["settings"]) == (2, {"seed": 1})


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    same = {"data": ["digits"] * 99, "epochs": 3}
    train(compiled(), batches, 1, tmp_path, settings={**same, "seed": 1}, verbose=0)
    with pytest.raises(ValueError, match="choose another directory") as error:
        train(compiled(), batches, 2, tmp_path, settings={**same, "seed": 2}, verbose=0)
    assert "settings {'seed': 2}. Received: settings {'seed': 1} in" in str(error.value)
    with pytest.raises(ValueError, match=r"a run with settings 7\. Received: settings"):
        train(compiled(), batches, 2, tmp_path, settings=7, verbose=0)


def test_an_unfinished_write_leaves_no_checkpoint(tmp_path, monkeypatch):
    model = compiled()
    checkpoint = EpochCheckpoint(tmp_path)
    checkpoint.set_model(model)

    def interrupted(path, content):
        path.write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", interrupted)
    with pytest.raises(OSError, match=r"Expected room for .*epoch-0001, [\d,]+ bytes\."):
        checkpoint.on_epoch_end(0, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_of_a_write_is_removed(tmp_path):
    train(compiled(), batches, 1, tmp_path, verbose=0)
    rest = tmp_path / ".epoch-0002.abcdef_0"
    rest.mkdir()
    (rest / "new").write_bytes(b"half")
    train(compiled(), batches, 1, tmp_path, verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001", "finished"]


def test_the_newest_of_many_epochs_is_found(tmp_path):
    train(compiled(), batches, 1, tmp_path, verbose=0)
    shutil.copytree(tmp_path / "epoch-0001", tmp_path / "epoch-9999")
    (tmp_path / "epoch-0001").rename(tmp_path / "epoch-10000")
    state = tmp_path / "epoch-10000" / "state.json"
    content = {**json.loads(state.read_text()), "epochs": 10_000}
    state.write_text(json.dumps(with_hash(content)))
    assert EpochCheckpoint(tmp_path).restore(compiled()) == 10_000


@pytest.mark.large
def test_losses_that_train_resume_without_a_teacher(tmp_path):
    """The regressor's shapes come from the answers in the data, before its weights are loaded."""
    rng = np.random.default_rng(0)
    images = rng.random((8, 4, 4, 1), "float32")
    features = rng.random((8, 4, 4, 6), "float32")
    answers = {"teacher": {"logits": rng.random((8, 3), "float32"), "stage1": features}}

    def fresh():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 4, 1))
        x = keras.layers.Conv2D(2, 3, padding="same", name="stage1")(inputs)
        student = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
        losses = [kdzoo.losses.SoftTargets(), kdzoo.losses.Hint("stage1", "stage1")]
        distiller = kdzoo.Distiller(None, student, losses, student_loss_weight=0.0)
        distiller.compile("adam")
        return distiller

    class Carried(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return images, answers

    whole, part = (tmp_path / name for name in ("whole", "part"))
    expected = train(fresh(), lambda epoch: Carried(), 3, whole, verbose=0)
    train(fresh(), lambda epoch: Carried(), 1, part, verbose=0)
    resumed = train(fresh(), lambda epoch: Carried(), 3, part, verbose=0)
    for name, values in expected.items():
        assert resumed[name] == pytest.approx(values), name
    arrays = fresh().fit(images, answers, batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert arrays.history["loss"] == pytest.approx(expected["loss"])


def test_a_model_must_be_compiled(tmp_path):
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match="compiled and built"):
        train(keras.Model(inputs, inputs), batches, 1, tmp_path)


@pytest.mark.tensorflow
def test_a_step_is_traced_once(tmp_path, monkeypatch):
    """Whose optimizer has no variables yet, which the step would make as it is traced."""
    traced, apply = [], keras.optimizers.Optimizer.apply
    monkeypatch.setattr(
        keras.optimizers.Optimizer,
        "apply",
        lambda optimizer, *given: traced.append(optimizer) or apply(optimizer, *given),
    )
    flat = keras.layers.Flatten()
    model = keras.Sequential([keras.Input((4, 4, 1)), flat, keras.layers.Dense(3)])
    model.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train(model, batches, 1, tmp_path, verbose=0)
    assert len(traced) == 1


def test_a_history_has_an_entry_for_each_epoch_whatever_is_measured_after_a_kill(tmp_path):
    def start(epochs, metrics, validation_data=None):
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(3))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=metrics)
        return train(model, batches, epochs, tmp_path, validation_data, verbose=0)

    whole = start(2, ["accuracy"])
    held_out = (np.zeros((3, 4, 4, 1), "float32"), np.arange(3))
    history = start(4, [], held_out)
    assert history["loss"][:2] == whole["loss"]
    assert history["accuracy"] == whole["accuracy"]  # As Keras has it: nothing, where it ended.
    assert np.isnan(history["val_loss"][:2]).all()
    assert np.isfinite(history["val_loss"][2:]).all()
    assert len(history["val_loss"]) == len(history["loss"]) == 4
    joined = scheme_stages.joined([history, {"loss": [0.5]}])
    assert joined["accuracy"] == [*whole["accuracy"], None, None, None]
    assert len(set(map(len, joined.values()))) == 1
