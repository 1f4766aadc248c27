"""Files that tf_keras 2 wrote, one for each rule by which they are carried over to Keras 3."""

import keras
import numpy as np
import pytest
from old_files import changed_config, layers_of, quiet, randomize, written

import kdzoo

tf_keras = pytest.importorskip("tf_keras")
layers = tf_keras.layers
pytestmark = pytest.mark.tensorflow
SERIES = (6, 4)


def opened(path, given, expected):
    """Opens a file, and holds that the model computes what was computed; returns the model."""
    model = kdzoo.load_model(path)
    assert not model.compiled
    found = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    assert len(found) == len(expected)
    for own, theirs in zip(found, expected, strict=True):
        own = keras.ops.convert_to_numpy(own)
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)
    return model


def check(made, path, change=None):
    """Saves a model, perhaps changes the configuration, and opens it."""
    given, expected = written(randomize(made), path)
    if change is not None:
        changed_config(path, change)
    return opened(path, given, expected)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def recurrent(layer):
    return tf_keras.Sequential([layers.Input(SERIES), layer, layers.Dense(2)])


def image(*more):
    return tf_keras.Sequential([layers.Input((5, 5, 2)), *more, layers.Flatten()])


def with_argument(class_name, **arguments):
    """A change that gives the layers of a class arguments."""

    def change(config):
        found = layers_of(config, class_name)
        assert found
        for layer in found:
            layer["config"].update(arguments)

    return change


def with_class(old, new):
    def change(config):
        for layer in layers_of(config, old):
            layer["class_name"] = new
        return config

    return change


def without_argument(class_name, *names):
    def change(config):
        for layer in layers_of(config, class_name):
            for name in names:
                del layer["config"][name]

    return change


# Arguments.


def test_groups_of_a_depthwise_convolution_are_dropped(path):
    check(image(layers.DepthwiseConv2D(3)), path, with_argument("DepthwiseConv2D", groups=1))


def test_time_major_is_dropped(path):
    check(recurrent(layers.LSTM(3)), path, with_argument("LSTM", time_major=False))


@pytest.mark.parametrize(
    ("class_name", "argument"),
    [("DepthwiseConv2D", {"groups": 2}), ("BatchNormalization", {"axis": [1, 3]})],
)
def test_an_argument_that_would_change_the_outputs_is_named(class_name, argument, path):
    made = image(layers.DepthwiseConv2D(3), layers.BatchNormalization())
    written(made, path)
    changed_config(path, with_argument(class_name, name="inner", **argument))
    key, value = next(iter(argument.items()))
    assert_refused(path, f"the layer 'inner', a {class_name}, with {key}={value}")


def assert_refused(path, complaint):
    with pytest.raises(ValueError, match=r"^Expected ") as refused:
        kdzoo.load_model(path)
    said = str(refused.value)
    assert complaint in said
    assert str(path) in said
    assert "\n" not in said
    return said


def test_an_argument_that_nobody_knows_is_named(path):
    written(recurrent(layers.LSTM(3)), path)
    changed_config(path, with_argument("LSTM", name="inner", speed=3))
    assert_refused(path, "the layer 'inner', a LSTM, with speed=3, which Keras 3 does not have")


def test_an_argument_of_a_wrong_value_is_named_with_its_layer(path):
    written(image(layers.Conv2D(3, 2, name="inner")), path)
    changed_config(path, with_argument("Conv2D", padding="none"))
    assert_refused(path, "the layer 'inner', a Conv2D: ")


def test_an_axis_in_a_list_is_one_number(path):
    check(image(layers.BatchNormalization()), path, with_argument("BatchNormalization", axis=[3]))


def test_alpha_is_the_negative_slope(path):
    model = check(image(layers.LeakyReLU(alpha=0.25)), path)
    assert model.layers[0].negative_slope == 0.25


def test_numbers_that_were_arrays_are_numbers(path):
    change = with_argument("LeakyReLU", alpha={"type": "ndarray", "value": 0.25})
    model = check(image(layers.LeakyReLU(alpha=0.25)), path, change)
    assert model.layers[0].negative_slope == 0.25


def test_a_gru_that_does_not_say_is_of_the_old_kind(path):
    change = without_argument("GRU", "reset_after")
    check(recurrent(layers.GRU(3, reset_after=False)), path, change)


