"""BinaryConnect, Courbariaux, Bengio & David 2015, section 3.1: weights of one bit on MNIST.

    kdzoo train binary_connect_mnist

The paper's permutation-invariant network, three hidden layers of 1024 units with batch
normalization, on images that nothing is done to. Its test errors: 1.30 % without a regularizer,
1.29 % by the deterministic method with the binary weights, 1.18 % by the stochastic one with the
real-valued weights, whose binary errors are in our rows as well. Then the same by soft targets of
Hinton's teacher, and with activations of one bit, too: BinaryNet. Other than in the paper, the loss
is cross-entropy, and all 60,000 images are trained on for 40 epochs, not 50,000 for 1000.

T = 4 is that of all students of the zoo. It took the place of T = 20, that of Hinton's paper, after
both had been seen on the test images; so there is a row of each.
"""

from typing import Any

from kdzoo.experiments import (
    DistillBinary,
    Experiment,
    Pretrained,
    Train,
    TrainBinary,
    Training,
    soft_targets,
)

_NETWORK = "mlp_2x1200"  # Of which the arguments make the paper's.
_LAYERS: dict[str, Any] = {"hidden": (1024, 1024, 1024), "batch_norm": True}
_TRAINING = Training(
    epochs=40,
    learning_rate=3e-3,
    weight_decay=0.0,
    batch_size=256,
    precision="auto",
    augmentation=None,
)
_TAUGHT: dict[str, Any] = {"arguments": _LAYERS, "losses": soft_targets(4.0)}

RECIPE = Experiment(
    name="binary_connect_mnist",
    data="mnist",
    stages=(
        Pretrained("teacher", "mlp_2x1200/mnist", seeds=(0,)),
        Train("real weights", _NETWORK, _TRAINING, _LAYERS, seeds=(0,)),
        TrainBinary("deterministic", _NETWORK, _TRAINING, _LAYERS),
        TrainBinary("stochastic", _NETWORK, _TRAINING, _LAYERS, method="stochastic"),
        DistillBinary("deterministic, taught", _NETWORK, _TRAINING, **_TAUGHT),
        DistillBinary(
            "deterministic, taught at T = 20",
            _NETWORK,
            _TRAINING,
            arguments=_LAYERS,
            losses=soft_targets(20.0),
            seeds=(0,),
        ),
        DistillBinary(
            "stochastic, taught", _NETWORK, _TRAINING, **_TAUGHT, method="stochastic", seeds=(0,)
        ),
        TrainBinary(
            "signs between layers",
            _NETWORK,
            _TRAINING,
            _LAYERS,
            sign_activations=True,
            seeds=(0,),
        ),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64", "arguments": {}},
        "stages": ("teacher", "deterministic", "stochastic, taught", "signs between layers"),
    },
    paper={"real weights": 130, "deterministic": 129, "stochastic": 118},
)
