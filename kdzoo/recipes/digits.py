"""The demo: a student of one hidden layer learns scikit-learn's digits from a residual network.

    kdzoo demo

A minute on two cores, see the README. Every seed draws its own 500 training, 500 validation
and 797 test images. The settings were chosen on the splits of the seeds 100 to 105.
"""

from kdzoo.experiments import Dependency, Distill, Experiment, Train, Training, soft_targets

_STUDENT = Training(epochs=30, learning_rate=1e-2, batch_size=50, augmentation=None)

RECIPE = Experiment(
    name="digits",
    data="digits",
    stages=(
        Train(
            "teacher",
            "wide_resnet_16_1",
            Training(epochs=30, learning_rate=4e-3, batch_size=64),
            {"depth": 10},
        ),
        Train("alone", "mlp_1x512", _STUDENT),
        Distill(
            "distilled",
            "mlp_1x512",
            _STUDENT,
            losses=soft_targets(4.0),
            teacher=Dependency("teacher"),
        ),
    ),
    seeds=(0, 1, 2, 3),
    validation=0.5,
    split_by_seed=True,
)
