"""Compression: TF-MOT's pruning, clustering and quantization for Keras 3 models.

Needs Keras's TensorFlow backend. The verbs bear TF-MOT's names and take its arguments.
"""

from kdzoo.compression.clustering import ClusteredModel, cluster_weights, strip_clustering
from kdzoo.compression.folding import fold_batch_normalization
from kdzoo.compression.monitor import CompressionMonitor
from kdzoo.compression.pruning import (
    PrunedModel,
    PruningSummaries,
    UpdatePruningStep,
    prune_low_magnitude,
    strip_pruning,
)
from kdzoo.compression.quantization import (
    QuantizeAnnotate,
    QuantizedModel,
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
    strip_clustering_cqat,
)

__all__ = [
    "CentroidInitialization",
    "ClusteredModel",
    "CompressionMonitor",
    "ConstantSparsity",
    "Default8BitClusterPreserveQuantizeScheme",
    "Default8BitPrunePreserveQuantizeScheme",
    "Default8BitQuantizeScheme",
    "PolynomialDecay",
    "PrunedModel",
    "PruningSchedule",
    "PruningSummaries",
    "QuantizeAnnotate",
    "QuantizeConfig",
    "QuantizedModel",
    "UpdatePruningStep",
    "cluster_weights",
    "fold_batch_normalization",
    "prune_low_magnitude",
    "quantize_annotate_layer",
    "quantize_annotate_model",
    "quantize_apply",
    "quantize_model",
    "strip_clustering",
    "strip_clustering_cqat",
    "strip_pruning",
]

_OF_TFMOT = {
    "CentroidInitialization": "clustering.keras",
    "ConstantSparsity": "sparsity.keras",
    "Default8BitPrunePreserveQuantizeScheme": "experimental.combine",
    "Default8BitQuantizeScheme": "quantization.keras.default_8bit",
    "PolynomialDecay": "sparsity.keras",
    "PruningSchedule": "sparsity.keras",
    "QuantizeConfig": "quantization.keras",
}


def __getattr__(name):
    """The classes of TF-MOT that are used as they are, loaded when first asked for."""
    if name == "Default8BitClusterPreserveQuantizeScheme":
        from kdzoo.compression.preserving import cluster_scheme

        return cluster_scheme()
    if name not in _OF_TFMOT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import operator

    from kdzoo.compression.tfmot import load_tfmot

    return operator.attrgetter(f"{_OF_TFMOT[name]}.{name}")(load_tfmot())
