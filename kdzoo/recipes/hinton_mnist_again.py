"""Hinton, Vinyals & Dean 2015, section 3, for longer, and with the paper's max-norm.

    kdzoo train hinton_mnist_again

`hinton_mnist` misses the paper's 67 errors of the teacher and 74 of the student. Here the teacher
has twice its epochs, and the bound on the weights into each unit is the square root of 15, that of
the paper on dropout which this one refers to (arXiv:1207.0580); the students have three times its
epochs. Students of two layers of 30 units have five times those of `hinton_mnist_temperatures`: the
paper finds that temperatures of 2.5 to 4 are better for them than lower and higher ones.
"""

import dataclasses

from kdzoo.experiments import Distill, Experiment, Train, soft_targets
from kdzoo.recipes.hinton_mnist import STUDENT, TEACHER

_LONG = dataclasses.replace(STUDENT, epochs=300)
_SMALL = dataclasses.replace(STUDENT, epochs=100)

RECIPE = Experiment(
    name="hinton_mnist_again",
    data="mnist",
    stages=(
        dataclasses.replace(
            TEACHER,
            training=dataclasses.replace(TEACHER.training, epochs=600),
            arguments={"dropout": 0.5, "max_norm": 15**0.5},
        ),
        Train("alone", "mlp_2x800", _LONG),
        Distill("distilled", "mlp_2x800", _LONG, losses=soft_targets(20.0)),
        Distill(
            "distilled without labels",
            "mlp_2x800",
            _LONG,
            losses=soft_targets(20.0),
            student_loss_weight=0.0,
        ),
        Train("30 units alone", "mlp_2x800", _SMALL, {"hidden": (30, 30)}),
        *(
            Distill(
                f"30 units, T={temperature:g}",
                "mlp_2x800",
                _SMALL,
                {"hidden": (30, 30)},
                losses=soft_targets(temperature),
            )
            for temperature in (1.0, 2.5, 4.0, 8.0)
        ),
    ),
    validation=0,
    paper={"teacher": 67, "alone": 146, "distilled": 74},
)
