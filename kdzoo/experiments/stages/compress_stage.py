"""A trained model made small, and its `.tflite` file."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import compress_and_retrain, keep_teacher_outputs, measure_compressed
from kdzoo.experiments.compression_settings import Compression
from kdzoo.experiments.stage import Built, Dependency, Stage, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import FLOAT32, PRECISIONS, SAID_OF_PRECISION
from kdzoo.utils import check_choice, check_positive_integer, shown

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext
    from kdzoo.teacher_cache.recorded_split import RecordedSplit


_NONE = Compression()


@register
@dataclasses.dataclass(frozen=True)
class Compress(Stage):
    """Makes a trained model small as a `Compression` says; measures its `.tflite` file.

    Where steps that change layers left some as they are, its row says so: `"left"` is a dictionary,
    name of the step -> path of the layer -> why.

    Attributes:
        start: The stage whose model is compressed.
        compression: What is done to it; nothing by default, so that the file is that of the model.
        teacher: The stage that teaches meanwhile; None for the labels alone.
        views: For how many augmented views of each image the teacher's outputs are recorded, at
            most; None for a teacher that predicts at every step.
        teacher_precision: The dtype policy that the teacher predicts in when they are recorded.
    """

    start: Dependency
    compression: Compression = _NONE
    teacher: Dependency | None = None
    views: int | None = None
    teacher_precision: str = dataclasses.field(default=FLOAT32, metadata=SAID_OF_PRECISION)

    @property
    def title(self) -> str:
        return self.compression.in_words(self.teacher is not None) or "float32"

    @property
    def epochs(self) -> int:
        return self.compression.training.epochs * sum(self.compression.trainings.values())

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        return sources["start"]

    def check(self) -> None:
        super().check()
        check_dependency("start", self.start)
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        if not isinstance(self.compression, Compression):
            raise ValueError(
                f"Expected a Compression. Received: compression={shown(self.compression)}"
            )
        self.compression.check()
        if self.views is not None:
            check_positive_integer("views", self.views)
        check_choice("teacher_precision", self.teacher_precision, PRECISIONS)

    def smoke(self) -> "Compress":
        training = self.compression.training.smoke()
        rounds = 1 if self.compression.scheme or self.compression.rounds else None
        compression = dataclasses.replace(self.compression, training=training, rounds=rounds)
        return dataclasses.replace(self, compression=compression, views=self.views and 1)

    def run(self, context: "StageContext") -> Outcome:
        model, compression, data = context.source("start"), self.compression, context.data
        history: dict[str, Any] = {}
        left: dict[str, Any] = {}
        if compression.steps:
            teaching: dict[str, Any] = {}
            if self.teacher is not None:
                teaching = {
                    "teacher": context.source("teacher"),
                    "recorded": self._recorded(context),
                }
            options = {name: context.options[name] for name in ("verbose", "callbacks")}
            model, history = compress_and_retrain.compress(
                model,
                compression,
                data,
                context.directory,
                **teaching,
                seed=context.seed,
                note_left=left.__setitem__,
                **options,
            )
        # How far the file agrees is measured on all test images, whatever comes out.
        file = context.directory / "model.tflite"
        measure_compressed.export(model, file, compression, data, min_agreement=0)
        measured: dict[str, Any] = measure_compressed.measure(file, model, data)
        if left:
            measured["left"] = left
        return Outcome({"model": model, "model.tflite": file}, measured, history)

    def _recorded(self, context: "StageContext") -> "RecordedSplit | None":
        """The training images with the teacher's recorded outputs; None without views."""
        if not self.views:
            return None
        training = self.compression.training
        epochs = training.epochs * max(self.compression.trainings.values())
        return keep_teacher_outputs.recorded_split(
            context, training, self.views, self.teacher_precision, epochs=epochs
        )
