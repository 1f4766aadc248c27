"""Several finished models as one, measured: their ensemble."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kdzoo.experiments import several_models
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import (
    Built,
    Dependencies,
    Dependency,
    Stage,
    as_tuple,
    check_dependency,
    register,
)
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.utils import shown

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class EnsembleOf(Stage):
    """Averages finished models; the product `"model"` is a `kdzoo.Ensemble`.

    A student of an ensemble is a `Distill` whose `teacher` is the members: their outputs are then
    recorded one after another, and shared with students of one of them.

    Attributes:
        members: The stages whose models are averaged, a tuple, or all seeds of one,
            `Dependency("member", "all")`.
        average: As in `kdzoo.Ensemble`.
    """

    members: Dependencies
    average: Literal["logits", "probabilities"] = "logits"

    trains: ClassVar[bool] = False
    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return "ensemble"

    def built_from(self, sources: Mapping[str, Any]) -> Built:
        # A member stands for the ensemble where models are only checked: its outputs are alike.
        found = sources["members"]
        return found if isinstance(self.members, Dependency) else found[0]

    def check(self) -> None:
        super().check()
        if not isinstance(self.members, Dependency | tuple | list) or not self.members:
            raise ValueError(
                "Expected members as a tuple of Dependency, or a Dependency on all seeds. "
                f"Received: members={shown(self.members)}"
            )
        for member in as_tuple(self.members):
            check_dependency("members", member)
        several_models.check_average(self.average)

    def run(self, context: "StageContext") -> Outcome:
        model = several_models.Ensemble(context.all_sources("members"), self.average)
        return Outcome({"model": model}, measure(model, context.data))
