"""What Deep Compression made of each layer, by the tables of the paper."""

from typing import Any

DEEP_COMPRESSION_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "lenet_300_100": {
        "sparsity": {"stage1": 0.92, "stage2": 0.91, "logits": 0.74},
        "bits": {"stage1": 6, "stage2": 6, "logits": 6},
    },
    "lenet_5": {
        "sparsity": {"stage1_conv": 0.34, "stage2_conv": 0.88, "stage3": 0.92, "logits": 0.81},
        "bits": {"stage1_conv": 8, "stage2_conv": 8, "stage3": 5, "logits": 5},
    },
}
"""Architecture of the zoo -> `sparsity` and `bits` of its layers, by the paper's tables 2 and 3."""
