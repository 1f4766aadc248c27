"""LeNet-300-100 in a quarter of its parameters and less, by truncated singular values, on MNIST.

    kdzoo train low_rank_lenet

The network of the zoo, factorized and trained on, with the unfactorized one as its teacher and by
the labels alone.
"""

from kdzoo.experiments import Dependency, Experiment, Factorize, Pretrained, retraining

_START = Dependency("unfactorized", 0)
_TRAINING = retraining(15, 2e-3, precision="auto")


def _factorized(
    name: str, ratio: float, taught: bool, seeds: tuple[int, ...] | None = None
) -> Factorize:
    """A smaller network, of a fraction of the parameters."""
    return Factorize(
        name,
        _START,
        ratio,
        training=_TRAINING,
        teacher=_START if taught else None,
        views=10 if taught else None,
        teacher_precision="auto" if taught else "float32",
        seeds=seeds,
    )


RECIPE = Experiment(
    name="low_rank_lenet",
    data="mnist",
    stages=(
        Pretrained("unfactorized", "lenet_300_100/mnist", seeds=(0,)),
        *(_factorized(f"{ratio:.3g} of it", ratio, True, (0,)) for ratio in (0.5, 0.125, 0.0625)),
        _factorized("0.25 of it", 0.25, True),
        _factorized("0.25 of it, by labels", 0.25, False),
    ),
    validation=0,
    smoke_settings={
        "stages": ("unfactorized", "0.5 of it", "0.25 of it, by labels"),
    },
)
