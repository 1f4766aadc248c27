"""The zoo's students on CIFAR-10, distilled from a WRN-16-4 and alone.

    kdzoo train zoo_cifar10

One seed, as each of these takes hours on two cores.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import distilled_and_alone

_STUDENTS = distilled_and_alone(
    {name: {} for name in ("separable_025", "separable_050", "separable_100", "fitnet_1")}
)

RECIPE = Comparison(
    data="cifar10",
    teacher="wide_resnet_16_4",
    student="separable_050",
    students=_STUDENTS,
    teacher_epochs=30,
    epochs=60,
    seeds=(0,),
    views=15,
    validation=0,
    teacher_precision="mixed_bfloat16",
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
