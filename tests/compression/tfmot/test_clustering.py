"""Clustering: the same as TF-MOT's own, few values in every kernel, files, a teacher."""

import keras
import numpy as np
import pytest
from compression_helpers import compiled, cross_entropy

import kdzoo
from kdzoo import compression
from kdzoo.compression import cluster_weights, prune_low_magnitude, strip_clustering
from kdzoo.compression.tfmot.clone_agreement import unchecked

pytestmark = [
    pytest.mark.tensorflow,
    # The depthwise layer of the network is never clustered, which one test is about.
    pytest.mark.filterwarnings("ignore:Not clustered in:UserWarning"),
]

BATCH = 16


# For 200 steps at a smaller rate: at 0.02, a ReLU whose input is 0 +- 4e-8 decides at step 126
# which way to go, in TF-MOT's own runs too, as the test after this one shows.
@pytest.mark.parametrize(
    ("epochs", "learning_rate"), [(10, 0.02), pytest.param(50, 0.005, marks=pytest.mark.large)]
)
@pytest.mark.parametrize("initialization", ["LINEAR", "DENSITY_BASED", "KMEANS_PLUS_PLUS"])
def test_weights_are_those_of_tfmot(net, legacy_net, data, initialization, epochs, learning_rate):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    plain, tools = net(), load_tfmot().clustering.keras
    choice = compression.CentroidInitialization[initialization]
    keras.utils.set_random_seed(0)
    theirs = tools.cluster_weights(legacy_net(plain.get_weights()), 4, choice)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(tf_keras.optimizers.SGD(learning_rate, momentum=0.9), loss)
    theirs.fit(*data, BATCH, epochs, verbose=0, shuffle=False)

    keras.utils.set_random_seed(0)
    ours = compiled(cluster_weights(plain, 4, choice), learning_rate)
    ours.fit(*data, BATCH, epochs, verbose=0, shuffle=False)
    legacy = tools.strip_clustering(theirs)
    stripped = strip_clustering(ours)
    for layer in stripped.layers[1:]:
        for our, their in zip(
            layer.get_weights(),
            kernel_first(legacy.get_layer(layer.name).get_weights()),
            strict=True,
        ):
            np.testing.assert_allclose(our, their, atol=1e-4, err_msg=layer.name)


@pytest.mark.large
def test_tfmot_itself_parts_by_a_rounding_at_the_larger_rate(net, legacy_net, data):
    """Runs of TF-MOT from weights one rounding apart: near at 0.005, far at 0.02."""
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    tools, weights = load_tfmot().clustering.keras, net().get_weights()

    def trained(learning_rate, draw=None):
        start = weights
        if draw is not None:
            signs = np.random.default_rng(draw)
            start = [
                (w * (1 + 1.2e-7 * signs.choice([-1, 1], w.shape))).astype(w.dtype) for w in weights
            ]
        keras.utils.set_random_seed(0)
        choice = compression.CentroidInitialization.DENSITY_BASED
        model = tools.cluster_weights(legacy_net(start), 4, choice)
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.SGD(learning_rate, momentum=0.9), loss)
        model.fit(*data, BATCH, 50, verbose=0, shuffle=False)
        return np.concatenate([w.ravel() for w in tools.strip_clustering(model).get_weights()])

    for learning_rate, parts in ((0.005, False), (0.02, True)):
        whole = trained(learning_rate)
        apart = max(np.abs(trained(learning_rate, draw) - whole).max() for draw in (0, 1))
        assert apart > 0.1 if parts else apart < 1e-4


def kernel_first(weights):
    """A layer's weights in Keras's order: clustering moves the kernel of tf_keras to the end."""
    return sorted(weights, key=lambda weight: -weight.ndim)


def test_every_kernel_has_so_many_values(net, data, tmp_path):
    clustered = compiled(cluster_weights(net(), 4))
    before = clustered.predict(data[0], verbose=0)
    clustered.fit(*data, BATCH, epochs=3, verbose=0)
    assert np.abs(clustered.predict(data[0], verbose=0) - before).max() > 1e-3
    assert clustered.unique_weights() == {"conv": 4, "stage2": 4, "logits": 4}
    stripped = strip_clustering(clustered)
    np.testing.assert_allclose(
        stripped.predict(data[0], verbose=0), clustered.predict(data[0], verbose=0), atol=1e-6
    )
    stripped.save(tmp_path / "stripped.keras")
    again = keras.saving.load_model(tmp_path / "stripped.keras")
    for name in ("conv", "stage2", "logits"):
        assert len(np.unique(again.get_layer(name).get_weights()[0])) == 4, name


