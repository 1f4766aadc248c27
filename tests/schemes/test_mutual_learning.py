"""Deep mutual learning against NumPy, and that a stopped run ends as an undisturbed one."""

import time

import keras
import numpy as np
import pytest
from small_schemes import (
    CROSS_ENTROPY,
    Rows,
    StopIn,
    Stopped,
    X,
    Y,
    assert_same,
    batches,
    cross_entropy,
    kl,
    logits_in_training,
    net,
    softmax,
)

import kdzoo
from kdzoo.schemes import mutual_learning

UPDATES = ("simultaneous", "sequential")
WEIGHTS = np.linspace(0.5, 1.5, 24).astype("float32")


def run(directory, peers=None, **arguments):
    arguments = {"data": batches, "epochs": 2, "loss": CROSS_ENTROPY, "verbose": 0, **arguments}
    peers = [net(8, 1, "a"), net(5, 2, "b")] if peers is None else peers
    return mutual_learning(peers, arguments.pop("data"), directory, **arguments)


@pytest.mark.parametrize("update", UPDATES)
def test_the_first_step_has_the_losses_of_the_formula(tmp_path, update):
    peers = [net(width, width, f"p{width}", dropout=0) for width in (8, 5, 4)]
    logits = [logits_in_training(peer) for peer in peers]
    _, history = run(
        tmp_path,
        peers,
        data=Rows(24, weights=WEIGHTS),
        epochs=1,
        optimizer=keras.optimizers.SGD(0.0),
        update=update,
        mutual_weight=0.7,
        temperature=2.0,
    )
    assert history["stage"] == [1]
    total = 0
    for peer, own in zip(peers, logits, strict=True):
        others = [other for other in logits if other is not own]
        mutual = np.mean([4 * kl(softmax(o / 2), softmax(own / 2)) for o in others], axis=0)
        expected = [np.mean(WEIGHTS * part) for part in (cross_entropy(softmax(own), Y), mutual)]
        found = [history[f"{peer.name}_{name}"][0] for name in ("loss", "mutual_loss")]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        total += expected[0] + 0.7 * expected[1]
    np.testing.assert_allclose(history["loss"][0], total, rtol=1e-5)


def numpy_updates(kernels, update, steps=3, rate=0.3, momentum=0.9, decay=0.02):
    """Linear peers after some steps, each with a velocity of its own, by the paper's equations."""
    kernels = [kernel.astype("float64") for kernel in kernels]
    velocities = [np.zeros_like(kernel) for kernel in kernels]
    for step in range(steps):
        part = slice(8 * step, 8 * step + 8)
        x, y, weights = X[part], np.eye(3)[Y[part]], WEIGHTS[part, None]
        known = [softmax(x @ kernel) for kernel in kernels]
        for place, kernel in enumerate(kernels):
            own = softmax(x @ kernel)
            others = [known[other] for other in range(len(kernels)) if other != place]
            slope = own - y + np.mean([own - other for other in others], axis=0)
            gradient = x.T @ (weights * slope) / len(x) + 2 * decay * kernel
            velocities[place] = momentum * velocities[place] - rate * gradient
            kernels[place] = kernel + velocities[place]
            if update == "sequential":
                known[place] = softmax(x @ kernels[place])
    return kernels


