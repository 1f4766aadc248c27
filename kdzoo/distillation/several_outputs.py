"""What learners of several outputs of the same labels share: one loss, metrics and logs of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.copies import check_metrics, new_metrics
from kdzoo.distillation.loss_names import means, track
from kdzoo.graph.outputs import OutputType, told_output_types, type_of_loss
from kdzoo.utils import shown
from kdzoo.utils.types import Tensor


class SeveralOutputs(keras.Model):
    """A model whose outputs have names, and each its loss on the same labels and its metrics.

    `MutualLearner` and the learners of `kdzoo.dynamic` are the classes to use.
    """

    _names: list[str]  # Of the outputs.
    _trackers: dict[str, keras.metrics.Mean]
    _output_type: OutputType | None = None  # What the labels tell that the outputs mean.

    def _name_outputs(self, names: Sequence[str], losses: Sequence[str]) -> None:
        """Gives the outputs names, and lets the logs show `NAME_LOSS` of each.

        Args:
            names: The names of the outputs.
            losses: What comes after them in the names of the losses.
        """
        self._names = list(names)
        self._trackers = means([f"{name}_{loss}" for name in names for loss in losses])

    def _read_loss(self, loss: Any, models: Sequence[keras.Model], what: str) -> None:
        """Raises unless this is one loss, and notes what it or the models tell of the outputs.

        Args:
            loss: The loss of each output on the labels.
            models: The models that give the outputs.
            what: What the outputs are of, for the error.
        """
        if loss is None or isinstance(loss, list | tuple | dict):
            raise ValueError(
                f"Expected `loss`, one loss on the labels for all {what}. Received: "
                f"loss={shown(loss)}"
            )
        argument_checks.check_student_loss(loss)
        told = [types[0] for types in map(told_output_types, models) if types]
        known = (type_of_loss(loss), *told)
        self._output_type = next((type_ for type_ in known if type_ is not None), None)

    def _metrics_by_name(
        self, metrics: Sequence[Any], settings: dict[str, Any]
    ) -> dict[str, dict[str, list[Any]] | None]:
        """New metrics for each output, by its name: `metrics` and `weighted_metrics` of `compile`.

        Args:
            metrics: Those that weights do not reach.
            settings: Further arguments of `compile`, of which the weighted ones are taken.
        """
        found = {"metrics": metrics, "weighted_metrics": settings.pop("weighted_metrics", None)}
        found = {name: () if given is None else given for name, given in found.items()}
        for name, given in found.items():
            check_metrics(given, name)
        return {
            name: {output: new_metrics(given) for output in self._names} if given else None
            for name, given in found.items()
        }

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Mapping[str, Tensor], sample_weight: Any = None
    ) -> dict[str, Any]:
        weights = None if sample_weight is None else dict.fromkeys(self._names, sample_weight)
        return super().compute_metrics(x, dict.fromkeys(self._names, y), y_pred, weights)

    def _track(self, name: str, value: Tensor, outputs: Any) -> None:
        track(self._trackers, name, value, outputs)
