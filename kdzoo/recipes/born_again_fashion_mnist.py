"""Furlanello et al. 2018: generations of the student of `fashion_mnist`, and their ensemble.

    kdzoo train born_again_fashion_mnist

Each generation is taught by the one before, the first by the network alone; there is no larger
teacher. The rows "confidence" (CWTM) and "permuted" (DKPP) are one generation each, with what is
left of the teacher's outputs: how sure it is, or its probabilities without their classes. The
ensemble of three networks alone is what that of the generations competes with. The paper has no
Fashion-MNIST; its best DenseNets come to 15.5 % errors on CIFAR-100.
"""

from typing import Any

from kdzoo.experiments import BornAgain, Dependency, EnsembleOf, Experiment, Train
from kdzoo.recipes.fashion_mnist import STUDENT

_TAUGHT: dict[str, Any] = {"teacher": Dependency("alone")}

RECIPE = Experiment(
    name="born_again_fashion_mnist",
    data="fashion_mnist",
    stages=(
        Train("alone", *STUDENT),
        EnsembleOf("ensemble of three", Dependency("alone", "all"), "probabilities", seeds=(0,)),
        BornAgain("three generations", *STUDENT, generations=3, **_TAUGHT),
        BornAgain("confidence", *STUDENT, generations=1, variant="cwtm", **_TAUGHT),
        BornAgain("permuted", *STUDENT, generations=1, variant="dkpp", **_TAUGHT),
    ),
)