def with_zeros(model):
    """The model, every other input channel of a convolution at zero, and which weights are."""
    kernel, bias = model.get_layer("stage2").get_weights()
    kernel[:, :, ::2] = 0
    model.get_layer("stage2").set_weights([kernel, bias])
    return model, kernel == 0


@pytest.mark.parametrize(
    ("preserve_sparsity", "per_channel"),
    [
        (True, True),
        (False, False),
        (False, True),
        (True, False),
    ],
)
@pytest.mark.large  # One that is clustered and pruned goes on in test_combined.py.
def test_a_file_goes_on(preserve_sparsity, per_channel, net, data, tmp_path):
    fit = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    plain, zeros = with_zeros(net())
    settings = {"preserve_sparsity": preserve_sparsity, "cluster_per_channel": per_channel}
    whole, part = (compiled(cluster_weights(plain, 3, **settings)) for _ in range(2))
    part.set_weights(whole.get_weights())  # k-means++ starts at random.
    whole.fit(*data, epochs=4, **fit)
    part.fit(*data, epochs=2, **fit)
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_allclose(
        again.predict(data[0], verbose=0), part.predict(data[0], verbose=0), atol=1e-6
    )
    again.fit(*data, epochs=4, initial_epoch=2, **fit)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    if preserve_sparsity:
        kernel = strip_clustering(again).get_layer("stage2").get_weights()[0]
        np.testing.assert_array_equal(kernel[zeros], 0)


def test_zeros_are_preserved(net, data):
    plain, _ = with_zeros(net())
    clustered = compiled(cluster_weights(plain, 4, preserve_sparsity=True))
    clustered.fit(*data, BATCH, epochs=3, verbose=0)
    kernel = strip_clustering(clustered).get_layer("stage2").get_weights()[0]
    assert (kernel[:, :, ::2] == 0).all()
    assert len(np.unique(kernel)) <= 4


def test_it_learns_from_a_teacher_with_taps(net, data):
    losses = [
        kdzoo.losses.SoftTargets(2.0),
        kdzoo.losses.Hint("stage2", "stage2", reduction="mean"),
    ]
    distiller = kdzoo.Distiller(net(1, "teacher"), cluster_weights(net(), 4), losses)
    distiller.compile(keras.optimizers.SGD(0.02, momentum=0.9), cross_entropy())
    history = distiller.fit(*data, BATCH, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert distiller.student.unique_weights()["stage2"] == 4


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_channels_are_clustered_without_a_bias_as_with_one(data_format):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    tools = load_tfmot().clustering.keras
    from tensorflow_model_optimization.python.core.clustering.keras import cluster

    start = "DENSITY_BASED"  # Without chance.
    shape = (8, 8, 3) if data_format == "channels_last" else (3, 8, 8)
    layers = keras.layers
    conv = layers.Conv2D(5, 3, use_bias=False, name="conv", data_format=data_format)
    model = keras.Sequential([keras.Input(shape), conv])
    ours = cluster_weights(model, 4, start, cluster_per_channel=True)
    assert ours.unique_weights() == {"conv": 20}
    # TF-MOT counts channels by the bias; its kernels are laid out alike for both formats.
    theirs = tf_keras.Sequential([tf_keras.layers.Conv2D(5, 3, input_shape=(8, 8, 3))])
    theirs.set_weights([conv.get_weights()[0], np.zeros(5)])
    made = cluster._cluster_weights(  # Of no public module.
        theirs, 4, tools.CentroidInitialization[start], cluster_per_channel=True
    )
    kernel = tools.strip_clustering(made).get_weights()[0]
    np.testing.assert_allclose(strip_clustering(ours).get_weights()[0], kernel, atol=1e-6)


def test_what_is_clustered_stays_in_float32_where_layers_compute_in_half():
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.Reshape((16, 4)),
            keras.layers.LSTM(3),
            keras.layers.Dense(2),
        ]
    )
    keras.config.set_dtype_policy("float32")
    clustered = compiled(cluster_weights(model, 3))
    random = np.random.default_rng(0)
    x, y = random.random((8, 6, 6, 3), "float32"), random.integers(0, 2, 8)
    assert clustered(x).dtype == model(x).dtype == "float16"
    clustered.fit(x, y, verbose=0)
    stripped = strip_clustering(clustered)
    assert {weight.dtype for weight in stripped.weights} == {"float32"}
    assert set(clustered.unique_weights().values()) == {3}
    np.testing.assert_allclose(stripped(x), clustered(x), atol=2e-3)


