"""Layers of every type when wrapped, in training too: random, masked, frozen, adapted."""

import warnings

import keras
import numpy as np
import pytest
from compression_helpers import FIT, NothingQuantized, half

from kdzoo.compression import (
    CompressionMonitor,
    ConstantSparsity,
    PolynomialDecay,
    PruneForLatencyOnXNNPack,
    PruningSchedule,
    UpdatePruningStep,
    cluster_weights,
    fold_batch_normalization,
    prune_low_magnitude,
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
    strip_clustering,
    strip_pruning,
)
from kdzoo.graph.old_activations import HardSigmoidOfKeras2
from kdzoo.graph.surgery import copy_of

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]

layers = keras.layers


def pruned(model):
    return prune_low_magnitude(model, half())


def clustered(model):
    return cluster_weights(model, 3, "LINEAR")


def trained(model, x, y, epochs=2, callbacks=()):
    model.compile(keras.optimizers.SGD(0.05), "mse")
    is_pruned = any(hasattr(layer, "pruned_layers") for layer in model._flatten_layers())
    is_pruned = is_pruned or any("prune_low" in layer.name for layer in model._flatten_layers())
    callbacks = [UpdatePruningStep(), *callbacks] if is_pruned else list(callbacks)
    model.fit(x, y, epochs=epochs, callbacks=callbacks, **FIT)
    return model


@pytest.mark.parametrize("verb", [pruned, clustered, quantize_model])
@pytest.mark.parametrize("given", [None, False])
def test_dropout_drops_in_training(verb, given):
    inputs = keras.Input((20,))
    x = (
        layers.Dropout(0.5)(inputs)
        if given is None
        else layers.Dropout(0.5)(inputs, training=given)
    )
    model = keras.Model(inputs, layers.Dense(8)(x))
    images = np.ones((64, 20), "float32")
    wrapped = verb(model)
    if verb is pruned:
        callback = UpdatePruningStep()
        callback.set_model(wrapped)
        callback.on_train_begin()
    for part in (model, wrapped):
        in_training, in_inference = (
            keras.ops.convert_to_numpy(part(images, training=mode)) for mode in (True, False)
        )
        assert in_training.std(axis=0).max() > 0.05
        assert in_inference.std(axis=0).max() < 1e-4


def test_recurrent_layers_are_pruned_and_masked():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 8, mask_zero=True, name="embedding")(inputs)
    x = layers.LSTM(7, name="lstm")(x)
    model = keras.Model(inputs, layers.Dense(2, name="dense")(x))
    tokens = np.random.default_rng(0).integers(0, 5, (32, 6))
    tokens[:, 4:] = 0  # Masked.
    answers = np.random.default_rng(1).random((32, 2))
    wrapped = pruned(model)
    np.testing.assert_allclose(wrapped(tokens), model(tokens), atol=1e-6)
    trained(wrapped, tokens, answers)
    assert {int(layer.pruning_step) for layer in wrapped.pruned_layers} == {4}
    assert set(wrapped.sparsity()) == {"embedding", "lstm", "dense"}
    for sparsity in wrapped.sparsity().values():
        assert sparsity == pytest.approx(0.5, abs=0.02)
    plain = strip_pruning(wrapped)
    np.testing.assert_allclose(plain(tokens), wrapped(tokens), atol=1e-6)
    for name in ("embedding", "lstm", "dense"):
        kernel = plain.get_layer(name).get_weights()[0]
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.02)


def test_single_layers_hand_masks_on():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    embedding, lstm = layers.Embedding(5, 8, mask_zero=True), layers.LSTM(7)
    model = keras.Model(inputs, lstm(embedding(inputs)))
    tokens = np.random.default_rng(0).integers(1, 5, (8, 6))
    tokens[:, 3:] = 0
    wrapped = keras.Model(
        inputs, prune_low_magnitude(lstm, half())(prune_low_magnitude(embedding, half())(inputs))
    )
    np.testing.assert_allclose(wrapped(tokens), model(tokens), atol=1e-6)


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda: layers.Bidirectional(layers.LSTM(3), name="around"),
        lambda: layers.TimeDistributed(layers.Dense(3), name="around"),
    ],
)
def test_layers_in_wrappers_of_keras(wrapper):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    x = layers.Flatten()(wrapper()(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="dense")(x))
    x = np.random.default_rng(0).random((32, 6, 4), "float32")
    wrapped = trained(pruned(model), x, np.zeros((32, 2)))
    plain = strip_pruning(wrapped)
    np.testing.assert_allclose(plain(x), wrapped(x), atol=1e-6)


