"""Channels are followed through all sorts of layers: what nothing reads goes without a change."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kdzoo
from kdzoo import models
from kdzoo.compression import prune_filters
from kdzoo.compression.filter_pruning.channel_groups import follow, groups_of
from kdzoo.zoo.architectures import ARCHITECTURES

pytestmark = pytest.mark.large_on_jax


def without_use(model, seed=0, where="read"):
    """Lets half of the channels be of no use to a model; returns an importance that knows them.

    Scales, shifts and statistics become random first. Then nothing reads these channels, or, where
    they are made, they are zero, through normalizations and activations too. The outputs of the
    model then say what those of the smaller one must be.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(size=weight.shape, scale=0.3))
    scores = {}
    for group in groups_of(follow(model)):
        free = rng.permutation(np.flatnonzero(~group.stays))[: group.size // 2]
        scores[group.roots[0]] = 1.0 - np.isin(np.arange(group.size), free)
        for part, positions, channels in group.parts:
            statistics = part.weight.startswith("moving_")
            if (part.role == "in") == (where == "read") and not statistics:
                kernel = np.array(part.variable)
                np.moveaxis(kernel, part.axis, 0)[positions[np.isin(channels, free)]] = 0
                part.variable.assign(kernel)
    return lambda group: scores[group.roots[0]]


def check(model, tolerance=1e-4, where="read"):
    """Prunes half of every group and compares outputs, structure and costs."""
    importance = without_use(model, where=where)
    before = [np.array(weight) for weight in model.get_weights()]
    smaller, report = prune_filters(
        model, ratio=0.5, importance=importance, scope="local", round_to=1
    )
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert type(smaller) is type(model)
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    rng = np.random.default_rng(1)
    x = rng.random((2, *model.inputs[0].shape[1:]), "float32")
    expected, given = model.predict_on_batch(x), smaller.predict_on_batch(x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(given / scale, expected / scale, atol=tolerance)
    assert np.ptp(expected) > 1e-3 * scale
    assert smaller.count_params() == report.parameters_after < model.count_params()
    assert kdzoo.evaluation.count_macs(smaller) == report.macs_after
    return smaller, report


def check_gradients(model, smaller):
    """What had a gradient in the model has one in the smaller one."""
    rng = np.random.default_rng(2)
    x = rng.random((8, *model.inputs[0].shape[1:]), "float32")
    y = rng.normal(size=(8, *model.outputs[0].shape[1:])).astype("float32")

    def still(net, least):
        net.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
        before = [np.array(weight) for weight in net.trainable_weights]
        net.train_on_batch(x, y)
        pairs = zip(before, net.trainable_weights, strict=True)
        return {w.path for old, w in pairs if np.abs(old - np.array(w)).max() <= least}

    dead = still(smaller, 0.0)
    # What a batch normalization takes away again has a gradient of rounding errors.
    assert dead <= still(model, 1e-5), dead


def net(body, shape=(8, 8, 3), outputs=True):
    """A network of a body and, by default, logits after an average."""
    inputs = keras.Input(shape)
    x = body(inputs)
    if outputs:
        rank = len(x.shape) - 2
        pool = getattr(layers, f"GlobalAveragePooling{rank}D")() if rank else lambda x: x
        x = layers.Dense(3, name="logits")(pool(x))
    return keras.Model(inputs, x)


def residual(x):
    x = layers.Conv2D(8, 3, padding="same", name="a")(x)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="b")(x))
    y = layers.Subtract()([layers.Add()([x, layers.ReLU()(y)]), x * 0.5])
    return layers.ZeroPadding2D()(layers.Cropping2D(1)(layers.UpSampling2D()(y)))


def squeeze_and_excite(x):
    x = layers.Conv2D(8, 3, activation="relu", name="a")(x)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation="relu", name="squeeze")(s)
    s = layers.ReLU(6.0)(layers.Conv2D(8, 1, name="excite")(s) + 3.0) * (1 / 6)
    return layers.Multiply()([x, s])


def grouped(x):
    x = layers.Conv2D(16, 3, activation="relu", name="a")(x)
    x = layers.Conv2D(16, 3, groups=4, activation="relu", name="grouped")(x)
    x = layers.Conv2D(32, 1, groups=16, name="as_depthwise")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh", name="depthwise")(x)
    return layers.SeparableConv2D(8, 3, depth_multiplier=2, padding="same", name="separable")(x)


def dense_block(x):
    x = layers.Conv2D(8, 3, padding="same", name="a")(x)
    for name in "bc":
        y = layers.Conv2D(8, 3, padding="same", name=name)(ops.relu(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, layers.Dropout(0.5)(y)])
    return layers.Conv2DTranspose(8, 3, strides=2, name="transposed")(x)


def flattened(x):
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3, name="a")(x))
    x = layers.Flatten()(layers.Permute((3, 1, 2))(layers.MaxPooling2D()(x)))
    return layers.Dense(16, activation="gelu", name="b")(layers.Reshape((-1,))(x))


def sequence(x):
    x = layers.Conv1D(16, 3, padding="causal", name="a")(x)
    x = ops.mean(layers.LeakyReLU()(x), axis=1, keepdims=True) + x
    return layers.Dense(8, activation="silu", name="b")(x)


def encoder_decoder(x):
    x = layers.Dense(8, activation="relu", name="a")(x)
    x, *state = layers.LSTM(8, return_sequences=True, return_state=True, name="encoder")(x)
    y = layers.LSTM(8, return_sequences=True, name="decoder")(x, initial_state=state)
    y = layers.Concatenate()([layers.SimpleRNN(8, return_sequences=True, name="rnn")(y), x])
    y = layers.Bidirectional(layers.GRU(8, return_sequences=True, name="gru"), name="two")(y)
    both = layers.LSTM(4, return_sequences=True, use_bias=False, name="lstm")
    return layers.Bidirectional(both, merge_mode="ave", name="mean")(y)


