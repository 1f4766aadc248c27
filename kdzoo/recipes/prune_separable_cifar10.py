"""What zeros cost: 50, 80 and 90 % of the weights pruned, with and without the teacher.

    kdzoo train prune_separable_cifar10

TF-MOT does not prune depthwise kernels and biases. 80 % are given a longer
training than the others: after 5 epochs the first seed was 3.1 points below the dense student on
the validation images. The dense student is not trained on.
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, retraining
from kdzoo.recipes import separable_cifar10

_START, _TEACHER = Dependency("distilled"), Dependency("teacher", 0)
_TRAININGS = {  # Fraction of zeros -> epochs, initial learning rate.
    0.5: (5, 2e-3),
    0.8: (12, 3e-3),
    0.9: (5, 2e-3),
}

RECIPE = Experiment(
    name="prune_separable_cifar10",
    data="cifar10",
    base=separable_cifar10.RECIPE,
    stages=(
        Compress("float32", _START),
        *(
            Compress(
                f"{round(100 * fraction)} % zeros{', taught' if teacher else ''}",
                _START,
                Compression(prune=fraction, training=retraining(epochs, rate)),
                teacher=teacher,
            )
            for fraction, (epochs, rate) in _TRAININGS.items()
            for teacher in (None, _TEACHER)
        ),
    ),
)
