"""All that kdzoo does to one network, `separable_050` of the zoo on CIFAR-10: bytes and latency.

    kdzoo train compression_pareto

What other recipes have made of this network is not made again: 8 bits, and 80 % zeros, with the
zoo's narrower student, by `zoo_cifar10_050_compressed` and `zoo_cifar10_025_compressed`, and 4 bits
by `qat_4_bit_cifar10`. `python -m tools.compression_pareto` draws all of them together. The network
itself teaches meanwhile. One seed; about an hour and a half on two cores.

Binary weights and lottery tickets are left out: they want trainings of a network's own, from its
first weights (`binary_connect_mnist`, `lottery_lenet`).
"""

from typing import Any

from kdzoo.experiments import (
    Compress,
    Compression,
    DeepCompress,
    Dependency,
    Experiment,
    Pretrained,
    Training,
    retraining,
)

_START = Dependency("student")
_TAUGHT: dict[str, Any] = {"teacher": _START, "views": 4, "teacher_precision": "auto"}
_AWARE = Compression(quantize="qat", training=retraining(2, 3e-4))
_SHAPED = retraining(4, 2e-3)
_SMALLER = {
    "filters, 2/3": Compression(filters=0.6667, training=_SHAPED),
    "filters, 1/2": Compression(filters=0.5, training=_SHAPED),
    "filters, 1/3": Compression(filters=0.3333, training=_SHAPED),
    "low rank, 3/4": Compression(low_rank=0.75, training=_SHAPED),
    "low rank, 1/2": Compression(low_rank=0.5, training=_SHAPED),
}
_KERNELS = (  # Those that TF-MOT prunes.
    "stem_conv",
    *(f"stage1_block{block}_conv" for block in (1, 2)),
    *(f"stage2_block{block}_conv" for block in (1, 2)),
    *(f"stage3_block{block}_conv" for block in (1, 2, 3)),
    "logits",
)

RECIPE = Experiment(
    name="compression_pareto",
    data="cifar10",
    stages=(
        Pretrained("student", "separable_050/cifar10"),
        Pretrained("80 % zeros", "separable_050/cifar10/sparse_80"),
        Compress("float16", _START, Compression(quantize="float16")),
        Compress("int8 weights", _START, Compression(quantize="dynamic")),
        Compress("int8 after training", _START, Compression(quantize="int8")),
        *(Compress(name, _START, how, **_TAUGHT) for name, how in _SMALLER.items()),
        *(Compress(f"{name}, int8", Dependency(name), _AWARE, **_TAUGHT) for name in _SMALLER),
        *(
            Compress(
                f"{values} values",
                _START,
                Compression(cluster=values, training=retraining(2, 3e-4)),
                **_TAUGHT,
            )
            for values in (32, 16)
        ),
        DeepCompress(
            "80 % zeros, 32 values, Huffman codes",
            Dependency("80 % zeros"),
            Training(1, 1e-3, 0.0),
            sparsity=dict.fromkeys(_KERNELS, 0.8),
            bits=dict.fromkeys(_KERNELS, 5),
            rounds=1,
            codebook_epochs=2,
            codebook_learning_rate=3e-4,
            teacher=_START,
        ),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={
        "stages": (
            "student",
            "filters, 1/2",
            "filters, 1/2, int8",
            "low rank, 1/2",
            "32 values",
        ),
    },
)
