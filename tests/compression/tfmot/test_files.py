"""Whatever is compressed reloads in a fresh process to the same outputs."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from compression_helpers import half

import kdzoo
from kdzoo import compression
from kdzoo.compression import (
    UpdatePruningStep,
    cluster_weights,
    prune_low_magnitude,
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
    strip_clustering,
    strip_pruning,
)
from kdzoo.compression.tfmot import clone_agreement

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]

LOAD = """
import sys, numpy as np, keras, kdzoo, kdzoo.compression
images = np.load("images.npy")
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    np.save(f"{name}.loaded.npy", model.predict(images, verbose=0))
    fresh = type(model).from_config(model.get_config())
    fresh.load_weights(f"{name}.weights.h5")
    np.save(f"{name}.weights.npy", fresh.predict(images, verbose=0))
"""


def on_dense(verb):
    """A function that does a verb to the dense layers of a model, one by one."""

    def change(layer):
        return verb(layer) if isinstance(layer, keras.layers.Dense) else layer

    return lambda model: keras.models.clone_model(model, clone_function=change)


def clusters_kept(model, zeros):
    scheme = compression.Default8BitClusterPreserveQuantizeScheme(zeros)
    clustered = strip_clustering(cluster_weights(model, 5, preserve_sparsity=zeros))
    return quantize_apply(quantize_annotate_model(clustered), scheme)


@pytest.mark.large
def test_in_a_fresh_process(net, data, tmp_path):
    plain = net()
    pruned = prune_low_magnitude(net(), half())
    models = {
        "pruned": prune_low_magnitude(plain, half()),
        "2-of-4": prune_low_magnitude(plain, half(), sparsity_m_by_n=(2, 4)),
        "clustered": cluster_weights(plain, 5),
        "clustered-zeros": cluster_weights(plain, 5, preserve_sparsity=True),
        "clustered-channels": cluster_weights(plain, 3, cluster_per_channel=True),
        "quantized": quantize_model(plain),
        "quantized-dense": quantize_apply(on_dense(quantize_annotate_layer)(plain)),
        "quantized-clusters": clusters_kept(plain, False),
        "pruned-layers": on_dense(lambda layer: prune_low_magnitude(layer, half()))(plain),
        "clustered-layers": on_dense(lambda layer: cluster_weights(layer, 5))(plain),
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.save(tmp_path / "images.npy", data[0])
    fit = {"batch_size": 16, "verbose": 0}
    pruned.compile("sgd", loss)
    pruned.fit(*data, callbacks=[UpdatePruningStep()], **fit)
    zeros = strip_pruning(pruned)
    models["pruned-then-quantized"] = quantize_apply(
        quantize_annotate_model(zeros), compression.Default8BitPrunePreserveQuantizeScheme()
    )
    models["quantized-both"] = clusters_kept(zeros, True)
    expected = {}
    for name, model in models.items():
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss)
        is_pruned = name in ("pruned", "2-of-4", "pruned-layers")
        model.fit(*data, callbacks=[UpdatePruningStep()] if is_pruned else [], **fit)
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
        expected[name] = model.predict(data[0], verbose=0)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *models],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, outputs in expected.items():
        for variant in ("loaded", "weights"):
            found = np.load(tmp_path / f"{name}.{variant}.npy")
            np.testing.assert_array_equal(found, outputs, err_msg=f"{name}.{variant}")


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.large)]
)
def test_in_half_precision(policy, data, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = kdzoo.create("separable_025", 3, (8, 8, 3))
    keras.config.set_dtype_policy("float32")
    pruned = prune_low_magnitude(model, half())
    pruned.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruned.fit(*data, verbose=0, shuffle=False, callbacks=[UpdatePruningStep()])
    pruned.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert loaded.dtype_policy.name == pruned.dtype_policy.name == policy
    assert strip_pruning(loaded).get_layer("stem_conv").compute_dtype == policy.removeprefix(
        "mixed_"
    )
    images = data[0]
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), pruned.predict(images, verbose=0)
    )


def test_the_weights_that_a_model_is_built_with_are_not_compared(net, tmp_path, monkeypatch):
    """They are random: a deep network may make all of a rounding until its own are loaded."""
    quantize_model(net()).save(tmp_path / "quantized.keras")

    def refuse(*_):
        raise AssertionError("compared before the weights were there")

    monkeypatch.setattr(clone_agreement, "_check_equal", refuse)
    keras.saving.load_model(tmp_path / "quantized.keras")
    with pytest.raises(AssertionError, match="before the weights"):
        quantize_model(net())


def small():
    inputs = keras.Input((6, 4), name="series")
    x = keras.layers.LSTM(3)(keras.layers.Dense(5, activation="relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))


def without_loop():
    inputs = keras.Input((6,))
    x = keras.layers.Dense(5, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize(
    ("make", "scope"),
    [
        pytest.param(
            lambda: prune_low_magnitude(small(), half()),
            compression.prune_scope,
            marks=pytest.mark.large,
        ),
        pytest.param(
            lambda: cluster_weights(small(), 3), compression.cluster_scope, marks=pytest.mark.large
        ),
        (lambda: quantize_model(without_loop()), compression.quantize_scope),
    ],
)
def test_h5_files_and_checkpoints_of_them(make, scope, tmp_path):
    model = make()
    x = np.random.default_rng(0).random((8, *model.input_shape[1:]), "float32")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.h5")
    callbacks = [UpdatePruningStep()] if scope is compression.prune_scope else []
    model.fit(x, np.arange(8) % 2, verbose=0, callbacks=[*callbacks, checkpoint])
    model.save(tmp_path / "model.h5")
    with scope():
        loaded = keras.saving.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    for ours, theirs in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 1


def distilled():
    return kdzoo.Distiller(without_loop(), without_loop(), kdzoo.losses.SoftTargets(2.0))


@pytest.mark.large
@pytest.mark.parametrize(
    "make",
    [
        lambda: prune_low_magnitude(small()),
        lambda: cluster_weights(small(), 3),
        lambda: quantize_model(without_loop()),
        lambda: kdzoo.Ensemble([without_loop(), without_loop()]),
        distilled,
    ],
)
def test_exported_without_having_been_called(make, tmp_path):
    import tensorflow as tf

    model = make()
    model.export(tmp_path, verbose=False)
    shape = getattr(model, "input_shape", (None, 6))
    x = np.random.default_rng(0).random((8, *shape[1:]), "float32")
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-6)


def test_shapes_are_those_of_the_plain_model():
    inputs = {name: keras.Input((size,), name=name) for name in ("a", "b") for size in (4,)}
    both = keras.layers.Concatenate()(list(inputs.values()))
    outputs = {"x": keras.layers.Dense(3)(both), "y": keras.layers.Dense(2)(both)}
    only = keras.Input((4,))
    dense = keras.layers.Dense(3)(only)
    for plain in (
        keras.Model(inputs, outputs),
        keras.Model(only, dense),
        keras.Model([only], [dense]),
    ):
        model = prune_low_magnitude(plain)
        for name in ("input_shape", "output_shape", "output_names"):
            assert getattr(model, name) == getattr(plain, name)
        shape = keras.tree.map_structure(lambda tensor: tensor.shape, plain.input)
        assert model.compute_output_shape(shape) == plain.compute_output_shape(shape)
        x = keras.tree.map_structure(lambda tensor: np.ones((2, *tensor.shape[1:])), plain.input)
        one, two = model.predict(x, verbose=0), plain.predict(x, verbose=0)
        keras.tree.assert_same_structure(one, two)
        keras.tree.map_structure(np.testing.assert_array_equal, one, two)


def test_an_ensemble_of_what_is_pruned_and_what_is_not():
    ensemble = kdzoo.Ensemble([prune_low_magnitude(without_loop()), without_loop()])
    assert ensemble.compute_output_shape((None, 6)) == (None, 2)
    assert ensemble(keras.Input((6,))).shape == (None, 2)
