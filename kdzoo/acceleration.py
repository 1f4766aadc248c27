"""Faster training on the TensorFlow backend; it lives in `kdzoo.graph`."""

from kdzoo.graph.acceleration import (
    accelerate,
    accelerated,
    depthwise_conv,
    fuse_batch_normalization,
    fusible_layers,
    strided_layers,
    unfuse_batch_normalization,
)

__all__ = [
    "accelerate",
    "accelerated",
    "depthwise_conv",
    "fuse_batch_normalization",
    "fusible_layers",
    "strided_layers",
    "unfuse_batch_normalization",
]
