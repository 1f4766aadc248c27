"""Annealing: the numbers of a Distiller change from epoch to epoch, and nothing compiles again."""

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import LogitRegression, SoftTargets
from kdzoo.training.callbacks import Anneal, linear


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(16, 5)).astype("float32")


@pytest.fixture
def y():
    return np.random.default_rng(1).integers(0, 3, 16)


def dense(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])


@pytest.fixture
def make():
    """Makes a distiller that stands still, so that each epoch's loss shows the numbers alone."""

    def make(losses, *weights, **arguments):
        distiller = kdzoo.Distiller(dense(1), dense(2), losses, *weights, **arguments)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile(keras.optimizers.SGD(0.0), cross_entropy)
        return distiller

    return make


def parts(distiller, x, y, losses):
    """The student's loss and each distillation loss, computed apart."""
    outputs = distiller.teacher(x), distiller.student(x)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    values = [cross_entropy(y, outputs[1]), *(ops.mean(loss(*outputs)) for loss in losses)]
    return [float(value) for value in values]


@pytest.mark.parametrize("ends", [(0.2, 0.8), (1.0, 0.0), (0.0, 1.0)])
def test_the_student_loss_weight_follows_the_schedule(make, x, y, ends):
    distiller = make(SoftTargets(2.0), student_loss_weight=0.5)
    hard, soft = parts(distiller, x, y, [SoftTargets(2.0)])
    anneal = Anneal("student_loss_weight", linear(*ends, epochs=3))
    history = distiller.fit(x, y, epochs=3, batch_size=16, callbacks=[anneal], verbose=0).history
    weights = np.linspace(*ends, 3)
    np.testing.assert_allclose(history["loss"], weights * hard + (1 - weights) * soft, rtol=1e-4)


def test_the_temperature_follows_the_schedule(make, x, y):
    distiller = make([SoftTargets(9.0), LogitRegression()], student_loss_weight=0.0)
    expected = [parts(distiller, x, y, [SoftTargets(T)])[1] for T in (4.0, 2.5, 1.0)]
    anneal = Anneal("temperature", linear(4.0, 1.0, epochs=3))
    history = distiller.fit(x, y, epochs=3, batch_size=16, callbacks=[anneal], verbose=0).history
    np.testing.assert_allclose(history["soft_targets_loss"], expected, rtol=1e-4)
    assert distiller.distillation_losses[0].temperature == 1.0


def test_of_two_losses_of_a_name_the_one_with_a_temperature_is_meant(make, x, y):
    distiller = make([LogitRegression(name="kd"), SoftTargets(9.0, name="kd")])
    anneal = Anneal("temperature", linear(4.0, 1.0, epochs=2))
    distiller.fit(x, y, epochs=2, batch_size=16, callbacks=[anneal], verbose=0)
    regression, soft_targets = distiller.distillation_losses
    assert soft_targets.temperature == 1.0
    assert not hasattr(regression, "temperature")


def test_one_weight_of_several_follows_the_schedule(make, x, y):
    distiller = make([SoftTargets(2.0), LogitRegression()], [1.0, 1.0], student_loss_weight=0.0)
    _, soft, logits = parts(distiller, x, y, [SoftTargets(2.0), LogitRegression()])
    anneal = Anneal("distillation_loss_weight", lambda epoch: 2.0 - epoch, "logit_regression")
    history = distiller.fit(x, y, epochs=3, batch_size=16, callbacks=[anneal], verbose=0).history
    expected = [soft + weight * logits for weight in (2, 1, 0)]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-4)
    assert distiller.distillation_loss_weights == (1.0, 0.0)


def test_nothing_is_compiled_again(make, x, y):
    traces = []

    class Counting(SoftTargets):
        def call(self, teacher, student, labels=None):
            traces.append(1)
            return super().call(teacher, student, labels)

    distiller = make(Counting(2.0), student_loss_weight=1.0)
    callbacks = [
        Anneal("student_loss_weight", linear(1.0, 0.0, epochs=4)),
        Anneal("temperature", linear(4.0, 1.0, epochs=4)),
    ]
    distiller.fit(x, y, epochs=1, batch_size=16, callbacks=callbacks, verbose=0)
    once = len(traces)
    distiller.fit(x, y, epochs=4, initial_epoch=1, batch_size=16, callbacks=callbacks, verbose=0)
    assert once > 0
    # Keras compiles once for each `fit` on some backends; never once for each epoch.
    assert len(traces) <= 2 * once


def test_setting_the_weights_between_fits_is_heeded(make, x, y):
    distiller = make(SoftTargets(2.0), student_loss_weight=1.0)
    hard, soft = parts(distiller, x, y, [SoftTargets(2.0)])
    losses = []
    for weight in (1.0, 0.25, 0.0):
        distiller.student_loss_weight = weight
        losses += distiller.fit(x, y, batch_size=16, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, [hard, 0.25 * hard + 0.75 * soft, soft], rtol=1e-4)


def test_without_a_loss_the_labels_cannot_come_to_count():
    distiller = kdzoo.Distiller(dense(1), dense(2), SoftTargets(2.0), student_loss_weight=0.0)
    distiller.compile("sgd")
    with pytest.raises(ValueError, match="Expected `loss`, the student's loss on the labels"):
        distiller.student_loss_weight = 0.5
    assert distiller.student_loss_weight == 0.0


def test_linear_is_even_and_stays():
    assert [linear(0, 1, epochs=5)(epoch) for epoch in range(7)] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert linear(3.0, 1.0, epochs=1)(0) == 3.0


def test_names_are_checked(make, x, y):
    with pytest.raises(ValueError, match="Did you mean 'temperature'"):
        Anneal("temprature", linear(1, 2, 3))
    with pytest.raises(ValueError, match=r"linear` makes one"):
        Anneal("temperature", 3.0)
    for epochs in (0, 2.5, True):
        with pytest.raises(ValueError, match="Expected epochs to be a positive integer"):
            linear(1, 2, epochs=epochs)
    assert linear(1, 2, epochs=np.int64(2))(1) == 2
    with pytest.raises(ValueError, match=r"belongs to no distillation loss\. Received: loss='one'"):
        Anneal("student_loss_weight", linear(0, 1, 3), "one")
    two = [SoftTargets(2.0, name="one"), SoftTargets(3.0, name="two")]
    for number, loss, complaint in (
        ("temperature", None, r"one loss with a temperature.*name it with `loss=`"),
        ("temperature", "thre", "loss with a temperature"),
        ("distillation_loss_weight", None, "one loss with a distillation_loss_weight"),
    ):
        anneal = Anneal(number, linear(1, 2, 3), loss)
        with pytest.raises(ValueError, match=complaint):
            make(two).fit(x, y, callbacks=[anneal], verbose=0)
    anneal = Anneal("temperature", linear(1, 2, 3), "soft_targets")
    with pytest.raises(ValueError, match="one loss of the name 'soft_targets'"):
        make([SoftTargets(2.0), SoftTargets(3.0)]).fit(x, y, callbacks=[anneal], verbose=0)
    anneal = Anneal("student_loss_weight", lambda epoch: 1.5)
    with pytest.raises(ValueError, match="student_loss_weight=1"):
        make(two).fit(x, y, callbacks=[anneal], verbose=0)


def test_other_models_are_refused(x, y):
    model = dense(0)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"Expected a `kdzoo.Distiller`"):
        model.fit(x, np.zeros((16, 3)), callbacks=[Anneal("temperature", linear(1, 2, 3))])
