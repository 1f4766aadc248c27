"""The zoo's separable students on Fashion-MNIST, distilled and alone.

    kdzoo train zoo_fashion_mnist

The students halve the images first: networks for a phone, and ones that train quickly.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import Student

_SOFT_TARGETS = (("SoftTargets", {"temperature": 4.0}, 1.0),)

_STUDENTS = {
    f"separable_{hundredths:03d}{ending}": Student(
        losses, architecture=f"separable_{hundredths:03d}", arguments={"halvings": 1}
    )
    for hundredths in (25, 50, 100)
    for ending, losses in ((", distilled", _SOFT_TARGETS), (", alone", ()))
}

RECIPE = Comparison(
    data="fashion_mnist",
    teacher="wide_resnet_16_2",
    student="separable_050",
    students=_STUDENTS,
    teacher_epochs=25,
    epochs=50,
    views=15,
    validation=0,
    teacher_precision="mixed_bfloat16",
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
