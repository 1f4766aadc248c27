"""FitNets' two stages: what each trains, and that a kill in either changes nothing."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdzoo
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
    teacher, student = arguments.pop("models", None) or (net(8, seed=1), net(4, seed=2))
    layers = arguments.pop("layers", ("stage1", "stage1"))
    data = arguments.pop("data")
    return hint_training(
        teacher, student, *layers, data, directory, callbacks=callbacks, **arguments
    )


def sequential(width, seed):
    """The layers of `net`, one after the other."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="stage1"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="logits"),
        ]
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


@pytest.mark.large_on_jax
def test_labels_can_take_the_place_of_the_hint(tmp_path):
    student, looked = net(4, seed=2), {}
    before = student.get_weights()

    def look(model):
        kernel, bias = model.get_layer("guided_logits").get_weights()
        features = np.asarray(student.get_layer("stage1").output.shape[1:]).prod()
        looked["classifier"] = kernel.shape == (features, 3) and not bias.any()
        looked["weights"] = len(model.trainable_variables)
        looked["loss"] = model.evaluate(*arrays, verbose=0)
        images, labels = arrays
        flat = keras.ops.convert_to_numpy(model.layers[1](images)).reshape(len(images), -1)
        logits = flat @ model.get_layer("guided_logits").get_weights()[0] + bias
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        looked["expected"] = -logs[np.arange(len(labels)), labels].mean()

    arrays = [np.concatenate(part) for part in zip(*map(arrays_of, batches(0)), strict=True)]
    first = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: None if looked else look(first.model)
    )
    _, history = run(
        tmp_path, [first], models=(net(8, seed=1), student), layers=(None, "stage1"), epochs=1
    )
    assert looked["classifier"]
    assert looked["weights"] == 4  # Of the guided layer and of the classifier.
    assert looked["loss"] == pytest.approx(looked["expected"], rel=1e-4)
    assert history["stage"] == [1] * HINT_EPOCHS + [2]
    assert np.abs(before[0] - student.get_weights()[0]).max() > 0
    assert "guided_logits" not in [layer.name for layer in student.layers]


def arrays_of(batch):
    return [np.asarray(part) for part in batch]


@pytest.mark.large
def test_the_teachers_weight_falls_evenly(tmp_path):
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(note.model.distillation_loss_weights[0])
    )
    run(tmp_path / "given", [note], teacher_weight=(4.0, 1.0))
    assert weights[HINT_EPOCHS:] == pytest.approx([4.0, 3.0, 2.0, 1.0])
    # The paper's 4 to 1, whose cross-entropy has no T².
    weights.clear()
    run(tmp_path / "usual", [note], soft_targets=kdzoo.losses.SoftTargets(2.0))
    assert weights[HINT_EPOCHS:] == pytest.approx([1.0, 0.75, 0.5, 0.25])


@pytest.mark.large_on_jax
def test_the_arguments_reach_the_two_stages(tmp_path):
    seen = {}

    def look(model):
        seen[model.name] = model

    looks = [Before("hints", 0, look), Before("distiller", 0, look)]
    soft_targets = kdzoo.losses.LogitRegression()
    validated = batches(0)
    _, history = run(
        tmp_path,
        looks,
        soft_targets=soft_targets,
        student_loss_weight=0.3,
        activation="tanh",
        reduction="sum",
        validation_data=validated,
    )
    (hint,) = seen["hints"].distillation_losses
    assert (hint.reduction, hint.activation) == ("sum", keras.activations.tanh)
    assert seen["distiller"].distillation_losses == [soft_targets]
    assert seen["distiller"].student_loss_weight == 0.3
    assert history["val_loss"][:HINT_EPOCHS] == [None] * HINT_EPOCHS
    assert np.isfinite(history["val_loss"][HINT_EPOCHS:]).all()


@pytest.mark.large_on_jax
def test_a_teacher_of_another_size_sees_other_images(tmp_path):
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="stage1")(inputs)
    teacher = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))

    def larger(images):
        return keras.ops.repeat(keras.ops.repeat(images, 2, axis=1), 2, axis=2)

    models = teacher, net(4, seed=2)
    _, history = run(tmp_path, models=models, teacher_transform=larger)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.large_on_jax