def test_hard_sigmoid_keeps_its_slope(path):
    made = tf_keras.Sequential(
        [
            layers.Input(SERIES),
            layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True),
            layers.Dense(3, activation="hard_sigmoid"),
            layers.Activation("hard_sigmoid"),
        ]
    )
    model = check(made, path)
    model.save(path.with_suffix(".keras"))
    x = np.random.default_rng(0).normal(size=(2, *SERIES)).astype("float32")
    again = kdzoo.load_model(path.with_suffix(".keras"))
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)
    kdzoo.save_pretrained(model, path.parent / "shared")
    np.testing.assert_allclose(kdzoo.load_model(path.parent / "shared")(x), model(x), atol=1e-6)


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 2e-3), ("float64", 1e-12)])
def test_hard_sigmoid_computes_in_the_type_of_its_layer(policy, tolerance, path):
    made = tf_keras.Sequential(
        [
            layers.Input(SERIES),
            layers.LSTM(3, recurrent_activation="hard_sigmoid", dtype=policy),
            layers.Dense(2, activation="hard_sigmoid", dtype=policy),
        ]
    )
    given, expected = written(randomize(made), path)
    found = kdzoo.load_model(path)(given[0])
    assert keras.backend.standardize_dtype(found.dtype) == expected[0].dtype.name
    np.testing.assert_allclose(found, expected[0], atol=tolerance)


def test_softmax_v2_is_softmax(path):
    made = tf_keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    check(made, path, with_argument("Dense", activation="softmax_v2"))


def test_a_function_that_keras_does_not_have_is_named(path):
    def squared(x):
        return x * x

    written(recurrent(layers.Dense(3, activation=squared, name="inner")), path)
    assert_refused(path, "the layer 'inner', a Dense, with activation='squared', a function")


def test_initializers_of_tensorflow_1_lose_their_type(path):
    zeros = {"class_name": "Zeros", "config": {"dtype": "float32"}}
    drawn = {"scale": 2.0, "mode": "fan_in", "distribution": "normal", "seed": None}
    change = with_argument(
        "Dense",
        bias_initializer=zeros,
        kernel_initializer={
            "class_name": "VarianceScaling",
            "config": {**drawn, "dtype": "float32"},
        },
    )
    check(recurrent(layers.Dense(3)), path, change)


def test_a_policy_of_types_keeps_its_name(path):
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        made = tf_keras.Sequential([layers.Input((4,)), layers.Dense(3)])
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    given, expected = written(randomize(made), path)
    model = kdzoo.load_model(path)
    assert model.layers[0].dtype_policy.name == "mixed_float16"
    np.testing.assert_allclose(model(given[0]), expected[0], atol=2e-3)


@pytest.mark.parametrize(
    "policy",
    [
        {"class_name": "PolicyV1", "config": {"name": "mixed_float16", "loss_scale": None}},
        {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}, "module": "keras"},
        {"class_name": "FloatDTypePolicy", "config": {"name": "mixed_float16"}, "module": "keras"},
    ],
)
@pytest.mark.parametrize("library", [tf_keras, keras])
def test_policies_of_all_versions_are_read(library, policy, path):
    made = library.Sequential([library.layers.Input((4,)), library.layers.Dense(3)])
    with quiet():
        made.save(path)
    changed_config(path, with_argument("Dense", dtype=policy))
    assert kdzoo.load_model(path).layers[0].dtype_policy.name == "mixed_float16"


# Classes.


@pytest.mark.parametrize("name", ["BatchNormalizationV1", "BatchNormalizationV2"])
def test_a_batch_normalization_of_tensorflow_1_is_one(name, path):
    check(image(layers.BatchNormalization()), path, with_class("BatchNormalization", name))


def test_model_is_functional(path):
    inputs = layers.Input((4,))
    made = tf_keras.Model(inputs, layers.Dense(3)(inputs))
    check(made, path, with_class("Functional", "Model"))


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("wraps", [False, True])
def test_layers_of_cudnn_are_plain_ones(name, wraps, path):
    """Of which only GPUs compute the outputs: expected are those of tf_keras's plain layer."""
    from tf_keras.src.layers.rnn import cudnn_gru, cudnn_lstm

    fast = {"LSTM": cudnn_lstm.CuDNNLSTM, "GRU": cudnn_gru.CuDNNGRU}[name]
    layer = fast(3)
    if wraps:
        layer = layers.Bidirectional(layer)
    made = tf_keras.Sequential([layer])
    made.build((None, *SERIES))
    with quiet():
        randomize(made).save(path)
    plain = getattr(layers, name)(3)
    plain = recurrent_alone(layers.Bidirectional(plain) if wraps else plain)
    plain.load_weights(path)
    given = np.random.default_rng(0).normal(size=(2, *SERIES)).astype("float32")
    opened(path, [given], [plain(given).numpy()])


