"""A student of a teacher that ran elsewhere: its logits are in a file."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.experiments import build_and_fit
from kdzoo.experiments.stage import register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.experiments.training_settings import Training
from kdzoo.teacher_cache import logits_file
from kdzoo.utils import check_text, digest_of_file, shown
from kdzoo.utils.types import PathLike

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class DistillFromLogits(Distill):
    """Trains a student in a `Distiller` on the logits that a file has for each training image.

    The logits are those of the images as they are, so the images stay so.

    Attributes:
        teacher: None: no stage teaches.
        sha256: Of the file, which identifies it; `distill_from_logits` finds it out.
        logits: Where the file is, an `.npz` file of `paths` and `logits`; this is no part of the
            stage's identity.
    """

    teacher: Any = None
    sha256: str = dataclasses.field(kw_only=True)
    logits: str = dataclasses.field(kw_only=True, metadata={"identifies": False})

    def check_teacher(self) -> None:
        if self.teacher is not None or self.views is not None:
            raise ValueError(
                "Expected teacher=None and views=None beside the logits of a file. Received: "
                f"teacher={shown(self.teacher)}, views={shown(self.views)}"
            )
        if self.training.augmentation is not None:
            raise ValueError(
                "Expected augmentation=None, as the logits of a file are those of the images as "
                f"they are. Received: augmentation={shown(self.training.augmentation)}"
            )
        check_text("sha256", self.sha256)
        check_text("logits", self.logits)
        tapping = [loss.name for loss in self.make_losses()[0] if loss.teacher_layers]
        if tapping:
            raise ValueError(
                "Expected losses of logits alone, as a file has no more of its teacher. Received: "
                f"{tapping[0]!r}, which taps a layer"
            )

    def check_data(self, data: "Dataset") -> None:
        super().check_data(data)
        file = self._file()
        if file.classes != data.classes:
            raise ValueError(
                f"Expected logits of the {data.classes} classes of {data.name!r}. Received: "
                f"{self.logits}, of {file.classes}"
            )
        file.of(data.train)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        self.distiller(None, model)

    def run(self, context: "StageContext") -> Outcome:
        outcome = super().run(context)
        file, test = self._file(), context.data.test
        if not file.has(test):
            return outcome
        right = file.of(test).argmax(-1) == test.examples(slice(None))[1]
        measured = {**outcome.measured, "teacher_test_accuracy": float(np.mean(right))}
        return dataclasses.replace(outcome, measured=measured)

    def _batches(self, context: "StageContext") -> Callable[[int], Any]:
        more: dict[str, Any] = {"indices": True} if self._needs_indices else {}
        outputs = self._file().of(context.data.train)
        return build_and_fit.batches(self.training, context, teacher_outputs=outputs, **more)

    def _file(self) -> "logits_file.LogitsFile":
        if digest_of_file(self.logits) != self.sha256:
            raise ValueError(
                f"Expected {self.logits} with the SHA-256 {self.sha256[:12]}.... Received: another "
                "file there"
            )
        return logits_file.LogitsFile(self.logits)


def distill_from_logits(
    name: str, architecture: str, training: Training, path: PathLike
) -> DistillFromLogits:
    """Returns the stage of a student that learns from the logits in a file.

    Args:
        name: Names the stage.
        architecture: Name of the student's architecture.
        training: How it is trained.
        path: The `.npz` file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    sha256 = digest_of_file(path)
    return DistillFromLogits(name, architecture, training, sha256=sha256, logits=os.fspath(path))
