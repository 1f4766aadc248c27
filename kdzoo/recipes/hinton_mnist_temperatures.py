"""Hinton, Vinyals & Dean 2015, section 3: which temperature suits which width, on MNIST.

    kdzoo train hinton_mnist_temperatures

The paper finds that with 300 or more units in each of the two hidden layers all temperatures above
8 give about the same, and that with 30 units 2.5 to 4 work significantly better than others.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import Student

TEMPERATURES = (1.0, 2.5, 4.0, 8.0, 20.0)
UNITS = (300, 30)

RECIPE = Comparison(
    data="mnist",
    teacher="mlp_2x1200",
    teacher_arguments={"dropout": 0.5, "max_norm": 4.0},
    student="mlp_2x800",
    students={
        f"{units} units, T={temperature:g}": Student(
            losses=(("SoftTargets", {"temperature": temperature}, 1.0),),
            arguments={"hidden": (units, units)},
        )
        for units in UNITS
        for temperature in TEMPERATURES
    },
    teacher_epochs=300,
    epochs=40,
    batch_size=256,
    precision="mixed_bfloat16",
    teacher_learning_rate=1e-3,
    learning_rate=3e-3,
    weight_decay=0.0,
    augment_student=False,
    validation=0,
)
