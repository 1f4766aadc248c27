"""Hinton, Vinyals & Dean 2015, section 3: which temperature suits which width, on MNIST.

    kdzoo train hinton_mnist_temperatures

The paper finds that with 300 or more units in each of the two hidden layers all temperatures above
8 give about the same, and that with 30 units 2.5 to 4 work significantly better than others. The
teacher is that of `hinton_mnist`: a finished one serves, its directory `teacher-0` copied here.
"""

import dataclasses

from kdzoo.experiments import Distill, Experiment, soft_targets
from kdzoo.recipes.hinton_mnist import STUDENT, TEACHER

TEMPERATURES = (1.0, 2.5, 4.0, 8.0, 20.0)
UNITS = (300, 30)

RECIPE = Experiment(
    name="hinton_mnist_temperatures",
    data="mnist",
    stages=(
        TEACHER,
        *(
            Distill(
                f"{units} units, T={temperature:g}",
                "mlp_2x800",
                dataclasses.replace(STUDENT, epochs=20),
                {"hidden": (units, units)},
                losses=soft_targets(temperature),
            )
            for units in UNITS
            for temperature in TEMPERATURES
        ),
    ),
    validation=0,
)
