"""On another backend: one sentence that says what is needed, before anything is imported."""

import keras
import pytest

from kdzoo.compression import cluster_weights, prune_low_magnitude, quantize_model


@pytest.mark.parametrize(
    "compress", [prune_low_magnitude, quantize_model, lambda model: cluster_weights(model, 4)]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_are_told_what_is_needed(compress, backend, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: backend)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(
        RuntimeError, match=rf"need Keras's TensorFlow backend \(this is '{backend}"
    ):
        compress(model)
