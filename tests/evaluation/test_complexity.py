"""MACs against hand-computed and published numbers; parameters and bytes as they are."""

import gzip
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kdzoo.evaluation import count_macs, count_parameters, file_bytes, gzipped_bytes

layers = keras.layers


def model_of(layer, *shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (layers.Dense(10), (7,), 7 * 10),
        (layers.Dense(10), (5, 7), 5 * 7 * 10),
        (layers.Conv2D(8, 3, padding="same"), (6, 6, 4), 36 * 9 * 4 * 8),
        (layers.Conv2D(8, 3), (6, 6, 4), 16 * 9 * 4 * 8),
        (layers.Conv2D(8, 3, strides=2, padding="same"), (7, 7, 4), 16 * 9 * 4 * 8),
        (layers.Conv2D(8, 3, dilation_rate=2), (6, 6, 4), 4 * 9 * 4 * 8),
        (layers.Conv2D(8, (3, 1), groups=2, padding="same"), (6, 6, 4), 36 * 3 * 2 * 8),
        (layers.Conv1D(8, 3, padding="causal"), (10, 4), 10 * 3 * 4 * 8),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 4), 16 * 9 * 4 * 2),
        (layers.SeparableConv2D(8, 3), (6, 6, 4), 16 * (9 * 4 + 4 * 8)),
        (layers.Conv2DTranspose(8, 3, strides=2), (4, 4, 5), 16 * 9 * 5 * 8),
        (layers.BatchNormalization(), (6, 6, 4), 0),
        (layers.MaxPooling2D(), (6, 6, 4), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_layers_by_hand(layer, shape, macs):
    assert count_macs(model_of(layer, *shape)) == macs


def test_shared_layers_count_as_often_as_they_run():
    dense = layers.Dense(4)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense(dense(dense(inputs))))
    assert count_macs(model) == 3 * 16
    assert count_parameters(model) == 20


def test_nested_and_sequential_models_count_like_flat_ones():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.Dense(6)])
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inner(inputs))))
    assert count_macs(inner) == 60
    assert count_macs(model) == 2 * 60 + 12


def test_subclassed_models_and_blocks():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(3)

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def call(self, x):
            return self.block(x)

    model = Subclassed()
    model(np.zeros((2, 4), "float32"))
    assert count_macs(model) == 12


def test_several_inputs():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((6,), name="b")}
    both = layers.Concatenate()([layers.Dense(3)(inputs["a"]), inputs["b"]])
    assert count_macs(keras.Model(inputs, layers.Dense(2)(both))) == 12 + 18


def test_open_shapes_take_an_input_shape():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(inputs))
    with pytest.raises(ValueError, match="pass `input_shape`"):
        count_macs(model)
    assert count_macs(model, (5, 4, 3)) == 20 * 27 * 2


def test_unknown_layers_with_weights_are_named():
    class Strange(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],))

        def call(self, x):
            return x * self.scale

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(Strange(name="odd")(inputs)))
    with pytest.warns(UserWarning, match=r"0 MACs: odd \(Strange\)"):
        assert count_macs(model) == 8


def self_attention(layer):
    return lambda x: layer(x, x)


class Cell(layers.Layer):
    """A cell of one's own: the state is what a matrix makes of state and input."""

    state_size = 3

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1] + 3, 3))

    def call(self, x, states):
        state = keras.ops.matmul(keras.ops.concatenate([x, states[0]], -1), self.kernel)
        return state, [state]


T, D, U = 6, 4, 3  # Time steps, features, units.


