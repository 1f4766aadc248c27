"""The clone in tf_keras: it computes the same, whatever the graph, or says what has no clone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdzoo.compression.tfmot.clone_agreement import check_agreement
from kdzoo.compression.tfmot.tf_keras_clone import build_clone
from kdzoo.graph import taps

pytestmark = pytest.mark.tensorflow


def conv(width=4, **arguments):
    return layers.Conv2D(width, 3, padding="same", **arguments)


def inner(name="backbone"):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(conv(name="stage1")(inputs))
    return keras.Model(inputs, layers.ReLU(name="top")(x), name=name)


def shared(x):
    layer = conv(3, name="shared")
    return layer(layer(x))


def nested(x):
    model = inner()
    return model(x) + model(ops.relu(x))


def two_nested_of_the_same_layer_names(x):
    return inner("one")(x) - inner("two")(x)


def frozen(x):
    return inner()(x, training=False)


def sequential(x):
    return keras.Sequential([conv(name="a"), layers.Activation("tanh"), conv(name="b")])(x)


def arithmetic(x):
    x = 2.0 - (x * 3.0 + 1.0) / 4.0
    return ops.maximum(x, ops.minimum(x * x, conv(3)(x) - 0.5))


def reshaping(x):
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, 64, 3))
    return ops.squeeze(ops.expand_dims(ops.concatenate([x, x], axis=-1), 1), 1)


def pooling_by_operations(x):
    return ops.concatenate([ops.mean(x, axis=(1, 2)), ops.max(x, axis=(-3, -2))], axis=-1)


def activations(x):
    by_operation = (ops.sigmoid, ops.silu, ops.softmax, ops.elu, ops.relu6, ops.hard_sigmoid)
    x = sum(operation(x) for operation in by_operation)
    x = conv(activation="hard_silu")(layers.Activation("hard_sigmoid")(x - 6.0))
    return layers.LeakyReLU(negative_slope=0.3)(layers.PReLU()(x))


def squeeze_and_excite(x):
    gate = layers.Dense(3, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, gate])


def normalizations(x):
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
    x = layers.LayerNormalization()(layers.GroupNormalization(3)(layers.Rescaling(2.0, -1.0)(x)))
    return layers.UnitNormalization()(x)


def convolutions(x):
    x = layers.SeparableConv2D(6, 3, activation="relu")(layers.ZeroPadding2D(1)(x))
    x = layers.Conv2DTranspose(4, 3, strides=2)(layers.DepthwiseConv2D(3, use_bias=False)(x))
    return layers.AveragePooling2D(2)(layers.UpSampling2D(interpolation="bilinear")(x))


def recurrent(x):
    x = layers.Reshape((8, 24))(x)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    return layers.GRU(3)(layers.TimeDistributed(layers.Dense(4))(x))


def attention(x):
    x = layers.Reshape((16, 12))(x)
    return layers.MultiHeadAttention(2, 4)(x, x)


GRAPHS = (
    shared,
    nested,
    two_nested_of_the_same_layer_names,
    frozen,
    sequential,
    arithmetic,
    reshaping,
    pooling_by_operations,
    activations,
    squeeze_and_excite,
    normalizations,
    convolutions,
    recurrent,
    attention,
)


def randomize(model):
    """Weights as of a trained model: statistics and scales that are not those of the start."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32" and "normalization" not in weight.path.split("/")[0]:
            weight.assign(weight + 0.1 * random.random(weight.shape))


def outputs_of(model, x):
    return [np.asarray(tensor) for tensor in keras.tree.flatten(model(x, training=False))]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
def test_the_clone_computes_the_same(graph):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, graph(inputs))
    randomize(model)
    x = np.random.default_rng(1).random((4, 8, 8, 3), "float32")
    for ours, theirs in zip(
        outputs_of(model, x), outputs_of(build_clone(model).model, x), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, atol=1e-5 * max(1, np.abs(ours).max()))


