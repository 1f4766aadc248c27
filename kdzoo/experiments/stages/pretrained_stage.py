"""A pretrained model of the zoo, which teaches as it is."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Built, Stage, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.experiments.training_settings import Training
from kdzoo.utils import check_text
from kdzoo.zoo import pretrained
from kdzoo.zoo.manifest import check_classes, find

if TYPE_CHECKING:
    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class Pretrained(Stage):
    """Takes a model from the zoo. It may have seen the images that are held out.

    Attributes:
        model: Its name, such as `"fitnet_mnist/mnist"`.
    """

    model: str

    trains: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return self.model

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        row = find(self.model)
        return row.architecture, row.arguments

    def check(self) -> None:
        super().check()
        check_text("model", self.model)
        find(self.model)

    def check_data(self, data: "Dataset") -> None:
        row = find(self.model)
        if row.input_shape != data.input_shape:
            raise ValueError(
                f"Expected a teacher for images of {data.input_shape}, as {data.name!r} has. "
                f"Received: teacher={row.name!r}, for {row.input_shape}"
            )
        check_classes(row, data, "teacher")

    def smoke(self) -> Stage:
        name, arguments = self.built_from({})
        return Train(self.name, name, Training(1), arguments, seeds=self.seeds)

    def run(self, context: "StageContext") -> Outcome:
        model = build_and_fit.copy_in(
            "float32", pretrained.load(self.model), context.built, context.data
        )
        return Outcome({"model": model}, measure(model, context.data), seconds=0.0)
