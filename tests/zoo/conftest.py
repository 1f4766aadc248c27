"""A zoo of one small model, as `tools.train_zoo` would leave it."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.zoo import Pretrained, save_weights
from kdzoo.zoo.manifest import File, write_manifest

NAME = "mlp_2x64/mnist"
SHAPE = (4, 4, 1)


@pytest.fixture
def model():
    """The model that the zoo holds."""
    keras.utils.set_random_seed(5)
    return kdzoo.create("mlp_2x64", 3, SHAPE)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((7, *SHAPE), "float32")


@pytest.fixture
def zoo(model, tmp_path):
    """The directory of the zoo."""
    directory = tmp_path / "zoo"
    sha256, size = save_weights(model, directory / "weights.safetensors")
    spread = {"mean": 0.5, "std": 0.01, "by_seed": {"0": 0.49, "1": 0.51}}
    row = Pretrained(
        name=NAME,
        architecture="mlp_2x64",
        arguments={},
        dataset="mnist",
        classes=3,
        input_shape=SHAPE,
        labels=("a", "b", "c"),
        role="student",
        files={"weights": File("weights.safetensors", sha256, size)},
        training={
            "recipe": "none",
            "kind": "distilled",
            "command": "kdzoo train none",
            "teacher": "mlp_2x1200",
            "epochs": 2,
            "alone_epochs": 2,
            "seeds": [0, 1],
            "seconds": [1.0, 1.0],
            "examples": 1234,
            "held_out": 0,
            "data_version": "3.0.1",
            "versions": {"keras": "3.15.1"},
        },
        measured={
            "accuracy": {**spread, "shipped": 0.49, "shipped_seed": 0},
            "alone": {"mean": 0.4, "std": 0.02, "by_seed": {"0": 0.38, "1": 0.42}},
            "parameters": 5555,
            "macs": 5300,
            "bytes": {"weights": size},
            "latency_ms": {"int8": {"median": 0.1, "q1": 0.09, "q3": 0.12, "machine": "here"}},
            "agreement": 0.75,
            "calibration_error": 0.0123,
            "test_sha256": "0123456789abcdef" * 4,
        },
    )
    write_manifest([row], directory)
    return directory
