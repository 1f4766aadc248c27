"""What arrays of outputs and labels say."""

import keras
import numpy as np
import pytest
from keras import layers

import kdzoo
from kdzoo.graph import predictions


def head(activation, units=3):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(units, activation, name="last")(inputs))


def test_final_activations_that_give_probabilities():
    inputs = keras.Input((4,))
    several = keras.Model(inputs, [head("softmax")(inputs), head(None)(inputs)])
    assert predictions.ends_in_probabilities(several) == [True, False]
    assert predictions.ends_in_probabilities(head("sigmoid", 1)) == [True]
    distiller = kdzoo.Distiller(head(None), head("softmax"), kdzoo.losses.Hint("last", "last"))
    assert predictions.ends_in_probabilities(distiller) == [True]
    assert predictions.ends_in_probabilities("a file") == [False]


def test_classes_by_index_and_one_hot_at_each_position():
    shape = (2, 3, 4)
    indices = np.array([[0, 1, 2], [3, 3, 0]])
    for labels in (indices, indices[..., None], np.eye(4)[indices], indices.astype("float32")):
        np.testing.assert_array_equal(predictions.class_indices(labels, shape), indices)
    for wrong in (indices + 1, indices - 1, indices + 0.5, indices[:, :2], indices.T):
        with pytest.raises(ValueError, match="labels"):
            predictions.class_indices(wrong, shape)


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0, np.nan, 1], [0.1, 0.8, 0.1], [0, 0, 2]])
def test_rows_that_are_not_one_hot(row):
    labels = np.array([[0, 1, 0], row])
    with pytest.raises(ValueError, match=r"a single 1.*Received: .*output_type='binary'"):
        predictions.class_indices(labels, labels.shape)


def test_answers_of_yes_and_no():
    for shape in ((4,), (4, 1)):
        for labels in (np.array([0, 1, 1, 0]), np.array([[0.0], [1.0], [1.0], [0.0]])):
            found = predictions.binary_labels(labels, shape)
            assert found.shape == shape
            assert found.ravel().tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"labels of shape \(4, 2\).*shape=\(4,\)"):
        predictions.binary_labels(np.zeros(4), (4, 2))
    for wrong in (2, 0.5, np.nan):
        with pytest.raises(ValueError, match=f"from 0 to 1.*label={wrong}"):
            predictions.binary_labels([0, wrong], (2, 1))


def test_probabilities_and_one_logit_have_the_logarithms_of_their_logits():
    logits = np.random.default_rng(0).normal(0, 3, (5, 4))
    given = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for temperature in (1.0, 3.0):
        np.testing.assert_allclose(
            predictions.log_probabilities(given, temperature, from_logits=False),
            predictions.log_probabilities(logits, temperature),
            rtol=1e-9,
        )
        found = predictions.log_probabilities(
            1 / (1 + np.exp(-logits)), temperature, from_logits=False, is_binary=True
        )
        expected = np.stack(
            [
                -np.logaddexp(0, logits / temperature),
                -np.logaddexp(0, -logits / temperature),
            ],
            axis=-1,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-7)
    one, two = np.array([[0.5]]), np.array([[0.0, 0.5]])
    np.testing.assert_allclose(
        predictions.log_probabilities(one, 2.0), predictions.log_probabilities(two, 2.0)
    )
    certain = predictions.log_probabilities(np.array([[0.0, 1.0]]), from_logits=False)
    assert np.all(np.isfinite(certain))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([[0.25, 0.75], [1.0, 0.0]], True),
        ([[0.25, 0.5]], False),
        ([[1.5, -0.5]], False),
    ],
)
def test_probabilities_of_several_classes_are_told(given, expected):
    assert predictions.may_be_probabilities(np.array(given), "classes") == expected


@pytest.mark.parametrize("xp", [np, keras.ops])
def test_probabilities_on_the_grid_of_an_int8_file_are_told(xp):
    logits = 2 * np.random.default_rng(0).normal(size=(500, 10)).astype("float32")
    given = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    given = np.minimum(np.round(given * 256), 255) / 256
    assert abs(given.sum(-1) - 1).max() > 5e-3
    assert bool(predictions.may_be_probabilities(given, "classes", xp))
    assert bool(predictions.look_like_probabilities(given, "classes", xp))
    assert not bool(predictions.look_like_probabilities(logits, "classes", xp))


@pytest.mark.parametrize("xp", [np, keras.ops])
def test_a_few_values_do_not_look_like_probabilities(xp):
    look = predictions.look_like_probabilities
    few = np.array([[0.3, 0.7]], "float32")
    assert not bool(look(few, "classes", xp))
    assert bool(look(few.repeat(4, 0), "classes", xp))
    assert not bool(look(few[0], "binary", xp))
    assert bool(look(few.repeat(16, 0), "binary", xp))
    assert not bool(look(few[:, :1].repeat(32, 0), "binary", xp))  # On one side of the half.
    assert not bool(look(np.ones((32, 1), "float32"), "classes", xp))  # One column may be anything.
    assert not bool(look(few.repeat(16, 0), "numbers", xp))


def test_many_logits_near_zero_are_no_probabilities():
    logits = 1e-5 * np.random.default_rng(0).normal(size=(2, 1000))
    assert not predictions.may_be_probabilities(logits, "classes")
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert predictions.may_be_probabilities(softmax, "classes")
