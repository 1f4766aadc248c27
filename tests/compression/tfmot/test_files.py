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


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
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
