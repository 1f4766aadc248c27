"""The zoo's separable students on Fashion-MNIST, distilled and alone.

    kdzoo train zoo_fashion_mnist

The students halve the images first: networks for a phone, and ones that train quickly. One seed of
the widest, which takes a core more than half an hour even in fewer epochs.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import distilled_and_alone

_STUDENTS = {
    **distilled_and_alone({"separable_025": {"halvings": 1}, "separable_050": {"halvings": 1}}),
    **distilled_and_alone({"separable_100": {"halvings": 1}}, epochs=25, seed_count=1),
}

RECIPE = Comparison(
    data="fashion_mnist",
    teacher="wide_resnet_16_2",
    student="separable_050",
    students=_STUDENTS,
    teacher_epochs=25,
    epochs=40,
    views=15,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=0.005,
    validation=0,
    precision="mixed_bfloat16",
    teacher_optimizer="sgd",
    teacher_learning_rate=0.1,
    smoke_settings={
        "teacher": "mlp_2x64",
        "students": dict(list(_STUDENTS.items())[:2]),
    },
)
