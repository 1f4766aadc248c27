"""What filter pruning in steps is made of: how channels go, who teaches, and the models."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.group_sparsity import regularize_groups
from kdzoo.compression.filter_pruning.measured_latency import MeasuredLatency, check_latency
from kdzoo.compression.filter_pruning.plan import PruningPlan
from kdzoo.compression.filter_pruning.prune import scored_plan
from kdzoo.compression.filter_pruning.prune_arguments import check_ignored_layers
from kdzoo.graph.surgery import rebuild
from kdzoo.schemes.scheme_settings import Compiling, Teaching, describe
from kdzoo.schemes.scheme_stages import SchemeStage
from kdzoo.utils import check_positive_integer, write_bytes


@dataclasses.dataclass(frozen=True)
class PruningSteps:
    """How channels are chosen at each step.

    Attributes:
        unpruned: The model that is pruned; it is not changed.
        target: Name of the target, as `prune_filters` takes it.
        amount: Its value at the end.
        steps: How many steps there are.
        importance: As `prune_filters` takes it.
        scope: As `prune_filters` takes it.
        round_to: As `prune_filters` takes it.
        ignored_layers: Paths of layers of which nothing may change.
        data: For criteria that need samples.
        loss: For the criterion that needs gradients.
        seed: For the criterion that is random.
    """

    unpruned: keras.Model
    target: str
    amount: float
    steps: int
    importance: Any
    scope: Any
    round_to: int
    ignored_layers: tuple[str, ...]
    data: Any
    loss: Any
    seed: int

    def check(self) -> None:
        """Raises unless the unpruned model can be pruned so, and to the target if that is known."""
        check_latency(self.target, self.unpruned)
        round_to = check_positive_integer("round_to", self.round_to, most=1 << 16)
        plan = self._scored(self.unpruned)
        if self.target.startswith("target_latency"):  # It is measured at each step.
            plan.choose_all(self.scope, round_to)
        else:
            plan.choose(self.target, self.amount, self.scope, round_to)
        plan.check_some_go(self.target, self.amount, round_to)

    def described(self) -> dict[str, Any]:
        """Returns what of it identifies a run, JSON-able."""
        return {
            "target": [self.target, self.amount, self.steps],
            "importance": [describe(self.importance), self.scope, int(self.round_to)],
            "ignored_layers": list(self.ignored_layers),
            "seed": self.seed,
        }

    def plan(self, model: keras.Model, step: int) -> PruningPlan | None:
        """Returns what a step takes from a model; None if that costs little enough already.

        Args:
            model: What the step before left.
            step: Number of the step, from 1.
        """
        plan, part = self._scored(model), step / self.steps
        if self.target == "ratio":
            amount = self._ratio(plan, self.amount * part)
        elif self.target.startswith("target_latency"):
            amount = self._latency(model, step)
        else:
            unpruned = PruningPlan(self.unpruned, ()).costs
            falls = unpruned.whole(self.target) / plan.costs.whole(self.target)
            amount = (1 - (1 - self.amount) * part) * falls
            amount = amount if amount < 1 else None
        if amount is None:
            return None
        plan.choose(self.target, amount, self.scope, self.round_to, self.unpruned)
        return None if plan.all_stay else plan

    def _scored(self, model):
        by = (self.importance, self.scope, self.ignored_layers, self.data, self.loss, self.seed)
        return scored_plan(model, *by)

    def _ratio(self, plan, ratio):
        """The ratio of what is left that makes a ratio of all there were; None if that is done."""
        now = {layers: count for layers, count in plan.free.items() if count}
        ignored = check_ignored_layers(self.unpruned, self.ignored_layers)
        unpruned = PruningPlan(self.unpruned, ignored).free
        whole = sum(unpruned.get(layers, count) for layers, count in now.items())
        left = whole * (1 - ratio) / max(sum(now.values()), 1)
        return 1 - left if left < 1 else None

    def _latency(self, model, step):
        """The target of latency of a step; None if it is reached."""
        with MeasuredLatency(self.unpruned) as measure:
            before, now = measure(model)
        unit = 1.0 if self.target.endswith("_ms") else before
        end = self.amount * unit
        if step == 1 and end >= before:
            raise ValueError(
                f"Expected {self.target} below the {before:.3g} ms that the unpruned model takes. "
                f"Received: {self.target}={self.amount}"
            )
        allowed = before - (before - end) * step / self.steps
        return allowed / unit if now > allowed else None


class Procedure:
    """The models of the stages, each made from the one before when that is trained.

    Args:
        pruning: How channels are chosen.
        teaching: Who teaches.
        compiling: What all trainings have.
        directory: Where files say which channels each step took.
        settings: JSON-able value that identifies the run.

    Attributes:
        model: The model of the last stage that was made.
    """

    def __init__(
        self,
        pruning: PruningSteps,
        teaching: Teaching,
        compiling: Compiling,
        directory: pathlib.Path,
        settings: Any,
    ) -> None:
        self.model = pruning.unpruned
        self._pruning, self._teaching, self._compiling = pruning, teaching, compiling
        self._directory = directory
        text = json.dumps(settings, sort_keys=True, default=describe)
        self._identity = hashlib.sha256(text.encode()).hexdigest()

    def stages(
        self, epochs: int, sparsity_epochs: int, sparsity: float, validation_data: Any
    ) -> list[SchemeStage]:
        """Returns the trainings.

        Args:
            epochs: Epochs after each step.
            sparsity_epochs: Epochs before the first step.
            sparsity: The strength of the loss that prepares the model.
            validation_data: What each training is validated on.
        """
        makers = {
            f"step-{number}": functools.partial(self.step, number)
            for number in range(1, self._pruning.steps + 1)
        }
        stages = [SchemeStage(name, make, epochs, validation_data) for name, make in makers.items()]
        if not sparsity_epochs:
            return stages
        make = functools.partial(self.sparsity, sparsity)
        return [SchemeStage("sparsity", make, sparsity_epochs, validation_data), *stages]

    def sparsity(self, strength: float) -> keras.Model:
        """Returns what is trained before the first step.

        Args:
            strength: As `regularize_groups` takes it.
        """
        ignored = self._pruning.ignored_layers
        with _seeded(f"{self._pruning.seed}, sparsity"):
            self.model = regularize_groups(self.model, strength, ignored_layers=ignored)
        return self._compiled()

    def step(self, number: int) -> keras.Model:
        """Returns what is trained at a step, without the channels that it takes.

        Args:
            number: Number of the step, from 1.
        """
        stays = self._stays(number)
        with _seeded(f"{self._pruning.seed}, step {number}"):
            if stays is None:
                self.model = rebuild(self.model)
            else:
                ignored = check_ignored_layers(self.model, self._pruning.ignored_layers)
                self.model = PruningPlan(self.model, ignored).smaller(stays)
        return self._compiled()

    def _compiled(self) -> keras.Model:
        return self._compiling.compiled(self._teaching.trainee(self.model))

    def _stays(self, number: int) -> np.ndarray | None:
        """Which channels stay, as a killed run chose, whatever is measured now; None for all."""
        path = self._directory / f"step-{number}-channels.json"
        if path.exists():
            known = json.loads(path.read_text())
            if known["identity"] == self._identity:
                return None if known["stays"] is None else np.array(known["stays"], bool)
        plan = self._pruning.plan(self.model, number)
        stays = None if plan is None else plan.stays
        listed = None if stays is None else stays.astype(int).tolist()
        content = json.dumps({"identity": self._identity, "stays": listed})
        write_bytes(path, content.encode())
        return stays


@contextlib.contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """Lets layers draw the seeds that they were given none of from a seed."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
