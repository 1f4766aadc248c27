"""What a `fit` must not lose, whatever happens within it, and what may change while it runs."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import DecoupledSoftTargets, SoftTargets


class Interrupted(keras.callbacks.Callback):
    """Ctrl-C after the first batch of a validation or a prediction."""

    def on_test_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt

    def on_predict_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


class AtSecondEpoch(keras.callbacks.Callback):
    """Calls a function of the model when the second epoch begins."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.change(self.model)


@pytest.fixture
def distiller(make_net, cross_entropy):
    teacher, student = make_net(8, seed=1), make_net(4, seed=2)
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    return distiller


def outputs_of(distiller, x):
    models = (distiller.teacher, distiller.student)
    return [ops.convert_to_numpy(model(x, training=False)) for model in models]


def test_a_step_that_fails_loses_neither_model(make_net, data):
    x, _, _ = data
    models = make_net(8, seed=1), make_net(4, seed=2)
    distiller = kdzoo.Distiller(*models, DecoupledSoftTargets(), student_loss_weight=0.0)
    distiller.compile("sgd")
    before = outputs_of(distiller, x)
    with pytest.raises(ValueError, match="Expected labels"):
        distiller.fit(x, verbose=0)
    np.testing.assert_array_equal(outputs_of(distiller, x), before)


def test_an_interrupted_validation_loses_neither_model(distiller, data):
    x, y, _ = data
    before = outputs_of(distiller, x)
    with pytest.raises(KeyboardInterrupt):
        distiller.predict(x, batch_size=8, verbose=0, callbacks=[Interrupted()])
    np.testing.assert_array_equal(outputs_of(distiller, x), before)
    with pytest.raises(KeyboardInterrupt):
        distiller.evaluate(x, y, batch_size=8, verbose=0, callbacks=[Interrupted()])
    np.testing.assert_array_equal(outputs_of(distiller, x), before)
    with pytest.raises(KeyboardInterrupt):
        distiller.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[Interrupted()])
    np.testing.assert_array_equal(outputs_of(distiller, x)[0], before[0])


def test_a_student_may_start_as_its_teacher(make_net, data, cross_entropy):
    x, y, _ = data
    teacher, student = make_net(4, seed=1), make_net(4, seed=2)
    for ours, theirs in zip(student.variables, teacher.variables, strict=True):
        if ours.shape == theirs.shape:
            ours.assign(theirs)
    before = ops.convert_to_numpy(teacher(x, training=False))
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0))
    distiller.compile(keras.optimizers.SGD(0.1), cross_entropy)
    losses = distiller.fit(x, y, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    np.testing.assert_array_equal(ops.convert_to_numpy(teacher(x, training=False)), before)
    assert np.abs(ops.convert_to_numpy(student(x, training=False)) - before).max() > 1e-4


def test_the_share_of_the_labels_may_reach_its_end_between_epochs(distiller, data):
    x, y, _ = data
    change = AtSecondEpoch(lambda model: setattr(model, "student_loss_weight", 1.0))
    history = distiller.fit(x, y, batch_size=24, epochs=2, verbose=0, callbacks=[change]).history
    mixed = 0.5 * history["student_loss"][0] + 0.5 * history["distillation_loss"][0]
    assert history["loss"][0] == pytest.approx(mixed, rel=1e-5)
    assert history["loss"][1] == pytest.approx(history["student_loss"][1], rel=1e-5)


def test_another_teacher_may_come_between_epochs(distiller, data, make_net):
    x, y, _ = data
    other = make_net(8, seed=5)
    before = ops.convert_to_numpy(other(x, training=False))
    student = distiller.student(x, training=True)
    expected = [
        float(ops.mean(kdzoo.losses.soft_targets(teacher(x), student, temperature=3.0)))
        for teacher in (distiller.teacher, other, other)
    ]
    distiller.optimizer.learning_rate = 0.0
    change = AtSecondEpoch(lambda model: setattr(model, "teacher", other))
    history = distiller.fit(x, y, batch_size=24, epochs=3, verbose=0, callbacks=[change]).history
    np.testing.assert_allclose(history["distillation_loss"], expected, rtol=1e-4)
    assert abs(expected[1] - expected[0]) > 1e-3
    assert distiller.teacher is other
    np.testing.assert_array_equal(ops.convert_to_numpy(other(x, training=False)), before)


def test_a_loaded_distiller_needs_the_function_before_its_teacher(make_net, data, tmp_path):
    x, y, _ = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2)

    def brighter(images):
        return 10 * images - 5

    distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0), teacher_transform=brighter)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.SGD(0.0), loss)
    expected = distiller.train_on_batch(x, y, return_dict=True)["distillation_loss"]
    # What is loaded and saved again knows of it still.
    for name in ("first.keras", "second.keras"):
        distiller.save(tmp_path / name)
        distiller = keras.saving.load_model(tmp_path / name)
        with pytest.raises(ValueError, match=r"set `distiller.teacher_transform` first"):
            distiller.teacher = teacher
    distiller.teacher_transform = brighter
    distiller.teacher = teacher
    found = distiller.train_on_batch(x, y, return_dict=True)["distillation_loss"]
    assert found == pytest.approx(expected, rel=1e-3)


