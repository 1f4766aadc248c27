"""A pruned network trained from new weights: what its structure is worth without what it knew."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from kdzoo.experiments import build_and_fit, pruned_models
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.retrained_stage import Retrained
from kdzoo.experiments.stage import Dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import Training
from kdzoo.graph import acceleration, new_weights

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class TrainPruned(Retrained):
    """Trains a network of the structure of a pruned one on the labels, from new weights.

    Attributes:
        start: The stage that pruned, whose model has the structure.
        training: How it is trained.
    """

    start: Dependency
    training: Training

    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return f"{self.start.stage}, from new weights"

    def smoke(self) -> "TrainPruned":
        return dataclasses.replace(self, training=self.training.smoke())

    def run(self, context: "StageContext") -> Outcome:
        pruned, precision = context.source("start"), self.training.precision
        whole = build_and_fit.create(
            context.built, context.data, context.settled("precision", precision)
        )
        model = new_weights.with_new_weights(pruned, f"seed {context.seed}")
        model = pruned_models.computing_like(model, whole)
        acceleration.accelerate(model)
        batches = build_and_fit.batches(self.training, context)
        history = build_and_fit.fit(model, self.training, context, batches)
        unpruned = build_and_fit.create(context.built, context.data)
        made = pruned_models.computing_like(model, unpruned)
        costs = pruned_models.measured_costs(made, unpruned)
        return Outcome({"model": made}, {**measure(made, context.data), **costs}, history)
