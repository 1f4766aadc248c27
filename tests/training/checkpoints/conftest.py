"""A small training and its checkpoints, to be damaged."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.utils.hashed_json import with_hash

RNG = np.random.default_rng(0)
X, Y = RNG.random((16, 4), "float32"), RNG.integers(0, 3, 16)


def _compiled(optimizer="adam", units=5):
    """A model with everything that a checkpoint must keep: Adam, dropout, batch norm."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(units)(keras.layers.Normalization()(inputs))
    x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="net")
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _fit(model, checkpoint, epochs, initial_epoch=0):
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[checkpoint],
    )


@pytest.fixture(scope="session")
def two_epochs(tmp_path_factory):
    """The directory of two epochs, not to be changed, and the weights after each."""
    keras.utils.set_random_seed(0)
    directory, weights = tmp_path_factory.mktemp("checkpoints") / "run", []
    model = _compiled()
    for epoch in range(2):
        _fit(
            model, checkpoint := EpochCheckpoint(directory), epoch + 1, restored(checkpoint, model)
        )
        weights.append(model.get_weights())
    return directory, weights


def restored(checkpoint, model):
    return checkpoint.restore(model) if checkpoint.exists() else 0


@pytest.fixture
def run(two_epochs, tmp_path):
    """A copy of the directory of two epochs."""
    return pathlib.Path(shutil.copytree(two_epochs[0], tmp_path / "run"))


@pytest.fixture(scope="module")
def model():
    return _compiled()


def _rewrite(directory, **fields):
    """Changes fields of a checkpoint's state, whose hash is right again."""
    path = directory / "state.json"
    path.write_text(json.dumps(with_hash({**json.loads(path.read_text()), **fields})))


@pytest.fixture(scope="session")
def compiled():
    return _compiled


@pytest.fixture(scope="session")
def fit():
    return _fit


@pytest.fixture(scope="session")
def rewrite():
    return _rewrite
