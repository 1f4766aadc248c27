"""A student that first learns a hidden layer of its teacher: FitNets' two stages."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import loaded
from kdzoo.experiments.stage import register
from kdzoo.experiments.stages.distill import Distill
from kdzoo.utils import check_positive_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.work import Work


@register
@dataclasses.dataclass(frozen=True)
class HintTraining(Distill):
    """Trains a student by `kdzoo.schemes.hint_training`.

    Attributes:
        hints: (hint layer, guided layer, epochs) of the first of the two trainings, whose epochs
            come on top of those of `training`. The second learns from the one loss in `losses`.
    """

    hints: tuple[str, str, int] = dataclasses.field(kw_only=True)

    @property
    def epochs(self) -> int:
        """The epochs of both trainings."""
        return self.hints[2] + self.training.epochs

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        super().check()
        if len(self.losses) != 1:
            raise ValueError(
                "Expected one loss for a student that is taught by hints: the soft targets of the "
                f"second stage. Received: losses={shown(self.losses)}"
            )
        if self.views is not None:
            raise ValueError(
                "Expected no views for a student that is taught by hints, whose teacher predicts "
                f"at every step. Received: views={self.views}"
            )
        if not isinstance(self.hints, tuple | list) or len(self.hints) != 3:
            raise ValueError(
                "Expected hints as (hint layer, guided layer, epochs). Received: "
                f"hints={shown(self.hints)}"
            )
        check_positive_integer("hints[2], epochs,", self.hints[2])

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        """Raises `ValueError` unless losses and hints suit the teacher and the student."""
        super().check_models(model, sources)
        loaded.fitting.check_hints(sources["teacher"], model, self)

    def smoke(self) -> "HintTraining":
        """Returns the same stage, trained for one epoch in each of its two trainings."""
        return dataclasses.replace(self, training=self.training.smoke(), hints=(*self.hints[:2], 1))

    def fit(self, model: "keras.Model", work: "Work") -> dict[str, Any]:
        """Trains a fresh student in place and returns its history."""
        return loaded.fitting.train_by_hints(model, self, work)
