"""What contrastive representation distillation takes as arguments, and what it refuses."""

import keras
import numpy as np
import pytest

from kdzoo import losses

EXAMPLES = 40
LABELS = np.random.default_rng(0).integers(0, 4, EXAMPLES)


@pytest.mark.parametrize("examples", [EXAMPLES, LABELS], ids=["count", "labels"])
def test_the_config_round_trips(examples):
    loss = losses.ContrastiveRepresentation(examples, "a", "b", 4, 9, 0.1, 0.9, seed=3, name="x")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    given = {"examples": EXAMPLES if np.ndim(examples) == 0 else LABELS.tolist()}
    given |= {"name": "x", "teacher_layer": "a", "student_layer": "b", "dimensions": 4}
    given |= {"negatives": 9, "temperature": 0.1, "momentum": 0.9, "seed": 3}
    assert copy.get_config() == loss.get_config() == given
    assert (copy.labels is None) == (loss.labels is None)


def test_labels_may_come_in_a_column():
    plain, column = (
        losses.ContrastiveRepresentation(labels) for labels in (LABELS, LABELS[:, None])
    )
    assert plain.get_config() == column.get_config()
    assert column.examples == EXAMPLES


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"examples": 1}, "`examples` to be at least 2"),
        ({"examples": 2.7}, "Expected examples to be a positive integer. Received: examples=2.7"),
        ({"examples": "24"}, "Expected examples to be a positive integer. Received: .*'24'"),
        ({"examples": []}, "Expected `examples` to be integer labels"),
        ({"examples": np.zeros(9, int)}, "labels of several classes"),
        ({"examples": LABELS / 2}, "integer labels.*Received: float64 of shape"),
        (
            {"examples": np.eye(4, dtype=int)[LABELS]},
            r"Received: int64 of shape \(40, 4\);.*argmax",
        ),
        ({"examples": 9, "negatives": 0}, "negatives to be a positive integer"),
        ({"examples": 9, "negatives": 1.9}, "negatives to be a positive integer"),
        ({"examples": 9, "dimensions": 0}, "dimensions to be a positive integer"),
        ({"examples": 9, "momentum": 1.0}, "`momentum` to lie in"),
        ({"examples": 9, "temperature": 0}, "`temperature` to be above 0"),
        (
            {"examples": 9, "teacher_layer": ["a", "b"], "student_layer": ["a", "b"]},
            "`ContrastiveRepresentation` has weights.*one loss for each pair",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        losses.ContrastiveRepresentation(**arguments)
