"""What is quicker equals Keras's own; on other backends nothing is touched."""

import json
import zipfile

import keras
import numpy as np
import pytest

from kdzoo.graph import acceleration

needs_tensorflow = pytest.mark.tensorflow


def small_net(**arguments):
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(**arguments)(x)
    x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


def images(batch=16, seed=0):
    return np.random.default_rng(seed).normal(1.5, 2.0, (batch, 9, 7, 3)).astype("float32")


def twins(**arguments):
    plain = small_net(**arguments)
    rng = np.random.default_rng(1)
    plain.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in plain.get_weights()])
    fused = keras.models.clone_model(plain)
    fused.set_weights(plain.get_weights())
    return plain, fused


def relative_error(actual, expected):
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    return np.abs(actual - expected).max() / np.abs(expected).max()


@needs_tensorflow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"scale": False}, {"center": False}, {"momentum": 0.9, "epsilon": 1e-5}, {"axis": 3}],
    ids=str,
)
def test_outputs_and_moving_statistics_equal_keras(arguments, training):
    plain, fused = twins(**arguments)
    assert acceleration.fuse_batch_normalization(fused) == 1
    x = images()
    assert relative_error(fused(x, training=training), plain(x, training=training)) < 1e-5
    for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
        assert relative_error(ours, theirs) < 1e-5


@needs_tensorflow
def test_moving_variance_is_the_biased_one():
    _, fused = twins()
    acceleration.fuse_batch_normalization(fused)
    layer = next(layer for layer in fused.layers if "batch" in layer.name)
    before = layer.moving_variance.numpy()
    x = images(batch=2)
    features = np.asarray(fused.layers[1](x), "float64")
    fused(x, training=True)
    expected = before * layer.momentum + features.var((0, 1, 2)) * (1 - layer.momentum)
    np.testing.assert_allclose(layer.moving_variance.numpy(), expected, rtol=1e-5)


@needs_tensorflow
def test_a_training_run_ends_where_keras_ends():
    ends = []
    for model, fuse in zip(twins(), (False, True), strict=True):
        if fuse:
            acceleration.fuse_batch_normalization(model)
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(images(64), images(64, seed=5)[:, 0, :4, 0], epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for ours, theirs in zip(*reversed(ends), strict=True):
        assert relative_error(ours, theirs) < 1e-4


@needs_tensorflow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_equals_keras_to_its_rounding(policy):
    keras.config.set_dtype_policy(policy)
    plain, fused = twins()
    acceleration.fuse_batch_normalization(fused)
    outputs = fused(images(), training=True)
    assert outputs.dtype == plain.compute_dtype
    assert relative_error(outputs, plain(images(), training=True)) < 2e-2
    for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
        assert relative_error(ours, theirs) < 1e-3


@needs_tensorflow
def test_a_frozen_layer_keeps_its_statistics():
    plain, fused = twins()
    for model in (plain, fused):
        model.trainable = False
    acceleration.fuse_batch_normalization(fused)
    before = fused.get_weights()
    assert relative_error(fused(images(), training=True), plain(images(), training=True)) < 1e-5
    for ours, theirs in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs_tensorflow
def test_the_kernel_is_really_used():
    import tensorflow as tf

    def operations(model):
        graph = tf.function(lambda x: model(x, training=True)).get_concrete_function(images())
        return {operation.type for operation in graph.graph.get_operations()}

    plain, fused = twins()
    acceleration.fuse_batch_normalization(fused)
    assert "FusedBatchNormV3" in operations(fused)
    assert "FusedBatchNormV3" not in operations(plain)
    acceleration.unfuse_batch_normalization(fused)
    assert "FusedBatchNormV3" not in operations(fused)


@needs_tensorflow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mean", [0.0, 100.0, 1e4])
def test_xla_normalizes_as_well_as_keras_does(mean, dtype):
    """Deviations of 1e-2, 1 and 0 a channel; expected are moments in NumPy, float64."""
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    rng = np.random.default_rng(0)
    x = tf.cast(mean + rng.normal(size=(16, 5, 5, 3)) * [1e-2, 1.0, 0.0], dtype)
    exact = tf.cast(x, "float64").numpy()
    means, variances = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    expected = (exact - means) / np.sqrt(variances + 1e-3)
    errors = []
    for is_fused in (False, True):
        layer = keras.layers.BatchNormalization()
        layer.build(x.shape)
        acceleration.fuse_batch_normalization(layer) if is_fused else None

        @tf.function(jit_compile=True)
        def slope(x, layer=layer):
            with tf.GradientTape() as tape:
                outputs = layer(x, training=True)
                loss = tf.reduce_sum(tf.square(tf.cast(outputs, "float32")))
            return outputs, tape.gradient(loss, layer.gamma.value)

        outputs, gradient = slope(x)
        of_outputs = np.abs(tf.cast(outputs, "float64") - expected).max((0, 1, 2))
        of_gradient = np.abs(gradient - 2 * (expected**2).sum((0, 1, 2)))
        of_variance = np.abs(layer.moving_variance - (0.99 + 0.01 * variances))
        errors.append(np.array([of_outputs, of_gradient, of_variance]))
    assert (errors[1] <= 2 * errors[0] + 1e-6).all()


@needs_tensorflow
def test_inference_stays_fused_under_xla():
    import tensorflow as tf

    _, fused = twins()
    acceleration.fuse_batch_normalization(fused)
    for training in (False, True):
        compiled = tf.function(lambda x, t=training: fused(x, training=t), jit_compile=True)
        graph = compiled.get_concrete_function(images()).graph
        kinds = {operation.type for operation in graph.get_operations()}
        assert ("FusedBatchNormV3" in kinds) is not training


@needs_tensorflow
@pytest.mark.parametrize("arguments", [{"axis": 1}, {"renorm": True}, {"epsilon": 1e-7}], ids=str)
def test_what_the_kernel_cannot_do_is_left_alone(arguments):
    assert acceleration.fuse_batch_normalization(small_net(**arguments)) == 0


@needs_tensorflow
def test_vectors_and_subclasses_are_computed_by_keras():
    class Own(keras.layers.BatchNormalization):
        pass

    inputs = keras.Input((5,))
    outputs = keras.layers.BatchNormalization()(Own()(inputs))
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    expected = np.asarray(model(x))
    assert acceleration.fuse_batch_normalization(model) == 1
    np.testing.assert_array_equal(model(x), expected)


def test_saved_files_hold_plain_keras_layers(tmp_path):
    model = small_net()
    acceleration.fuse_batch_normalization(model)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert {layer["module"] for layer in layers} == {"keras.layers"}
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert all("call" not in vars(layer) for layer in copy.layers)
    np.testing.assert_allclose(copy(images()), model(images()), rtol=1e-4, atol=1e-5)


def test_the_context_restores_what_it_found():
    model = small_net()
    layers = acceleration.fusible_layers(model)
    expected = 1 if keras.backend.backend() == "tensorflow" else 0
    assert len(layers) == expected
    with acceleration.accelerated(layers):
        assert sum("call" in vars(layer) for layer in model.layers) == expected
    assert not any("call" in vars(layer) for layer in model.layers)
    acceleration.fuse_batch_normalization(model)
    with acceleration.accelerated(layers):
        pass
    assert sum("call" in vars(layer) for layer in model.layers) == expected


def strided_net(**arguments):
    inputs = keras.Input((9, 8, 6))
    layer = keras.layers.DepthwiseConv2D(
        3, 2, depthwise_initializer="he_normal", bias_initializer="he_normal", **arguments
    )
    return keras.Model(inputs, layer(inputs))


def gradients(model, x, upstream):
    """The outputs, and the gradients for the inputs and each weight, in a compiled function."""
    import tensorflow as tf

    @tf.function
    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x)
            total = tf.reduce_sum(tf.cast(outputs, "float32") * upstream)
        return outputs, *tape.gradient(total, [x, *[weight.value for weight in model.weights]])

    return [np.asarray(tensor, "float64") for tensor in run(tf.constant(x), tf.constant(upstream))]