def test_validation_data_may_have_no_labels(make_net, data):
    x, _, _ = data
    distiller = kdzoo.Distiller(
        make_net(8, seed=1), make_net(4, seed=2), SoftTargets(), student_loss_weight=0.0
    )
    distiller.compile("sgd")
    history = distiller.fit(x, validation_data=(x,), verbose=0).history
    assert history["val_loss"] == [0.0]


def test_regularizers_of_half_precision_count(data, cross_entropy):
    x, y, _ = data
    x = x.reshape(24, -1)
    teacher = keras.Sequential([keras.Input((72,)), keras.layers.Dense(3)])
    half = {"activity_regularizer": "l2", "dtype": "mixed_bfloat16", "name": "half"}
    layers = [keras.Input((72,)), keras.layers.Dense(3, **half)]
    student = keras.Sequential([*layers, keras.layers.Activation("linear", dtype="float32")])
    distiller = kdzoo.Distiller(teacher, student, SoftTargets())
    distiller.compile(keras.optimizers.SGD(0.0), cross_entropy)
    logs = distiller.train_on_batch(x, y, return_dict=True)
    outputs = ops.convert_to_numpy(student(x)).astype("float64")
    penalty = 0.01 * (outputs**2).sum() / len(x)
    mixed = 0.5 * logs["student_loss"] + 0.5 * logs["distillation_loss"]
    assert logs["loss"] - mixed == pytest.approx(penalty, rel=0.02)


REPLICAS = """
import keras, numpy as np, tensorflow as tf
import kdzoo

devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).random((8, 5)).astype("float32")
y = np.arange(8) % 3
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = []
for is_distilled in (False, True):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        dense = keras.layers.Dense(3, kernel_regularizer="l2")
        model = student = keras.Sequential([keras.Input((5,)), dense])
        if is_distilled:
            models = keras.models.clone_model(student), student
            model = kdzoo.Distiller(*models, kdzoo.losses.SoftTargets(), student_loss_weight=1.0)
        model.compile(
            keras.optimizers.SGD(1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    loss = model.fit(x, y, batch_size=8, verbose=0).history["loss"][0]
    found.append((loss, *student.get_weights()))
for ours, theirs in zip(found[1], found[0], strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
print("regularizers")

# A last batch of 3, of which one replica gets 2 and the other 1.
loss, accuracy = model.evaluate(x[:7], y[:7], batch_size=4, verbose=0)
logits = x[:7].astype("float64") @ student.get_weights()[0] + student.get_weights()[1]
right = (logits.argmax(1) == y[:7]).mean()
terms = np.log(np.exp(logits).sum(1)) - logits[np.arange(7), y[:7]]
penalty = 0.01 * (student.get_weights()[0].astype("float64") ** 2).sum()
np.testing.assert_allclose((loss, accuracy), (terms.mean() + penalty, right), rtol=1e-5)
print("uneven batches")


class Contrast(kdzoo.losses.ContrastiveRepresentation):
    def draw_negatives(self, indices):
        return (indices[:, None] + np.arange(1, 4, dtype="int32")) % 8


def contrasted():
    models = [keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]) for _ in range(2)]
    contrast = Contrast(8, dimensions=4, negatives=3, temperature=1.0)
    distiller = kdzoo.Distiller(*models, contrast, student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.1))
    return distiller


keras.utils.set_random_seed(0)
alone = contrasted()
with strategy.scope():
    spread = contrasted()
for pair in zip((*spread.teacher.variables, *spread.variables),
                (*alone.teacher.variables, *alone.variables), strict=True):
    pair[0].assign(pair[1].value)
targets = {"label": y, "index": np.array([3, 1, 4, 0, 5, 2, 6, 7])}
for distiller in (alone, spread):
    distiller.fit(x, targets, epochs=2, batch_size=8, shuffle=False, verbose=0)
losses = [distiller.distillation_losses[0] for distiller in (spread, alone)]
for ours, theirs in zip(losses[0].variables, losses[1].variables, strict=True):
    for copy in ours.value.values:
        np.testing.assert_allclose(copy, theirs.value, rtol=1e-4, atol=1e-6, err_msg=ours.path)
print("banks")
"""


@pytest.mark.large
@pytest.mark.tensorflow
def test_replicas_compute_what_one_device_does():
    ended = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False
    )
    found = {*ended.stdout.splitlines()}
    assert found >= {"regularizers", "uneven batches", "banks"}, ended.stderr[-3000:]
