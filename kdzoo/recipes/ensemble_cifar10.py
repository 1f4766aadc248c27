"""What one network keeps of the gain of an ensemble of five, on CIFAR-10.

    kdzoo train ensemble_cifar10

The members differ in their seed. Each is recorded once, and the records are averaged as they are
read, so that the ensemble teaches at the price of one network. Hinton, Vinyals & Dean 2015, section
4: a single network keeps more than 80 % of the gain of an ensemble of ten, on speech. The students
are the members' network, taught by all five or, for comparison, by one of them, with seeds of their
own, so that none begins as a member did. Ba & Caruana 2014 have 88.0 % for a convolutional network
and 89.0 % for four of them.
"""

from typing import Any

from kdzoo.experiments import Dependency, Distill, EnsembleOf, Experiment, Train
from kdzoo.recipes.students import AUTO, by_sgd

_NETWORK = ("plain_cnn_8", by_sgd(25))
ONE, ALL = Dependency("member", 0), Dependency("member", "all")
TEACHING: dict[str, Any] = {"views": 25, "teacher_precision": AUTO}

RECIPE = Experiment(
    name="ensemble_cifar10",
    data="cifar10",
    stages=(
        Train("member", *_NETWORK, seeds=(0, 1, 2, 3, 4)),
        EnsembleOf("ensemble, arithmetic", ALL, "probabilities", seeds=(0,)),
        EnsembleOf("ensemble, geometric", ALL, seeds=(0,)),
        Distill("by one", *_NETWORK, teacher=ONE, seeds=(5,), **TEACHING),
        Distill(
            "by the ensemble",
            *_NETWORK,
            teacher=ALL,
            average="probabilities",
            seeds=(5, 6, 7),
            **TEACHING,
        ),
    ),
    validation=0,
    smoke_settings={"enlarge": 2},  # Its four poolings want 16 pixels.
)