@needs_tensorflow
@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same"},
        {"padding": "valid", "activation": "relu"},
        {"padding": "same", "depth_multiplier": 2, "use_bias": False},
    ],
    ids=str,
)
def test_strided_depthwise_gradients_equal_keras(arguments):
    keras.config.set_dtype_policy("mixed_bfloat16")
    plain = strided_net(**arguments)
    quick = keras.models.clone_model(plain)
    quick.set_weights(plain.get_weights())
    keras.config.set_dtype_policy("float32")
    exact = strided_net(**arguments)
    exact.set_weights(plain.get_weights())
    assert acceleration.accelerate(quick) == 1
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 9, 8, 6)).astype("float32")
    upstream = rng.normal(size=plain(x).shape).astype("float32")
    theirs, ours = gradients(plain, x, upstream), gradients(quick, x, upstream)
    np.testing.assert_array_equal(ours[0], theirs[0])
    for our, their in zip(ours[1:3], theirs[1:3], strict=True):  # Of the inputs and the kernel.
        assert relative_error(our, their) < 2**-7
    for our, right in zip(ours, gradients(exact, x, upstream), strict=True):
        assert relative_error(our, right) < 2e-2


@needs_tensorflow
def test_the_slow_kernel_is_really_avoided():
    import tensorflow as tf

    def slow_operations(model):
        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = model(x)
            return tape.gradient(outputs, x)

        x = np.zeros((2, 9, 8, 6), "float32")
        graph = gradient.get_concrete_function(tf.constant(x)).graph
        return [
            operation
            for operation in graph.get_operations()
            if operation.type == "DepthwiseConv2dNativeBackpropInput"
            and operation.outputs[0].dtype == tf.bfloat16
        ]

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = strided_net()
    assert len(slow_operations(model)) == 1
    acceleration.accelerate(model)
    assert slow_operations(model) == []


@needs_tensorflow
@pytest.mark.parametrize(
    ("policy", "layer"),
    [
        ("float32", keras.layers.DepthwiseConv2D(3, 2)),
        ("mixed_bfloat16", keras.layers.DepthwiseConv2D(3)),
        ("mixed_bfloat16", keras.layers.SeparableConv2D(4, 3, 2)),
    ],
    ids=["float32", "no stride", "separable"],
)
def test_quick_depthwise_layers_are_left_alone(policy, layer):
    keras.config.set_dtype_policy(policy)
    layer = type(layer).from_config({**layer.get_config(), "dtype": policy})
    inputs = keras.Input((9, 8, 6))
    assert acceleration.accelerate(keras.Model(inputs, layer(inputs))) == 0


def test_what_tensorflow_lacks_is_found_on_tensorflow_alone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    expected = 2 if keras.backend.backend() == "tensorflow" else 0
    assert acceleration.accelerate(model) == expected
    assert model(images(2)).shape == (2, 5, 4, 3)


@needs_tensorflow
def test_a_gpu_that_is_hidden_from_tensorflow_is_none(monkeypatch):
    """The machine has one, and `set_visible_devices([], "GPU")` was called."""
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_bfloat16")
    model, devices = strided_net(), [object()]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: [])
    assert len(acceleration.strided_layers(model)) == 1
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: devices)
    assert not acceleration.strided_layers(model)
