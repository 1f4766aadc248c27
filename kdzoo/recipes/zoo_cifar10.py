"""The zoo's students on CIFAR-10, distilled from a WRN-16-4 and alone.

    kdzoo train zoo_cifar10

One seed, as a student takes a core some hours. Dense convolutions train faster in half precision on
processors that have it, depthwise ones in float32.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import distilled_and_alone

_STUDENTS = {
    **distilled_and_alone({"separable_025": {}}),
    **distilled_and_alone({"fitnet_1": {}}, precision="mixed_bfloat16", epochs=50),
    **distilled_and_alone({"separable_050": {}}, epochs=60),
    **distilled_and_alone({"separable_100": {}}, epochs=20),
}

RECIPE = Comparison(
    data="cifar10",
    teacher="wide_resnet_16_4",
    student="separable_050",
    students=_STUDENTS,
    teacher_epochs=50,
    epochs=100,
    seeds=(0,),
    views=10,
    validation=0,
    teacher_optimizer="sgd",
    teacher_learning_rate=0.1,
    teacher_weight_decay=0.005,
    teacher_augmentation={"shift": 4, "flip": True, "cutout": 8},
    teacher_precision="mixed_bfloat16",
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
