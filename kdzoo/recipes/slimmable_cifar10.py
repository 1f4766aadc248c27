"""Slimmable networks on CIFAR-10 (Yu et al. 2019): one network of four widths, and four networks.

    kdzoo train slimmable_cifar10

The widest is the zoo's `separable_050`. Each width stands beside the network of that width that was
trained alone, with the same images in the same order for as many steps. In the paper, on ImageNet,
a width is better by 0.6 to 3.3 points than its network alone. "universal" has widths in sixteenths
that share all but means and variances, and trains four of them in a step (Yu & Huang 2019). The
papers train for hundreds of epochs, here it is 10: about three hours on two cores.
"""

from kdzoo.experiments import Experiment, TrainWidths
from kdzoo.recipes.students import by_sgd

WIDTHS = (0.25, 0.5, 0.75, 1.0)
_NETWORK = ("separable_050", by_sgd(10))

RECIPE = Experiment(
    name="slimmable_cifar10",
    data="cifar10",
    stages=(
        TrainWidths("switchable", *_NETWORK, widths=WIDTHS),
        *(
            TrainWidths(f"width {width:g}, alone", *_NETWORK, widths=WIDTHS, only=width)
            for width in WIDTHS
        ),
        TrainWidths(
            "universal",
            *_NETWORK,
            widths=tuple(sixteenths / 16 for sixteenths in range(4, 17)),
            universal=True,
            middle_widths=2,
            calibration=50,
            seeds=(0,),
        ),
    ),
    smoke_settings={"stages": ("switchable", "width 0.25, alone")},
)
