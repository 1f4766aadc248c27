"""What the end of `fit` makes of the weights is kept, as is that a run has ended."""

import keras
import numpy as np
import pytest

from kdzoo.schemes import train
from kdzoo.training.checkpoints import RunCheckpoint

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 4)).astype("float32"), RNG.integers(0, 3, 20)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[index::2], Y[index::2]


def compiled(seed=0, **options):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5, **options), loss)
    return model


def averaged(seed=0):
    return compiled(seed, use_ema=True, ema_momentum=0.5)


def run(model, epochs, directory, callbacks=()):
    return train(model, lambda epoch: Batches(), epochs, directory, None, None, callbacks, 0)


def best_and_early():
    """Stops in the second epoch, and restores the first."""
    return keras.callbacks.EarlyStopping("loss", min_delta=1e9, restore_best_weights=True)


def assert_same(model, other):
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def fitted(make, epochs, callbacks=()):
    """A model that Keras alone has trained."""
    model = make()
    model.fit(Batches(), epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model


@pytest.mark.parametrize("is_early", [False, True], ids=["averages", "best weights"])
def test_a_finished_run_gives_what_fit_ended_with(is_early, tmp_path):
    make = compiled if is_early else averaged
    callbacks = (lambda: [best_and_early()]) if is_early else list
    expected = fitted(make, 3, callbacks())
    for seed in (0, 5):
        found = make() if not seed else make(seed)
        history = run(found, 3, tmp_path, callbacks())
        assert_same(found, expected)
        assert len(history["loss"]) == (2 if is_early else 3)


def test_a_finished_run_goes_on_from_the_weights_of_its_last_epoch(tmp_path):
    run(averaged(), 1, tmp_path)
    found = averaged(5)
    assert len(run(found, 3, tmp_path)["loss"]) == 3
    assert_same(found, fitted(averaged, 3))
    again = averaged(6)
    run(again, 3, tmp_path)  # The end of the first run is no longer that of this one.
    assert_same(again, found)


@pytest.mark.parametrize("how", ["killed", "stale", "damaged"])
def test_without_an_end_averages_are_written_anew(how, tmp_path, monkeypatch):
    if how == "killed":
        with monkeypatch.context() as patch:
            patch.setattr(RunCheckpoint, "finish", lambda *given: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run(averaged(), 2, tmp_path)
    elif how == "stale":
        run(averaged(), 1, tmp_path)
        (tmp_path / "finished").rename(tmp_path / "old")
        run(averaged(), 2, tmp_path)
        (tmp_path / "finished").rename(tmp_path / "other")
        (tmp_path / "old").rename(tmp_path / "finished")
    else:
        run(averaged(), 2, tmp_path)
        (tmp_path / "finished" / "state.safetensors").write_bytes(b"half")
    found = averaged(5)
    if how == "damaged":
        with pytest.warns(UserWarning, match=r"going on from .*epoch-0002"):
            run(found, 2, tmp_path)
    else:
        run(found, 2, tmp_path)
    assert_same(found, fitted(averaged, 2))
