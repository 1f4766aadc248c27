"""Accuracy by hand, on every kind of data, and what is no data."""

import keras
import numpy as np
import pytest

from kdzoo.evaluation import accuracy


class Fixed:
    """Returns its inputs as logits: a model whose outputs are known."""

    def predict(self, x):
        return np.asarray(x)


LOGITS = np.array([[3, 1, 0], [0, 1, 2], [0, 5, 1], [9, 8, 7]], "float32")
LABELS = np.array([0, 2, 1, 1])


def test_by_hand():
    for labels in (LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype("float32")):
        assert accuracy(Fixed(), LOGITS, labels) == 0.75
    assert accuracy(Fixed(), LOGITS, LABELS, batch_size=3) == 0.75


def test_one_logit_is_binary():
    assert accuracy(
        Fixed(), np.array([[2.0], [-1.0], [0.5]]), np.array([1, 0, 0])
    ) == pytest.approx(2 / 3)


def test_datasets():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return LOGITS[2 * index : 2 * index + 2], LABELS[2 * index : 2 * index + 2]

    weighted = [(LOGITS[:3], LABELS[:3], np.ones(3)), (LOGITS[3:], LABELS[3:], np.ones(1))]
    for data in ((LOGITS, LABELS), Batches(), weighted, iter(weighted)):
        assert accuracy(Fixed(), data) == 0.75


@pytest.mark.tensorflow
def test_tf_data():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((LOGITS, LABELS)).batch(3)
    assert accuracy(Fixed(), data) == 0.75


def test_keras_models():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(inputs))
    model.layers[-1].kernel.assign(np.eye(3))
    assert accuracy(model, LOGITS, LABELS, batch_size=3) == 0.75
    several = keras.Model(inputs, [inputs, model(inputs)])
    with pytest.raises(ValueError, match="one output"):
        accuracy(several, LOGITS, LABELS)


def test_several_inputs():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")}
    model = keras.Model(inputs, keras.layers.Add()([inputs["a"], inputs["b"]]))
    assert accuracy(model, {"a": LOGITS, "b": np.zeros_like(LOGITS)}, LABELS) == 0.75


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (LOGITS, LABELS + 1, r"labels from 0 to 2.*label=3: renumber"),
        (LOGITS, LABELS - 1, r"labels from 0 to 2.*label=-1"),
        (LOGITS, LABELS + 0.5, "label=0.5"),
        (LOGITS, np.zeros((4, 2)), r"labels of shape \(4,\) or \(4, 3\)"),
        (LOGITS, LABELS[:2], "as many labels as samples"),
        (LOGITS[:0], LABELS[:0], "at least one sample"),
        ([], None, "at least one sample"),
        (LOGITS, None, "data with labels"),
        (np.where(LOGITS > 8, np.nan, LOGITS), LABELS, "finite inputs"),
        (7, None, "arrays or a dataset"),
        ("cifar10", None, "arrays or a dataset"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        accuracy(Fixed(), x, y)


def test_bad_models():
    with pytest.raises(ValueError, match=r"predict\(x\).*LiteRTModel"):
        accuracy("student.tflite", LOGITS, LABELS)

    class Broken:
        def predict(self, x):
            return np.full((len(x), 3), np.nan)

    with pytest.raises(ValueError, match=r"finite outputs.*weights"):
        accuracy(Broken(), LOGITS, LABELS)


def test_raw_pixels_are_refused_unless_the_model_rescales():
    pixels = np.random.default_rng(0).integers(256, size=(4, 2, 2, 3)).astype("float32")
    inputs = keras.Input((2, 2, 3))
    plain = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    rescaling = keras.Model(inputs, keras.layers.Dense(3)(x))
    for images in (pixels, pixels.astype("uint8")):
        with pytest.raises(ValueError, match=r"images in \[0, 1\].*by 255"):
            accuracy(plain, images, LABELS)
    accuracy(plain, pixels / 255, LABELS)
    accuracy(plain, pixels, LABELS, check_images=False)
    accuracy(rescaling, pixels, LABELS)
