"""A trained network, its layers cut to a low rank, and trained on."""

import dataclasses
from typing import TYPE_CHECKING, Any

import keras

from kdzoo import compression, evaluation
from kdzoo.experiments.compression_settings import retraining
from kdzoo.experiments.measure_model import measure, test_arrays
from kdzoo.experiments.retrained_stage import Retrained
from kdzoo.experiments.stage import Dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.distill_stage import Distill, soft_targets
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.experiments.training_settings import FLOAT32, SAID_OF_PRECISION, Training
from kdzoo.utils import check_choice
from kdzoo.utils.compression_arguments import (
    LOW_RANK_METHODS,
    LowRankMethod,
    check_low_rank_amount,
)

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext
    from kdzoo.graph.layer_chains import LowRankReport

_TRAINING = retraining()


@register
@dataclasses.dataclass(frozen=True)
class Factorize(Retrained):
    """Cuts the layers of a trained model to a low rank by `kdzoo.compression.factorize`.

    Attributes:
        start: The stage whose model is made smaller.
        ratio: The fraction of its parameters that remain at most; None where `energy` is given.
        energy: The fraction of each kernel's sum of squares that is kept at least.
        method: How convolutions are split.
        training: The training after it.
        teacher: The stage that teaches meanwhile; None for the labels alone.
        temperature: Of the soft targets, where a teacher teaches.
        student_loss_weight: Weight of the loss on labels, where a teacher teaches.
        views: For how many augmented views of each image the teacher's outputs are recorded; None
            for a teacher that predicts at every step.
        teacher_precision: The dtype policy that the teacher predicts in.
    """

    start: Dependency
    ratio: float | None = None
    energy: float | None = None
    method: LowRankMethod = "auto"
    training: Training = _TRAINING
    teacher: Dependency | None = None
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    views: int | None = None
    teacher_precision: str = dataclasses.field(default=FLOAT32, metadata=SAID_OF_PRECISION)

    @property
    def title(self) -> str:
        amount = f"energy {self.energy}" if self.ratio is None else f"{self.ratio:.0%} of it"
        return f"low rank, {amount}"

    def check(self) -> None:
        super().check()
        check_low_rank_amount(
            {"rank": None, "energy": self.energy, "ratio": self.ratio, "accuracy": None}
        )
        check_choice("method", self.method, LOW_RANK_METHODS)
        taught = dataclasses.replace(self, teacher=self.start)
        taught._trained("lenet_5").check()  # Any architecture: the settings are checked.

    def smoke(self) -> "Factorize":
        training = self.training.smoke()
        return dataclasses.replace(self, training=training, views=self.views and 1)

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        trained, report = self._factorized(context, precision)
        model, _ = self._factorized(context, FLOAT32)
        untrained = evaluation.accuracy(model, *test_arrays(context.data))
        keras.utils.set_random_seed(context.seed)
        history = self._trained(context.built[0]).fit(trained, context)
        model.set_weights(trained.get_weights())
        measured = {**measure(model, context.data), "untrained_test_accuracy": untrained}
        return Outcome({"model": model}, {**measured, **_counts(report)}, history)

    def _factorized(self, context: "StageContext", precision: str) -> Any:
        model = context.source("start", precision)
        return compression.factorize(
            model, ratio=self.ratio, energy=self.energy, method=self.method
        )

    def _trained(self, architecture: str) -> Train:
        """The stage that trains a model as this one is trained."""
        if self.teacher is None:
            return Train(self.name, architecture, self.training)
        return Distill(
            self.name,
            architecture,
            self.training,
            losses=soft_targets(self.temperature),
            student_loss_weight=self.student_loss_weight,
            teacher=self.teacher,
            views=self.views,
            teacher_precision=self.teacher_precision,
        )


def _counts(report: "LowRankReport") -> dict[str, Any]:
    """What the row says of the parameters: of the model, and of the kernels that were replaced."""
    rows = report.layers
    return {
        "start_parameters": report.parameters_before,
        "kernel_parameters_before": sum(row.parameters_before for row in rows),
        "kernel_parameters_predicted": sum(row.parameters_predicted for row in rows),
        "kernel_parameters_after": sum(row.parameters_after for row in rows),
        "ranks": {row.path: [row.method, row.rank] for row in rows},
    }
