"""The demo: an MLP of 26k parameters learns scikit-learn's digits from a wide residual network.

    kdzoo demo

A minute or two on two cores, see the README. Chosen on the validation images.
"""

from kdzoo.experiments import Distill, Experiment, Train, Training, soft_targets

_STUDENT = Training(epochs=40, learning_rate=5e-3, batch_size=64, augmentation=None)

RECIPE = Experiment(
    name="digits",
    data="digits",
    stages=(
        Train(
            "teacher",
            "wide_resnet_16_1",
            Training(epochs=30, learning_rate=4e-3, batch_size=64),
            {"depth": 10},
            seeds=(0,),
        ),
        Train("alone", "mlp_2x128", _STUDENT),
        Distill("distilled", "mlp_2x128", _STUDENT, losses=soft_targets(2.0)),
    ),
)
