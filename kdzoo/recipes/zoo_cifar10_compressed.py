"""The zoo's separable students on CIFAR-10 made small: int8, and 80 % of the weights zero.

    kdzoo train zoo_cifar10_025_compressed

Their teacher teaches them again, from the one student that each width has. Three seeds where
making one takes less than half an hour on two cores, else one.
"""

from typing import Any

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, retraining
from kdzoo.recipes import zoo_cifar10

_TEACHING: dict[str, Any] = {"teacher": Dependency("teacher", 0), **zoo_cifar10.TEACHING}
_INT8 = Compression(quantize="qat", training=retraining(3, 3e-4))
_SPARSE = Compression(prune=0.8, training=retraining(12, 3e-3))


def _compressed(width: str) -> Experiment:
    """The recipe of the separable network of a width."""
    start = Dependency(f"separable_{width}, distilled", 0)
    seeds = None if width == "025" else (0,)
    return Experiment(
        name=f"zoo_cifar10_{width}_compressed",
        data="cifar10",
        base=zoo_cifar10.RECIPE,
        stages=(
            Compress("float32", start, seeds=(0,)),
            Compress("int8", start, _INT8, **_TEACHING),
            Compress("80 % zeros", start, _SPARSE, **_TEACHING, seeds=seeds),
        ),
        validation=0,
    )


RECIPES = {recipe.name: recipe for recipe in map(_compressed, ("025", "050", "100"))}