def test_another_slope_is_refused():
    """tf_keras's hard_sigmoid is another function."""
    with pytest.raises(ValueError, match=r"'lstm', a LSTM: .*recurrent activation 'hard_sigmoid'"):
        pruned(
            keras.Sequential(
                [
                    keras.Input((6, 4)),
                    layers.LSTM(3, recurrent_activation="hard_sigmoid", name="lstm"),
                ]
            )
        )
    inner = layers.Dense(3, activation="hard_sigmoid", name="inner")
    with pytest.raises(ValueError, match="'hard_sigmoid' in a wrapper"):
        pruned(keras.Sequential([keras.Input((6, 4)), layers.TimeDistributed(inner)]))


def test_the_slope_of_keras_2_comes_along():
    """Files of Keras 2 open with a layer of kdzoo for it, which tf_keras has under its old name."""
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.LSTM(3, recurrent_activation=HardSigmoidOfKeras2()),
            layers.Dense(3, activation=HardSigmoidOfKeras2()),
        ]
    )
    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
    np.testing.assert_allclose(pruned(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize("verb", [pruned, clustered])
def test_adapted_statistics_come_along(verb, tmp_path):
    x = (7 + 3 * np.random.default_rng(0).random((64, 4))).astype("float32")
    normalization = layers.Normalization(name="adapted")
    normalization.adapt(x)
    model = keras.Sequential([keras.Input((4,)), normalization, layers.Dense(2, name="dense")])
    wrapped = verb(model)
    if verb is pruned:  # Nothing is masked yet; clustered kernels are others.
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-5)
    wrapped.compile("sgd", "mse")
    wrapped.save(tmp_path / "wrapped.keras")
    loaded = keras.saving.load_model(tmp_path / "wrapped.keras")
    np.testing.assert_allclose(loaded(x), wrapped(x), atol=1e-6)
    plain = (strip_pruning if verb is pruned else strip_clustering)(loaded)
    np.testing.assert_allclose(plain(x), wrapped(x), atol=1e-5)
    for ours, theirs in zip(
        plain.get_layer("adapted").get_weights(), normalization.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_adapted_statistics_come_along_in_copies():
    x = (7 + 3 * np.random.default_rng(0).random((64, 8, 8, 3))).astype("float32")
    normalization = layers.Normalization(name="adapted")
    normalization.adapt(x)
    y = layers.BatchNormalization(name="alone")(normalization(inputs := keras.Input((8, 8, 3))))
    y = layers.Conv2D(4, 3, name="conv")(y)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(y)))
    expected = model.predict(x, verbose=0)
    layerwise = keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            prune_low_magnitude(copy_of(layer), ConstantSparsity(0.0, 0))
            if layer.name == "conv"
            else copy_of(layer)
        ),
    )
    for ours, theirs in zip(layerwise.layers, model.layers, strict=True):
        if ours.name == theirs.name:
            ours.set_weights(theirs.get_weights())
    layerwise.get_layer("adapted").finalize_state()
    pairs = {
        "folded": (fold_batch_normalization(model), expected),
        "annotated": (quantize_annotate_model(model), expected),
        "stripped": (strip_pruning(layerwise), layerwise.predict(x, verbose=0)),
    }
    for name, (copy, expected) in pairs.items():
        np.testing.assert_allclose(copy.predict(x, verbose=0), expected, atol=1e-4, err_msg=name)


def test_inputs_by_name_are_not_mixed_up():
    zeta, alpha = keras.Input((3,), name="zeta"), keras.Input((3,), name="alpha")
    x = layers.Subtract()([layers.Dense(2)(zeta), layers.Dense(2)(alpha)])
    images = {"zeta": np.ones((4, 3), "float32"), "alpha": np.zeros((4, 3), "float32")}
    for inputs in ([zeta, alpha], {"zeta": zeta, "alpha": alpha}):
        model = keras.Model(inputs, x)
        wrapped = pruned(model)
        np.testing.assert_allclose(wrapped(images), model(images), atol=1e-6)
        predicted = wrapped.predict(images, verbose=0)
        np.testing.assert_allclose(predicted, model.predict(images, verbose=0), atol=1e-6)


def separable():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    regularizer = keras.regularizers.L2(0.1)
    x = layers.SeparableConv2D(
        6, 3, name="separable", pointwise_regularizer=regularizer, depthwise_regularizer=regularizer
    )(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="stage1")(x))
    return keras.Model(inputs, layers.Dense(4, name="dense")(x))


