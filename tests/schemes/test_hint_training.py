"""FitNets' two stages: what each trains, and that a kill in either changes nothing."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo import taps
from kdzoo.schemes import hint_training

HINT_EPOCHS, EPOCHS = 3, 4


def net(width, seed, name=None):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1), name="image")
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="stage1")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(width, 3, strides=2, name="stage2")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x), name=name)


def batches(epoch):
    rng = np.random.default_rng(3)
    images, labels = rng.random((24, 6, 6, 1), "float32"), rng.integers(0, 3, 24)
    data = kdzoo.data.from_arrays(images, labels, classes=3, validation=0)
    return data.train.batches(8, shuffle=True, seed=1, initial_epoch=epoch)


def run(directory, callbacks=(), **arguments):
    arguments = {
        "hint_epochs": HINT_EPOCHS,
        "epochs": EPOCHS,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "data": batches,
        "verbose": 0,
        **arguments,
    }
    teacher, student = net(8, seed=1), net(4, seed=2)
    layers = "stage1", "stage1"
    data = arguments.pop("data")
    return hint_training(
        teacher, student, *layers, data, directory, callbacks=callbacks, **arguments
    )


class Before(keras.callbacks.Callback):
    """Calls a function at the start of an epoch of one stage."""

    def __init__(self, stage, epoch, function):
        super().__init__()
        self.stage, self.epoch, self.function = stage, epoch, function

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.name == self.stage and batch == 1 and self.at == self.epoch:
            self.function(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch


def test_the_first_stage_trains_and_computes_the_lower_part_alone(tmp_path):
    seen = []

    def look(model):
        seen.append([layer.name for layer in model.student.layers])
        seen.append([layer.name for layer in model.teacher.layers])
        seen.append({variable.path.split("/")[0] for variable in model.trainable_variables})

    run(tmp_path, [Before("hints", 0, look)])
    assert seen[:2] == [["image", "stage1"]] * 2
    assert seen[2] == {"stage1", "hint"}


def test_both_stages_learn_and_share_one_history(tmp_path):
    student, history = run(tmp_path)
    assert history["stage"] == [1] * HINT_EPOCHS + [2] * EPOCHS
    assert {len(values) for values in history.values()} == {HINT_EPOCHS + EPOCHS}
    assert history["loss"][HINT_EPOCHS - 1] < history["loss"][0]
    assert history["accuracy"][:HINT_EPOCHS] == [None] * HINT_EPOCHS
    assert np.isfinite(history["loss"]).all()
    assert student.count_params() == net(4, seed=0).count_params()


def test_the_teachers_weight_falls_evenly(tmp_path):
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(note.model.distillation_loss_weights[0])
    )
    run(tmp_path, [note], teacher_weight=(4.0, 1.0))
    assert weights[HINT_EPOCHS:] == pytest.approx([4.0, 3.0, 2.0, 1.0])


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_hint_training import Before, run
stop = Before({stage!r}, {epoch}, lambda model: os.kill(os.getpid(), signal.SIGKILL))
run({directory!r}, [stop])
"""


@pytest.mark.parametrize(("stage", "epoch"), [("hints", 1), ("distiller", 2)])
def test_a_run_killed_in_either_stage_ends_as_an_undisturbed_one(tmp_path, stage, epoch):
    expected, whole = run(tmp_path / "whole")
    here = str(pathlib.Path(__file__).parent)
    script = KILLED.format(here=here, stage=stage, epoch=epoch, directory=str(tmp_path / "killed"))
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    started = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: started.append(epoch))
    student, history = run(tmp_path / "killed", [note])
    assert len(started) == HINT_EPOCHS + EPOCHS - epoch - (HINT_EPOCHS if stage != "hints" else 0)
    for name, values in whole.items():
        if name != "stage":
            pairs = [(a, b) for a, b in zip(history[name], values, strict=True) if b is not None]
            np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-4, err_msg=name)
    for ours, theirs in zip(student.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_nested_model_is_cut_inside():
    inputs = keras.Input((6, 6, 1))
    backbone = net(4, seed=3, name="backbone")
    model = keras.Model(inputs, keras.layers.Dense(2)(backbone(keras.layers.ReLU()(inputs))))
    part = taps.cut(model, "backbone/stage2")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    with taps.tapping(model, ["backbone/stage2"]) as tapped:
        model(x)
    np.testing.assert_allclose(
        *(keras.ops.convert_to_numpy(each) for each in (part(x), tapped["backbone/stage2"])),
        rtol=1e-6,
    )
    assert {id(w) for w in part.weights} <= {id(w) for w in model.weights}


def test_bad_arguments_are_refused(tmp_path):
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="optimizer for each stage"):
        run(tmp_path, optimizer=adam, hint_optimizer=adam)
    with pytest.raises(ValueError, match="Did you mean 'stage1'"):
        taps.cut(net(2, 0), "stag1")

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, name="dense")

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="functional or sequential"):
        taps.cut(Subclassed(), "dense")
