"""A fresh network, trained on the labels alone."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import errors_by_class, measure
from kdzoo.experiments.stage import Built, Stage, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import Training, check_dictionaries
from kdzoo.experiments.transfer_settings import Transfer
from kdzoo.graph import acceleration
from kdzoo.utils import check_text, shown
from kdzoo.zoo.registry import architecture

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class Train(Stage):
    """Trains a network on the labels: a teacher, or a student alone.

    Attributes:
        architecture: Name of the architecture.
        training: How it is trained.
        arguments: Further arguments of the builder.
        transfer: The samples that it trains on, where they are not all training images; its row
            then has the test errors of each class, too.
    """

    architecture: str
    training: Training
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    transfer: Transfer | None = dataclasses.field(default=None, kw_only=True)

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
        if self.transfer is not None:
            if not isinstance(self.transfer, Transfer):
                raise ValueError(f"Expected a Transfer. Received: transfer={shown(self.transfer)}")
            self.transfer.check()

    def check_data(self, data: "Dataset") -> None:
        if self.transfer is not None:
            self.transfer.check_data(data)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        if len(model.outputs) > 1:
            raise ValueError(
                f"Expected a network of one output, or a `TrainExits`. Received: {model.name!r} of "
                f"{len(model.outputs)} exits"
            )

    def smoke(self) -> "Train":
        transfer = self.transfer and self.transfer.smoke()
        return dataclasses.replace(self, training=self.training.smoke(), transfer=transfer)

    def run(self, context: "StageContext") -> Outcome:
        model = build_and_fit.create_seeded(
            context, context.settled("precision", self.training.precision)
        )
        history = self.fit(model, context)
        model = build_and_fit.finished(model, context)
        measured = {**measure(model, context.data), **self.by_class(model, context)}
        return Outcome({"model": model}, measured, history)

    def by_class(self, model: "keras.Model", context: "StageContext") -> dict[str, list[int]]:
        """Returns what the row says of the classes: nothing where it trains on all images."""
        if self.transfer is None:
            return {}
        return {"test_errors_by_class": errors_by_class(model, context.data)}

    def with_transfer(self, context: "StageContext") -> "StageContext":
        """Returns the context with the samples that are trained on."""
        if self.transfer is None:
            return context
        data = self.transfer.of(context.data, context.data_dir)
        return dataclasses.replace(context, data=data)

    @property
    def loss(self) -> "keras.losses.Loss":
        """The loss on labels."""
        return build_and_fit.cross_entropy(bool(self.transfer and self.transfer.has_unlabelled))

    def fit(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        """Trains a fresh model in place and returns its history.

        Args:
            model: The model, in the precision of the training.
            context: As in `run`.
        """
        acceleration.accelerate(model)
        context = self.with_transfer(context)
        batches = build_and_fit.batches(self.training, context)
        return build_and_fit.fit(model, self.training, context, batches, reuse=True, loss=self.loss)