@pytest.mark.parametrize("update", UPDATES)
def test_three_steps_equal_a_loop_with_an_optimizer_for_each_peer(tmp_path, update):
    def linear(seed):
        keras.utils.set_random_seed(seed)
        layer = keras.layers.Dense(
            3, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.02)
        )
        return keras.Sequential([keras.Input((6,)), layer], name=f"linear_{seed}")

    peers = [linear(seed) for seed in (1, 2, 3)]
    expected = numpy_updates([peer.get_weights()[0] for peer in peers], update)
    optimizer = keras.optimizers.SGD(0.3, momentum=0.9)
    run(
        tmp_path, peers, data=Rows(8, weights=WEIGHTS), epochs=1, optimizer=optimizer, update=update
    )
    for peer, kernel in zip(peers, expected, strict=True):
        np.testing.assert_allclose(peer.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    other = numpy_updates([linear(seed).get_weights()[0] for seed in (1, 2, 3)], "other")
    if update == "sequential":  # The two differ by far more than what is allowed above.
        assert np.abs(other[2] - expected[2]).max() > 1e-2


@pytest.mark.large_on_jax
@pytest.mark.parametrize("update", UPDATES)
def test_equal_peers_learn_nothing_from_each_other(tmp_path, update):
    """They end as one that is trained alone: moving averages move once a step, too."""
    alone = net(8, 1, dropout=0)
    alone.compile(keras.optimizers.Adam(1e-2, global_clipnorm=0.1), CROSS_ENTROPY)
    alone.fit(batches(0), epochs=2, verbose=0, shuffle=False)
    peers = [net(8, 1, "a", dropout=0), net(8, 1, "a", dropout=0)]
    _, history = run(
        tmp_path,
        peers,
        epochs=2,
        optimizer=keras.optimizers.Adam(1e-2, global_clipnorm=0.1),
        # One after the other, the second sees another peer than itself.
        mutual_weight=1.0 if update == "simultaneous" else 0.0,
        update=update,
    )
    if update == "simultaneous":
        np.testing.assert_allclose(history["a_2_mutual_loss"], 0.0, atol=1e-6)
    for peer in peers:
        for ours, theirs in zip(peer.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "update", ["simultaneous", pytest.param("sequential", marks=pytest.mark.large)]
)
def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path, update):
    options = {"update": update, "metrics": ["accuracy"]}
    whole, expected = run(tmp_path / "whole", **options)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", callbacks=[StopIn(1)], **options)
    # Whatever weights the peers were made with again.
    others = [net(8, 31, "a"), net(5, 32, "b")]
    again, history = run(tmp_path / "stopped", others, **options)
    assert history == expected
    assert_same(again, whole)
    names = {"loss", "a_loss", "a_mutual_loss", "a_accuracy", "b_loss", "b_mutual_loss"}
    assert history.keys() == {"stage", "b_accuracy", *names}
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path / "stopped", **options, mutual_weight=0.5)


@pytest.mark.large
@pytest.mark.large_on_jax
def test_a_run_stopped_in_its_first_epoch_begins_with_the_same_weights(tmp_path):
    _, expected = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", callbacks=[StopIn(0)])
    others = [net(8, 31, "a"), net(5, 32, "b")]
    assert run(tmp_path / "stopped", others)[1] == expected
    # A run that has not begun leaves nothing to another one.
    with pytest.raises(Stopped):
        run(tmp_path / "other", callbacks=[StopIn(0)])
    options = {"mutual_weight": 0.5}
    begun_anew = run(tmp_path / "other", [net(8, 31, "a"), net(5, 32, "b")], **options)[1]
    assert begun_anew == run(tmp_path / "new", [net(8, 31, "a"), net(5, 32, "b")], **options)[1]


@pytest.mark.large_on_jax
def test_initial_weights_that_were_damaged_are_refused(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, callbacks=[StopIn(0)])
    path = tmp_path / "initial" / "2" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"initial.2.state\.safetensors .*to begin anew"):
        run(tmp_path)


@pytest.mark.large
@pytest.mark.large_on_jax
def test_a_data_set_that_goes_on_in_its_own_order_is_told(tmp_path, capsys):
    with pytest.raises(Stopped):
        run(tmp_path, data=Rows(8), callbacks=[StopIn(1)], verbose=2)
    assert "Going on" not in capsys.readouterr().out
    run(tmp_path, data=Rows(8), verbose=2)
    assert "The batches come as the data set gives them" in capsys.readouterr().out
    run(tmp_path, data=Rows(8), verbose=2)  # Finished.
    assert "Going on" not in capsys.readouterr().out
    with pytest.raises(Stopped):
        run(tmp_path / "function", callbacks=[StopIn(1)])
    run(tmp_path / "function", verbose=2)
    assert "Going on" not in capsys.readouterr().out


@pytest.mark.large_on_jax
def test_peers_that_were_made_again_may_have_other_names(tmp_path):
    whole, _ = run(tmp_path, [net(4, 1), net(3, 2)], epochs=1)
    again, _ = run(tmp_path, [net(4, 3), net(3, 4)], epochs=1)
    assert whole[0].name != again[0].name
    assert_same(again, whole)
    with pytest.raises(ValueError, match="choose another directory"):
        run(tmp_path, again, epochs=1, optimizer=["adam", keras.optimizers.Adam(0.5)])


@pytest.mark.large_on_jax
def test_schedules_and_optimizers_of_their_own(tmp_path):
    rates = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(
            [float(o.learning_rate) for o in note.model.optimizer.optimizers]
        )
    )
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))
    optimizers = [keras.optimizers.SGD(0.5), keras.optimizers.Adam(0.5)]
    _, history = run(
        tmp_path, optimizer=optimizers, callbacks=[schedule, note], validation_data=(X, Y)
    )
    sums = np.add(history["val_a_loss"], history["val_b_loss"])
    np.testing.assert_allclose(history["val_loss"], sums, rtol=1e-5)
    np.testing.assert_allclose(rates, [[0.1, 0.1], [0.05, 0.05]])
    kinds = [type(optimizer).__name__ for optimizer in note.model.optimizer.optimizers]
    assert kinds == ["SGD", "Adam"]
    assert not optimizers[0].built  # What was given is left as it was.