def recurrent_alone(layer):
    return tf_keras.Sequential([layers.Input(SERIES), layer])


# Models.


@pytest.mark.parametrize("as_list", [False, True])
def test_a_sequential_model_without_an_input_layer_gets_one(as_list, path):
    """As Keras before 2.3 wrote it: the first layer has the shape."""

    def change(config):
        del config["config"]["layers"][0]
        config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, *SERIES]
        if as_list:
            config["config"] = config["config"]["layers"]

    check(recurrent(layers.LSTM(3)), path, change)


def test_models_in_models_are_connected(path):
    """Keras 2 counts the calls of a model within another from one."""
    inputs = layers.Input((4,), name="first")
    sequential = tf_keras.Sequential([layers.Input((4,)), layers.Dense(4, name="a")], name="part")
    inner = layers.Input((4,))
    functional = tf_keras.Model(inner, layers.Dense(4, name="a")(inner), name="other")
    shared = layers.Dense(4, name="shared")
    x = layers.Add()([sequential(inputs), functional(shared(sequential(shared(inputs))))])
    made = tf_keras.Model(inputs, [functional(x), sequential(x), x])
    check(made, path)


def test_frozen_and_trained_layers_within_a_model_keep_their_own_weights(path):
    inner = tf_keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(4, trainable=False),
            layers.BatchNormalization(),
            layers.Dense(4),
        ]
    )
    made = tf_keras.Sequential([layers.Input((4,)), inner, layers.Dense(2)])
    check(made, path)


@pytest.mark.parametrize("name", ["LSTM", "Bidirectional"])
def test_initial_states_are_given_as_such(name, path):
    inputs = layers.Input(SERIES)
    first = layers.LSTM(3, return_state=True)
    second = layers.LSTM(3, return_sequences=True)
    if name == "Bidirectional":
        first, second = layers.Bidirectional(first), layers.Bidirectional(second)
    _, *states = first(inputs)
    check(tf_keras.Model(inputs, second(inputs, initial_state=states)), path)


def test_names_with_slashes_get_others(path):
    inputs = layers.Input((4,), name="in/put")
    x = layers.Dense(4, name="a/b")(inputs)
    x = layers.Dense(4, name="a_b")(x)
    check(tf_keras.Model(inputs, layers.Dense(4, name="a/c")(x)), path)


def test_a_stateful_layer_begins_with_zeros(path):
    made = tf_keras.Sequential(
        [layers.InputLayer(batch_input_shape=(2, *SERIES)), layers.LSTM(3, stateful=True)]
    )
    given, expected = written(randomize(made), path)
    opened(path, given, expected)


def test_several_inputs_and_outputs_keep_their_order(path):
    inputs = [layers.Input((4,), name=name) for name in ("b", "a")]
    outputs = [layers.Dense(2)(inputs[0]), layers.Dense(2)(inputs[1])]
    check(tf_keras.Model(inputs, outputs[::-1]), path)


# How a model was compiled.


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_model_within_another_takes_a_dictionary(suffix, tmp_path):
    a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
    inner = tf_keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Subtract()([a, b])))
    x, y = layers.Input((3,), name="x"), layers.Input((3,), name="y")
    twice = layers.Add()([inner({"a": y, "b": x}), inner({"a": x, "b": x})])
    check(tf_keras.Model([x, y], twice), tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_how_a_model_was_compiled_does_not_matter(suffix, tmp_path):
    def own_loss(y_true, y_pred):
        return y_pred - y_true

    made = recurrent(layers.GRU(3))
    made.compile(tf_keras.optimizers.legacy.SGD(0.1), own_loss, metrics=[own_loss])
    check(made, tmp_path / f"model{suffix}")


@pytest.mark.parametrize("kind", ["recurrent", "image", "nested"])
def test_a_keras_file_of_tf_keras_opens(kind, tmp_path):
    made = {
        "recurrent": lambda: recurrent(layers.Bidirectional(layers.LSTM(3))),
        "image": lambda: image(
            layers.DepthwiseConv2D(3, activation="hard_sigmoid"), layers.BatchNormalization()
        ),
        "nested": lambda: tf_keras.Sequential(
            [layers.Input((5, 5, 2)), image(layers.SeparableConv2D(3, 2)), layers.Dense(2)]
        ),
    }
    check(made[kind](), tmp_path / "model.keras")
