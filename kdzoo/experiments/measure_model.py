"""The parameters of a model, and its accuracy on the test images and on those held out."""

from typing import Any

import keras
import numpy as np

from kdzoo import evaluation
from kdzoo.data import Dataset


def measure(model: "keras.Model", data: "Dataset") -> dict[str, Any]:
    """Returns the parameters, and the accuracy on the test images and, if any, on held-out ones."""
    x, y = test_arrays(data)
    fraction = evaluation.accuracy(model, x, y)
    measured = {
        "parameters": model.count_params(),
        "test_accuracy": fraction,
        "test_errors": round((1 - fraction) * len(y)),
    }
    if data.validation is not None:
        measured["validation_accuracy"] = evaluation.accuracy(model, *data.validation.arrays())
    return measured


def errors_by_class(model: "keras.Model", data: "Dataset") -> list[int]:
    """Returns how many test images of each class are classified wrong."""
    x, y = test_arrays(data)
    wrong = model.predict(x, batch_size=500, verbose=0).argmax(-1) != y
    return np.bincount(y[wrong], minlength=data.classes).tolist()


def test_arrays(data: "Dataset") -> tuple[np.ndarray, np.ndarray]:
    """Returns the test images and their labels.

    Raises:
        ValueError: If there are none.
    """
    if data.test is None:
        raise ValueError(f"Expected data with a test split. Received: data={data!r} without one.")
    return data.test.arrays()
