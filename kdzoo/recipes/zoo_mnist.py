"""The zoo's students on MNIST beside those of the papers: both LeNets and a separable network.

    kdzoo train zoo_mnist

The separable network halves the images first: a network for a phone, and one that trains quickly.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import distilled_and_alone

_STUDENTS = distilled_and_alone(
    {"lenet_300_100": {}, "lenet_5": {}, "separable_025": {"halvings": 1}}
)

RECIPE = Comparison(
    data="mnist",
    teacher="wide_resnet_16_1",
    student="separable_025",
    students=_STUDENTS,
    teacher_epochs=15,
    epochs=30,
    views=10,
    validation=0,
    precision="mixed_bfloat16",
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
