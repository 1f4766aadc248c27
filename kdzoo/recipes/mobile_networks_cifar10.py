"""Networks for phones on CIFAR-10 at 96 x 96: float, quantization-aware, and their files.

    kdzoo train mobile_networks_cifar10

From scratch, on images enlarged from 32 x 32, for a few epochs: what counts is what 8 bits cost,
not how good the networks get. About three hours on two cores.
"""

from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Experiment,
    Stage,
    Train,
    Training,
    retraining,
)

_NETWORKS = {"MobileNetV3Small": (12, 2), "EfficientNetB0": (4, 1)}
"""Name of a network of keras.applications -> epochs in float32, and aware of the quantization."""


def _stages(name: str) -> tuple[Stage, ...]:
    """The float network and its files."""
    (epochs, aware), start = _NETWORKS[name], Dependency(name)
    trained = Compression(quantize="qat", training=retraining(aware, 3e-4))
    return (
        Train(name, f"keras.applications.{name}", Training(epochs), {"size": 96}),
        Compress(f"{name}, float32", start),
        Compress(f"{name}, int8 after training", start, Compression(quantize="int8")),
        Compress(f"{name}, int8 aware", start, trained),
    )


RECIPE = Experiment(
    name="mobile_networks_cifar10",
    data="cifar10",
    stages=tuple(stage for name in _NETWORKS for stage in _stages(name)),
    seeds=(0,),
    smoke_settings={
        "stages": [stage.name for stage in _stages("MobileNetV3Small")],
        "MobileNetV3Small": {"arguments": {"size": 32}},
    },
)
