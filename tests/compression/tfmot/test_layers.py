"""Single layers: the verbs on some layers of a model, as TF-MOT's guides do it."""

import keras
import numpy as np
import pytest
from compression_helpers import FIT, compiled

import kdzoo
from kdzoo.compression import (
    CompressionMonitor,
    ConstantSparsity,
    PolynomialDecay,
    PruneForLatencyOnXNNPack,
    PruningSummaries,
    UpdatePruningStep,
    cluster_weights,
    prune_low_magnitude,
    quantize_model,
    strip_clustering,
    strip_pruning,
)

pytestmark = pytest.mark.tensorflow

HALF = {"begin_step": 0, "frequency": 1}


def clone(model, change, *names):
    """A copy of a model in which a verb is done to some layers."""

    def changed(layer):
        return change(layer) if layer.name in names else layer

    return keras.models.clone_model(model, clone_function=changed)


def prune(layer):
    return prune_low_magnitude(layer, ConstantSparsity(0.5, **HALF))


def cluster(layer):
    return cluster_weights(layer, 5)


def assert_weights_are_close(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-4)


def test_pruning_is_that_of_tfmot(net, legacy_net, data):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    tools = load_tfmot().sparsity.keras
    schedule = {"initial_sparsity": 0.2, "final_sparsity": 0.7, "begin_step": 2, "end_step": 20}

    def theirs_pruned(layer):
        if layer.name not in ("conv", "logits"):
            return layer
        return tools.prune_low_magnitude(layer, tools.PolynomialDecay(**schedule, frequency=3))

    plain = net()
    theirs = tf_keras.models.clone_model(
        legacy_net(plain.get_weights()), clone_function=theirs_pruned
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(tf_keras.optimizers.SGD(0.02, momentum=0.9), loss)
    theirs.fit(*data, epochs=6, callbacks=[tools.UpdatePruningStep()], **FIT)

    def ours_pruned(layer):
        return prune_low_magnitude(layer, PolynomialDecay(**schedule, frequency=3))

    ours = compiled(clone(plain, ours_pruned, "conv", "logits"))
    ours.fit(*data, epochs=6, callbacks=[UpdatePruningStep()], **FIT)
    stripped = strip_pruning(ours)
    expected = tools.strip_pruning(theirs).get_weights()
    assert_weights_are_close(stripped.get_weights(), expected)
    for our, their in zip(stripped.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(our == 0, their == 0)
    for name in ("conv", "logits"):
        kernel = stripped.get_layer(name).get_weights()[0]
        assert (kernel == 0).mean() == pytest.approx(0.7, abs=0.01)


def test_clustering_is_that_of_tfmot(net, legacy_net, data):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    tools, settings = load_tfmot().clustering.keras, {"number_of_clusters": 5}
    settings["cluster_centroids_init"] = tools.CentroidInitialization.LINEAR

    def theirs_clustered(layer):
        return tools.cluster_weights(layer, **settings) if layer.name == "stage2" else layer

    plain = net()
    theirs = tf_keras.models.clone_model(
        legacy_net(plain.get_weights()), clone_function=theirs_clustered
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(tf_keras.optimizers.SGD(0.02, momentum=0.9), loss)
    theirs.fit(*data, epochs=6, **FIT)
    ours = compiled(clone(plain, lambda layer: cluster_weights(layer, **settings), "stage2"))
    ours.fit(*data, epochs=6, **FIT)
    stripped = strip_clustering(ours)
    assert_weights_are_close(stripped.get_weights(), tools.strip_clustering(theirs).get_weights())
    assert len(np.unique(stripped.get_layer("stage2").get_weights()[0])) == 5
    assert len(np.unique(stripped.get_layer("conv").get_weights()[0])) > 5


@pytest.mark.parametrize("built", [True, False])
def test_layers_of_a_new_model(built, data):
    """As in TF-MOT's guides: layers are wrapped before the model is there, first or not."""
    inner = [keras.layers.Dense(6, activation="relu", name="first"), keras.layers.Dense(3)]
    if built:
        for layer, width in zip(inner, (192, 6), strict=True):
            layer.build((None, width))
    before = [layer.get_weights() for layer in inner]
    pruned = prune_low_magnitude(inner, ConstantSparsity(0.5, **HALF))
    layers = [keras.layers.Flatten(), *pruned]
    unbuilt = compiled(keras.Sequential(layers))
    with pytest.raises(ValueError, match="Expected a built model: give it a `keras"):
        unbuilt.fit(*data, callbacks=[CompressionMonitor()], **FIT)
    model = compiled(keras.Sequential([keras.Input((8, 8, 3)), *layers]))
    history = model.fit(*data, epochs=4, callbacks=[UpdatePruningStep()], **FIT).history
    assert history["loss"][-1] < history["loss"][0]
    plain = strip_pruning(model)
    assert [layer.name for layer in plain.layers[1:]] == [layer.name for layer in inner]
    for layer in plain.layers[1:]:
        assert (layer.get_weights()[0] == 0).mean() == 0.5
    np.testing.assert_allclose(
        plain.predict(data[0], verbose=0), model.predict(data[0], verbose=0), atol=1e-6
    )
    for layer, weights in zip(inner, before, strict=True):
        assert layer.built == built
        for now, then in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning")
def test_the_first_layer_may_say_the_input_shape():
    model = keras.Sequential([prune(keras.layers.Dense(4, input_shape=(6,)))])
    assert model.input_shape == (None, 6)


@pytest.mark.parametrize(
    ("change", "callbacks", "strip"),
    [(prune, [UpdatePruningStep], strip_pruning), (cluster, [], strip_clustering)],
)
def test_a_file_goes_on(change, callbacks, strip, net, data, tmp_path):
    def trained(model, **options):
        callback = [make() for make in callbacks]
        model.fit(*data, **FIT, **options, callbacks=callback)
        return model

    whole, part = (compiled(clone(net(), change, "conv", "stage2")) for _ in range(2))
    trained(whole, epochs=4)
    trained(part, epochs=2).save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), part.predict(data[0], verbose=0)
    )
    trained(again, epochs=4, initial_epoch=2)
    assert_weights_are_close(again.get_weights(), whole.get_weights())
    strip(again).save(tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(
        plain.predict(data[0], verbose=0), again.predict(data[0], verbose=0), atol=1e-6
    )


@pytest.mark.large
def test_a_student_with_such_layers_learns_from_a_teacher(net, data, tmp_path):
    student = clone(net(), prune, "conv", "stage2")
    losses = [
        kdzoo.losses.SoftTargets(2.0),
        kdzoo.losses.Hint("stage2", "prune_low_magnitude_stage2", reduction="mean"),
    ]
    distiller = compiled(kdzoo.Distiller(net(1, "teacher"), student, losses))
    callbacks = [UpdatePruningStep(), CompressionMonitor(), PruningSummaries(tmp_path)]
    history = distiller.fit(*data, epochs=6, callbacks=callbacks, **FIT).history
    assert history["loss"][-1] < history["loss"][0]
    plain = strip_pruning(student)
    kernels = [weight for weight in plain.get_weights() if weight.ndim > 1]
    zeros = sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels)
    assert history["sparsity"][-1] == pytest.approx(zeros)
    with pytest.raises(ValueError, match="still being compressed: pass `strip_pruning"):
        kdzoo.export.to_litert(student, tmp_path / "student.tflite")
    kdzoo.export.to_litert(plain, tmp_path / "student.tflite")


def test_nested_models_are_stripped_too(data):
    inner = keras.Sequential([keras.Input((192,)), prune(keras.layers.Dense(4, name="inside"))])
    inputs = keras.Input((8, 8, 3))
    x = inner(keras.layers.Flatten()(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(3)(x)))
    model.fit(*data, epochs=1, callbacks=[UpdatePruningStep()], **FIT)
    plain = strip_pruning(model)
    assert (plain.get_layer(inner.name).get_layer("inside").get_weights()[0] == 0).mean() == 0.5
    np.testing.assert_allclose(
        plain.predict(data[0], verbose=0), model.predict(data[0], verbose=0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda: prune(keras.layers.DepthwiseConv2D(3, name="deep")), "TF-MOT prunes.*'deep'"),
        (lambda: prune_low_magnitude("conv"), "`keras.layers.Layer`, or a list"),
        (lambda: cluster_weights(None, 4), "`keras.layers.Layer`, or a list"),
        (lambda: cluster_weights(keras.layers.Dense(2), 1), "at least 2"),
        (
            lambda: cluster(keras.layers.DepthwiseConv2D(3, name="deep")).build((None, 8, 8, 4)),
            "layer that TF-MOT clusters.*'deep'",
        ),
        (
            lambda: prune_low_magnitude(
                keras.layers.Conv2D(4, 3, name="conv"), block_size=(2, 2)
            ).build((None, 8, 8, 3)),
            "suits the pattern.*'conv'",
        ),
        (
            lambda: prune_low_magnitude(
                keras.layers.Dense(4), pruning_policy=PruneForLatencyOnXNNPack()
            ),
            "policies look at the layers around it",
        ),
    ],
)
def test_bad_layers_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        change()


