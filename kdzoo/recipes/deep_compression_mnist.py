"""Han et al. 2016, Deep Compression: LeNet-300-100 at 1/40 of its bytes, and LeNet-5 at 1/39.

    kdzoo train deep_compression_lenet_300_100
    kdzoo train deep_compression_lenet_5

The paper has 27 KB of 1070 at 1.58 % error, and 44 KB of 1720 at 0.74 %. Here the bytes are those
of the whole `.kdz` file: with configuration, biases and hash. "as in the paper" leaves the weights
and has the bits of its tables 2 and 3, on the labels alone; "taught" has the dense network for a
teacher; "smaller" fewer weights and bits.
"""

from typing import Any

from kdzoo.experiments import DeepCompress, Dependency, Experiment, Train, Training

_DENSE = Dependency("dense")
_NO_DECAY: dict[str, Any] = {"weight_decay": 0.0, "augmentation": None}


def _recipe(
    architecture: str,
    dense: Training,
    training: Training,
    usual: dict[str, Any],
    smaller: dict[str, Any],
    errors: int,
) -> Experiment:
    """The recipe of a network."""
    return Experiment(
        name=f"deep_compression_{architecture}",
        data="mnist",
        stages=(
            Train("dense", architecture, dense),
            DeepCompress("as in the paper", _DENSE, training, **usual),
            DeepCompress("taught", _DENSE, training, **usual, teacher=_DENSE),
            DeepCompress("smaller, taught", _DENSE, training, **smaller, teacher=_DENSE),
        ),
        validation=0,
        paper={"as in the paper": errors},
        smoke_settings={"enlarge": 2, "stages": ("dense", "smaller, taught")},
    )


LENET_300_100 = _recipe(
    "lenet_300_100",
    Training(30),
    Training(10, 2e-3, **_NO_DECAY),
    {
        "sparsity": {"stage1": 0.92, "stage2": 0.91, "logits": 0.74},
        "bits": {"stage1": 6, "stage2": 6, "logits": 6},
    },
    {
        "sparsity": {"stage1": 0.935, "stage2": 0.93, "logits": 0.78},
        "bits": {"stage1": 5, "stage2": 5, "logits": 5},
    },
    158,
)

LENET_5 = _recipe(
    "lenet_5",
    Training(20),
    Training(8, 1e-3, **_NO_DECAY),
    {
        "sparsity": {"stage1_conv": 0.34, "stage2_conv": 0.88, "stage3": 0.92, "logits": 0.81},
        "bits": {"stage1_conv": 8, "stage2_conv": 8, "stage3": 5, "logits": 5},
    },
    {
        "sparsity": {"stage1_conv": 0.4, "stage2_conv": 0.9, "stage3": 0.94, "logits": 0.85},
        "bits": {"stage1_conv": 5, "stage2_conv": 5, "stage3": 4, "logits": 5},
    },
    74,
)
