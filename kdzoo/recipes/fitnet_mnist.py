"""Romero et al. 2015, section 3.2: a thin maxout network of 30k parameters on MNIST.

    kdzoo train fitnet_mnist

The paper's test errors: the maxout teacher 0.55 %, the FitNet by backpropagation alone 1.9 %, by
distillation 0.65 %, by hints and distillation 0.51 %. The hint is the teacher's second hidden
layer, the guided layer the student's fourth. Other than in the paper, teacher and students see
images shifted by up to two pixels, the teacher has less dropout for it, and the weight λ of the
soft targets, which falls from 4 to 1 as in the paper, is one of T² · KL: nine times the paper's.
"""

import dataclasses
from typing import Any

from kdzoo.experiments import Distill, Experiment, HintTraining, Train, Training, soft_targets

STUDENT = Training(epochs=15, learning_rate=2e-3, weight_decay=0.0, precision="auto")
TEACHING: dict[str, Any] = {
    "losses": soft_targets(3.0),
    "student_loss_weight": 0.5,
    "teacher_weight": (4.0, 1.0),
    "teacher_precision": "auto",
}

RECIPE = Experiment(
    name="fitnet_mnist",
    data="mnist",
    stages=(
        Train(
            "teacher",
            "maxout_mnist",
            dataclasses.replace(STUDENT, epochs=20, learning_rate=1e-3),
            {"dropout": 0.2, "input_dropout": 0.0},
            seeds=(0,),
        ),
        Train("alone", "fitnet_mnist", STUDENT),
        # As the hints and what follows them take together.
        Train("alone, as long", "fitnet_mnist", dataclasses.replace(STUDENT, epochs=20)),
        Distill("distilled", "fitnet_mnist", STUDENT, **TEACHING),
        HintTraining("hints", "fitnet_mnist", STUDENT, hints=("stage2", "stage2", 5), **TEACHING),
    ),
    validation=0,
    # The teacher's pooling wants larger images than the digits are.
    smoke_settings={"enlarge": 2},
    paper={"teacher": 55, "alone": 190, "distilled": 65, "hints": 51},
)
