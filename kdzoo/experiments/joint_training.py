"""What stages have in common that train several outputs of one network at once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import evaluation, losses
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Dependency, check_dependency
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


class JointTraining(Train):
    """A stage that trains several outputs by a learner of `kdzoo.dynamic`, or one of them alone.

    The fields are those of the stage types, which say what they mean.
    """

    teacher: Dependency | None
    temperature: float
    only: Any  # The output that is trained alone, as a plain model; None for all.

    has_architecture: ClassVar[bool] = False

    def _network(self, model: "keras.Model", precision: str, seed: int) -> "keras.Model":
        """Returns what is trained, of what the architecture builds.

        Args:
            model: What it builds, with initial weights.
            precision: The dtype policy of what is trained.
            seed: The seed of the stage.
        """
        raise NotImplementedError

    def _learner(
        self, model: "keras.Model", teacher: "keras.Model | None", seed: int
    ) -> "keras.Model":
        """Returns what trains all outputs.

        Args:
            model: What `_network` returned.
            teacher: What teaches all outputs, or None.
            seed: The seed of the stage.
        """
        raise NotImplementedError

    def _measure_all(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        """Returns what the row says of a network of all outputs, in float32.

        Args:
            model: The network.
            context: As in `run`.
        """
        raise NotImplementedError

    def _finish(self, model: "keras.Model", context: "StageContext") -> None:
        """Changes the trained network of all outputs, in float32, before it is measured.

        Args:
            model: The network.
            context: As in `run`.
        """

    def check(self) -> None:
        super().check()
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        losses.base.check_positive("temperature", self.temperature)

    def own_model(self, data: "Dataset") -> "keras.Model":
        built = build_and_fit.create((self.architecture, self.arguments), data)
        return self._network(built, "float32", 0)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        if self.only is None:
            self._learner(model, sources.get("teacher"), 0)

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        # Before the seed is set, as a model that is loaded draws random numbers, too.
        teacher = None if self.teacher is None else context.source("teacher")
        built = build_and_fit.create_seeded(context, precision)
        model = self._network(built, precision, context.seed)
        history = (
            self._fit_all(model, teacher, context)
            if self.only is None
            else self.fit(model, context)
        )
        whole = self.own_model(context.data)
        whole.set_weights(model.get_weights())
        if self.only is None:
            self._finish(whole, context)
            measured = self._measure_all(whole, context)
        else:
            macs = {"macs": evaluation.count_macs(whole)}
            measured = {**measure(whole, context.data), **macs, **self.by_class(whole, context)}
        return Outcome({"model": whole}, measured, history)

    def _fit_all(
        self, model: "keras.Model", teacher: "keras.Model | None", context: "StageContext"
    ) -> dict[str, Any]:
        """Trains all outputs of a fresh network in place and returns their history."""
        context = self.with_transfer(context)
        learner = self._learner(model, teacher, context.seed)
        batches = build_and_fit.batches(self.training, context)
        return build_and_fit.fit(
            learner, self.training, context, batches, reuse=True, loss=self.loss
        )
