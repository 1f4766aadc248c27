"""How far a model is compressed while it trains, in the progress bar and in the history."""

import zlib
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.unwrapping import plain_copy


class CompressionMonitor(keras.callbacks.Callback):
    """Adds to every epoch's logs how far a model is compressed.

    `sparsity` is the fraction of zeros among the weights of all kernels, `unique_weights` the
    largest number of different values in a kernel, `projected_bytes` the size of all weights in
    float32 after zlib (DEFLATE, as in gzip), as if training ended here.

    Give it to the `fit` of a model that is pruned, clustered or trained aware of quantization, or
    of a `Distiller` with such a student, before callbacks that look at its figures.

    Raises:
        ValueError: If the model that is trained is not compressed.

    Example:

    ```python
    pruned.fit(x, y, epochs=5, callbacks=[UpdatePruningStep(), CompressionMonitor()])
    ```
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if plain_copy(self.model) is None:
            raise ValueError(
                "Expected a model that is pruned, clustered or trained aware of quantization, or a "
                f"Distiller with such a student. Received: {self.model.name!r} of type "
                f"{type(self.model).__name__}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs.update(measure_compression(plain_copy(self.model)))


def measure_compression(model: keras.Model) -> dict[str, float]:
    """Returns sparsity, unique weights and projected bytes of a plain Keras model.

    Args:
        model: A `keras.Model`.

    Returns:
        A dictionary of `"sparsity"`, `"unique_weights"` and `"projected_bytes"`, which
        `CompressionMonitor` explains.

    Raises:
        ValueError: If the model has no kernel.
    """
    weights = model.get_weights()
    kernels = [weight for weight in weights if weight.ndim > 1]
    if not kernels:
        raise ValueError(
            f"Expected a model with a kernel. Received: {model.name!r}, whose weights are vectors."
        )
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    content = b"".join(np.ascontiguousarray(weight, "float32").tobytes() for weight in weights)
    return {
        "sparsity": zeros / sum(kernel.size for kernel in kernels),
        "unique_weights": max(len(np.unique(kernel)) for kernel in kernels),
        "projected_bytes": len(zlib.compress(content)),
    }
