"""Compression: networks made smaller.

Filter pruning, masks, low rank, separable convolutions and binary weights work on any Keras graph,
on every backend. The pruning, clustering and quantization of TF-MOT, for Keras 3 models, need
Keras's TensorFlow backend; these functions have TF-MOT's names and take its arguments.
"""

import operator
import typing

from kdzoo.compression.binary import BinaryReport, binarize, strip_binarization
from kdzoo.compression.filter_pruning.group_sparsity import regularize_groups
from kdzoo.compression.filter_pruning.prune import prune_filters
from kdzoo.compression.filter_pruning.report import FilterPruningReport
from kdzoo.compression.low_rank import factorize
from kdzoo.compression.masks import (
    apply_masks,
    magnitude_masks,
    masks_of,
    random_masks,
    strip_masks,
)
from kdzoo.compression.separable import to_separable
from kdzoo.compression.shared_weights import (
    SharedWeightsReport,
    share_weights,
    strip_shared_weights,
)
from kdzoo.compression.tfmot.clustering import (
    ClusteredLayer,
    ClusteredModel,
    cluster_weights,
    strip_clustering,
)
from kdzoo.compression.tfmot.compression_monitor import CompressionMonitor
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.compression.tfmot.object_scopes import cluster_scope, prune_scope, quantize_scope
from kdzoo.compression.tfmot.preserve_schemes import cluster_scheme
from kdzoo.compression.tfmot.pruned_layer import PrunedLayer
from kdzoo.compression.tfmot.pruning import (
    PrunedModel,
    prune_low_magnitude,
    strip_pruning,
)
from kdzoo.compression.tfmot.pruning_callbacks import PruningSummaries, UpdatePruningStep
from kdzoo.compression.tfmot.pruning_schedules import schedule_over_epochs
from kdzoo.compression.tfmot.quantization import (
    quantize_apply,
    quantize_model,
    strip_clustering_cqat,
)
from kdzoo.compression.tfmot.quantize_annotate import (
    AnnotatedModel,
    QuantizeAnnotate,
    quantize_annotate_layer,
    quantize_annotate_model,
)
from kdzoo.compression.tfmot.quantized_model import QuantizedModel
from kdzoo.graph.batch_norm_folding import fold_batch_normalization
from kdzoo.graph.layer_chains import LowRankReport, RankTrial, ReplacedLayer
from kdzoo.graph.merged_factors import merge_factors

if typing.TYPE_CHECKING:  # What `__getattr__` loads, for editors.
    from tensorflow_model_optimization.python.core.api.clustering.keras import (
        CentroidInitialization,
    )
    from tensorflow_model_optimization.python.core.api.experimental.combine import (
        Default8BitPrunePreserveQuantizeScheme,
    )
    from tensorflow_model_optimization.python.core.api.quantization.keras import QuantizeConfig
    from tensorflow_model_optimization.python.core.api.quantization.keras.default_8bit import (
        Default8BitQuantizeScheme,
    )
    from tensorflow_model_optimization.python.core.api.quantization.keras.quantizers import (
        AllValuesQuantizer,
        FixedQuantizer,
        LastValueQuantizer,
        MovingAverageQuantizer,
        Quantizer,
    )
    from tensorflow_model_optimization.python.core.api.sparsity.keras import (
        ConstantSparsity,
        PolynomialDecay,
        PruneForLatencyOnXNNPack,
        PruningPolicy,
        PruningSchedule,
    )

    Default8BitClusterPreserveQuantizeScheme: type

__all__ = [
    "AllValuesQuantizer",
    "AnnotatedModel",
    "BinaryReport",
    "CentroidInitialization",
    "ClusteredLayer",
    "ClusteredModel",
    "CompressionMonitor",
    "ConstantSparsity",
    "Default8BitClusterPreserveQuantizeScheme",
    "Default8BitPrunePreserveQuantizeScheme",
    "Default8BitQuantizeScheme",
    "FilterPruningReport",
    "FixedQuantizer",
    "LastValueQuantizer",
    "LowRankReport",
    "MovingAverageQuantizer",
    "PolynomialDecay",
    "PruneForLatencyOnXNNPack",
    "PrunedLayer",
    "PrunedModel",
    "PruningPolicy",
    "PruningSchedule",
    "PruningSummaries",
    "QuantizeAnnotate",
    "QuantizeConfig",
    "QuantizedModel",
    "Quantizer",
    "RankTrial",
    "ReplacedLayer",
    "SharedWeightsReport",
    "UpdatePruningStep",
    "apply_masks",
    "binarize",
    "cluster_scope",
    "cluster_weights",
    "factorize",
    "fold_batch_normalization",
    "magnitude_masks",
    "masks_of",
    "merge_factors",
    "prune_filters",
    "prune_low_magnitude",
    "prune_scope",
    "quantize_annotate_layer",
    "quantize_annotate_model",
    "quantize_apply",
    "quantize_model",
    "quantize_scope",
    "random_masks",
    "regularize_groups",
    "schedule_over_epochs",
    "share_weights",
    "strip_binarization",
    "strip_clustering",
    "strip_clustering_cqat",
    "strip_masks",
    "strip_pruning",
    "strip_shared_weights",
    "to_separable",
]

_OF_TFMOT = {
    "AllValuesQuantizer": "quantization.keras.quantizers",
    "CentroidInitialization": "clustering.keras",
    "ConstantSparsity": "sparsity.keras",
    "Default8BitPrunePreserveQuantizeScheme": "experimental.combine",
    "Default8BitQuantizeScheme": "quantization.keras.default_8bit",
    "FixedQuantizer": "quantization.keras.quantizers",
    "LastValueQuantizer": "quantization.keras.quantizers",
    "MovingAverageQuantizer": "quantization.keras.quantizers",
    "PolynomialDecay": "sparsity.keras",
    "PruneForLatencyOnXNNPack": "sparsity.keras",
    "PruningPolicy": "sparsity.keras",
    "PruningSchedule": "sparsity.keras",
    "QuantizeConfig": "quantization.keras",
    "Quantizer": "quantization.keras.quantizers",
}


if not typing.TYPE_CHECKING:  # A type checker would take every name for one that this returns.

    def __getattr__(name):
        """The classes of TF-MOT that are used as they are, loaded when they are first used."""
        if name == "Default8BitClusterPreserveQuantizeScheme":
            return cluster_scheme()
        if name not in _OF_TFMOT:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return operator.attrgetter(f"{_OF_TFMOT[name]}.{name}")(load_tfmot())
