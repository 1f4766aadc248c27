"""Group sparsity: a loss that lets whole groups of weights vanish before they are pruned."""

from collections.abc import Collection
from typing import Any

import keras

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup, follow, groups_of
from kdzoo.compression.filter_pruning.prune_arguments import check_ignored_layers
from kdzoo.graph.finite_weights import check_finite_weights
from kdzoo.graph.surgery import compile_like, rebuild
from kdzoo.utils import is_number, shown


def regularize_groups(
    model: keras.Model,
    strength: float = 1e-4,
    *,
    exponent: float = 4.0,
    ignored_layers: Collection[str] = (),
) -> keras.Model:
    """Returns a copy of a model that learns which of its channels `prune_filters` may take.

    To the losses of the copy comes `strength` times the sum, over all channels that may go, of
    `2 ** (exponent * (largest - I) / (largest - smallest)) * I`. I is the sum of squares of all
    weights that go with the channel: its filters, what reads them, and the scales of
    normalizations. Its largest and smallest values are those of the channel's group; the factor
    is a constant in the gradient. So channels that matter less shrink faster.

    `fit` and a `Distiller` count the loss. It stays with this object: neither a file of it nor what
    `prune_filters` makes of it has the loss.

    Args:
        model: The functional or built sequential `keras.Model`; it is not changed.
        strength: Factor of the whole loss, above 0.
        exponent: The loss of the least important channel of a group counts 2 ** exponent times that
            of the most important one; at least 0.
        ignored_layers: Paths of layers, as for `prune_filters`, of which nothing may change.

    Returns:
        A `keras.Model` with the model's weights, compiled like it.

    Raises:
        ValueError: If the model has no graph, or an argument is out of range.

    Example:

    ```python
    sparse = kdzoo.compression.regularize_groups(model, strength=1e-4)
    sparse.compile("adam", loss)
    sparse.fit(x_train, y_train, epochs=10)
    smaller, report = kdzoo.compression.prune_filters(
        sparse, target_macs=0.5, importance="group_l2"
    )
    ```

    Reference: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, arXiv:2301.12900,
    section 3.3.
    """
    if not is_number(strength) or not 0 < strength < float("inf"):
        raise ValueError(f"Expected strength to be above 0. Received: strength={shown(strength)}")
    if not is_number(exponent) or not 0 <= exponent < float("inf"):
        raise ValueError(
            f"Expected exponent to be at least 0. Received: exponent={shown(exponent)}"
        )
    copy = rebuild(model)
    check_finite_weights(copy)
    for group in groups_of(follow(copy, check_ignored_layers(copy, ignored_layers))):
        trained = [
            part.variable for part, *_ in group.kernels_and_scales() if part.variable.trainable
        ]
        if trained and not group.stays.all():
            first = trained[0]
            first.regularizer = GroupRegularizer(group, strength, exponent, first)
    return compile_like(copy, model)


class GroupRegularizer:
    """The loss of a group, as a regularizer of one of its weights.

    Args:
        group: The group of channels.
        strength: Factor of the loss.
        exponent: As `regularize_groups` takes it.
        variable: The weight that has this regularizer; one that it had before is added.
    """

    def __init__(
        self, group: ChannelGroup, strength: float, exponent: float, variable: keras.Variable
    ) -> None:
        self._strength, self._exponent = float(strength), float(exponent)
        self._variable, self._own = variable, variable.regularizer
        self._size, self._may_go = group.size, (~group.stays).astype("float32")
        self._parts = [
            (part.variable, part.axis, positions.astype("int32"), channels.astype("int32"))
            for part, positions, channels in group.kernels_and_scales()
        ]

    def __call__(self, value: Any) -> Any:
        """Returns the loss.

        Args:
            value: What the weight is now, a tensor.
        """
        importance = self._squares(value)
        known = keras.ops.stop_gradient(importance)
        largest, smallest = keras.ops.max(known), keras.ops.min(known)
        spread = keras.ops.maximum(largest - smallest, 1e-12)
        factors = 2.0 ** (self._exponent * (largest - known) / spread)
        loss = self._strength * keras.ops.sum(factors * importance * self._may_go)
        return loss if self._own is None else loss + self._own(value)

    def _squares(self, value):
        """The sums of squares of all weights of each channel."""
        total = keras.ops.zeros(self._size, "float32")
        for variable, axis, positions, channels in self._parts:
            array = value if variable is self._variable else variable
            squares = keras.ops.square(keras.ops.cast(array, "float32"))
            others = [other for other in range(len(variable.shape)) if other != axis]
            sums = keras.ops.sum(squares, others) if others else squares
            total += keras.ops.segment_sum(
                keras.ops.take(sums, positions), channels, num_segments=self._size
            )
        return total
