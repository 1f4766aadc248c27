"""An ensemble that is recorded member by member gives what NumPy averages, and goes on."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.schemes import ensemble


def net(seed, classes=5):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    # Logits of about 3, so that the two means differ.
    return keras.Model(inputs, 3 * keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 2)).astype("uint8")
    return kdzoo.data.from_arrays(images, np.arange(40) % 5, validation=0).train


def outputs(recorded):
    (batch,) = list(recorded.batches(40))
    return np.asarray(keras.tree.flatten(batch)[-1])


def test_members_are_averaged_and_may_be_made_one_by_one(split, tmp_path):
    models = [net(seed) for seed in range(3)]
    logits = np.stack([model.predict(split.arrays()[0], verbose=0) for model in models])
    made = []

    def maker(seed):
        made.append(seed)
        return net(seed)

    functions = [lambda seed=seed: maker(seed) for seed in range(3)]
    found = outputs(ensemble(functions, split, tmp_path, dtype="float32"))
    np.testing.assert_allclose(found, logits.mean(0), atol=1e-4)
    assert made == [0, 1, 2]
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = ensemble(models, split, tmp_path, average="probabilities", dtype="float32")
    np.testing.assert_allclose(outputs(found), np.log(softmax.mean(0)), atol=1e-4)


def test_what_was_broken_off_goes_on(split, tmp_path):
    def broken():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensemble([net(0), broken, net(2)], split, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["member-1"]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "member-1").iterdir()}
    recorded = ensemble([net(0), net(1), net(2)], split, tmp_path)
    assert len(recorded) == 40
    # The first member was not recorded again.
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "member-1").iterdir()} == files
    with pytest.raises(ValueError, match="record"):
        ensemble([net(3), net(1), net(2)], split, tmp_path)


def test_bad_members_are_refused(split, tmp_path):
    for members in ([], net(0), "members"):
        with pytest.raises(ValueError, match="Expected a list of models, or of functions"):
            ensemble(members, split, tmp_path)
    with pytest.raises(ValueError, match=r"members\[0\]=3"):
        ensemble([3], split, tmp_path)
    with pytest.raises(ValueError, match=r"members\[0\]=None"):
        ensemble([lambda: None], split, tmp_path)
    with pytest.raises(ValueError, match="average"):
        ensemble([net(0)], split, tmp_path, average="median")
    with pytest.raises(ValueError, match="classes"):
        ensemble([net(0), net(1, classes=4)], split, tmp_path / "other")
