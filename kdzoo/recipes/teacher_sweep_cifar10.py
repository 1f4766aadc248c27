"""Does a better teacher make a better student? Five teachers, two students, on CIFAR-10.

    kdzoo train teacher_sweep_cifar10

Plain networks of 4, 6 and 10 convolutions and two networks of the zoo teach networks of 2 and of 4
convolutions. Every model sees 20 epochs, but for those of the zoo, which are there; the teachers
are recorded for the 20 views of each image that a student sees. Mirzadeh et al. 2020 find that a
teacher that is too large for a small student teaches it less. Of a student of 2 convolutions they
report 70.16 % alone and 72.57 % by a teacher of 10. That comparison and the students alone have
three seeds, all else has one, which is not that of the teachers: a network of 4 convolutions that
another one teaches does not begin as that one did.
"""

from typing import Any

from kdzoo.experiments import Dependency, Distill, Experiment, Pretrained, Stage, Train
from kdzoo.recipes.students import AUTO, by_sgd

TRAINING = by_sgd(20)
TEACHING: dict[str, Any] = {"views": 20, "teacher_precision": AUTO}
STUDENTS = ("plain_cnn_2", "plain_cnn_4")
# From the weakest to the strongest; the first is the larger student alone.
TEACHERS = ("plain_cnn_4", "plain_cnn_6", "plain_cnn_10", "separable_050", "wide_resnet_16_4")
_OF_PAPER = ("plain_cnn_2", "plain_cnn_10")
SEED = 1  # Of the rows of one seed. That of the teachers is 0.


def _teacher(architecture: str) -> Stage:
    if architecture.startswith("plain_cnn"):
        return Train(architecture, architecture, TRAINING, seeds=(0,))
    return Pretrained(architecture, f"{architecture}/cifar10", seeds=(0,))


def _stage_of(architecture: str) -> str:
    """The name of the stage that a teacher is."""
    return f"{architecture} alone" if architecture in STUDENTS else architecture


RECIPE = Experiment(
    name="teacher_sweep_cifar10",
    data="cifar10",
    stages=(
        *(Train(f"{student} alone", student, TRAINING) for student in STUDENTS),
        *(_teacher(teacher) for teacher in TEACHERS if teacher not in STUDENTS),
        *(
            Distill(
                f"{student} by {teacher}",
                student,
                TRAINING,
                teacher=Dependency(_stage_of(teacher), 0),
                seeds=None if (student, teacher) == _OF_PAPER else (SEED,),
                **TEACHING,
            )
            for student in STUDENTS
            for teacher in TEACHERS
        ),
    ),
    validation=0,
    paper={"plain_cnn_2 alone": 2984, "plain_cnn_2 by plain_cnn_10": 2743},
    smoke_settings={
        "enlarge": 2,
        "wide_resnet_16_4": {"architecture": "mlp_2x64"},
        "stages": (
            "plain_cnn_2 alone",
            "plain_cnn_10",
            "wide_resnet_16_4",
            "plain_cnn_2 by plain_cnn_10",
            "plain_cnn_4 by wide_resnet_16_4",
        ),
    },
)
