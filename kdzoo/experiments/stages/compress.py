"""A trained model made small, and its `.tflite` file."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdzoo.experiments import loaded
from kdzoo.experiments.compression import Compression
from kdzoo.experiments.stage import Built, Dependency, Outcome, Stage, register
from kdzoo.experiments.training import PRECISIONS
from kdzoo.utils import check_choice, check_positive_integer, shown

if TYPE_CHECKING:
    from kdzoo.experiments.work import Work


_NONE = Compression()


@register
@dataclasses.dataclass(frozen=True)
class Compress(Stage):
    """Prunes, clusters and quantizes a trained model; measures its `.tflite` file.

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
    teacher_precision: str = "float32"

    @property
    def title(self) -> str:
        """What is done to the model."""
        return self.compression.in_words(self.teacher is not None) or "float32"

    @property
    def epochs(self) -> int:
        """The epochs of all trainings after steps of the compression."""
        return self.compression.training.epochs * len(self.compression.steps)

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        """Returns the architecture's name and the builder's arguments: those of the start."""
        return sources["start"]

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        super().check()
        if not isinstance(self.compression, Compression):
            raise ValueError(
                f"Expected a Compression. Received: compression={shown(self.compression)}"
            )
        self.compression.check()
        if self.views is not None:
            check_positive_integer("views", self.views)
        check_choice("teacher_precision", self.teacher_precision, PRECISIONS)

    def smoke(self) -> "Compress":
        """Returns the same stage, with one epoch in each of its trainings."""
        training = dataclasses.replace(self.compression.training, epochs=1)
        compression = dataclasses.replace(self.compression, training=training)
        return dataclasses.replace(self, compression=compression, views=self.views and 1)

    def run(self, work: "Work") -> Outcome:
        """Compresses the model and writes its file."""
        return loaded.compressing.run(self, work)