def test_several_inputs_and_outputs():
    images, size = keras.Input((8, 8, 3), name="images"), keras.Input((2,), name="size")
    x = layers.Concatenate()([layers.Flatten()(images), size])
    outputs = {"label": layers.Dense(3, name="label")(x), "box": layers.Dense(4, name="box")(x)}
    model = keras.Model({"images": images, "size": size}, outputs)
    clone = build_clone(model)
    random = np.random.default_rng(0)
    values = {"images": random.random((2, 8, 8, 3)), "size": random.random((2, 2))}
    ours = [np.asarray(tensor) for tensor in keras.tree.flatten(model(values))]
    given = keras.tree.flatten(values)
    for our, their in zip(
        ours, clone.model([array.astype("float32") for array in given]), strict=True
    ):
        np.testing.assert_allclose(their, our, atol=1e-5)


def test_a_shared_layer_stays_one():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, shared(inputs))
    clone = build_clone(model).model
    assert len(clone.weights) == len(model.weights) == 2


def test_names_lead_to_the_layers_that_give_the_same():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Flatten(name="flat")(inner()(inputs)))
    clone = build_clone(model)
    x = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    paths = ["backbone/stage1", "backbone/norm", "backbone", "flat"]
    with taps.tapping(model, paths) as tapped:
        model(x)
    import tf_keras

    for path in paths:
        layer = clone.model.get_layer(clone.names[path])
        part = tf_keras.Model(clone.model.inputs, layer.output)
        np.testing.assert_allclose(part(x), tapped[path], atol=1e-5, err_msg=path)


def test_names_that_tensorflow_refuses_are_written_in_another_way():
    inputs = keras.Input((3,))
    x = layers.Dense(2, name="my layer")(inputs)
    x = layers.Dense(2, name="my_layer")(x)
    model = keras.Model(inputs, layers.Dense(2, name="(größe)")(x))
    clone = build_clone(model)  # Which checks that outputs agree.
    assert clone.names == {
        "my layer": "my_layer",
        "my_layer": "my_layer_1",
        "(größe)": "layer_gr__e_",
    }


def test_half_precision_is_carried_over():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((8, 8, 3))
    clone = build_clone(keras.Model(inputs, conv(name="stage1")(inputs)))
    layer = clone.model.get_layer("stage1")
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")


@keras.saving.register_keras_serializable("tests")
class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Doubled(name="mine"), "Received: 'mine', a Doubled: tf_keras has no such layer"),
        (layers.RMSNormalization(name="rms"), "Received: 'rms', a RMSNormalization"),
        (layers.Dense(2, name="d", activity_regularizer="l2"), "an activity regularizer"),
        (layers.BatchNormalization(renorm=True, name="b"), "tf_keras knows no renorm=True"),
        (layers.Activation("log_softmax", name="a"), "no activation 'log_softmax'"),
        (layers.Lambda(abs, name="l"), "'l', a Lambda: its function cannot be carried over"),
        (ops.erf, "a keras.ops operation Erf: tf_keras has no layer for it"),
    ],
)
def test_what_has_no_clone_is_named(make, message):
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=message):
        build_clone(keras.Model(inputs, make(conv()(inputs))))


def test_a_recurrent_layer_with_a_cell_of_its_own_is_named():
    class Own(layers.SimpleRNNCell):
        pass

    inputs = keras.Input((8, 3))
    model = keras.Model(inputs, layers.RNN(Own(2, name="c"), name="r")(inputs))
    with pytest.raises(ValueError, match="'r/c', a Own: tf_keras has no such layer"):
        build_clone(model)


def test_models_without_a_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(
        ValueError, match="has a graph. Received: .* of type Subclassed".replace(".", r"\.", 1)
    ):
        build_clone(Subclassed())
    with pytest.raises(ValueError, match="sequential model that is built"):
        build_clone(keras.Sequential([layers.Dense(2)]))


@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_a_clone_that_disagrees_is_refused(scale, monkeypatch):
    """As if tf_keras computed something else; also where the outputs are next to nothing."""
    import tf_keras

    usual = tf_keras.layers.ReLU.call
    monkeypatch.setattr(tf_keras.layers.ReLU, "call", lambda self, x: usual(self, x) + 2e-3)
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Rescaling(scale)(layers.ReLU()(inputs))
    with pytest.raises(RuntimeError, match="does not agree with it: output 0 differs by"):
        build_clone(keras.Model(inputs, outputs))


