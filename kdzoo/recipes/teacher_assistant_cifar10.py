"""Mirzadeh et al. 2020: a teacher of 10 convolutions teaches a student of 2 over an assistant.

    kdzoo train teacher_assistant_cifar10

Teacher, students without an assistant and the assistant of 4 convolutions are those of
`teacher_sweep_cifar10`, which is made beside it. On CIFAR-10 the paper reports 70.16 % of the
student alone, 72.57 % by the teacher, and 73.51 % over the assistant of 4, the best of its sizes.
Over that one there are three seeds, over the others one.
"""

from kdzoo.experiments import Dependency, Distill, Experiment
from kdzoo.recipes import teacher_sweep_cifar10
from kdzoo.recipes.teacher_sweep_cifar10 import SEED, TEACHING, TRAINING

_TEACHER = Dependency("plain_cnn_10", 0)
_ASSISTANTS = {  # Convolutions -> what is taught by the teacher.
    4: Dependency("plain_cnn_4 by plain_cnn_10", SEED),
    6: Dependency("assistant of 6", 0),
    8: Dependency("assistant of 8", 0),
}

RECIPE = Experiment(
    name="teacher_assistant_cifar10",
    data="cifar10",
    base=teacher_sweep_cifar10.RECIPE,
    stages=(
        *(
            Distill(
                f"assistant of {size}",
                f"plain_cnn_{size}",
                TRAINING,
                teacher=_TEACHER,
                seeds=(0,),
                **TEACHING,
            )
            for size in (6, 8)
        ),
        *(
            Distill(
                f"over {size}",
                "plain_cnn_2",
                TRAINING,
                teacher=assistant,
                seeds=None if size == 4 else (0,),
                **TEACHING,
            )
            for size, assistant in _ASSISTANTS.items()
        ),
    ),
    validation=0,
    paper={"over 4": 2649},
    smoke_settings={"enlarge": 2, "stages": ("over 4",)},
)
