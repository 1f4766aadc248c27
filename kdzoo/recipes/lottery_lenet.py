"""Frankle & Carbin 2019, section 2: lottery tickets of LeNet-300-100 on MNIST.

    kdzoo train lottery_lenet

Twelve rounds of pruning a fifth of the weights, a tenth of the last layer's, leave 7 % of them. The
ticket stands beside its mask with new initial weights, beside as many weights at random places, and
beside its mask with new initial weights trained for as many epochs as all rounds took. At the
smaller learning rate, the paper's, tickets of 21 % to 3.6 % of the weights reach what the dense
network does, and with new initial weights they do not; at large rates it is said to fail in deep
networks. The paper trains for about 55 epochs in batches of 60, at a constant rate.
"""

from typing import Any

from kdzoo.experiments import Experiment, LotteryTicket, Training

_PRUNING: dict[str, Any] = {"rounds": 12, "fraction": 0.2, "output_fraction": 0.1}


def _training(learning_rate: float) -> Training:
    return Training(epochs=15, learning_rate=learning_rate, weight_decay=0.0, augmentation=None)


RECIPE = Experiment(
    name="lottery_lenet",
    data="mnist",
    stages=(
        LotteryTicket("rate 0.0012", "lenet_300_100", _training(1.2e-3), **_PRUNING),
        LotteryTicket("rate 0.01", "lenet_300_100", _training(1e-2), **_PRUNING),
    ),
    validation=0,
)
