"""No pass of a model that kdzoo quickens waits for tf.data's tuner; those of others stay as is."""

import inspect
import threading
import time

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.graph import untuned_passes

pytestmark = pytest.mark.tensorflow
IMAGES = np.random.default_rng(0).random((8, 3)).astype("float32")
LABELS = np.arange(8) % 2


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return IMAGES[4 * index :][:4], LABELS[4 * index :][:4]


def data(form):
    """What `fit` and `evaluate` are given: positional arguments."""
    import tensorflow as tf

    if form == "arrays":
        return IMAGES, LABELS
    if form == "PyDataset":
        return (Sequence(),)
    return (tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4),)


def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def compiled(model):
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", cross_entropy, run_eagerly=True)
    return model


def distiller():
    return compiled(kdzoo.Distiller(network(), network(), kdzoo.losses.SoftTargets(2.0)))


def accelerated():
    model = compiled(network())
    kdzoo.accelerate(model)
    return model


@pytest.fixture
def seen(monkeypatch):
    """Of each pass that begins, whether its dataset turns the tuner off; None where it says
    nothing."""
    import tensorflow as tf

    found, usual = [], tf.data.Dataset.__iter__

    def iterate(dataset):
        found.append(dataset.options().autotune.enabled)
        return usual(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", iterate)
    return found


@pytest.mark.parametrize("form", ["arrays", "tf.data", "PyDataset"])
@pytest.mark.parametrize("make", [distiller, accelerated])
def test_fit_evaluate_and_predict_do_without_the_tuner(seen, make, form):
    model, arguments = make(), data(form)
    validation = arguments if form == "arrays" else arguments[0]
    model.fit(*arguments, epochs=2, validation_data=validation, verbose=0, shuffle=False)
    assert len(seen) >= 4
    model.evaluate(*arguments, verbose=0)
    model.predict(*arguments[:1], verbose=0)
    assert len(seen) >= 6
    assert set(seen) == {False}


@pytest.mark.parametrize("form", ["arrays", "tf.data"])
def test_kdzoos_runner_does_without_it_whatever_it_trains(seen, tmp_path, form):
    arguments = data("tf.data")[0]
    validation = data(form) if form == "arrays" else arguments
    kdzoo.schemes.train(compiled(network()), lambda epoch: arguments, 1, tmp_path, validation)
    assert set(seen) == {False}


@pytest.mark.parametrize("form", ["arrays", "tf.data"])
def test_other_models_are_left_as_they_are(seen, form):
    model, other = accelerated(), compiled(network())
    model.predict(IMAGES, verbose=0)
    seen.clear()
    other.fit(*data(form), verbose=0, shuffle=False)
    other.evaluate(*data(form), verbose=0)
    other.predict(data(form)[0], verbose=0)
    assert set(seen) == {None}


def test_other_threads_are_left_as_they_are(seen):
    other = compiled(network())
    with untuned_passes.untuned_passes():
        thread = threading.Thread(target=other.predict, args=(IMAGES,), kwargs={"verbose": 0})
        thread.start()
        thread.join()
    assert set(seen) == {None}


@pytest.mark.parametrize("enabled", [True, False])
def test_who_says_whether_the_tuner_runs_is_obeyed(seen, enabled):
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = enabled
    accelerated().fit(data("tf.data")[0].with_options(options), verbose=0, shuffle=False)
    assert set(seen) == {enabled}


def test_other_options_of_the_users_are_kept(monkeypatch):
    import tensorflow as tf

    options, found, usual = tf.data.Options(), [], tf.data.Dataset.__iter__
    options.deterministic, options.threading.private_threadpool_size = False, 3

    def iterate(dataset):
        found.append(dataset.options())
        return usual(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", iterate)
    accelerated().predict(data("tf.data")[0].with_options(options), verbose=0)
    assert found[0].deterministic is False
    assert found[0].threading.private_threadpool_size == 3


def test_what_is_computed_stays_the_same():
    plain, quick = compiled(network()), accelerated()
    quick.set_weights(plain.get_weights())
    results = []
    for model in (plain, quick):
        keras.utils.set_random_seed(1)  # The order of the samples.
        history = model.fit(IMAGES, LABELS, batch_size=2, epochs=2, verbose=0).history
        predicted = model.predict(IMAGES, verbose=0)
        results.append((history["loss"], model.evaluate(IMAGES, LABELS, verbose=0), predicted))
    for ours, theirs in zip(*reversed(results), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_accelerated_model_is_saved_and_copied_as_it_was(tmp_path):
    model = accelerated()
    assert inspect.signature(model.fit) == inspect.signature(network().fit)
    kdzoo.accelerate(model)  # Again: not twice around.
    assert not hasattr(model.fit.__wrapped__, "__wrapped__") or inspect.ismethod(
        model.fit.__wrapped__
    )
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    copied = keras.models.clone_model(model)
    for other in (loaded, copied):
        assert "fit" not in vars(other)


@pytest.mark.large
def test_a_map_of_the_users_stays_parallel():
    """Each call of the user's function waits, as reading a file does, and they wait at once."""
    import tensorflow as tf

    def slow(x):
        time.sleep(0.05)
        return x

    def read(x):
        x = tf.numpy_function(slow, [x], tf.float32, stateful=False)
        return tf.ensure_shape(x, (1, 3))

    dataset = tf.data.Dataset.from_tensor_slices(np.repeat(IMAGES, 5, 0)[:, None])
    model, seconds = accelerated(), {}
    for calls in (None, tf.data.AUTOTUNE):
        mapped = dataset.map(read, num_parallel_calls=calls)
        start = time.perf_counter()
        model.predict(mapped, verbose=0)
        seconds[calls] = time.perf_counter() - start
    assert seconds[None] > 40 * 0.05
    assert seconds[tf.data.AUTOTUNE] < 0.75 * seconds[None]


@pytest.mark.large
def test_an_epoch_ends_with_its_last_step(monkeypatch):
    """The tuner, where it runs, holds some epochs up until it wakes: at 1.27 s, 2.55 s …"""
    import tensorflow as tf

    # Without what `conftest.py` does to all datasets.
    monkeypatch.setattr(tf.data.Dataset, "__iter__", tf.data.Dataset.__iter__.__wrapped__)

    class Gaps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.end = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            gaps.append(time.perf_counter() - self.end)

    gaps = []
    x = np.random.default_rng(0).random((640, 1000)).astype("float32")
    layers = [keras.layers.Dense(1000, activation="relu") for _ in range(8)]
    model = keras.Sequential([keras.Input((1000,)), *layers])
    kdzoo.accelerate(model)
    model.compile("sgd", "mse")
    model.fit(x, x, batch_size=64, epochs=9, verbose=0, callbacks=[Gaps()])
    assert len(gaps) == 9
    assert max(gaps[1:]) < 0.2