def attention(x):
    x = layers.Dense(16, name="a")(x)
    memory = layers.Dense(8, name="memory")(x)
    y = layers.MultiHeadAttention(4, 8, name="of_itself")(x, x)
    x = layers.Add()([x, y])
    options = {"value_dim": 6, "use_bias": False, "output_shape": 12, "dropout": 0.1}
    return layers.MultiHeadAttention(4, 4, **options, name="cross")(x, memory)


def nested_and_shared(x):
    inner = keras.Input((8, 8, 8))
    conv = layers.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    y = conv(conv(layers.Conv2D(8, 1, name="inner")(inner)))
    block = keras.Model(inner, layers.Conv2D(8, 1, name="last")(y), name="block")
    return block(layers.Conv2D(8, 3, padding="same", name="a")(x))


@pytest.mark.parametrize(
    "body",
    [residual, squeeze_and_excite, grouped, dense_block, flattened, nested_and_shared],
    ids=lambda body: body.__name__,
)
def test_what_nothing_reads_goes_without_a_change(body):
    _, report = check(net(body))
    assert all(group.after < group.before for group in report.groups if not group.reason)


@pytest.mark.parametrize("body", [sequence, encoder_decoder, attention])
def test_in_sequences(body):
    _, report = check(net(body, (12, 4)))
    assert report.untouched == {}
    assert all(group.after < group.before for group in report.groups if not group.reason)


def test_heads_go_one_by_one_and_words_have_fewer_numbers():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 32, mask_zero=True, name="words")(inputs)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 8, name="attention")(x, x)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    smaller, report = prune_filters(model, ratio=0.4, scope="local", ignored_layers=["logits"])
    after = {group.layers: group.after for group in report.groups}
    assert after == {("words", "attention"): 32, ("attention/heads",): 2, ("logits",): 3}
    assert kdzoo.evaluation.count_macs(smaller) == report.macs_after
    with pytest.raises(ValueError, match="'attention/heads': 'attention' is in ignored_layers"):
        prune_filters(model, ratio=0.4, ignored_layers=["attention"])


def small(name):
    image = {"input_shape": (16, 16, 3), "classes": 3}
    return {
        "separable": lambda: models.separable(0.25, **image),
        "wide_resnet": lambda: models.wide_resnet(10, 1, **image),
        "resnet": lambda: models.resnet(8, **image),
        "vgg": lambda: models.vgg(((8,), (16,), (16,)), **image),
        "plain_cnn": lambda: models.plain_cnn(((8,), (16,)), (32,), **image),
        "airbench": lambda: models.airbench((8, 16), **image),
        "fitnet": lambda: models.fitnet(((8, 8), (16,)), 16, **image),
        "fitnet_mnist": lambda: models.fitnet_mnist(classes=3),
        "maxout": lambda: models.maxout((8, 8, 8), classes=3, dense_units=8),
        "shallow": lambda: models.shallow(32, 16, 16, **image),
        "mlp": lambda: models.mlp((32, 16), **image),
        "lenet": lambda: models.lenet((8, 16), (32,), classes=3),
    }[name]()


FAMILIES = sorted({row.family for row in ARCHITECTURES})


@pytest.mark.tensorflow  # JAX would compile each of them; it runs the networks above.
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family(family):
    model = small(family)
    _, report = check(model)
    # No case is left as it was: layers that stay whole are those of the outputs.
    whole = [group for group in report.groups if group.after == group.before]
    assert all(group.layers == ("logits",) for group in whole), str(report)
    assert report.untouched == {}


_QUICK = ("maxout", "mlp", "resnet")


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in _QUICK else pytest.mark.large)
        for family in FAMILIES
    ],
)
def test_what_is_made_as_zeros_goes_without_a_change(family):
    _, report = check(small(family), tolerance=1e-5, where="made")
    assert all(group.after < group.before for group in report.groups if not group.reason)


@pytest.mark.large
@pytest.mark.parametrize("name", kdzoo.list_models())
def test_a_registered_architecture(name, tmp_path):
    model = kdzoo.create(name)
    smaller, report = prune_filters(model, target_macs=0.5, importance="l2")
    assert kdzoo.evaluation.count_macs(smaller) <= 0.5 * kdzoo.evaluation.count_macs(model)
    whole = [group for group in report.groups if group.reason == "an output of the model"]
    assert [group.layers for group in whole] == [("logits",)]
    assert report.untouched == {}
    if keras.backend.backend() == "tensorflow":
        kdzoo.export.to_litert(smaller, tmp_path / "half.tflite")
    check_gradients(model, smaller)


APPLICATIONS = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "EfficientNetB0",
    "NASNetMobile",
    "Xception",
)


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application(name, tmp_path):
    size = 96 if name == "Xception" else 64
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(size, size, 3), classes=5, classifier_activation=None)
    half, _ = prune_filters(model, target_macs=0.5)
    assert kdzoo.evaluation.count_macs(half) <= 0.5 * kdzoo.evaluation.count_macs(model)
    kdzoo.export.to_litert(half, tmp_path / "half.tflite")
    smaller, report = check(model)
    assert report.untouched == {}
    assert {group.reason for group in report.groups} <= {"", "an output of the model"}
    check_gradients(model, smaller)  # Last, as its step may leave weights that are not finite.


@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_zero_filters_of_an_application_go_without_a_change(name):
    size = 96 if name == "Xception" else 64
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(size, size, 3), classes=5, classifier_activation=None)
    _, report = check(model, tolerance=1e-5, where="made")
    assert all(group.after < group.before for group in report.groups if not group.reason)
