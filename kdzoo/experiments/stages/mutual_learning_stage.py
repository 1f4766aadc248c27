"""Peers that are trained at once and learn from each other; the first of them is delivered."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo import losses, schemes
from kdzoo.distillation import peer_checks
from kdzoo.experiments import build_and_fit, optimizer_and_schedule, several_models
from kdzoo.experiments.stage import Built, Dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.utils import check_choice, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class MutualLearning(Train):
    """Trains a network and its peers by `kdzoo.schemes.mutual_learning`.

    The product `"model"` is the network; its peers are `"peer-2"`, `"peer-3"` and so on, and
    `"test_accuracies"` in the row is a list of all. A peer that joins trained is in float32.

    Attributes:
        peers: The other peers: (architecture, arguments of the builder) of a fresh one, or the
            `Dependency` of a trained one that joins.
        update: As `mutual_learning` takes it.
        mutual_weight: Weight of the mean divergence, at least 0.
        temperature: Divisor of the logits in it, above 0.
    """

    peers: tuple[Any, ...] = dataclasses.field(kw_only=True)
    update: str = dataclasses.field(default="simultaneous", kw_only=True)
    mutual_weight: float = dataclasses.field(default=1.0, kw_only=True)
    temperature: float = dataclasses.field(default=1.0, kw_only=True)

    def check(self) -> None:
        super().check()
        if not isinstance(self.peers, tuple | list) or not self.peers:
            raise ValueError(
                "Expected peers as a tuple of (architecture, arguments) or a Dependency. Received: "
                f"peers={shown(self.peers)}"
            )
        for peer in self.peers:
            if not isinstance(peer, Dependency):
                several_models.check_built("peer", peer)
        check_choice("update", self.update, peer_checks.UPDATES)
        losses.base.check_weight("mutual_weight", self.mutual_weight)
        losses.base.check_positive("temperature", self.temperature)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        fresh = several_models.created_like(model, self._fresh)
        peer_checks.check_peers([model, *fresh, *sources.get("peers", ())])

    @property
    def _fresh(self) -> list[Built]:
        """The architectures and arguments of the peers that are not trained yet."""
        return [(peer[0], peer[1]) for peer in self.peers if not isinstance(peer, Dependency)]

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        # Before the seed is set, as a model that is loaded draws random numbers, too.
        trained = context.all_sources("peers") if "peers" in context.sources else []
        first = build_and_fit.create_seeded(context, precision)
        fresh = self._fresh
        others = [build_and_fit.create(built, context.data, precision) for built in fresh]
        # What is trained here is a copy: the others that depend on it get it as it was.
        joining = [several_models.copy(model) for model in trained]
        history = self._fit_all([first, *others, *joining], context)
        whole = several_models.in_float32([first, *others], [context.built, *fresh], context)
        models = [*whole, *joining]
        names = [f"peer-{number}" for number in range(2, len(models) + 1)]
        products, measured = several_models.products_of(models, names, context)
        return Outcome(products, {**measured, **self.by_class(whole[0], context)}, history)

    def _fit_all(self, peers: list["keras.Model"], context: "StageContext") -> dict[str, Any]:
        """Trains the peers in place and returns their history."""
        context = self.with_transfer(context)
        optimizers = [optimizer_and_schedule.optimizer(self.training, context.data) for _ in peers]
        _, history = schemes.mutual_learning(
            peers,
            build_and_fit.batches(self.training, context),
            context.directory,
            epochs=self.training.epochs,
            loss=self.loss,
            optimizer=optimizers,
            update=self.update,  # type: ignore[arg-type]
            mutual_weight=self.mutual_weight,
            temperature=self.temperature,
            metrics=["accuracy"],
            **build_and_fit.options(context),
        )
        return history
