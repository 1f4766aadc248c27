"""What hints add: the first half of `fitnet_mnist`'s student guided by labels in their place.

    kdzoo train fitnet_mnist_by_labels

The first training, for as many epochs as the hints have, teaches the layers up to the guided one to
classify; the second is that of the row "hints" of `fitnet_mnist`, with which this one compares. The
teacher is the zoo's, which is that of `fitnet_mnist` in half precision.
"""

from kdzoo.experiments import Experiment, HintTraining, Pretrained
from kdzoo.recipes.fitnet_mnist import STUDENT, TEACHING

RECIPE = Experiment(
    name="fitnet_mnist_by_labels",
    data="mnist",
    stages=(
        Pretrained("teacher", "maxout_mnist/mnist", seeds=(0,)),
        HintTraining(
            "labels first", "fitnet_mnist", STUDENT, hints=(None, "stage2", 5), **TEACHING
        ),
    ),
    validation=0,
    # The teacher's pooling wants larger images than the digits are.
    smoke_settings={"enlarge": 2},
)
