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


def sigmoid_model(kernel, activation="sigmoid"):
    """Returns a model whose logits are its inputs times a kernel."""
    kernel = np.array(kernel, "float32")
    inputs = keras.Input((len(kernel),))
    outputs = keras.layers.Dense(kernel.shape[1], activation, use_bias=False)(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([kernel])
    return model


def test_answers_of_yes_and_no_by_what_the_model_ends_in():
    x = np.linspace(-3, 3, 64, dtype="float32")[:, None]
    labels = (x[:, 0] > 0).astype("int32")
    model = sigmoid_model([[1.0]])
    for given in (labels, labels[:, None]):
        assert accuracy(model, x, given) == 1.0
        assert accuracy(model, x, 1 - given) == 0.0
    # Keras's own metric of probabilities.
    metric = keras.metrics.BinaryAccuracy()
    metric.update_state((x > 1).astype("float32"), model.predict(x, verbose=0))
    assert accuracy(model, x, (x > 1)) == pytest.approx(float(metric.result()))
    flat = keras.Model(model.inputs, keras.ops.squeeze(model.outputs[0], -1))
    assert accuracy(flat, x, labels) == 1.0
    assert accuracy(sigmoid_model([[1.0]], None), x, labels) == 1.0
    for wrong in (labels + 1, labels * 0.7, labels[:, None] * [1, 0]):
        with pytest.raises(ValueError, match="labels"):
            accuracy(model, x, wrong)


def test_several_labels_of_a_sample_count_one_by_one():
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    labels = (x > 0).astype("float32")
    model = sigmoid_model(np.eye(3))
    assert accuracy(model, x, labels) == 1.0
    changed = np.where(np.arange(20)[:, None] < 2, 1 - labels, labels)
    assert accuracy(model, x, changed) == pytest.approx(0.9)
    metric = keras.metrics.BinaryAccuracy(threshold=0.5)
    metric.update_state(changed, model.predict(x, verbose=0))
    assert accuracy(model, x, changed) == pytest.approx(float(metric.result()))
    # Of logits, and of what is no Keras model, it must be said.
    for other in (Fixed(), sigmoid_model(np.eye(3), None)):
        with pytest.raises(ValueError, match=r"a single 1.*output_type='binary'"):
            accuracy(other, x, labels)
        assert accuracy(other, x, labels, output_type="binary") == 1.0
    # Labels that only exclusive classes can have.
    assert accuracy(model, x, x.argmax(-1)) == 1.0


def test_pixels_and_tokens():
    logits = np.random.default_rng(0).normal(size=(3, 4, 4, 5)).astype("float32")
    classes = logits.argmax(-1)
    classes[0, 0] = (classes[0, 0] + 1) % 5
    for labels in (classes, classes[..., None], np.eye(5)[classes]):
        assert accuracy(Fixed(), logits, labels, batch_size=2) == 1 - 4 / 48
    mask = logits[..., :1] > 0
    mask[1, 1] = ~mask[1, 1]
    for labels in (mask, mask[..., 0], mask.astype("int32")):
        assert accuracy(Fixed(), logits[..., :1], labels, batch_size=2) == 1 - 4 / 48


def test_probabilities_of_a_file_are_told_from_logits_where_that_is_beyond_doubt():
    logits = np.linspace(-3, 3, 64)[:, None]
    likely, labels = 1 / (1 + np.exp(-logits)), (logits > 0)
    assert accuracy(Fixed(), likely, labels, batch_size=8) == 1.0
    assert accuracy(Fixed(), logits, labels, batch_size=8) == 1.0
    for unsure in (likely[:8], np.linspace(0.3, 0.7, 64)[:, None]):
        wanted = unsure > 0.5
        with pytest.raises(ValueError, match=r"Expected from_logits.*from_logits=False"):
            accuracy(Fixed(), unsure, wanted)
        assert accuracy(Fixed(), unsure, wanted, from_logits=False) == 1.0
        assert accuracy(Fixed(), unsure, wanted, from_logits=True) == np.mean(wanted)
    # Either way the answers are right.
    assert accuracy(Fixed(), np.full((5, 1), 0.75), np.ones(5)) == 1.0
    with pytest.raises(ValueError, match=r"Expected probabilities.*from_logits=True"):
        accuracy(Fixed(), logits, labels, from_logits=False)


def test_plain_numbers_are_refused_with_what_serves():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model = sigmoid_model(np.eye(3), None)
    model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"plain numbers: use `model.evaluate`.*output_type="):
        accuracy(model, x, x)
    assert accuracy(model, x, x > 0, output_type="binary") == 1.0
    assert accuracy(model, x, np.eye(3)[x.argmax(-1)]) == 1.0  # Classes, learnt by their squares.
    with pytest.raises(ValueError, match=r"Received: label=0\.\d.*MeanAbsoluteError"):
        accuracy(Fixed(), np.abs(x[:, :1]), np.abs(x[:, :1]))
    with pytest.raises(ValueError, match=r"several columns for output_type='classes'"):
        accuracy(Fixed(), x[:, :1], np.ones(8), output_type="classes")
    with pytest.raises(ValueError, match="Unknown output_type"):
        accuracy(Fixed(), x, np.ones(8), output_type="logits")


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0, np.nan, 1], [0.2, 0.5, 0.3], [0, 0, 2]])
def test_rows_of_labels_that_are_no_class(row):
    with pytest.raises(ValueError, match="a single 1"):
        accuracy(Fixed(), LOGITS, np.array([*np.eye(3), row]))


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


def test_raw_pixels_are_one_warning_unless_the_model_rescales():
    pixels = np.random.default_rng(0).integers(256, size=(4, 2, 2, 3)).astype("float32")
    inputs = keras.Input((2, 2, 3))
    plain = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    rescaling = keras.Model(inputs, keras.layers.Dense(3)(x))
    for images in (pixels, pixels.astype("uint8")):
        with pytest.warns(UserWarning, match=r"raw pixels.*check_images=False") as caught:
            accuracy(plain, images, LABELS, batch_size=1)
        assert len(caught) == 1
    accuracy(plain, pixels / 255, LABELS)
    accuracy(plain, pixels, LABELS, check_images=False)
    accuracy(rescaling, pixels, LABELS)
