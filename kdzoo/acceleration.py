"""Faster training on the TensorFlow backend; it lives in `kdzoo.graph`."""

from kdzoo.graph.acceleration import (
    accelerate,
    accelerated,  # noqa: F401
    depthwise_conv,  # noqa: F401
    fuse_batch_normalization,
    fusible_layers,  # noqa: F401
    strided_layers,  # noqa: F401
    unfuse_batch_normalization,
)

__all__ = ["accelerate", "fuse_batch_normalization", "unfuse_batch_normalization"]
