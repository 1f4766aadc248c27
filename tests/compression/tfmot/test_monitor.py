"""The monitor's figures are those of the stripped model, gzipped."""

import gzip

import numpy as np
import pytest
from compression_helpers import cross_entropy

import kdzoo
from kdzoo import compression
from kdzoo.compression import (
    CompressionMonitor,
    UpdatePruningStep,
    cluster_weights,
    prune_low_magnitude,
    quantize_model,
    strip_pruning,
)

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]


def test_a_pruned_student_shows_what_it_would_come_to(net, data):
    schedule = compression.ConstantSparsity(0.75, 0, frequency=1)
    pruned = prune_low_magnitude(net(), schedule)
    distiller = kdzoo.Distiller(net(1, "teacher"), pruned, kdzoo.losses.SoftTargets(2.0))
    distiller.compile("sgd", cross_entropy())
    callbacks = [UpdatePruningStep(), CompressionMonitor()]
    history = distiller.fit(*data, 16, epochs=2, verbose=0, callbacks=callbacks).history
    weights = strip_pruning(pruned).get_weights()
    kernels = np.concatenate([weight.ravel() for weight in weights if weight.ndim > 1])
    assert history["sparsity"][-1] == pytest.approx(np.mean(kernels == 0))
    content = gzip.compress(b"".join(weight.tobytes() for weight in weights))
    # The same stream but for the header: 18 bytes of gzip, 6 of zlib.
    assert history["projected_bytes"][-1] == pytest.approx(len(content) - 12, abs=40)
    assert len(history["unique_weights"]) == 2


@pytest.mark.parametrize(
    ("compress", "unique"), [(lambda net: cluster_weights(net, 4), 72), (quantize_model, 216)]
)
def test_clustered_and_quantized_models_have_figures_too(net, data, compress, unique):
    model = compress(net())
    model.compile("sgd", cross_entropy())
    history = model.fit(*data, 16, verbose=0, callbacks=[CompressionMonitor()]).history
    # The depthwise kernel, 3x3x8, has the most values where the others are clustered.
    assert history["unique_weights"] == [unique]


def test_plain_models_are_refused(net, data):
    model = net()
    model.compile("sgd", cross_entropy())
    with pytest.raises(ValueError, match="Expected a model that is pruned, clustered or trained"):
        model.fit(*data, verbose=0, callbacks=[CompressionMonitor()])
