"""A student that learns with binary weights, from labels and a teacher."""

import dataclasses
from typing import TYPE_CHECKING

from kdzoo.experiments import binary_training
from kdzoo.experiments.stage import register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.utils import check_choice, check_flag
from kdzoo.utils.compression_arguments import BINARIZATIONS, Binarization

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class DistillBinary(Distill):
    """Trains a student with binary weights in a `Distiller`.

    Its model has plain layers with the signs for kernels, by `"stochastic"` with the real-valued
    weights; the row says the errors of both, and how small the file of the signs is.

    Attributes:
        method: How weights become binary.
        sign_activations: Whether activations become signs, too.
    """

    method: Binarization = dataclasses.field(default="deterministic", kw_only=True)
    sign_activations: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def title(self) -> str:
        return f"{self.architecture}, {self.method} binary weights"

    def check(self) -> None:
        super().check()
        check_choice("method", self.method, BINARIZATIONS)
        check_flag("sign_activations", self.sign_activations)

    def run(self, context: "StageContext") -> Outcome:
        return binary_training.run(self, context)
