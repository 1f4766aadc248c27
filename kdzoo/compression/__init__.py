"""Compression: TF-MOT's pruning, clustering and quantization for Keras 3 models.

Needs Keras's TensorFlow backend. The verbs bear TF-MOT's names and take its arguments.
"""

from kdzoo.compression.clustering import ClusteredModel, cluster_weights, strip_clustering
from kdzoo.compression.pruning import (
    PrunedModel,
    PruningSummaries,
    UpdatePruningStep,
    prune_low_magnitude,
    strip_pruning,
)
from kdzoo.compression.quantization import QuantizedModel, quantize_model

__all__ = [
    "CentroidInitialization",
    "ClusteredModel",
    "ConstantSparsity",
    "PolynomialDecay",
    "PrunedModel",
    "PruningSchedule",
    "PruningSummaries",
    "QuantizedModel",
    "UpdatePruningStep",
    "cluster_weights",
    "prune_low_magnitude",
    "quantize_model",
    "strip_clustering",
    "strip_pruning",
]

_OF_TFMOT = {
    "CentroidInitialization": "clustering",
    "ConstantSparsity": "sparsity",
    "PolynomialDecay": "sparsity",
    "PruningSchedule": "sparsity",
}


def __getattr__(name):
    """The classes of TF-MOT that are used as they are, loaded when first asked for."""
    if name not in _OF_TFMOT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kdzoo.compression.tfmot import load_tfmot

    return getattr(getattr(load_tfmot(), _OF_TFMOT[name]).keras, name)
