"""What pruning did, or would do, to each group of channels."""

import dataclasses

BY_ITS_SCORES = "its scores, or round_to"
"""Why channels stay that could have gone."""


@dataclasses.dataclass(frozen=True)
class GroupReport:
    """A group of channels that go together.

    Attributes:
        layers: Paths of the layers that make the channels, a tuple; for heads of attention with
            `/heads` after the path.
        before: Number of channels before; those that only go together count as one.
        after: Number of channels after.
        macs_saved: Multiply-accumulates that are saved if this group alone is pruned; None where
            the model's are not known.
        parameters_saved: Weights that are saved if this group alone is pruned.
        reason: Why channels stay that could have gone, or had to stay; empty if there is no reason.
        filters: How many filters one channel is; of the layer that has most of them.
        macs: Multiply-accumulates in which the group's channels take part before, where they are
            made and where they are read; None where the model's are not known.
        parameters: Weights that belong to the group's channels before, counted likewise.
        importance_lost: Sum of the scores of the channels that go, over the sum of those of all
            that may go, by the criterion; None where it gives none, or they add up to none.
    """

    layers: tuple[str, ...]
    before: int
    after: int
    macs_saved: int | None
    parameters_saved: int
    reason: str = ""
    filters: int = dataclasses.field(default=1, kw_only=True)
    macs: int | None = dataclasses.field(default=None, kw_only=True)
    parameters: int | None = dataclasses.field(default=None, kw_only=True)
    importance_lost: float | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class FilterPruningReport:
    """What `prune_filters` did. `str(report)` is a table.

    Attributes:
        groups: A `GroupReport` for each group of channels, in the order of the layers.
        untouched: Path of a layer with weights whose own channels cannot go -> why.
        macs_before: Multiply-accumulates of one example before; None where a size is not known.
        macs_after: Multiply-accumulates of one example after; None where a size is not known.
        parameters_before: Number of weights before.
        parameters_after: Number of weights after, without biases that were added to hold constants
            in a dry run.
        dry_run: Whether nothing was pruned.
        latency_ms_before: Median time of one example in LiteRT before, in milliseconds; None unless
            it was measured for a target.
        latency_ms_after: Median time of one example in LiteRT after, in milliseconds, or None.
    """

    groups: tuple[GroupReport, ...]
    untouched: dict[str, str]
    macs_before: int | None
    macs_after: int | None
    parameters_before: int
    parameters_after: int
    dry_run: bool = False
    latency_ms_before: float | None = dataclasses.field(default=None, kw_only=True)
    latency_ms_after: float | None = dataclasses.field(default=None, kw_only=True)

    def __str__(self) -> str:
        rows = [_TITLES, *map(_row, self.groups)]
        rows += [(path, "", "", "", "", reason) for path, reason in self.untouched.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.append(f"parameters {self.parameters_before:,} -> {self.parameters_after:,}")
        if self.macs_before is not None and self.macs_after is not None:
            lines.append(f"MACs {self.macs_before:,} -> {self.macs_after:,}")
        if self.latency_ms_before is not None and self.latency_ms_after is not None:
            lines.append(f"latency {self.latency_ms_before:.3g} -> {self.latency_ms_after:.3g} ms")
        if self.dry_run:
            lines.append("dry run: nothing was pruned")
        return "\n".join(lines)


_TITLES = (
    *("layers", "channels", "importance lost", "MACs saved", "parameters saved"),
    "why not more",
)


def _row(group):
    """A group's row of the table."""
    channels = f"{group.before} -> {group.after}"
    if group.filters > 1:
        channels += f" (of {group.filters} filters)"
    lost = "" if group.importance_lost is None else f"{group.importance_lost:.1%}"
    macs = _of(group.macs_saved, group.macs)
    saved = _of(group.parameters_saved, group.parameters)
    return _listed(group.layers), channels, lost, macs, saved, group.reason


def _of(saved, whole):
    parts = [f"{number:,}" for number in (saved, whole) if number is not None]
    return " of ".join(parts)


def _listed(layers):
    """The first layers of a group, and how many more there are."""
    more = f" + {len(layers) - 2}" if len(layers) > 2 else ""
    return ", ".join(layers[:2]) + more