def test_what_has_nothing_to_prune_or_is_pruned_passes(net):
    norm, relu = keras.layers.BatchNormalization(), keras.layers.ReLU()
    for verb in (prune, cluster):
        dense = verb(keras.layers.Dense(8))
        made = [verb(layer) for layer in (norm, relu, dense)]
        assert made == [norm, relu, dense]
        assert keras.Sequential([keras.Input((4,)), *made]).output_shape == (None, 8)
    with (
        pytest.warns(UserWarning, match="Not pruned"),
        pytest.raises(ValueError, match="being pruned, clustered or quantized already"),
    ):
        kdzoo.compression.quantize_model(prune_low_magnitude(net()))


def test_models_without_such_layers_are_refused(net, data):
    for strip in (strip_pruning, strip_clustering):
        with pytest.raises(ValueError, match="Expected a model that"):
            strip(net())
    with pytest.raises(ValueError, match="or with layers from it"):
        compiled(net()).fit(*data, callbacks=[UpdatePruningStep()], **FIT)


def test_a_mask_that_was_given_by_hand_outlives_stripping():
    inputs, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    x = keras.layers.LSTM(5)(prune(keras.layers.Dense(4))(inputs), mask=mask)
    model = keras.Model([inputs, mask], keras.layers.Dense(2)(x))
    random = np.random.default_rng(0)
    x = [random.random((4, 6, 4), "float32"), random.random((4, 6)) > 0.5]
    np.testing.assert_allclose(strip_pruning(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity_m_by_n": (4, 2)}, r"such as \(2, 4\). Received: sparsity_m_by_n=\(4, 2\)"),
        ({"sparsity_m_by_n": 2}, "Expected sparsity_m_by_n to be two integers"),
        ({"block_size": 4}, "Expected block_size to be two integers. Received: block_size=4"),
        ({"block_size": (0, 1)}, "Expected block_size to be a positive integer"),
        ({"block_pooling_type": "MEAN"}, "Unknown block_pooling_type: 'MEAN'"),
        ({"pruning_policy": "XNNPack"}, "Received: pruning_policy='XNNPack'"),
    ],
)
def test_bad_arguments_of_pruning(arguments, message, net):
    with pytest.raises(ValueError, match=message):
        prune_low_magnitude(net(), **arguments)


@pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning")
def test_what_is_compressed_already_and_what_trains_it_are_told_apart(net):
    pruned = prune_low_magnitude(net())
    distiller = kdzoo.Distiller(net(), pruned, kdzoo.losses.SoftTargets(2.0))
    for verb in (prune_low_magnitude, lambda model: cluster_weights(model, 4)):
        with pytest.raises(ValueError, match=r"pass `distiller\.student`"):
            verb(distiller)
    for verb in (strip_pruning, strip_clustering, quantize_model):
        with pytest.raises(ValueError, match=r"pass `distiller\.student`"):
            verb(distiller)
    with pytest.raises(ValueError, match=r"'net', a PrunedModel, .* pass `strip_pruning\(model\)`"):
        cluster_weights(pruned, 4)
    with pytest.raises(ValueError, match=r"a ClusteredLayer, .* or `strip_clustering\(model\)`"):
        prune_low_magnitude(cluster(keras.layers.Dense(3)))
    with pytest.raises(ValueError, match="pruned, clustered or quantized already"):
        quantize_model(clone(net(), prune, "logits"))


def test_a_dense_layer_in_half_precision_is_refused():
    dense = keras.layers.Dense(4, name="d", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), dense])
    with pytest.raises(ValueError, match="'d', in half precision; make it with dtype='float32'"):
        prune_low_magnitude(model)


def test_a_class_that_could_not_be_loaded_is_refused_at_once():
    class Mine(keras.regularizers.Regularizer):
        def __call__(self, x):
            return 0.0

        def get_config(self):
            return {}

    dense = keras.layers.Dense(4, kernel_regularizer=Mine())
    with pytest.raises(ValueError, match=r"'Mine': put `@keras\.saving\.register_keras_seria"):
        prune_low_magnitude(keras.Sequential([keras.Input((8,)), dense]))


