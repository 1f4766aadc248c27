"""What pruning takes away from a model: found first, done and reported afterwards."""

from collections.abc import Collection, Sequence

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup, follow, groups_of
from kdzoo.compression.filter_pruning.costs import Costs
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.importance import Importance
from kdzoo.compression.filter_pruning.measured_latency import Latencies, MeasuredLatency
from kdzoo.compression.filter_pruning.report import (
    BY_ITS_SCORES,
    FilterPruningReport,
    GroupReport,
)
from kdzoo.compression.filter_pruning.selection import Scope, Selection, scores_of
from kdzoo.compression.filter_pruning.smaller_model import smaller_model
from kdzoo.evaluation.complexity import count_parameters


class PruningPlan:
    """The groups of a model's channels, how important each is, and how many stay.

    Args:
        model: The model; it is not changed.
        ignored: Layers of it of which nothing may change.

    Attributes:
        groups: The groups of channels.
        costs: What the model costs with fewer of them.
        counts: How many channels of each group stay; all before `choose`.

    Raises:
        ValueError: If no channel may go.
    """

    def __init__(self, model: keras.Model, ignored: Collection[keras.layers.Layer]) -> None:
        self._model = model
        self._coupling = follow(model, ignored)
        self.groups = groups_of(self._coupling)
        _check_any(model, self.groups, self._coupling)
        self.costs = Costs(model, self._coupling, self.groups)
        self.counts = np.array([group.size for group in self.groups])
        self._scores = [np.where(group.stays, np.inf, 0.0) for group in self.groups]
        self._latencies: Latencies | None = None

    def score(self, importance: Importance) -> None:
        """Gives all channels scores, by which `choose` then chooses.

        Args:
            importance: The criterion.

        Raises:
            ValueError: If it gives something else than a finite number for each channel.
        """
        self._scores = scores_of(self.groups, importance)

    @property
    def free(self) -> dict[tuple[str, ...], int]:
        """Paths of the layers of each group -> how many of its channels may go, by their scores."""
        found = {group.layers: 0 for group in self.groups}
        for group, scores in zip(self.groups, self._scores, strict=True):
            found[group.layers] += int(np.isfinite(scores).sum())
        return found

    def choose(
        self,
        target: str,
        amount: float,
        scope: Scope,
        round_to: int,
        unpruned: keras.Model | None = None,
    ) -> None:
        """Finds how many channels of each group stay.

        Args:
            target: `"ratio"`, or the name of what may be left: `"target_macs"`,
                `"target_parameters"`, `"target_latency"` or `"target_latency_ms"`.
            amount: How much, a fraction or milliseconds.
            scope: As `Selection` takes it.
            round_to: What counts are multiples of, but for heads of attention.
            unpruned: With whose time that of the smaller model is compared; the model when None.

        Raises:
            ValueError: If the target cannot be reached.
        """
        selection = self._selection(scope, round_to)
        if target == "ratio":
            self.counts = selection.for_ratio(amount)
        elif target.startswith("target_latency"):
            self._choose_by_latency(selection, target, amount, unpruned)
        else:
            self.counts = selection.for_target(target, amount, self.costs.fraction_left(target))

    @property
    def all_stay(self) -> bool:
        """Whether no channel goes."""
        return [group.size for group in self.groups] == self.counts.tolist()

    def check_some_go(self, target: str, amount: float, round_to: int) -> None:
        """Raises `ValueError` if no channel goes, with the arguments that `choose` was given."""
        if self.all_stay:
            raise ValueError(
                "Expected a target by which channels go; a smaller round_to, or another criterion, "
                f"lets more go. Received: {target}={amount} with round_to={round_to}, by which all "
                "stay"
            )

    def choose_all(self, scope: Scope, round_to: int) -> None:
        """Lets all channels go that may.

        Args:
            scope: As `Selection` takes it.
            round_to: What counts are multiples of, but for heads of attention.
        """
        selection = self._selection(scope, round_to)
        self.counts = selection.counts(selection.steps)

    def _selection(self, scope, round_to):
        return Selection(self._scores, scope, [group.multiples(round_to) for group in self.groups])

    def _choose_by_latency(self, selection, target, amount, unpruned):
        measured: dict[bytes, Latencies] = {}

        def left(counts: np.ndarray) -> float:
            key = counts.tobytes()
            if key not in measured:
                self.counts = counts
                measured[key] = measure(self.smaller())
            before, after = measured[key]
            return after if target.endswith("_ms") else after / before

        with MeasuredLatency(self._model if unpruned is None else unpruned) as measure:
            self.counts = selection.for_target(target, amount, left, one_by_one=False)
        self._latencies = measured[self.counts.tobytes()]

    @property
    def stays(self) -> np.ndarray:
        """For each number of a channel of the coupling, whether it stays."""
        roots = self._coupling.roots(np.arange(len(self._coupling.makers)))
        gone = [
            group.roots[np.argsort(score, kind="stable")[: group.size - count]]
            for group, score, count in zip(self.groups, self._scores, self.counts, strict=True)
        ]
        return ~np.isin(roots, np.concatenate(gone))

    def smaller(self, stays: np.ndarray | None = None) -> keras.Model:
        """Returns the smaller model.

        Args:
            stays: What stays, as `stays` of a plan of an equal model was; as chosen when None.
        """
        return smaller_model(self._model, self._coupling, self.stays if stays is None else stays)

    def report(self, made: keras.Model | None) -> FilterPruningReport:
        """Returns the report.

        Args:
            made: The smaller model; None in a dry run.
        """
        macs_after, parameters_after = self.costs.after(self.counts)
        before, after = self._latencies or (None, None)
        return FilterPruningReport(
            groups=tuple(self._row(place) for place in range(len(self.groups))),
            untouched=dict(self._coupling.untouched),
            macs_before=self.costs.macs,
            macs_after=macs_after,
            parameters_before=self.costs.parameters,
            parameters_after=parameters_after if made is None else count_parameters(made),
            dry_run=made is None,
            latency_ms_before=before,
            latency_ms_after=after,
        )

    def _row(self, place: int) -> GroupReport:
        """The row of a group, of what it saves alone."""
        group, count = self.groups[place], int(self.counts[place])
        macs, parameters = self._saved(place, 0)
        macs_saved, parameters_saved = self._saved(place, count)
        reason = group.reason
        if not reason and count == group.size:
            silent = np.isinf(self._scores[place]).all()
            reason = "the criterion says nothing of it" if silent else BY_ITS_SCORES
        return GroupReport(
            *(group.layers, group.size, count, macs_saved, parameters_saved, reason),
            filters=max(group.filters_each),
            macs=macs,
            parameters=parameters,
            importance_lost=self._importance_lost(place),
        )

    def _saved(self, place: int, count: int) -> tuple[int | None, int]:
        """What is saved if so many channels of one group stay, and all of the others."""
        alone = np.array([other.size for other in self.groups])
        alone[place] = count
        macs, parameters = self.costs.after(alone)
        whole = self.costs.macs
        saved = None if whole is None or macs is None else whole - macs
        return saved, self.costs.parameters - parameters

    def _importance_lost(self, place: int) -> float | None:
        """The part of a group's scores that goes; None where there are none."""
        scores = np.sort(self._scores[place])
        gone, whole = scores[: len(scores) - self.counts[place]], scores[np.isfinite(scores)].sum()
        return float(gone.sum() / whole) if whole > 0 else None


def _check_any(model: keras.Model, groups: Sequence[ChannelGroup], coupling: Coupling) -> None:
    """Raises unless any channel may go."""
    if all(group.stays.all() or group.size == 1 for group in groups):
        reasons = {f"{group.layers[0]!r}: {group.reason}": 0 for group in groups}
        reasons |= {f"{path!r}: {reason}": 0 for path, reason in coupling.untouched.items()}
        raise ValueError(
            "Expected a model with channels that may go. Received: "
            f"{model.name!r}, where all stay ({'; '.join([*reasons][:3])[:300]})"
        )
