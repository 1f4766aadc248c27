"""A student whose class biases are corrected after its training."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kdzoo import schemes
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import errors_by_class, measure, test_arrays
from kdzoo.experiments.stage import Built, Dependency, Stage, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.utils import is_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext

_OFFSETS = np.arange(-200, 201) / 10  # That are tried on the test images.


@register
@dataclasses.dataclass(frozen=True)
class CalibrateBiases(Stage):
    """Corrects the class biases of a finished model, by `kdzoo.calibrate_biases`.

    The offsets are found by the held-out images, without their labels, for classes that are all as
    frequent; or, as in Hinton et al. 2015, one offset of some classes by the test errors. Such a
    row says of itself that its number was chosen on the test images.

    Attributes:
        start: The stage whose model is corrected.
        classes: The only classes whose biases are found by the held-out images, one tenth of which
            each is to have where there are ten classes; empty for all.
        classes_by_test_errors: The classes whose biases get one offset, a multiple of 0.1 between
            -20 and 20: that with the fewest test errors. Empty to go by the held-out images.
    """

    start: Dependency
    classes_by_test_errors: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()

    trains: ClassVar[bool] = False

    @property
    def title(self) -> str:
        how = "the test errors" if self.classes_by_test_errors else "held-out images"
        whose = f"biases of {', '.join(map(str, self.classes))}" if self.classes else "biases"
        return f"{whose} by {how}"

    def built_from(self, sources: Mapping[str, Any]) -> Built:
        return sources["start"]

    def check(self) -> None:
        super().check()
        check_dependency("start", self.start)
        for field in ("classes", "classes_by_test_errors"):
            labels = getattr(self, field)
            if not isinstance(labels, tuple | list) or not all(
                is_integer(label, least=0) for label in labels
            ):
                raise ValueError(
                    f"Expected {field} as a tuple of classes. Received: {field}={shown(labels)}"
                )
        if self.classes and self.classes_by_test_errors:
            raise ValueError(
                "Expected classes or classes_by_test_errors. Received: both, "
                f"classes={self.classes}, classes_by_test_errors={self.classes_by_test_errors}"
            )

    def check_data(self, data: "Dataset") -> None:
        for field in ("classes", "classes_by_test_errors"):
            labels = getattr(self, field)
            if any(label >= data.classes for label in labels):
                raise ValueError(
                    f"Expected classes below {data.classes}. Received: {field}={labels}"
                )
        if len(self.classes) == data.classes:
            raise ValueError(
                f"Expected fewer than {data.classes} classes, or none for all. Received: "
                f"classes={self.classes}"
            )
        if data.validation is None and not self.classes_by_test_errors:
            raise ValueError("Expected held-out images to find biases by. Received: validation=0")

    def run(self, context: "StageContext") -> Outcome:
        model, data = context.source("start"), context.data
        if self.classes_by_test_errors:
            offset = _best_offset(model, data, self.classes_by_test_errors)
            offsets = dict.fromkeys(self.classes_by_test_errors, offset)
            given: dict[str, Any] = {"images": test_arrays(data)[0], "offsets": offsets}
        else:
            given = {"images": data.validation, "classes": self.classes or None}
        corrected, report = schemes.calibrate_biases(model, **given)
        # The layer has a bias now, whether it had one or not.
        final = build_and_fit.copy_in("float32", corrected, context.built, data)
        measured = {
            **measure(final, data),
            "test_errors_by_class": errors_by_class(final, data),
            "offsets": [round(float(offset), 6) for offset in report.offsets],
            "mean_prediction_before": [round(float(part), 6) for part in report.before],
            "mean_prediction": [round(float(part), 6) for part in report.after],
            "chosen_by": "test errors" if self.classes_by_test_errors else "held-out images",
        }
        return Outcome({"model": final}, measured)


def _best_offset(model: "keras.Model", data: "Dataset", classes: tuple[int, ...]) -> float:
    """The offset of some classes that leaves the fewest test errors; of several the middle one."""
    images, labels = test_arrays(data)
    logits = model.predict(images, batch_size=500, verbose=0)
    shift = np.isin(np.arange(logits.shape[-1]), list(classes))
    errors = np.array(
        [np.sum((logits + offset * shift).argmax(-1) != labels) for offset in _OFFSETS]
    )
    best = np.flatnonzero(errors == errors.min())
    return float(_OFFSETS[best[len(best) // 2]])
