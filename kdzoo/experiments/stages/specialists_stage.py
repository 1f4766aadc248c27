"""A generalist and specialists for the classes that it confuses, as one model."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import schemes
from kdzoo.experiments import optimizer_and_schedule, several_models
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Built, Dependency, Stage, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import FLOAT32, Training
from kdzoo.utils import check_positive_integer, shown

if TYPE_CHECKING:
    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class Specialists(Stage):
    """Trains specialists by `kdzoo.schemes.specialists`.

    The product `"model"` is the `SpecialistEnsemble`. Its row says which classes each specialist
    has. Each is validated on the held-out samples, if the experiment has any; there must then be
    some of its classes and of others among them, or none at all, by `validation=0`.

    Attributes:
        generalist: The stage whose model is specialized.
        training: How each specialist is trained, in float32. An epoch has twice as many samples as
            the larger one of two parts of the data set: those of its classes, and all others. The
            learning rate of each falls to zero at its own end.
        clusters: Number of clusters of classes that are looked for; None where `classes` are given.
        classes: The classes of each specialist.
        most_probable: By how many of the generalist's most probable classes specialists are chosen.
    """

    generalist: Dependency
    training: Training
    clusters: int | None = None
    classes: tuple[tuple[int, ...], ...] = ()
    most_probable: int = 1

    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return f"{self.clusters or len(self.classes)} specialists"

    @property
    def epochs(self) -> int:
        return self.training.epochs * (self.clusters or len(self.classes))

    def built_from(self, sources: Mapping[str, Any]) -> Built:
        return sources["generalist"]

    def check(self) -> None:
        super().check()
        check_dependency("generalist", self.generalist)
        if not isinstance(self.training, Training):
            raise ValueError(f"Expected a Training. Received: training={shown(self.training)}")
        self.training.check()
        if self.training.precision != FLOAT32:
            raise ValueError(
                "Expected a training of specialists in float32, as the generalist is. Received: "
                f"precision={self.training.precision!r}"
            )
        is_list = isinstance(self.classes, tuple | list)
        if not is_list or (self.clusters is None) != bool(self.classes):
            raise ValueError(
                "Expected a number of clusters or the classes of each specialist. Received: "
                f"clusters={shown(self.clusters)}, classes={shown(self.classes)}"
            )
        if self.clusters is not None:
            check_positive_integer("clusters", self.clusters)
        check_positive_integer("most_probable", self.most_probable)

    def check_data(self, data: "Dataset") -> None:
        if self.classes:
            several_models.check_classes(self.classes, data.classes)
        if max(self.clusters or 0, self.most_probable) > data.classes:
            raise ValueError(
                f"Expected at most {data.classes} clusters and most probable classes. Received: "
                f"clusters={self.clusters}, most_probable={self.most_probable}"
            )

    def smoke(self) -> "Specialists":
        return dataclasses.replace(self, training=self.training.smoke(), clusters=2, classes=())

    def run(self, context: "StageContext") -> Outcome:
        training, data = self.training, context.data
        options = {name: context.options[name] for name in ("settings", "callbacks", "verbose")}
        model, history = schemes.specialists(
            context.source("generalist"),
            data.train,
            context.directory,
            clusters=self.clusters,
            classes=self.classes or None,
            epochs=training.epochs,
            optimizer=functools.partial(optimizer_and_schedule.optimizer_of, training),
            batch_size=training.batch_size,
            augmentation=training.augmentation_for(data.name),
            most_probable=self.most_probable,
            metrics=["accuracy"],
            validation_data=data.validation,
            seed=context.seed,
            **options,
        )
        measured = {**measure(model, data), "specialist_classes": model.classes}
        return Outcome({"model": model}, measured, history)
