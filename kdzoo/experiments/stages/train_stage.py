"""A fresh network, trained on the labels alone."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Built, Stage, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import Training, check_dictionaries
from kdzoo.graph import acceleration
from kdzoo.utils import check_text, shown
from kdzoo.zoo.registry import architecture

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class Train(Stage):
    """Trains a network on the labels: a teacher, or a student alone.

    Attributes:
        architecture: Name of the architecture.
        training: How it is trained.
        arguments: Further arguments of the builder.
    """

    architecture: str
    training: Training
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.architecture

    @property
    def epochs(self) -> int:
        return self.training.epochs

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        return self.architecture, self.arguments

    def check(self) -> None:
        super().check()
        check_text("architecture", self.architecture)
        architecture(self.architecture)
        check_dictionaries({"arguments": self.arguments})
        if not isinstance(self.training, Training):
            raise ValueError(f"Expected a Training. Received: training={shown(self.training)}")
        self.training.check()

    def smoke(self) -> "Train":
        return dataclasses.replace(self, training=self.training.smoke())

    def run(self, context: "StageContext") -> Outcome:
        model = build_and_fit.create_seeded(
            context, context.settled("precision", self.training.precision)
        )
        history = self.fit(model, context)
        model = build_and_fit.finished(model, context)
        return Outcome({"model": model}, measure(model, context.data), history)

    def fit(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        """Trains a fresh model in place and returns its history.

        Args:
            model: The model, in the precision of the training.
            context: As in `run`.
        """
        acceleration.accelerate(model)
        batches = build_and_fit.batches(self.training, context)
        return build_and_fit.fit(model, self.training, context, batches, reuse=True)
