"""Lottery tickets: which weights are left and where they begin, the controls, and kills."""

import functools

import keras
import numpy as np
import pytest
from small_schemes import CROSS_ENTROPY, StopIn, Stopped, assert_same, batches, net

from kdzoo.schemes import lottery_ticket

EPOCHS, ROUNDS = 2, 2
KERNELS = {"features/kernel": (6, 6), "logits/kernel": (6, 3)}


class Watch(keras.callbacks.Callback):
    """What each training begins with: the kernels of its student, and the learning rate."""

    def __init__(self):
        super().__init__()
        self.kernels, self.rates = [], []

    def on_train_begin(self, logs=None):
        student = getattr(self.model, "student", self.model)
        self.kernels.append([w for w in student.get_weights() if w.ndim == 2])

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            rate = self.model.optimizer.learning_rate
            self.rates.append(float(keras.ops.convert_to_numpy(rate)))


def run(directory, model=None, **arguments):
    arguments = {
        "data": batches,
        "rounds": ROUNDS,
        "epochs": EPOCHS,
        "loss": CROSS_ENTROPY,
        "fraction": 0.3,
        "output_fraction": 0.25,
        "verbose": 0,
        **arguments,
    }
    model = net(6, 1) if model is None else model
    return lottery_ticket(model, arguments.pop("data"), directory, **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of all controls: model, its weights before, tickets, history, what was watched."""
    model, watch = net(6, 1), Watch()
    before = model.get_weights()
    found = run(tmp_path_factory.mktemp("whole"), model, metrics=["accuracy"], callbacks=[watch])
    return model, before, *found, watch


def kernels(model):
    return [weight for weight in model.get_weights() if weight.ndim == 2]


def test_the_model_is_left_as_it_was(finished):
    model, before, *_ = finished
    assert not model.compiled
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_each_round_prunes_the_smallest_trained_weights(finished):
    """By the paper's rule in NumPy: of the weights that are left, the smallest go."""
    *_, tickets, _, watch = finished
    for number in (1, 2):
        begins = watch.kernels[number]
        trained = kernels(tickets.models[number - 1])
        for kernel, after, fraction in zip(trained, begins, (0.3, 0.25), strict=True):
            zeros = round((1 - (1 - fraction) ** number) * kernel.size)
            threshold = np.sort(np.abs(kernel), axis=None)[zeros]
            np.testing.assert_array_equal(after != 0, np.abs(kernel) >= threshold)
    # Of 36 and 18 weights 11 (10.8) and 4 (4.5) are gone, then 18 (18.36) and 8 (7.875). Rounded
    # round by round, 8 (7.5) of 25 would go after 11, and 19 be gone.
    assert tickets.weights_left == [1.0, 39 / 54, 28 / 54]
    assert {name: int(mask.sum()) for name, mask in tickets.masks.items()} == {
        "features/kernel": 18,
        "logits/kernel": 10,
    }


def test_what_is_left_begins_with_the_initial_weights_bit_for_bit(finished):
    _, before, _, _, watch = finished
    initial = [weight for weight in before if weight.ndim == 2]
    for number in (0, 1, 2):
        for begins, weight in zip(watch.kernels[number], initial, strict=True):
            np.testing.assert_array_equal(begins, np.where(begins != 0, weight, 0))
    assert len(watch.kernels) == 6


def test_zeros_stay_zero_in_the_tickets_and_their_controls(finished):
    *_, tickets, history, watch = finished
    networks = [*tickets.models, *tickets.controls.values()]
    for network, begins in zip(networks, watch.kernels, strict=True):
        assert [type(layer).__name__ for layer in network.layers] == [
            *("InputLayer", "Dense", "BatchNormalization", "Dropout", "Dense"),
        ]
        for kernel, begin in zip(kernels(network), begins, strict=True):
            np.testing.assert_array_equal(kernel != 0, begin != 0)
            assert np.abs(kernel - begin).max() > 0
    # As long as all rounds together is the last.
    assert [history["stage"].count(number) for number in range(1, 7)] == [2, 2, 2, 2, 2, 6]
    assert np.isfinite(history["accuracy"]).all()


def test_controls_have_other_weights_or_other_places(finished):
    _, before, tickets, _, watch = finished
    ticket, redrawn, at_random, scratch = watch.kernels[2:]
    for one, new, placed, long, mask in zip(
        ticket, redrawn, at_random, scratch, tickets.masks.values(), strict=True
    ):
        for kernel in (one, new, long):
            np.testing.assert_array_equal(kernel != 0, mask)
        assert np.count_nonzero(placed) == mask.sum()
        assert ((placed != 0) != mask).any()
        assert np.abs(new - one)[mask].min() > 0
        assert np.abs(new - long)[mask].min() > 0
    initial = [weight for weight in before if weight.ndim == 2]
    for placed, weight in zip(at_random, initial, strict=True):
        np.testing.assert_array_equal(placed, np.where(placed != 0, weight, 0))


def schedule(epochs):
    return keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(0.3, 3 * epochs, 0.0))


