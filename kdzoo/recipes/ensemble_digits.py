"""What one network keeps of an ensemble's gain, on the demo's digits.

    kdzoo train ensemble_digits

Five networks that differ in their seed, their ensemble, and the same network again, taught by the
ensemble or by one of the five. Hinton, Vinyals & Dean 2015, section 4: on speech one network keeps
more than 80 % of what an ensemble of ten gains. One split of the data, of 797 test images, so that
all five have seen the same ones: few images decide. Minutes on two cores.
"""

from typing import Any

from kdzoo.experiments import Dependency, Distill, EnsembleOf, Experiment, Train, Training

_NETWORK: tuple[str, Training, dict[str, Any]] = (
    "wide_resnet_16_1",
    Training(epochs=30, learning_rate=4e-3, batch_size=64),
    {"depth": 10},
)
MEMBERS = Dependency("member", "all")

RECIPE = Experiment(
    name="ensemble_digits",
    data="digits",
    stages=(
        Train("member", *_NETWORK),
        EnsembleOf("ensemble", MEMBERS, "probabilities", seeds=(0,)),
        Distill("by one", *_NETWORK, teacher=Dependency("member", 0), views=30),
        Distill("by the ensemble", *_NETWORK, teacher=MEMBERS, average="probabilities", views=30),
    ),
    seeds=(0, 1, 2, 3, 4),
    validation=0.5,
)