class Wave(layers.Layer):
    """Makes a rounding of its inputs `scale` times as large."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def call(self, x):
        return ops.sin(self.scale * x)


def compare(scale, error):
    """Compares a model with one that is off as if its inputs were off by a factor."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model([inputs], Wave(scale)(inputs))
    off = keras.Model([inputs], Wave(scale)(layers.Rescaling(1 + error)(inputs)))
    check_agreement(model, off)


def test_only_roundings_that_the_model_itself_amplifies_are_forgiven():
    compare(300.0, 2e-7)  # 6e-5, as much as the model gives for inputs that are off by that.
    with pytest.raises(RuntimeError, match=r"differs by .*e-04, of at most 1.0e\+00. Nothing was"):
        compare(300.0, 2e-6)
    with pytest.raises(RuntimeError, match=r"differs by 1\..*e-05"):
        compare(1.0, 2.5e-5)
    with pytest.raises(RuntimeError, match=r"changes by .* so nothing can be compared: train it"):
        compare(1e5, 2e-7)


def test_roundings_of_weights_that_the_model_amplifies_are_forgiven():
    """Where the inputs hardly matter, as in a deep network without training."""
    inputs = keras.Input((5,))

    def made(bias):
        dense = layers.Dense(4, kernel_initializer="zeros")
        model = keras.Model([inputs], Wave(300.0)(dense(inputs)))
        dense.bias.assign(np.full(4, bias, "float32"))
        return model

    model, off = made(0.7), made(0.7 * (1 + 2e-7))
    before = off.get_weights()
    check_agreement(model, off)
    for one, other in zip(off.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(RuntimeError, match="does not agree with it: output 0 differs by"):
        check_agreement(model, made(0.7 * (1 + 2e-6)))


def test_a_mask_that_is_computed_in_the_graph_is_refused():
    """tf_keras would not hand it on; that of a `Masking` layer it does."""
    inputs = keras.Input((6, 4))
    mask = ops.any(ops.not_equal(inputs, 0.0), -1)
    by_hand = keras.Model(inputs, layers.LSTM(5, name="lstm")(inputs, mask=mask))
    with pytest.raises(ValueError, match="'lstm', a LSTM: its mask is computed in the graph"):
        build_clone(by_hand)
    masked = keras.Model(inputs, layers.LSTM(5)(layers.Masking()(inputs)))
    x = np.random.default_rng(0).random((2, 6, 4), "float32")
    x[0, 4:] = 0
    np.testing.assert_allclose(build_clone(masked).model(x), masked(x), atol=1e-6)


@pytest.mark.large
@pytest.mark.parametrize("merge", [layers.Concatenate, layers.Add])
@pytest.mark.parametrize("is_nested", [False, True])
def test_masks_that_are_combined_are_refused(merge, is_nested):
    inputs = keras.Input((7,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(inputs)
    merged = merge(name="merge")([embedded, embedded * 2.0])
    model = keras.Model(inputs, layers.LSTM(3)(merged), name="inner")
    path = "merge"
    if is_nested:
        model, path = keras.Model(inputs, model(inputs)), "inner/merge"
    with pytest.raises(ValueError, match=f"'{path}', a .*: it combines masks.*; mask after it, by"):
        build_clone(model)
    embedded = layers.Embedding(9, 4, mask_zero=True)(inputs)
    assert build_clone(keras.Model(inputs, layers.LSTM(3)(merge()([embedded, embedded]))))


def test_a_reshape_across_examples_is_refused():
    inputs = keras.Input((6,))
    with pytest.raises(ValueError, match=r"'reshape.*', a keras\.ops operation Reshape"):
        build_clone(keras.Model(inputs, layers.Dense(2)(ops.reshape(inputs, (-1, 3)))))
    steps = keras.Input((None, 4))
    with pytest.raises(ValueError, match=r"a keras\.ops operation ExpandDims: tf_keras has"):
        build_clone(keras.Model(steps, layers.Dense(2)(ops.expand_dims(steps, 1))))


def test_inputs_and_layers_may_be_called_alike():
    inputs = keras.Input((6,), name="a_b")
    clone = build_clone(keras.Model(inputs, layers.Dense(2, name="a b")(inputs)))
    assert clone.names == {"a b": "a_b_1"}