@pytest.mark.large
@pytest.mark.parametrize(
    ("layer", "clusters", "per_channel"),
    [
        (keras.layers.Conv2D(4, 3), 5, False),
        (keras.layers.Conv2D(4, 3), 5, True),
        (keras.layers.Conv2D(40, 3), 12, False),
        (keras.layers.Dense(40), 5, False),
    ],
)
@pytest.mark.parametrize("quantized", [False, True])
def test_a_centroid_of_many_weights_takes_one_step_of_adam(layer, clusters, per_channel, quantized):
    """Adam's first step is as long as its learning rate, however many weights share a value.

    Of a convolution with few clusters, TF-MOT's quantizer takes those of each channel for its own.
    """
    keras.utils.set_random_seed(0)
    plain = keras.Sequential([keras.Input((8, 8, 3)), type(layer).from_config(layer.get_config())])
    model = cluster_weights(plain, clusters, cluster_per_channel=per_channel)
    if quantized:
        annotated = compression.quantize_annotate_model(strip_clustering(model))
        scheme = compression.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False)
        model = compression.quantize_apply(annotated, scheme)
    model.compile(keras.optimizers.Adam(0.001), "mse")
    (centroids,) = [w for w in model.trainable_variables if "cluster_centroids" in w.path]
    before = np.array(centroids)
    x = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    model.train_on_batch(x, np.ones((2, *model.output_shape[1:])))
    np.testing.assert_allclose(np.abs(np.array(centroids) - before), 0.001, rtol=0.01)


def test_what_is_left_is_named_with_the_reason():
    layers = keras.layers
    inputs = keras.Input((4, 6))
    x = layers.TimeDistributed(layers.Dense(5), name="steps")(inputs)
    x = layers.Dense(5, trainable=False, name="frozen")(x)
    x = layers.Conv1D(2, 3, name="small")(layers.Dense(1, name="conv")(x))
    model = keras.Model(inputs, layers.Dense(9, name="logits")(x))
    reason = r"steps \(TF-MOT does not look into a TimeDistributed; a Dense .*frozen \(frozen\); "
    with pytest.warns(UserWarning, match=reason + r".*small .*hardly more weights than clusters"):
        cluster_weights(model, 8)
    reason = r"steps \(TF-MOT does not look into a TimeDistributed; a Dense takes sequences witho"
    with pytest.warns(UserWarning, match=reason):
        prune_low_magnitude(model)


@pytest.mark.parametrize(
    ("layer", "shape", "per_channel"),
    [
        (keras.layers.Conv2D(12, 1, name="small"), (None, 4, 4, 1), False),
        (keras.layers.Conv2D(2, 4, name="small"), (None, 4, 4, 1), True),
    ],
)
def test_a_layer_with_too_few_weights_comes_back_as_it_is(layer, shape, per_channel):
    """By itself too, as a `clone_function` gives it: TF-MOT warns of it and goes on."""
    layer.build(shape)
    with pytest.warns(UserWarning, match=r"Not clustered: small \(hardly more weights"):
        assert cluster_weights(layer, 16, cluster_per_channel=per_channel) is layer
    clustered = cluster_weights(layer, 11, cluster_per_channel=per_channel)
    assert isinstance(clustered, compression.ClusteredLayer)


def test_what_is_left_is_named(net):
    with pytest.warns(UserWarning, match="Not clustered in 'net': depthwise"):
        cluster_weights(net(), 4)


def test_bad_arguments_are_refused(net):
    with pytest.raises(ValueError, match="number_of_clusters to be at least 2"):
        cluster_weights(net(), 1)
    with pytest.raises(ValueError, match="number_of_clusters to be at least 3"):
        cluster_weights(net(), 2, preserve_sparsity=True)
    with pytest.raises(ValueError, match="Did you mean 'LINEAR'"):
        cluster_weights(net(), 4, "LINAER")
    with pytest.raises(ValueError, match="functional or sequential"):
        cluster_weights("net", 4)
    with pytest.raises(ValueError, match="Expected a model that `cluster_weights` returned"):
        strip_clustering(net())


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_kernels_that_k_means_never_ends_on_are_refused(net, value):
    model = net()
    kernel = model.get_layer("stage2").kernel
    kernel.assign(value * np.random.default_rng(0).random(kernel.shape))
    with pytest.raises((ValueError, RuntimeError), match=r"to cluster.*'stage2'|does not agree"):
        cluster_weights(model, 4)
    with unchecked(), pytest.raises(ValueError, match=r"cluster\. Received: others in 'stage2'"):
        cluster_weights(model, 4)
