"""A sparse network that trains well from early weights, and the controls beside it."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo import compression, losses, schemes
from kdzoo.distillation import argument_checks, distiller
from kdzoo.experiments import build_and_fit, optimizer_and_schedule, several_models
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Dependency, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.utils import check_choice, check_fraction, check_positive_integer

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext

_CONTROLS = ("reinitialized", "random_ticket", "from_scratch")  # Schemes are not read for a list.


@register
@dataclasses.dataclass(frozen=True)
class LotteryTicket(Train):
    """Prunes a network in rounds by `kdzoo.schemes.lottery_ticket`.

    The product `"model"` is the ticket of the last round, `"dense"` the network that it was pruned
    of; controls are products of their names. In the row, `"round_test_accuracies"` is a list of
    those of the dense network and of all tickets, `"weights_left"` one of what fraction of the
    kernels' weights they have, and `"control_test_accuracies"` a dictionary by the controls' names.

    Attributes:
        rounds: How often is pruned, from 1 to 1000. The dense network is trained as `training`
            says.
        fraction: Of the weights that are left, how many go in each round, above 0 and below 1.
        output_fraction: The fraction in the layer of the logits; None for `fraction`.
        scope: `"layer"` or `"global"`.
        rewind_epoch: To which epoch weights go back, below those of the training.
        controls: Which controls are trained.
        teacher: The stage that teaches all of them; None for the labels alone.
        temperature: Divisor of the logits in the loss on the teacher's outputs, above 0.
        student_loss_weight: Weight of the loss on labels beside a teacher, between 0 and 1.
    """

    rounds: int = dataclasses.field(kw_only=True)
    fraction: float = dataclasses.field(default=0.2, kw_only=True)
    output_fraction: float | None = dataclasses.field(default=None, kw_only=True)
    scope: str = dataclasses.field(default="layer", kw_only=True)
    rewind_epoch: int = dataclasses.field(default=0, kw_only=True)
    controls: tuple[str, ...] = dataclasses.field(default=_CONTROLS, kw_only=True)
    teacher: Dependency | None = dataclasses.field(default=None, kw_only=True)
    temperature: float = dataclasses.field(default=4.0, kw_only=True)
    student_loss_weight: float = dataclasses.field(default=0.5, kw_only=True)

    @property
    def epochs(self) -> int:
        dense = self.training.epochs
        of_controls = schemes.lottery_rounds.epochs_of_controls(
            self.rounds, dense, self.rewind_epoch
        )
        tickets = self.rounds * (dense - self.rewind_epoch)
        return dense + tickets + sum(of_controls[control] for control in self.controls)

    def check(self) -> None:
        super().check()
        check_positive_integer("rounds", self.rounds, 1000)
        if not check_fraction("fraction", self.fraction):
            raise ValueError(f"Expected fraction to be above 0. Received: fraction={self.fraction}")
        if self.output_fraction is not None:
            check_fraction("output_fraction", self.output_fraction)
        check_choice("scope", self.scope, ("layer", "global"))
        schemes.lottery_rounds.check_epochs(self.training.epochs, self.rewind_epoch)
        schemes.lottery_rounds.check_controls(self.controls)
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        losses.base.check_positive("temperature", self.temperature)
        argument_checks.check_student_loss_weight(self.student_loss_weight)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        compression.magnitude_masks(model, output_fraction=self.output_fraction)
        if self.teacher is not None:
            distiller.Distiller(sources["teacher"], model, losses.SoftTargets())

    def smoke(self) -> "LotteryTicket":
        usual = dataclasses.replace(self, training=self.training.smoke(), rounds=1, rewind_epoch=0)
        transfer = self.transfer and self.transfer.smoke()
        return dataclasses.replace(usual, transfer=transfer)

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        teacher = None if self.teacher is None else context.source("teacher")
        context = self.with_transfer(context)
        data = context.data
        tickets, history = schemes.lottery_ticket(
            build_and_fit.create_seeded(context, precision),
            build_and_fit.batches(self.training, context),
            context.directory,
            rounds=self.rounds,
            epochs=self.training.epochs,
            loss=self.loss,
            fraction=self.fraction,
            output_fraction=self.output_fraction,
            scope=self.scope,  # type: ignore[arg-type]
            rewind_epoch=self.rewind_epoch,
            controls=self.controls,
            teacher=teacher,
            distillation_loss=losses.SoftTargets(self.temperature),
            student_loss_weight=self.student_loss_weight,
            optimizer=lambda epochs: optimizer_and_schedule.optimizer(self.training, data, epochs),
            metrics=["accuracy"],
            seed=context.seed,
            **build_and_fit.options(context),
        )
        return self._outcome(tickets, history, context)

    def _outcome(
        self, tickets: "schemes.LotteryTickets", history: dict[str, Any], context: "StageContext"
    ) -> Outcome:
        """What the stage leaves: of the rounds between the first and the last, what they reach."""
        trained = [*tickets.models, *tickets.controls.values()]
        built = [context.built] * len(trained)
        models = several_models.in_float32(trained, built, context)
        of_rounds, of_controls = models[: self.rounds + 1], models[self.rounds + 1 :]
        controls = dict(zip(tickets.controls, of_controls, strict=True))
        measured = [measure(model, context.data) for model in of_rounds]
        row = {
            **measured[-1],
            "round_test_accuracies": [part["test_accuracy"] for part in measured],
            "weights_left": tickets.weights_left,
            "control_test_accuracies": {
                name: measure(model, context.data)["test_accuracy"]
                for name, model in controls.items()
            },
        }
        products = {"model": of_rounds[-1], "dense": of_rounds[0], **controls}
        return Outcome(products, {**row, **self.by_class(of_rounds[-1], context)}, history)
