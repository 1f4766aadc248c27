"""Hinton, Vinyals & Dean 2015, section 3: what 2x800 units learn of 2x1200 with dropout on MNIST.

    kdzoo train hinton_mnist

The teacher has dropout, a bound on the norm of the weights into each unit, and images shifted by up
to two pixels; the students have none of it. The paper counts 67 errors of the teacher on the test
images, 146 of the student alone and 74 of the student at temperature 20. All 60,000 images are
trained on, as in the paper, with one teacher for the three seeds of students.
"""

import dataclasses

from kdzoo.experiments import Distill, Experiment, Train, Training, soft_targets

STUDENT = Training(
    epochs=100,
    learning_rate=3e-3,
    weight_decay=0.0,
    batch_size=256,
    precision="auto",
    augmentation=None,
)
TEACHER = Train(
    "teacher",
    "mlp_2x1200",
    dataclasses.replace(STUDENT, epochs=300, learning_rate=1e-3, augmentation="default"),
    {"dropout": 0.5, "max_norm": 4.0},
    seeds=(0,),
)

RECIPE = Experiment(
    name="hinton_mnist",
    data="mnist",
    stages=(
        TEACHER,
        Train("alone", "mlp_2x800", STUDENT),
        Distill("distilled", "mlp_2x800", STUDENT, losses=soft_targets(20.0)),
    ),
    validation=0,
    paper={"teacher": 67, "alone": 146, "distilled": 74},
)
