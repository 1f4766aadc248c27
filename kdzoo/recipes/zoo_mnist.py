"""The zoo's students on MNIST beside those of the papers: both LeNets and a separable network.

    kdzoo train zoo_mnist

The separable network halves the images first: a network for a phone, and one that trains quickly.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import Student

_SOFT_TARGETS = (("SoftTargets", {"temperature": 4.0}, 1.0),)
_NETWORKS = {"lenet_300_100": {}, "lenet_5": {}, "separable_025": {"halvings": 1}}

_STUDENTS = {
    f"{name}{ending}": Student(losses, architecture=name, arguments=arguments)
    for name, arguments in _NETWORKS.items()
    for ending, losses in ((", distilled", _SOFT_TARGETS), (", alone", ()))
}

RECIPE = Comparison(
    data="mnist",
    teacher="wide_resnet_16_1",
    student="separable_025",
    students=_STUDENTS,
    teacher_epochs=15,
    epochs=30,
    views=10,
    validation=0,
    teacher_precision="mixed_bfloat16",
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
