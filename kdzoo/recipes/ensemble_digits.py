"""What one network keeps of an ensemble's gain, on the demo's digits.

    kdzoo train ensemble_digits

Five networks that differ in their seed, their ensemble, and the same network again, taught by the
ensemble or by one of the five, and alone for as long. Hinton, Vinyals & Dean 2015, section 4: on
speech one network keeps more than 80 % of what an ensemble of ten gains. One split of the data, of
797 test images, so that all five have seen the same ones: few images decide. Students have seeds of
their own, so that none begins as a member did. They have 100 epochs, chosen on the held-out images
of another seed after 30, as many as the five have, had been too few: so there is a row of these.
Ten minutes on two cores.
"""

from typing import Any

from kdzoo.experiments import Dependency, Distill, EnsembleOf, Experiment, Train, Training


def _network(epochs: int) -> tuple[str, Training, dict[str, Any]]:
    training = Training(epochs=epochs, learning_rate=4e-3, batch_size=64)
    return "wide_resnet_16_1", training, {"depth": 10}


_LONGER = _network(100)
MEMBERS = Dependency("member", "all")
_STUDENTS: dict[str, Any] = {"views": 30, "seeds": (5, 6, 7, 8, 9)}

RECIPE = Experiment(
    name="ensemble_digits",
    data="digits",
    stages=(
        Train("member", *_network(30)),
        EnsembleOf("ensemble", MEMBERS, "probabilities", seeds=(0,)),
        Distill(
            "by the ensemble, as short",
            *_network(30),
            teacher=MEMBERS,
            average="probabilities",
            **_STUDENTS,
        ),
        Train("alone, as long", *_LONGER, seeds=_STUDENTS["seeds"]),
        Distill("by one", *_LONGER, teacher=Dependency("member", 0), **_STUDENTS),
        Distill("by the ensemble", *_LONGER, teacher=MEMBERS, average="probabilities", **_STUDENTS),
    ),
    seeds=(0, 1, 2, 3, 4),
    validation=0.5,
)