def test_separable_convolutions_are_quantized_as_two():
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    plain = separable()
    x = np.random.default_rng(0).random((64, 8, 8, 3), "float32")
    y = np.random.default_rng(1).random((64, 4), "float32")
    wrapped = quantize_model(plain)
    assert float(sum(wrapped.losses)) == pytest.approx(float(sum(plain.losses)), rel=1e-5)

    inputs = tf_keras.Input((8, 8, 3))
    h = tf_keras.layers.SeparableConv2D(6, 3, name="separable")(inputs)
    h = tf_keras.layers.BatchNormalization(name="norm")(h)
    h = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.ReLU(name="stage1")(h))
    legacy = tf_keras.Model(inputs, tf_keras.layers.Dense(4, name="dense")(h))
    legacy.set_weights(plain.get_weights())
    theirs = load_tfmot().quantization.keras.quantize_model(legacy)
    theirs.compile(tf_keras.optimizers.SGD(0.05), "mse")
    theirs.fit(x, y, epochs=3, **FIT)
    unregularized = keras.models.clone_model(plain)
    for layer in unregularized.layers:
        for name in ("pointwise_regularizer", "depthwise_regularizer"):
            if hasattr(layer, name):
                setattr(layer, name, None)
                for weight in layer.weights:
                    weight.regularizer = None
    unregularized.set_weights(plain.get_weights())
    ours = trained(quantize_model(unregularized), x, y, 3)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-4)
    after = ours.plain_model()
    moved = np.abs(after.get_layer("separable").get_weights()[1] - plain.get_weights()[1]).max()
    assert moved > 1e-3


def test_zeros_of_separable_convolutions_outlive_quantization():
    plain = strip_pruning(
        trained(
            pruned(separable()),
            np.random.default_rng(0).random((32, 8, 8, 3)),
            np.zeros((32, 4)),
        )
    )
    zeros = plain.get_layer("separable").get_weights()[1] == 0
    assert zeros.mean() == pytest.approx(0.5, abs=0.06)
    from kdzoo.compression import Default8BitPrunePreserveQuantizeScheme as Scheme

    model = quantize_apply(quantize_annotate_model(plain), Scheme())
    trained(model, np.random.default_rng(0).random((32, 8, 8, 3)), np.zeros((32, 4)))
    kernel = model.plain_model().get_layer("separable").get_weights()[1]
    np.testing.assert_array_equal(kernel[zeros], 0)
    assert np.count_nonzero(kernel) == np.count_nonzero(~zeros)


@pytest.mark.parametrize("verb", [pruned, clustered, quantize_model])
def test_frozen_layers_stay_as_they_are(verb):
    keras.utils.set_random_seed(0)
    frozen = layers.SeparableConv2D(6, 3, name="frozen", trainable=False)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), frozen, layers.Flatten(), layers.Dense(3, name="dense")]
    )
    before = [weight.copy() for weight in frozen.get_weights()]
    wrapped = verb(model)
    start = wrapped.plain_model().get_layer("dense").get_weights()[0]
    trained(wrapped, np.random.default_rng(0).random((32, 8, 8, 3)), np.zeros((32, 3)))
    after = wrapped.plain_model().get_layer("frozen").get_weights()
    assert np.abs(wrapped.plain_model().get_layer("dense").get_weights()[0] - start).max() > 1e-4
    if verb is not pruned:  # What is masked, is; also in TF-MOT.
        for ours, theirs in zip(after, before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert not [v.name for v in wrapped.trainable_variables if "frozen" in v.name]


def test_activity_regularization_is_refused():
    model = keras.Sequential(
        [keras.Input((4,)), layers.ActivityRegularization(l2=1.0, name="active"), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match=r"'active'.*activity regularizer"):
        pruned(model)


@keras.saving.register_keras_serializable("kdzoo_tests")
class OwnSchedule(PruningSchedule):
    def __init__(self, begin_step):
        self.begin_step, self.end_step, self.frequency = begin_step, -1, 1

    def __call__(self, step):
        import tensorflow as tf

        return step >= self.begin_step, tf.constant(0.25, tf.float32)

    def get_config(self):
        return {"class_name": "OwnSchedule", "config": {"begin_step": self.begin_step}}


def test_registered_schedules_load(tmp_path):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="dense")])
    wrapped = prune_low_magnitude(model, OwnSchedule(0))
    x = np.random.default_rng(0).random((32, 8))
    trained(wrapped, x, np.zeros((32, 4))).save(tmp_path / "wrapped.keras")
    again = trained(keras.saving.load_model(tmp_path / "wrapped.keras"), x, np.zeros((32, 4)))
    assert again.sparsity() == {"dense": 0.25}


