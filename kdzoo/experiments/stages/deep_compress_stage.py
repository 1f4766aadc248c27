"""A trained model by Deep Compression, and its `.kdz` file."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo import losses, schemes
from kdzoo.distillation import distiller
from kdzoo.experiments import build_and_fit, kdz_file, optimizer_and_schedule
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.retrained_stage import Retrained
from kdzoo.experiments.stage import Dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import Training, check_dictionaries
from kdzoo.utils import check_positive_integer

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext

FILE = "model.kdz"


@register
@dataclasses.dataclass(frozen=True)
class DeepCompress(Retrained):
    """Compresses a trained model by `kdzoo.schemes.deep_compression`, and saves it as `.kdz`.

    The products are `"model"` and the file, `"model.kdz"`. In the row are `"bytes"`, those of the
    whole file, and what else `kdz_file.save` returns.

    Attributes:
        start: The stage whose model is compressed.
        training: The training of each round, in float32.
        sparsity: Path of a layer -> the fraction of zeros in its kernel.
        bits: Path of a layer -> the bits of an index into its codebook.
        rounds: How many times there is pruning and training.
        codebook_epochs: Epochs of the codebooks; None for those of a round.
        codebook_learning_rate: Their highest learning rate; None for that of `training`.
        teacher: The stage that teaches meanwhile, such as `start`; None for the labels alone.
        temperature: Of the soft targets, where a teacher teaches.
        student_loss_weight: Weight of the loss on labels, where a teacher teaches.
    """

    start: Dependency
    training: Training
    sparsity: dict[str, float] = dataclasses.field(kw_only=True)
    bits: dict[str, int] = dataclasses.field(kw_only=True)
    rounds: int = dataclasses.field(default=3, kw_only=True)
    codebook_epochs: int | None = dataclasses.field(default=None, kw_only=True)
    codebook_learning_rate: float | None = dataclasses.field(default=None, kw_only=True)
    teacher: Dependency | None = dataclasses.field(default=None, kw_only=True)
    temperature: float = dataclasses.field(default=4.0, kw_only=True)
    student_loss_weight: float = dataclasses.field(default=0.1, kw_only=True)

    @property
    def title(self) -> str:
        taught = ", taught" if self.teacher is not None else ""
        return f"zeros, codebooks and Huffman codes{taught}"

    @property
    def epochs(self) -> int:
        return self.training.epochs * self.rounds + self._of_codebooks.epochs

    @property
    def _of_codebooks(self) -> Training:
        """The training of the codebooks."""
        given = {"epochs": self.codebook_epochs, "learning_rate": self.codebook_learning_rate}
        changes: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        return dataclasses.replace(self.training, **changes)

    def check(self) -> None:
        super().check()
        check_dictionaries({"sparsity": self.sparsity, "bits": self.bits})
        check_positive_integer("rounds", self.rounds, 100)
        if self.codebook_epochs is not None:
            check_positive_integer("codebook_epochs", self.codebook_epochs)
        self._of_codebooks.check()
        if self.training.precision != "float32":
            raise ValueError(
                "Expected a training in float32, in which the weights are kept. Received: "
                f"precision={self.training.precision!r}"
            )

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        kdz_file.check_settings(model, self.sparsity, self.bits)
        if self.teacher is not None:
            distiller.Distiller(sources["teacher"], model, losses.SoftTargets(self.temperature))

    def smoke(self) -> "DeepCompress":
        return dataclasses.replace(
            self, training=self.training.smoke(), rounds=1, codebook_epochs=None
        )

    def run(self, context: "StageContext") -> Outcome:
        model = context.source("start")
        teacher = None if self.teacher is None else context.source("teacher")
        of_codebooks = optimizer_and_schedule.optimizer(self._of_codebooks, context.data)
        small, history = schemes.deep_compression(
            model,
            build_and_fit.batches(self.training, context),
            context.directory,
            sparsity=self.sparsity,
            bits=self.bits,
            epochs=self.training.epochs,
            rounds=self.rounds,
            codebook_epochs=self._of_codebooks.epochs,
            loss=build_and_fit.cross_entropy(),
            teacher=teacher,
            distillation_loss=losses.SoftTargets(self.temperature),
            student_loss_weight=self.student_loss_weight,
            optimizer=optimizer_and_schedule.optimizer(self.training, context.data),
            codebook_optimizer=of_codebooks,
            metrics=["accuracy"],
            **build_and_fit.options(context),
        )
        path = context.directory / FILE
        measured = {**measure(small, context.data), **kdz_file.save(small, path)}
        return Outcome({"model": small, FILE: path}, measured, history)
