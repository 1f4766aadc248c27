"""Filter pruning: whole filters and neurons leave a network, and all that belongs to them."""

from collections.abc import Collection
from typing import Any, Literal

import keras

from kdzoo.compression.filter_pruning.importance import Importance, criterion
from kdzoo.compression.filter_pruning.measured_latency import check_latency
from kdzoo.compression.filter_pruning.plan import PruningPlan
from kdzoo.compression.filter_pruning.prune_arguments import (
    check_ignored_layers,
    check_importance,
    check_target,
)
from kdzoo.compression.filter_pruning.report import FilterPruningReport
from kdzoo.graph.calls import graph_of
from kdzoo.graph.finite_weights import check_finite_weights
from kdzoo.utils import check_choice, check_flag, check_integer, check_positive_integer
from kdzoo.utils.compression_arguments import FILTER_SCOPES


def prune_filters(
    model: keras.Model,
    *,
    ratio: float | None = None,
    target_macs: float | None = None,
    target_parameters: float | None = None,
    target_latency: float | None = None,
    target_latency_ms: float | None = None,
    importance: str | Importance = "group_l2",
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
    layers and shapes follow; units of recurrent layers and heads of attention go as filters do. The
    outputs of the model and the inputs of nested models keep their channels. A layer through which
    channels cannot be followed, such as one of your own, keeps its own and those that it reads; the
    report says so.

    A channel that is zero for every input goes without any change of the outputs. So does one that
    is another constant, such as a filter of zeros before a batch normalization: the constant is
    added to the bias of what reads it, which gets one if it has none. Where zero padding would mix
    with the constant, the channel stays. A layer normalization over the channels is an exception:
    it always computes from what is left.

    Exactly one of `ratio` and the targets is given. A target of latency is measured on this
    machine: float32 LiteRT files in one thread, about a dozen of them, which takes a minute or more
    and needs Keras's TensorFlow backend. Two runs of it may leave different numbers of channels.

    The scores of the criteria, the lowest of which go first. Relative means: divided by the mean
    over the channels of the layer or group, so that layers of large and of small weights lose alike
    with `scope="global"`. Where several layers make a channel, it is the mean over them.

    - `"l1"`, `"l2"`: `sum |w|` and `sqrt(sum w^2)` over a filter, relative. Li et al. 2017 prune by
      the sum itself, a number for each layer; of one layer the order is theirs.
    - `"group_l2"`: `sum w^2` over all weights that a channel has, filters, scales and what reads
      it, relative. Fang et al. 2023 divide by the mean of the largest only; their library
      Torch-Pruning by the mean, unless told otherwise.
    - `"batch_norm"`: `|gamma|`, as it is: with `scope="global"` one threshold for the whole
      network, as in Liu et al. 2017. Layers without a normalization that scales stay.
    - `"geometric_median"`: the sum of the Euclidean distances of a filter to all filters of its
      layer, relative; He et al. 2019 take a number for each layer.
    - `"apoz"`: the fraction of values that are not zero after activations that give exact zeros,
      such as ReLU: 1 - APoZ of Hu et al. 2016. Layers without such an activation stay.
    - `"taylor"`: `|sum w * dL/dw|` over a filter, and likewise of its bias, scale and shift, added
      up; the mean over batches. To first order it is by how much the loss L changes without them.
      Molchanov et al. 2019 take the square of it for gates behind normalizations, or of each
      weight, while they train. Here normalizations use their moving statistics, and there is no
      dropout: by the statistics of a batch the sum of a filter before a normalization is 0.
    - `"random"`: numbers by `seed`, as a control.

    Args:
        model: The functional or built sequential `keras.Model`; it is not changed.
        ratio: The fraction of channels that goes, in (0, 1), before counts are rounded.
        target_macs: The largest fraction of the multiply-accumulates that may be left, in (0, 1).
        target_parameters: The largest fraction of the weights that may be left, in (0, 1).
        target_latency: The largest fraction of the model's latency that may be left, in (0, 1).
        target_latency_ms: The largest latency of one example, in milliseconds, above 0.
        importance: By what the channels that go are chosen: a name from above; or a function of a
            `ChannelGroup` to an array `(group.size,)` of scores, the lowest of which go first, or
            to None to leave the group as it is.
        scope: `"global"`: the lowest scores of the whole network go; `"local"`: the same fraction
            of every group.
        round_to: Numbers of filters and neurons that are left are multiples of this, and at least
            this, where some go; heads of attention go one by one.
        ignored_layers: Paths of layers, or layers, of which nothing may change.
        data: For `"apoz"` and `"taylor"`: `(x, y)`, or batches of them, a few hundred samples.
        loss: For `"taylor"`: the loss, as for `compile`.
        seed: For `"random"`: the seed, at least 0.
        dry_run: Whether to report only; the model itself is returned.

    Returns:
        The smaller `keras.Model`, compiled like the model, and a `FilterPruningReport`.

    Raises:
        ValueError: If the model has no graph, an argument is outside its range, data or loss are
            missing, no layer has what the criterion looks at, a target cannot be reached, or
            nothing may or would go.
        RuntimeError: If latency is measured, and the backend is not TensorFlow.

    Example:

    ```python
    smaller, report = kdzoo.compression.prune_filters(model, target_macs=0.5)
    print(report)
    distiller = kdzoo.Distiller(model, smaller, kdzoo.losses.SoftTargets(4.0))
    ```

    Reference: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, arXiv:2301.12900, for
    groups; Li et al., "Pruning Filters for Efficient ConvNets", 2017, arXiv:1608.08710; Liu et al.,
    "Learning Efficient Convolutional Networks through Network Slimming", 2017, arXiv:1708.06519; He
    et al., "Filter Pruning via Geometric Median", 2019, arXiv:1811.00250; Hu et al., "Network
    Trimming", 2016, arXiv:1607.03250; Molchanov et al., "Importance Estimation for Neural Network
    Pruning", 2019, arXiv:1906.10771.
    """
    graph_of(model)
    targets = {
        "ratio": ratio,
        "target_macs": target_macs,
        "target_parameters": target_parameters,
        "target_latency": target_latency,
        "target_latency_ms": target_latency_ms,
    }
    target, amount = check_target(targets)
    round_to = check_positive_integer("round_to", round_to, most=1 << 16)
    dry_run = check_flag("dry_run", dry_run)
    check_latency(target, model)
    plan = scored_plan(model, importance, scope, ignored_layers, data, loss, seed)
    plan.choose(target, amount, scope, round_to)
    plan.check_some_go(target, amount, round_to)
    made = None if dry_run else plan.smaller()
    return model if made is None else made, plan.report(made)


def scored_plan(
    model: keras.Model,
    importance: str | Importance,
    scope: Literal["global", "local"],
    ignored_layers: Collection[str | keras.layers.Layer],
    data: Any,
    loss: Any,
    seed: int,
) -> PruningPlan:
    """Returns a plan that has a score for each channel, after checks of arguments.

    Args:
        model: The model.
        importance: As `prune_filters` takes it.
        scope: As `prune_filters` takes it.
        ignored_layers: As `prune_filters` takes them.
        data: As `prune_filters` takes them.
        loss: As `prune_filters` takes it.
        seed: As `prune_filters` takes it.

    Raises:
        ValueError: If an argument is out of range, a weight is not finite, or nothing may go.
    """
    check_choice("scope", scope, FILTER_SCOPES)
    seed = check_integer("seed", seed, least=0, most=(1 << 32) - 1)
    check_importance(importance, data, loss)
    check_finite_weights(model)
    plan = PruningPlan(model, check_ignored_layers(model, ignored_layers))
    if isinstance(importance, str):
        importance = criterion(importance, model, data, loss, seed)
    plan.score(importance)
    return plan