keras.saving.register_keras_serializable("kdzoo_tests")(NothingQuantized)


def test_registered_configurations_load(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            quantize_annotate_layer(layers.Dense(4, name="dense"), NothingQuantized()),
        ]
    )
    wrapped = quantize_apply(model)
    wrapped.save(tmp_path / "wrapped.keras")
    x = np.random.default_rng(0).random((4, 8), "float32")
    loaded = keras.saving.load_model(tmp_path / "wrapped.keras")
    np.testing.assert_array_equal(loaded(x), wrapped(x))


def test_the_monitor_masks_before_it_counts():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20,)), layers.Dense(10), layers.Dense(4)])
    x, y = np.random.default_rng(0).random((64, 20)), np.zeros((64, 4))
    for around in (pruned(model), keras.Sequential([keras.Input((20,)), pruned(model)])):
        around.compile(keras.optimizers.SGD(0.05), "mse")
        callbacks = [CompressionMonitor(), UpdatePruningStep()]
        history = around.fit(x, y, epochs=2, callbacks=callbacks, **FIT).history
        assert history["sparsity"][-1] == pytest.approx(0.5, abs=0.01)
        plain = strip_pruning(around)
        np.testing.assert_allclose(plain(x), around(x), atol=1e-5)


@pytest.mark.parametrize(
    ("end", "frequency", "warned"), [(15, 10, True), (20, 10, False), (23, 1, False)]
)
def test_a_schedule_that_stops_short_is_told(end, frequency, warned):
    model = keras.Sequential([keras.Input((20,)), layers.Dense(10)])
    schedule = PolynomialDecay(0.0, 0.8, 0, end, frequency=frequency)
    wrapped = prune_low_magnitude(model, schedule)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained(wrapped, np.ones((16 * 24, 20)), np.zeros((16 * 24, 10)), 1)
    found = [str(warning.message) for warning in said if "instead of 0.8" in str(warning.message)]
    assert bool(found) == warned, found
    if warned:
        assert "a multiple of `frequency`" in found[0]
    else:
        (sparsity,) = wrapped.sparsity().values()
        assert sparsity == pytest.approx(0.8, abs=0.01)


def test_kernels_too_small_to_cluster_are_left_out():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(40, name="large"), layers.Dense(1, name="small")]
    )
    with pytest.warns(UserWarning, match="Not clustered in .*: small"):
        wrapped = cluster_weights(model, 64)
    assert set(wrapped.unique_weights()) == {"large"}
    with pytest.raises(ValueError, match="layer that TF-MOT clusters"):
        clustered(layers.DepthwiseConv2D(3)).build((None, 8, 8, 3))


def test_policies_look_at_the_model_first():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    with pytest.raises(ValueError, match="layer"):
        prune_low_magnitude(model, half(), pruning_policy=PruneForLatencyOnXNNPack())


def test_folding_within_nested_models_and_beside_outputs():
    keras.utils.set_random_seed(0)
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.BatchNormalization(name="lone")(inner_input))
    nested = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1, name="conv"), inner])
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 1, name="conv")(inputs)
    beside = keras.Model(inputs, [conv, layers.BatchNormalization(name="lone")(conv)])
    twice = layers.Conv2D(3, 1, name="twice")
    shared = keras.Model(
        inputs,
        layers.Add()(
            [
                layers.BatchNormalization(name="one")(twice(inputs)),
                layers.BatchNormalization(name="two")(twice(layers.ReLU()(inputs))),
            ]
        ),
    )
    x = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    for model in (nested, beside, shared):
        folded = fold_batch_normalization(model)
        for ours, theirs in zip(
            keras.tree.flatten(folded(x)), keras.tree.flatten(model(x)), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        quantize_model(folded)
    frozen = keras.Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization(trainable=False)])
    assert not fold_batch_normalization(frozen).trainable_variables
    kept = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.SeparableConv2D(4, 3), layers.BatchNormalization()]
    )
    classes = [type(layer) for layer in fold_batch_normalization(kept).layers]
    assert layers.BatchNormalization in classes
    quantize_model(kept)
