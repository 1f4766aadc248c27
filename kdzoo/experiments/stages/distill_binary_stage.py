"""A student that learns with binary weights, from labels and a teacher."""

import dataclasses

from kdzoo.experiments.stage import register
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.experiments.stages.train_binary_stage import TrainBinary


@register
@dataclasses.dataclass(frozen=True)
class DistillBinary(TrainBinary, Distill):
    """Trains a student with binary weights in a `Distiller`.

    Its model has plain layers with the signs for kernels, by `"stochastic"` with the real-valued
    weights; the row says the errors of both, and how small the file of the signs is.

    Attributes:
        method: How weights become binary.
        sign_activations: Whether activations become signs, too.
    """