@pytest.mark.parametrize(
    ("make", "macs"),
    [
        (lambda: layers.LSTM(U), T * 4 * U * (D + U)),
        (lambda: layers.GRU(U, return_sequences=True), T * 3 * U * (D + U)),
        (lambda: layers.SimpleRNN(U), T * U * (D + U)),
        (lambda: layers.Bidirectional(layers.LSTM(U)), 2 * T * 4 * U * (D + U)),
        (
            lambda: layers.RNN([layers.LSTMCell(U), layers.GRUCell(2)]),
            T * (4 * U * (D + U) + 3 * 2 * (U + 2)),
        ),
        (lambda: layers.RNN(Cell()), T * (D + 3) * 3),
        (lambda: layers.TimeDistributed(layers.Dense(U)), T * D * U),
        (
            lambda: layers.TimeDistributed(
                keras.Sequential([layers.Reshape((2, 2, 1)), layers.Conv2D(5, 2)])
            ),
            T * 4 * 5,
        ),
        # Four projections, scores and sums over 2 heads of width 3.
        (
            lambda: self_attention(layers.MultiHeadAttention(2, 3)),
            4 * T * D * 6 + 2 * T * T * 6,
        ),
        (
            lambda: self_attention(layers.MultiHeadAttention(2, 3, value_dim=5, dropout=0.1)),
            T * D * 2 * (3 + 3 + 5 + 5) + 2 * T * T * (3 + 5),
        ),
        # Queries and the output of 4 heads of width 3, keys and values of 2.
        (
            lambda: self_attention(layers.GroupQueryAttention(3, 4, 2)),
            2 * T * D * (12 + 6) + 2 * T * T * 12,
        ),
        (lambda: lambda x: layers.Attention(use_scale=True)([x, x]), 2 * T * T * D),
        (lambda: lambda x: layers.AdditiveAttention()([x, x]), 2 * T * T * D),
        (lambda: lambda x: layers.AdditiveAttention(use_scale=False)([x, x]), T * T * D),
        (lambda: layers.EinsumDense("abc,cd->abd", output_shape=(None, U)), T * D * U),
        (lambda: layers.EinsumDense("...c,cde->...de", output_shape=(U, 2)), T * D * U * 2),
        (lambda: lambda x: layers.Dot(2)([x, x]), T * T * D),
        (lambda: lambda x: keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))), T * T * D),
        (lambda: lambda x: keras.ops.einsum("btd,bsd->bts", x, x), T * T * D),
        (lambda: lambda x: keras.ops.einsum("btd,bsd,bse->bte", x, x, x), 2 * T * T * D),
        (lambda: lambda x: keras.ops.einsum("...td,...td->...td", x, x), 0),
        (lambda: lambda x: keras.ops.einsum("bij,bkj", x, x), T * T * D),
        (lambda: lambda x: keras.ops.dot(x, np.ones((D, U), "float32")), T * D * U),
        (lambda: layers.Lambda(lambda x: keras.ops.dot(x, [[1.0] * U] * D)), T * D * U),
        (lambda: lambda x: keras.ops.tensordot(x, np.ones((T, D, U), "float32"), 2), T * D * U),
        (lambda: lambda x: keras.ops.conv(x, np.ones((3, D, U), "float32")), (T - 2) * 3 * D * U),
    ],
)
def test_recurrence_attention_and_operations_by_hand(make, macs):
    assert count_macs(model_of(make(), T, D)) == macs


def test_convolutional_recurrence_by_hand():
    layer = layers.ConvLSTM1D(U, 3, padding="same")
    assert count_macs(model_of(layer, T, 5, D)) == T * 5 * 3 * 4 * U * (D + U)


def test_a_layer_is_repeated_only_where_it_is():
    dense = layers.Dense(D)
    inputs = keras.Input((T, D))
    model = keras.Model(inputs, dense(layers.TimeDistributed(dense)(dense(inputs))))
    assert count_macs(model) == 3 * T * D * D


def test_operations_compute_as_before_afterwards():
    before = keras.src.backend.numpy.matmul
    count_macs(model_of(layers.Dense(2), 3))
    assert keras.src.backend.numpy.matmul is before


def test_counting_changes_nothing():
    model = model_of(layers.Dense(3), 4)
    dense = model.layers[-1]
    calls = []

    def own(x, training=None):
        calls.append(x)
        return type(dense).call(dense, x)

    dense.call = own
    assert count_macs(model) == 12
    assert vars(dense)["call"] is own
    assert calls
    del dense.call
    assert count_macs(model) == 12
    assert "call" not in vars(dense)
    assert "quantized_call" not in vars(dense)


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("MobileNet", 569e6, 4.2e6),  # Howard et al. 2017, table 4
        ("MobileNetV2", 300e6, 3.4e6),  # Sandler et al. 2018, table 4
        ("ResNet50", 3.86e9, 25.6e6),  # He et al. 2016, table 1 (3.8e9)
        ("VGG16", 15.5e9, 138e6),  # Simonyan & Zisserman 2015, table 2 (parameters)
    ],
)
def test_published_numbers(name, macs, parameters):
    model = getattr(keras.applications, name)(weights=None)
    assert count_macs(model) == pytest.approx(macs, rel=5e-3)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.05)


def test_models_without_weights_yet():
    model = keras.Sequential([layers.Dense(3)])
    for count in (count_macs, count_parameters):
        with pytest.raises(ValueError, match="Expected a built Keras model"):
            count(model)


def test_bytes_on_disk(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10_000)
    assert file_bytes(path) == 10_000
    assert gzipped_bytes(str(path)) == len(gzip.compress(b"a" * 10_000, 9)) < 100
    for measure in (file_bytes, gzipped_bytes):
        with pytest.raises(FileNotFoundError, match="not a file"):
            measure(tmp_path / "missing")


@pytest.mark.large_on_jax
def test_import_is_light():
    program = (
        "import sys, keras; before = set(sys.modules)\n"
        "import kdzoo.evaluation\n"
        "heavy = {'tensorflow', 'ai_edge_litert', 'sklearn', 'tensorflow_datasets', 'pandas'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
