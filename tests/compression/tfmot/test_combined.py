"""The combined roads: zeros and clusters that outlive quantization-aware training."""

import re

import keras
import numpy as np
import pytest
from compression_helpers import FIT, compiled, half

import kdzoo
from kdzoo import compression
from kdzoo.compression import (
    UpdatePruningStep,
    cluster_weights,
    prune_low_magnitude,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
    strip_clustering,
    strip_clustering_cqat,
    strip_pruning,
)

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]

KERNELS = ("conv", "stage2", "logits")


@pytest.fixture
def pruned(net, data):
    """The network with half of its weights at zero."""
    model = compiled(prune_low_magnitude(net(), half()))
    model.fit(*data, epochs=1, callbacks=[UpdatePruningStep()], **FIT)
    return strip_pruning(model)


@pytest.fixture
def clustered(net):
    return strip_clustering(cluster_weights(net(), 6))


@pytest.fixture
def both(pruned):
    return strip_clustering(cluster_weights(pruned, 6, preserve_sparsity=True))


def applied(model, name, *arguments):
    return quantize_apply(quantize_annotate_model(model), getattr(compression, name)(*arguments))


ROADS = {
    "pruned": ("Default8BitPrunePreserveQuantizeScheme",),
    "clustered": ("Default8BitClusterPreserveQuantizeScheme", False),
    "both": ("Default8BitClusterPreserveQuantizeScheme", True),
}
on_every_road = pytest.mark.parametrize(
    "road", [pytest.param(road, marks=[pytest.mark.large] * (road != "both")) for road in ROADS]
)


def kernels(model):
    return [model.get_layer(name).get_weights()[0] for name in KERNELS]


def most_values(kernel):
    """The largest number of values in a channel of a convolution; in a dense kernel, of all."""
    channels = kernel[None] if kernel.ndim == 2 else np.moveaxis(kernel, -1, 0)
    return max(len(np.unique(channel)) for channel in channels)


@pytest.mark.parametrize(
    "road", [pytest.param(road, marks=[pytest.mark.large] * (road != "both")) for road in ROADS]
)
# 200 steps at a smaller rate, for the reason in test_clustering.py.
@pytest.mark.parametrize(
    ("epochs", "learning_rate"), [(10, 0.02), pytest.param(50, 0.005, marks=pytest.mark.large)]
)
def test_weights_are_those_of_tfmot(road, legacy_net, data, epochs, learning_rate, request):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    plain, tfmot = request.getfixturevalue(road), load_tfmot()
    annotated = tfmot.quantization.keras.quantize_annotate_model(legacy_net(plain.get_weights()))
    scheme, *arguments = ROADS[road]
    scheme = getattr(tfmot.experimental.combine, scheme)(*arguments)
    with tfmot.quantization.keras.quantize_scope():
        theirs = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    ours = compiled(applied(plain, *ROADS[road]), learning_rate)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(tf_keras.optimizers.SGD(learning_rate, momentum=0.9), loss)
    before = [weight.numpy() for weight in theirs.weights]
    for our, their in zip(ours.wrapped.weights, before, strict=True):
        np.testing.assert_array_equal(our.numpy(), their)
    theirs.fit(*data, epochs=epochs, **FIT)
    ours.fit(*data, epochs=epochs, **FIT)
    moved = 0
    for our, their, old in zip(ours.wrapped.weights, theirs.weights, before, strict=True):
        assert re.sub(r"_\d+", "", our.name) == re.sub(r"_\d+", "", their.name)
        np.testing.assert_allclose(our.numpy(), their.numpy(), atol=1e-4, err_msg=our.name)
        moved = max(moved, np.abs(their.numpy() - old).max() if "kernel" in their.name else 0)
    assert moved > 1e-2


@on_every_road
def test_zeros_and_clusters_survive(road, data, request, tmp_path):
    before = request.getfixturevalue(road)
    quantized = compiled(applied(before, *ROADS[road]))
    quantized.fit(*data, epochs=3, **FIT)
    after = quantized.plain_model()
    for old, new in zip(kernels(before), kernels(after), strict=True):
        assert np.abs(old - new).max() > 1e-3
        if road != "pruned":
            assert most_values(new) <= most_values(old) <= 6
    path = tmp_path / "model.tflite"
    report = kdzoo.export.to_litert(quantized, path, "int8", data[0])
    assert report.argmax_agreement >= 0.95
    for old, codes in zip(kernels(before), int8_kernels(path), strict=True):
        codes = codes.reshape(codes.shape[0], -1).T.reshape(old.shape)
        if road != "clustered":
            assert (old == 0).mean() == pytest.approx(0.5, abs=0.01)
            np.testing.assert_array_equal(codes[old == 0], 0)
        if road != "pruned":
            for channel in range(codes.shape[-1]):
                assert len(np.unique(codes[..., channel])) <= 6


