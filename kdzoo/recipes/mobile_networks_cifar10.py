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
    Train,
    Training,
    retraining,
)

_NETWORKS = {"MobileNetV3Small": (12, 2), "EfficientNetB0": (4, 1)}
"""Name of a network of keras.applications -> epochs in float32, and aware of the quantization."""

RECIPE = Experiment(
    name="mobile_networks_cifar10",
    data="cifar10",
    stages=tuple(
        stage
        for name, (epochs, aware) in _NETWORKS.items()
        for stage in (
            Train(name, f"keras.applications.{name}", Training(epochs), {"size": 96}),
            Compress(f"{name}, float32", Dependency(name)),
            Compress(
                f"{name}, int8 after training", Dependency(name), Compression(quantize="int8")
            ),
            Compress(
                f"{name}, int8 aware",
                Dependency(name),
                Compression(quantize="qat", training=retraining(aware, 3e-4)),
            ),
        )
    ),
    seeds=(0,),
    smoke_settings={name: {"arguments": {"size": 32}} for name in _NETWORKS},
)