def test_yes_or_no_answers_have_their_own_divergence(tmp_path):
    peers = [net(4, seed, f"n{seed}", dropout=0, classes=1) for seed in (1, 2)]
    logits = [logits_in_training(peer)[:, 0] for peer in peers]
    y = (Y > 0).astype("float32")[:, None]
    batch = type("Batch", (Rows,), {"__getitem__": lambda self, index: (X, y)})(24)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.0)
    _, history = run(tmp_path, peers, data=batch, epochs=1, loss=loss, optimizer=optimizer)
    p, q = (1 / (1 + np.exp(-part)) for part in logits[::-1])
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    np.testing.assert_allclose(history["n1_mutual_loss"], [expected], rtol=1e-4)


class Subclassed(keras.Model):
    """A model whose outputs are known only when it is called."""

    def __init__(self, classes, name):
        super().__init__(name=name)
        self.logits = keras.layers.Dense(classes)

    def call(self, inputs):
        return self.logits(inputs)


def test_peers_without_a_graph_and_of_other_classes_are_named(tmp_path):
    peers = [Subclassed(3, "a"), Subclassed(4, "b")]
    for peer in peers:
        peer(X[:2])
    with pytest.raises(ValueError, match=r"peers of the same classes\. .*'a' of 3, 'b' of 4"):
        run(tmp_path, peers)


def test_bad_arguments_are_refused(tmp_path):
    a, b = net(8, 1, "a"), net(5, 2, "b")
    with pytest.raises(ValueError, match=r"the same classes\. Received: 'a' of 3, 'c' of 4;"):
        run(tmp_path, [a, net(8, 2, "c", classes=4)])
    with pytest.raises(ValueError, match="take the same inputs"):
        run(tmp_path, [a, net(8, 2, inputs=5)])
    with pytest.raises(ValueError, match="two or more"):
        run(tmp_path, [a])
    with pytest.raises(ValueError, match="without weights in common"):
        run(tmp_path, [a, keras.Model(a.input, a.output * 2)])
    with pytest.raises(ValueError, match=r"as_logits\(peer\)"):
        run(tmp_path, [a, keras.Model(b.input, keras.layers.Softmax()(b.output))])
    with pytest.raises(ValueError, match="Did you mean 'sequential'"):
        run(tmp_path, update="sequentially")
    with pytest.raises(ValueError, match="`mutual_weight` to be a number of at least 0"):
        run(tmp_path, mutual_weight=-1)
    with pytest.raises(ValueError, match="Expected an optimizer for each of 2 peers"):
        run(tmp_path, optimizer=["adam"])
    frozen = net(8, 3, "frozen")
    frozen.trainable = False
    with pytest.raises(ValueError, match="'frozen', of which nothing is trainable; set `trainable"):
        run(tmp_path, [a, frozen])
    with pytest.raises(ValueError, match="a generator, which can be read only once"):
        run(tmp_path, data=(batch for batch in [(X, Y)]))
    with pytest.raises(ValueError, match="one loss on the labels for all peers"):
        run(tmp_path, loss=None)
    with pytest.raises(ValueError, match="Expected labels beside the inputs"):
        run(
            tmp_path / "unlabelled", data=type("X", (Rows,), {"__getitem__": lambda s, i: (X,)})(24)
        )
    assert {path.name for path in tmp_path.iterdir()} <= {"unlabelled"}


@pytest.mark.large
@pytest.mark.tensorflow
def test_a_step_of_two_costs_little_more_than_two_steps_of_one(tmp_path):
    def large(seed):
        keras.utils.set_random_seed(seed)
        return kdzoo.create("resnet_20", classes=10, input_shape=(32, 32, 3))

    rng = np.random.default_rng(0)
    x, y = rng.random((640, 32, 32, 3), "float32"), rng.integers(0, 10, 640)
    data = kdzoo.data.from_arrays(x, y, classes=10, validation=0).train
    took = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            took.append(time.perf_counter() - self.start)

    alone = large(0)
    alone.compile("adam", CROSS_ENTROPY)
    options = {"callbacks": [Clock()], "verbose": 0}
    kdzoo.schemes.train(alone, lambda e: data.batches(64), 4, tmp_path / "one", **options)
    one = min(took[1:])
    took.clear()
    peers = [large(1), large(2)]
    run(tmp_path, peers, data=lambda e: data.batches(64), epochs=4, callbacks=[Clock()])
    print(f"one {one:.2f} s, two {min(took[1:]):.2f} s: {min(took[1:]) / one:.2f}")
    assert min(took[1:]) <= 2.1 * one
