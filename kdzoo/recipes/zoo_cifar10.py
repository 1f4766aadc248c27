"""The zoo's students on CIFAR-10, distilled from a WRN-16-4 and alone.

    kdzoo train zoo_cifar10

Three seeds of FitNet 1, one of the others, which take a core an hour and more. The optimizers
were chosen on held-out images, `benchmarks/optimizers.py`: with that of the others FitNet 1,
without batch normalization, diverges.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import distilled_and_alone

_HALF, _ONE = {"precision": "mixed_bfloat16"}, {"seed_count": 1}
_ADAMW = {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.2}
_STUDENTS = {
    **distilled_and_alone({"fitnet_1": {}}, epochs=50, **_ADAMW, **_HALF),
    **distilled_and_alone({"wide_resnet_16_1": {}}, **_HALF, **_ONE),
    **distilled_and_alone({"separable_025": {}}, **_HALF, **_ONE),
    **distilled_and_alone({"separable_050": {}}, **_HALF, **_ONE),
    **distilled_and_alone({"separable_100": {}}, epochs=20, **_HALF, **_ONE),
}

RECIPE = Comparison(
    data="cifar10",
    teacher="wide_resnet_16_4",
    student="separable_050",
    students=_STUDENTS,
    teacher_epochs=50,
    epochs=60,
    views=20,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=0.005,
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
