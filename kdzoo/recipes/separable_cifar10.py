"""A small separable network on CIFAR-10, distilled; what the recipes of compression start from.

    kdzoo train separable_cifar10

Teacher and budget are what two cores can run, not the best there is.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import Student

RECIPE = Comparison(
    data="cifar10",
    teacher="wide_resnet_16_1",
    student="separable_025",
    students={"distilled": Student((("SoftTargets", {"temperature": 4.0}, 1.0),))},
    teacher_epochs=15,
    epochs=20,
    teacher_precision="mixed_bfloat16",
    smoke_settings={"teacher_arguments": {"depth": 10}},
)
