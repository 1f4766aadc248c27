"""A fresh network, trained on the labels alone."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import loaded
from kdzoo.experiments.stage import Built, Outcome, Stage, register
from kdzoo.experiments.training import Training, check_dictionaries
from kdzoo.utils import check_text, shown
from kdzoo.zoo.registry import architecture

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.work import Work


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
        """Name of the architecture."""
        return self.architecture

    @property
    def epochs(self) -> int:
        """The epochs of the training."""
        return self.training.epochs

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        """Returns the architecture's name and the builder's arguments."""
        return self.architecture, self.arguments

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        super().check()
        check_text("architecture", self.architecture)
        architecture(self.architecture)
        check_dictionaries({"arguments": self.arguments})
        if not isinstance(self.training, Training):
            raise ValueError(f"Expected a Training. Received: training={shown(self.training)}")
        self.training.check()

    def smoke(self) -> "Train":
        """Returns the same stage, trained for one epoch."""
        return dataclasses.replace(self, training=self.training.smoke())

    def run(self, work: "Work") -> Outcome:
        """Trains the network; its model is in float32."""
        return loaded.fitting.run(self.training.precision, self.fit, work)

    def fit(self, model: "keras.Model", work: "Work") -> dict[str, Any]:
        """Trains a fresh model in place and returns its history.

        Args:
            model: The model, in the precision of the training.
            work: As in `run`.
        """
        return loaded.fitting.train_alone(model, self.training, work)