class OfTwo(keras.layers.Layer):
    """A composite layer, or the body of a subclassed model, that is built when it is called."""

    def __init__(self, first, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = first, keras.layers.Dense(3)

    def call(self, x):
        return self.second(self.first(x))


class Subclassed(keras.Model):
    def __init__(self, first, **kwargs):
        super().__init__(**kwargs)
        self.body = OfTwo(first)

    def call(self, x, training=None):
        return self.body(x)


@pytest.mark.parametrize("verb", [prune, lambda layer: cluster_weights(layer, 3)])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_in_subclassed_models_and_composite_layers(verb, policy):
    keras.config.set_dtype_policy(policy)
    wrapped = [verb(keras.layers.Dense(6, dtype="float32")) for _ in range(2)]
    models = [Subclassed(wrapped[0]), keras.Sequential([keras.Input((8,)), OfTwo(wrapped[1])])]
    keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    x, y = random.random((16, 8), "float32"), random.integers(0, 3, 16)
    for model, layer in zip(models, wrapped, strict=True):
        callbacks = [UpdatePruningStep()] if verb is prune else []
        compiled(model).fit(x, y, callbacks=callbacks, **FIT)
        kernel = layer.plain_weights()[0]
        if verb is prune:
            assert np.mean(kernel == 0) == 0.5
        else:
            assert len(np.unique(kernel)) == 3
        np.testing.assert_array_equal(model.get_weights()[0].dtype, "float32")


def test_a_model_that_does_not_tell_its_layers_of_training_is_told_of():
    class Silent(Subclassed):
        def call(self, x):
            return self.body(x)

    model = compiled(Silent(prune(keras.layers.Dense(6))))
    with pytest.warns(UserWarning, match="No step of the first epoch was one of training for"):
        model.fit(np.ones((4, 8)), np.zeros(4), callbacks=[UpdatePruningStep()], **FIT)


def test_what_is_wrapped_within_another_layer_is_not_left_behind_silently():
    x, body = np.ones((2, 8), "float32"), OfTwo(prune(keras.layers.Dense(6, name="inside")))
    subclassed = Subclassed(prune(keras.layers.Dense(6, name="inside")))
    subclassed(x)
    for model in (keras.Sequential([keras.Input((8,)), body]), subclassed):
        with pytest.raises(ValueError, match=r"_inside' within .* the `plain_weights\(\)` of the"):
            strip_pruning(model)
    plain = OfTwo(keras.layers.Dense(6))
    plain(x)
    plain.first.set_weights(body.first.plain_weights())
    plain.second.set_weights(body.second.get_weights())
    np.testing.assert_allclose(plain(x), body(x), atol=1e-6)


def test_a_subclassed_model_is_trained_as_if_it_had_been_built(data):
    random = np.random.default_rng(0)
    x, y = random.random((16, 8), "float32"), random.integers(0, 3, 16)
    ends = []
    for builds in (False, True):
        keras.utils.set_random_seed(0)
        model = Subclassed(prune(keras.layers.Dense(6)))
        if builds:
            model(x)
        compiled(model).fit(x, y, epochs=2, callbacks=[UpdatePruningStep()], **FIT)
        ends.append(model.get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("verb", [prune, lambda layer: cluster_weights(layer, 3)])
def test_layers_that_take_several_tensors(verb, tmp_path):
    random = np.random.default_rng(0)
    query, value = keras.Input((5, 8)), keras.Input((4, 8))
    mask, states = keras.Input((5, 4), dtype="bool"), [keras.Input((3,)), keras.Input((3,))]
    attention = verb(keras.layers.MultiHeadAttention(2, 4, name="attention"))
    attended = attention(query, value, attention_mask=mask)
    lstm = verb(keras.layers.LSTM(3, return_state=True, name="lstm"))
    outputs = lstm(attended, initial_state=states)
    model = keras.Model([query, value, mask, *states], outputs)
    assert [tuple(output.shape) for output in model.outputs] == [(None, 3)] * 3
    seen = random.random((2, 5, 4)) > 0.5
    seen[..., 0] = True
    x = [random.random((2, *tensor.shape[1:]), "float32") for tensor in model.inputs]
    x[2] = seen
    model.save(tmp_path / "model.keras")
    strip = strip_pruning if verb is prune else strip_clustering
    for other in (strip(model), keras.saving.load_model(tmp_path / "model.keras")):
        for one, two in zip(model(x), other(x), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)


def test_operations_beside_wrapped_layers_are_copied_too():
    inputs = keras.Input((6,))
    for verb, strip in ((prune, strip_pruning), (cluster, strip_clustering)):
        x = verb(keras.layers.Dense(6))(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2)(x + inputs))
        x = np.random.default_rng(0).random((4, 6), "float32")
        np.testing.assert_allclose(strip(model)(x), model(x), atol=1e-6)


def test_a_training_without_the_callback_is_one_sentence():
    x, y = np.ones((4, 8), "float32"), np.zeros(4)
    model = keras.Sequential([keras.Input((8,)), prune(keras.layers.Dense(6))])
    for pruned in (model, prune_low_magnitude(strip_pruning(model))):
        with pytest.raises(ValueError, match=r"^Expected `UpdatePruningStep\(\)` among") as caught:
            compiled(pruned).fit(x, y, **FIT)
        assert "\n" not in str(caught.value)
