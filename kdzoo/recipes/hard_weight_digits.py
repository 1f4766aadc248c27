"""How much the labels should weigh beside the soft targets, on the demo's digits.

    kdzoo train hard_weight_digits

The student of the demo with `student_loss_weight` 0, 0.1, 0.3, 0.5 (the default of a `Distiller`)
and 0.9, each on the same splits, with the same teachers. Minutes on two cores.
"""

import dataclasses

from kdzoo.experiments import Distill
from kdzoo.recipes import digits

_TEACHER, _ALONE, _DISTILLED = digits.RECIPE.stages
WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.9)


def _weighted(weight: float) -> Distill:
    assert isinstance(_DISTILLED, Distill)
    return dataclasses.replace(_DISTILLED, name=f"weight {weight:g}", student_loss_weight=weight)


RECIPE = dataclasses.replace(
    digits.RECIPE,
    name="hard_weight_digits",
    stages=(_TEACHER, _ALONE, *map(_weighted, WEIGHTS)),
    seeds=tuple(range(10)),
)