@pytest.mark.large_on_jax
def test_tickets_go_back_to_an_early_epoch_and_its_learning_rate(tmp_path):
    class Early(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if not hasattr(self, "kernels"):
                self.kernels = [w for w in self.model.get_weights() if w.ndim == 2]

    watch, early = Watch(), Early()
    _, history = run(
        tmp_path,
        rounds=1,
        epochs=3,
        rewind_epoch=1,
        controls=["from_scratch"],
        optimizer=schedule,
        callbacks=[watch, early],
    )
    assert [history["stage"].count(number) for number in (1, 2, 3)] == [3, 2, 5]
    for begins, kernel in zip(watch.kernels[1], early.kernels, strict=True):
        np.testing.assert_array_equal(begins, np.where(begins != 0, kernel, 0))
    # Of 3 steps an epoch, after the first one; that from scratch falls over 5 epochs.
    steps, last = np.array([1, 4, 7, 4, 7]), np.array([1, 4, 7, 10, 13])
    expected = [*(0.3 * (1 - steps / 9)), *(0.3 * (1 - last / 15))]
    np.testing.assert_allclose(watch.rates, expected, rtol=1e-5)


@pytest.mark.large
@pytest.mark.parametrize(
    ("epoch", "rewind_epoch"),
    [
        (3, 1),
        pytest.param(0, 0, marks=pytest.mark.large),
        pytest.param(1, 1, marks=pytest.mark.large),
    ],
)
def test_a_run_stopped_in_any_stage_ends_as_an_undisturbed_one(tmp_path, epoch, rewind_epoch):
    """With a teacher; other random numbers in the second process, and another fresh model."""
    run_it = functools.partial(
        run,
        rounds=1,
        rewind_epoch=rewind_epoch,
        controls=["reinitialized"],
        teacher=net(9, 5),
        optimizer=keras.optimizers.AdamW(0.01, use_ema=True),
    )
    expected, history = run_it(tmp_path / "whole")
    with pytest.raises(Stopped):
        run_it(tmp_path / "stopped", callbacks=[StopIn(epoch)])
    keras.utils.set_random_seed(epoch)
    other = net(6, 7) if epoch else None
    tickets, again = run_it(tmp_path / "stopped", other)
    assert again == history
    assert_same(
        [*tickets.models, *tickets.controls.values()],
        [*expected.models, *expected.controls.values()],
    )
    assert history["distillation_loss"][0] is not None
    with pytest.raises(ValueError, match="choose another directory"):
        run_it(tmp_path / "stopped", fraction=0.4)
    with pytest.raises(ValueError, match="choose another directory"):
        run_it(tmp_path / "stopped", teacher=net(9, 6))


class Own(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"fraction": 1.0}, r"fraction to lie in \[0, 1\)"),
        ({"fraction": 0}, "fraction to be above 0"),
        ({"rewind_epoch": EPOCHS}, "rewind_epoch to be below the epochs"),
        ({"rounds": 0}, "rounds to be a positive integer"),
        ({"controls": ["none"]}, "Unknown control"),
        ({"controls": ["from_scratch"] * 2}, "each once"),
        ({"scope": "net"}, "Unknown scope"),
        ({"model": Own()}, "which has a graph"),
        ({"model": keras.Sequential([keras.Input((6,)), keras.layers.ReLU()])}, "with kernels"),
        ({"teacher": net(9, 5, classes=4)}, "same classes"),
        ({"teacher": "unpruned"}, "a keras.Model, 'recorded' or None"),
        ({"loss": None}, "Expected `loss`"),
        ({"optimizer": keras.optimizers.Adam}, "Expected"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(tmp_path, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        run(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
