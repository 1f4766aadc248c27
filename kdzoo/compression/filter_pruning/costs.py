"""What a network costs with fewer channels, without building it."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.evaluation.complexity import count_macs, count_parameters
from kdzoo.graph.calls import graph_of


class Costs:
    """MACs and parameters as functions of how many channels of each group stay.

    Args:
        model: The model.
        coupling: What is known of its channels.
        groups: Their groups.

    Attributes:
        macs: Multiply-accumulates of the model; None where a size of its inputs is not known.
        parameters: Number of its weights.
    """

    def __init__(self, model: keras.Model, coupling: Coupling, groups: Sequence[ChannelGroup]):
        self.parameters = count_parameters(model)
        is_known = all(None not in tensor.shape[1:] for tensor in graph_of(model).inputs)
        self.macs = count_macs(model) if is_known else None
        self._sizes = np.array([group.size for group in groups], float)
        numbers = {key: number for number, key in enumerate(coupling.slices)}
        self._lengths = np.array([len(part.ids) for part in coupling.slices.values()], float)
        self._shares = np.zeros((len(numbers), len(groups)))  # Positions of one channel.
        for place, group in enumerate(groups):
            for part, positions, _ in group.parts:
                number = numbers[id(part.layer), part.weight, part.axis]
                self._shares[number, place] = len(positions) / group.size
        axes: dict[tuple[int, str], list[int]] = {}
        values: dict[tuple[int, str], int] = {}
        for (layer, weight, axis), part in coupling.slices.items():
            axes.setdefault((layer, weight), []).append(numbers[layer, weight, axis])
            values[layer, weight] = int(np.prod(part.variable.shape))
        self._weights = [(values[key], axes[key]) for key in axes]
        self._products = [
            (positions * values[id(layer), weight], axes[id(layer), weight])
            for layer, weight, positions in coupling.products
            if (id(layer), weight) in axes
        ] + [(macs, [numbers[key]]) for macs, key in coupling.products_along]

    def _left(self, counts):
        """The fraction of each axis of a weight that is left."""
        gone = self._shares @ (self._sizes - np.asarray(counts, float))
        return 1 - gone / self._lengths

    def fraction_left(self, target: str) -> Callable[[np.ndarray], float]:
        """Returns the function of how many channels stay to the fraction of a cost that is left.

        Args:
            target: `"target_macs"` or `"target_parameters"`.

        Raises:
            ValueError: If the model's MACs are not known.
        """
        which = 0 if target == "target_macs" else 1
        whole = (self.macs, self.parameters)[which]
        if whole is None:
            raise ValueError(
                "Expected a model whose inputs have known sizes, of which MACs can be counted. "
                f"Received: {target}; use ratio or target_parameters."
            )
        return lambda counts: (self.after(counts)[which] or 0) / whole

    def after(self, counts: Sequence[int] | np.ndarray) -> tuple[int | None, int]:
        """Returns MACs and parameters with so many channels of each group.

        Args:
            counts: How many channels of each group stay.
        """
        left = self._left(counts)
        parameters = self.parameters - _gone(self._weights, left)
        macs = None if self.macs is None else self.macs - _gone(self._products, left)
        return macs, parameters


def _gone(terms, left):
    """How much is gone of numbers, each of which is proportional to what some axes have left."""
    return round(sum(size * (1 - np.prod(left[axes])) for size, axes in terms))