@pytest.mark.parametrize("makers", [(sequential, net), (net, sequential)])
def test_sequential_models_learn_too(tmp_path, makers):
    models = [make(width, seed=width) for make, width in zip(makers, (8, 4), strict=True)]
    student, history = run(tmp_path, models=models)
    assert student is models[1]
    assert history["loss"][HINT_EPOCHS - 1] < history["loss"][0]


def test_an_early_end_of_a_stage_shows_in_the_history(tmp_path):
    def early():
        return [keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=1)]

    _, history = run(tmp_path, early())
    assert history["stage"] == [1, 1, 2, 2]
    assert {len(values) for values in history.values()} == {4}
    # Called again, neither stage is begun anew or gone on with: both have ended.
    assert run(tmp_path)[1] == history


@pytest.mark.large
@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: lambda x: x, "<lambda>.<locals>.<lambda>"),
        (lambda: keras.activations.relu, "relu"),
        (lambda: "relu", "relu"),
    ],
    ids=["own", "function", "name"],
)
def test_a_run_knows_the_activation_in_any_process(tmp_path, make, name):
    """By another function at another address that has its name."""
    options = {"hint_epochs": 1, "epochs": 1, "models": (sequential(3, 1), sequential(2, 2))}
    _, history = run(tmp_path, **options, activation=make())
    kept = json.loads((tmp_path / "hints" / "epoch-0001" / "state.json").read_text())
    assert kept["settings"]["regressor"] == [name, "mean"]
    assert run(tmp_path, **options, activation=make())[1] == history


@pytest.mark.parametrize(
    "changed",
    [
        {"hint_epochs": HINT_EPOCHS + 1},
        {"epochs": EPOCHS - 1},
        {"reduction": "sum"},
        {"student_loss_weight": 0.9},
        {"teacher_weight": (9.0, 1.0)},
        {"soft_targets": kdzoo.losses.SoftTargets(5.0)},
        {"layers": ("stage2", "stage2")},
        {"settings": {"seed": 7}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_directory_of_another_run_is_refused(finished, changed):
    with pytest.raises(ValueError, match="choose another directory"):
        run(finished, **changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    run(directory)
    return directory


def test_another_student_is_refused(finished):
    with pytest.raises(ValueError, match="other shapes; choose another directory"):
        run(finished, models=(net(8, seed=1), net(6, seed=2)))


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_hint_training import Before, run
stop = Before({stage!r}, {epoch}, lambda model: os.kill(os.getpid(), signal.SIGKILL))
run({directory!r}, [stop])
"""


@pytest.mark.large
@pytest.mark.parametrize(
    ("stage", "epoch"),
    [("hints", 1), ("distiller", 2)],
)
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


def test_bad_arguments_are_refused(tmp_path):
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="optimizer for each stage"):
        run(tmp_path, optimizer=adam, hint_optimizer=adam)
    with pytest.raises(ValueError, match="Expected hint_epochs to be a positive integer"):
        run(tmp_path, hint_epochs=0)
    with pytest.raises(ValueError, match=r"two numbers of at least 0\. Received: teacher_weight=4"):
        run(tmp_path, teacher_weight=4.0)
    with pytest.raises(ValueError, match="one distillation loss"):
        run(tmp_path, soft_targets=[kdzoo.losses.SoftTargets(2.0)] * 2)
    with pytest.raises(ValueError, match="one model as the teacher"):
        run(tmp_path, models=(kdzoo.Ensemble([net(8, 0), net(8, 1)]), net(4, 2)))
    with pytest.raises(ValueError, match="Received: a tuple"):
        run(tmp_path, data=(np.zeros((4, 6, 6, 1)), np.zeros(4)))
    softmax = net(8, seed=1)
    softmax = keras.Model(softmax.input, keras.layers.Softmax()(softmax.output))
    with pytest.raises(ValueError, match="as_logits"):
        run(tmp_path, models=(softmax, net(4, seed=2)))
    assert not list(tmp_path.iterdir())  # All of it was found before anything was trained.