def int8_kernels(path):
    """The kernels of the two ordinary convolutions and of the dense layer, channels first."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    found = {}
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] is np.int8 and len(tensor["shape"]) in (2, 4):
            shape = tuple(tensor["shape"])
            for expected in ((8, 3, 3, 3), (12, 1, 1, 8), (3, 12)):
                if shape == expected:
                    found[expected] = interpreter.get_tensor(tensor["index"])
    return [found[shape] for shape in ((8, 3, 3, 3), (12, 1, 1, 8), (3, 12))]


@pytest.mark.large
@on_every_road
def test_a_file_goes_on(road, data, request, tmp_path):
    before = request.getfixturevalue(road)
    whole, part = (compiled(applied(before, *ROADS[road])) for _ in range(2))
    whole.fit(*data, epochs=4, **FIT)
    part.fit(*data, epochs=2, **FIT)
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), part.predict(data[0], verbose=0)
    )
    again.fit(*data, epochs=4, initial_epoch=2, **FIT)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for old, new in zip(kernels(before), kernels(again.plain_model()), strict=True):
        if road == "both":
            np.testing.assert_array_equal(new[old == 0], 0)
        if road != "pruned":
            assert most_values(new) <= 6


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.large
def test_clusters_of_every_shape_load_again(per_channel, net, data, tmp_path):
    """Channels with as many values each, and with different numbers of them."""
    plain = strip_clustering(cluster_weights(net(), 4, cluster_per_channel=per_channel))
    if not per_channel:
        kernel, bias = plain.get_layer("conv").get_weights()
        kernel[..., 0] = kernel[0, 0, 0, 0]
        plain.get_layer("conv").set_weights([kernel, bias])
    model = compiled(applied(plain, "Default8BitClusterPreserveQuantizeScheme", False))
    shapes = [weight.shape for weight in model.weights if "centroids" in weight.name]
    assert shapes[0] == ((8, 4) if per_channel else (4,))
    model.fit(*data, epochs=1, **FIT)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.large
def test_a_layer_without_zeros_does_not_make_the_others_forget_theirs(both, data):
    dense = both.get_layer("conv")
    dense.set_weights([np.where(w == 0, np.abs(w).max(), w) for w in dense.get_weights()])
    model = compiled(applied(both, "Default8BitClusterPreserveQuantizeScheme", True))
    model.fit(*data, epochs=3, **FIT)
    old, new = (part.get_layer("stage2").get_weights()[0] for part in (both, model.plain_model()))
    assert (old == 0).mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(new[old == 0], 0)


@pytest.mark.large
def test_what_kept_the_clusters_can_be_taken_off(clustered, data, tmp_path):
    model = compiled(applied(clustered, *ROADS["clustered"]))
    model.fit(*data, epochs=1, **FIT)
    stripped = strip_clustering_cqat(model)
    np.testing.assert_array_equal(
        stripped.predict(data[0], verbose=0), model.predict(data[0], verbose=0)
    )
    assert not [weight.name for weight in stripped.weights if "cluster" in weight.name]
    assert stripped.count_params() < model.count_params() / 2
    files = [tmp_path / "with.tflite", tmp_path / "without.tflite"]
    for part, path in zip((model, stripped), files, strict=True):
        kdzoo.export.to_litert(part, path, "int8")
    for ours, theirs in zip(*map(int8_kernels, files), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for other, complaint in ((clustered, "`quantize_apply` returned"), (stripped, "keeps clust")):
        with pytest.raises(ValueError, match=complaint):
            strip_clustering_cqat(other)


def test_it_learns_from_a_teacher(net, both, data):
    student = applied(both, *ROADS["both"])
    losses = [
        kdzoo.losses.SoftTargets(2.0),
        kdzoo.losses.Hint("stage1", "stage1", reduction="mean"),
    ]
    distiller = kdzoo.Distiller(net(1, "teacher"), student, losses)
    compiled(distiller)
    history = distiller.fit(*data, epochs=6, **FIT).history
    assert history["loss"][-1] < history["loss"][0]
    for old, new in zip(kernels(both), kernels(student.plain_model()), strict=True):
        np.testing.assert_array_equal(new[old == 0], 0)
        assert most_values(new) <= 6


def test_all_layers_are_annotated_and_the_model_left_alone(net, data, tmp_path):
    plain = net()
    weights = [w.copy() for w in plain.get_weights()]
    annotated = quantize_annotate_model(plain)
    np.testing.assert_allclose(annotated(data[0]), plain(data[0]), atol=1e-6)
    annotated.save(tmp_path / "annotated.keras")
    for model in (annotated, keras.saving.load_model(tmp_path / "annotated.keras")):
        quantized = quantize_apply(model)
        expected = quantize_model(plain)
        names = [
            [re.sub(r"_\d+", "", weight.name) for weight in part.weights]
            for part in (quantized, expected)
        ]
        assert names[0] == names[1]
        np.testing.assert_array_equal(quantized(data[0]), expected(data[0]))
    for before, after in zip(weights, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="has a graph"):
        quantize_annotate_model(keras.Model())


def test_a_sequential_model_is_annotated_without_having_been_called():
    declared = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    called = keras.Sequential([keras.layers.Dense(3)])
    called(np.zeros((2, 4), "float32"))
    for model in (declared, called):
        annotated = quantize_annotate_model(model)
        x = np.ones((5, 4), "float32")
        np.testing.assert_array_equal(np.array(annotated(x)), np.array(model(x)))
    with pytest.raises(ValueError, match="Expected a sequential model that is built"):
        quantize_annotate_model(keras.Sequential([keras.layers.Dense(3)]))
