"""Filter pruning: whole filters and neurons leave a network, and all that belongs to them."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import (
    ChannelGroup,
    follow,
    groups_of,
)
from kdzoo.compression.filter_pruning.costs import Costs
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.importance import (
    CRITERIA,
    NEED_DATA,
    Importance,
    criterion,
)
from kdzoo.compression.filter_pruning.report import FilterPruningReport, GroupReport
from kdzoo.compression.filter_pruning.selection import Selection, scores_of
from kdzoo.compression.filter_pruning.smaller_model import smaller_model
from kdzoo.evaluation.complexity import count_parameters
from kdzoo.graph.calls import graph_of
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.taps import find_layer
from kdzoo.utils import (
    check_choice,
    check_flag,
    check_integer,
    check_positive_integer,
    is_number,
    shown,
    unknown_name,
)


def prune_filters(
    model: keras.Model,
    *,
    ratio: float | None = None,
    target_macs: float | None = None,
    target_parameters: float | None = None,
    importance: str | Importance = "l2",
    scope: Literal["global", "local"] = "global",
    round_to: int = 8,
    ignored_layers: Collection[str | keras.layers.Layer] = (),
    data: Any = None,
    loss: Any = None,
    seed: int = 0,
    dry_run: bool = False,
) -> tuple[keras.Model, FilterPruningReport]:
    """Returns a smaller copy of a model, without its least important filters and neurons.

    The copy is a plain Keras model of the same structure, layers of the same names with fewer
    channels, and exactly the weights that are left. Train it on, best with the model as its
    teacher. Channels are followed through the graph: those that a sum, a product, a depthwise or a
    grouped convolution ties together go or stay together, and batch normalizations, following
    layers and shapes follow. The outputs of the model and the inputs of nested models keep their
    channels. A layer through which channels cannot be followed, such as a recurrent one or
    attention, keeps its own and those that it reads; the report says so.

    A channel that is zero for every input goes without any change of the outputs. So does one that
    is another constant, such as a filter of zeros before a batch normalization: the constant is
    added to the bias of what reads it, which gets one if it has none. Where zero padding would mix
    with the constant, the channel stays. A layer normalization over the channels is an exception:
    it always computes from what is left.

    Exactly one of `ratio`, `target_macs` and `target_parameters` is given.

    Args:
        model: The functional or built sequential `keras.Model`; it is not changed.
        ratio: The fraction of channels that goes, in (0, 1), before counts are rounded.
        target_macs: The largest fraction of the multiply-accumulates that may be left, in (0, 1).
        target_parameters: The largest fraction of the weights that may be left, in (0, 1).
        importance: By what the channels that go are chosen: `"l2"` or `"l1"`, norms of filters;
            `"group_l2"`, the norm of all weights that a channel has, also in layers that read it;
            `"batch_norm"`, sizes of scales; `"geometric_median"`, distances to the other filters;
            `"apoz"`, how often activations are not zero; `"taylor"`, how the loss would change;
            `"random"`; or a function of a `ChannelGroup` to an array `(group.size,)` of scores,
            the lowest of which go first, or to None to leave the group as it is.
        scope: `"global"`: the lowest scores of the whole network go; `"local"`: the same fraction
            of every group.
        round_to: Numbers of channels that are left are multiples of this, and at least this, where
            channels go.
        ignored_layers: Paths of layers, or layers, of which nothing may change.
        data: For `"apoz"` and `"taylor"`: `(x, y)`, or batches of them, a few hundred samples.
        loss: For `"taylor"`: the loss, as for `compile`.
        seed: For `"random"`: the seed, at least 0.
        dry_run: Whether to report only; the model itself is returned.

    Returns:
        The smaller `keras.Model`, compiled like the model, and a `FilterPruningReport`.

    Raises:
        ValueError: If the model has no graph, an argument is outside its range, data or loss are
            missing, a target cannot be reached, or nothing may or would go.

    Example:

    ```python
    smaller, report = kdzoo.compression.prune_filters(model, target_macs=0.5)
    print(report)
    distiller = kdzoo.Distiller(model, smaller, kdzoo.losses.SoftTargets(4.0))
    ```

    Reference: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, arXiv:2301.12900, for
    groups; Li et al., "Pruning Filters for Efficient ConvNets", 2017, arXiv:1608.08710, for norms.
    """
    graph_of(model)
    target, amount = _checked_target(ratio, target_macs, target_parameters)
    check_choice("scope", scope, ("global", "local"))
    round_to = check_positive_integer("round_to", round_to, most=1 << 16)
    seed = check_integer("seed", seed, least=0, most=(1 << 32) - 1)
    dry_run = check_flag("dry_run", dry_run)
    _check_importance(importance, data, loss)
    coupling = follow(model, _layers_of(model, ignored_layers))
    groups = groups_of(coupling)
    _check_any(model, groups, coupling)
    costs = Costs(model, coupling, groups)
    if isinstance(importance, str):
        importance = criterion(importance, model, data, loss, seed)
    scores = scores_of(groups, importance)
    selection = Selection(scores, scope, round_to)
    if target == "ratio":
        counts = selection.for_ratio(amount)
    else:
        counts = selection.for_target(target, amount, costs)
    _check_less(groups, counts, target, amount, round_to)
    made = model
    if not dry_run:
        made = smaller_model(model, coupling, _mask(coupling, groups, scores, counts))
    return made, _report(made, coupling, groups, scores, counts, costs, dry_run)


def _checked_target(ratio, target_macs, target_parameters):
    """The name and the value of the only target that is given."""
    targets = {"ratio": ratio, "target_macs": target_macs, "target_parameters": target_parameters}
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "Expected exactly one of ratio, target_macs and target_parameters. Received: "
            f"{', '.join(f'{name}={shown(value)}' for name, value in given.items()) or 'none'}"
        )
    ((name, value),) = given.items()
    if not is_number(value) or not 0 < value < 1:
        raise ValueError(f"Expected {name} to lie in (0, 1). Received: {name}={shown(value)}")
    return name, float(value)


def _check_importance(importance, data, loss):
    """Raises unless there is such a criterion, and what it needs."""
    if callable(importance):
        return
    check_choice("importance", importance, CRITERIA)
    if importance in NEED_DATA and data is None:
        raise ValueError(f"Expected data for importance={importance!r}. Received: data=None")
    if importance == "taylor" and not (isinstance(loss, str) or callable(loss)):
        raise ValueError(
            "Expected a loss for importance='taylor', such as "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True). Received: "
            f"loss={shown(loss)}"
        )
    if isinstance(loss, str) and importance == "taylor":
        try:
            keras.losses.get(loss)
        except ValueError:
            known = (name for name in dir(keras.losses) if name[0] != "_")
            examples = ("mean_squared_error", "sparse_categorical_crossentropy")
            raise unknown_name("loss", loss, known, examples) from None


def _layers_of(model, ignored_layers):
    """The layers that paths name, or that were given, and those within them."""
    if not isinstance(ignored_layers, list | tuple | set | frozenset):
        raise ValueError(
            "Expected ignored_layers to be a list of paths of layers, or of layers. Received: "
            f"ignored_layers={shown(ignored_layers)}"
        )
    found: set[keras.layers.Layer] = set()
    own = set(flatten_layers(model, include_self=False))
    for layer in ignored_layers:
        is_layer = isinstance(layer, keras.layers.Layer)
        if is_layer and layer not in own:
            raise ValueError(
                f"Expected layers of {model.name!r} in ignored_layers. Received: {layer.name!r}, "
                "a layer of another model"
            )
        found.update(flatten_layers(layer if is_layer else find_layer(model, layer)))
    return found


def _check_any(model: keras.Model, groups: Sequence[ChannelGroup], coupling: Coupling) -> None:
    """Raises unless any channel may go."""
    if all(group.stays.all() or group.size == 1 for group in groups):
        reasons = {f"{group.layers[0]!r}: {group.reason}": 0 for group in groups}
        reasons |= {f"{path!r}: {reason}": 0 for path, reason in coupling.untouched.items()}
        raise ValueError(
            "Expected a model with channels that may go. Received: "
            f"{model.name!r}, where all stay ({'; '.join([*reasons][:3])[:300]})"
        )


def _check_less(groups, counts, target, amount, round_to):
    """Raises if all channels would stay."""
    if all(group.size == count for group, count in zip(groups, counts, strict=True)):
        raise ValueError(
            "Expected a target by which channels go; a smaller round_to, or another criterion, "
            f"lets more go. Received: {target}={amount} with round_to={round_to}, by which all stay"
        )


def _mask(coupling, groups, scores, counts):
    """For each number of a channel, whether it stays."""
    roots = coupling.roots(np.arange(len(coupling.makers)))
    gone = [
        group.roots[np.argsort(score, kind="stable")[: group.size - count]]
        for group, score, count in zip(groups, scores, counts, strict=True)
    ]
    return ~np.isin(roots, np.concatenate(gone))


def _report(made, coupling, groups, scores, counts, costs, dry_run):
    """The report, of a model that was made or would be."""
    whole = np.array([group.size for group in groups])
    macs_after, parameters_after = costs.after(counts)
    rows = []
    for place, (group, score) in enumerate(zip(groups, scores, strict=True)):
        alone = whole.copy()
        alone[place] = counts[place]
        macs, parameters = costs.after(alone)
        reason = group.reason
        if not reason and counts[place] == group.size:
            silent = np.isinf(score).all()
            reason = "the criterion says nothing of it" if silent else "its scores, or round_to"
        rows.append(
            GroupReport(
                group.layers,
                group.size,
                int(counts[place]),
                None if macs is None else costs.macs - macs,
                costs.parameters - parameters,
                reason,
            )
        )
    return FilterPruningReport(
        groups=tuple(rows),
        untouched=dict(coupling.untouched),
        macs_before=costs.macs,
        macs_after=macs_after,
        parameters_before=costs.parameters,
        parameters_after=parameters_after if dry_run else count_parameters(made),
        dry_run=dry_run,
    )
