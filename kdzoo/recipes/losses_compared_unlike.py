"""`losses_compared` for a pair that has little in common: depthwise blocks teach a plain network.

    kdzoo train losses_compared_unlike

The teacher is the zoo's separable network of width 0.5, the student one of six convolutions with
pooling between them, whose stages are half as large a side as the teacher's. Weights and budget are
those of `losses_compared`, but for one seed. The teacher may have seen the held-out images.
"""

from kdzoo.experiments import Experiment, Pretrained, Train, Training
from kdzoo.recipes.losses_compared import ADDED, by_each_loss

_STUDENT = ("plain_cnn_6", Training(epochs=8, augmentation=None))
# The teacher's third and the student's second stage have maps of 8x8.
_MAPS = {"teacher_layer": "stage3", "student_layer": "stage2"}
_ADDED = {**ADDED, " + hint": (("Hint", {**_MAPS, "reduction": "mean"}, 200.0),)}

RECIPE = Experiment(
    name="losses_compared_unlike",
    data="cifar10",
    stages=(
        Pretrained("teacher", "separable_050/cifar10", seeds=(0,)),
        Train("alone", *_STUDENT),
        *by_each_loss(_ADDED, *_STUDENT),
    ),
    seeds=(0,),
    smoke_settings={"enlarge": 2},
)
