"""Which channels of a graph go together, and which have to stay, found by following it."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channels import Channels, NotUnderstoodError, fixed
from kdzoo.compression.filter_pruning.coupling import Coupling, Slices
from kdzoo.compression.filter_pruning.rules import passed
from kdzoo.graph.calls import Call, graph_of, run_graph
from kdzoo.graph.keras_internals import functional_of

_ADDED = ("bias", "beta", "alpha", "moving_mean", "moving_variance")


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Channels that the same layers make; any of them can go without the others.

    Attributes:
        layers: The paths of the layers that make them, each once.
        size: How many there are. One of them may be several filters that go together.
        stays: Booleans: which of them have to stay.
        reason: Why, if any has to, or if there is only one.
        roots: What each of them is found by.
        parts: For each `Slices` that has some of them: it, positions along its axis, and the
            channel of each of these positions, from 0.
        one_by_one: Whether any number of them may stay, whatever counts are rounded to.
        filters_each: For each of `layers`, how many of its filters one channel is.
        activations: For each tensor that has some of them after an activation that gives exact
            zeros, such as ReLU: the Keras tensor and the numbers of its channels, positions along
            these, and the channel of each position.
    """

    layers: tuple[str, ...]
    size: int
    stays: np.ndarray
    reason: str
    roots: np.ndarray
    parts: list[tuple[Slices, np.ndarray, np.ndarray]]
    activations: list[tuple[tuple[keras.KerasTensor, np.ndarray], np.ndarray, np.ndarray]]
    one_by_one: bool = False
    filters_each: tuple[int, ...] = ()

    def multiples(self, round_to: int) -> int:
        """Returns what counts are multiples of if those of filters are multiples of a number.

        Args:
            round_to: The number.
        """
        if self.one_by_one:
            return 1
        return math.lcm(*(round_to // math.gcd(round_to, filters) for filters in self.filters_each))

    def kernels_and_scales(self) -> list[tuple[Slices, np.ndarray, np.ndarray]]:
        """Returns those of `parts` that multiply: no biases, shifts or statistics."""
        return [part for part in self.parts if part[0].weight.rpartition(".")[-1] not in _ADDED]

    def filters(self) -> list[np.ndarray]:
        """Returns, for each kernel that makes these channels, its filters: `(size, weights)`."""
        found = []
        for part, positions, channels in self.parts:
            if part.role == "out":
                kernel = np.asarray(part.variable, "float32")
                rows = np.moveaxis(kernel, part.axis, 0)[positions]
                rows = rows[np.argsort(channels, kind="stable")]
                found.append(rows.reshape(self.size, -1))
        return found


def follow(model: keras.Model, ignored: Collection[keras.Operation] = ()) -> Coupling:
    """Returns what is known of the channels of a model.

    Args:
        model: A functional or built sequential `keras.Model`.
        ignored: Layers of it of which nothing may change.
    """
    coupling = Coupling()

    def perform(call: Call, args: Any, kwargs: Any) -> Any:
        if functional_of(call.operation) is not None:
            inside = args[0] if args else kwargs["inputs"]
            for channels in keras.tree.flatten(inside):
                coupling.freeze(channels.ids, f"{call.path!r} is a model with inputs of its own")
            outputs = run_graph(call.operation, inside, perform, f"{call.path}/")
        else:
            outputs = _passed(coupling, call, args, kwargs)
        if call.operation in ignored:
            for part in keras.tree.flatten((args, kwargs, outputs)):
                if isinstance(part, Channels):
                    coupling.freeze(part.ids, f"{call.path!r} is in ignored_layers")
            for own in coupling.slices.values():
                if own.layer is call.operation:
                    coupling.freeze(own.ids, f"{call.path!r} is in ignored_layers")
        return outputs

    inputs = keras.tree.map_structure(lambda tensor: fixed(tensor.shape), graph_of(model).input)
    for channels in keras.tree.flatten(run_graph(model, inputs, perform)):
        coupling.freeze(channels.ids, "an output of the model")
    for own in coupling.slices.values():  # Another call of the layer may have been understood.
        if own.path in coupling.untouched:
            coupling.freeze(own.ids, f"{own.path!r} ({coupling.untouched[own.path]})")
    return coupling


def _passed(coupling, call, args, kwargs):
    """The channels of what a call gives; where it is not understood, all of them stay."""
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Channels)]
    try:
        return passed(coupling, call, inputs, args, kwargs)
    except NotUnderstoodError as reason:
        name = type(call.operation).__name__
        for x in inputs:
            coupling.freeze(x.ids, f"{call.path!r} ({name}): {reason}")
        if isinstance(call.operation, keras.layers.Layer) and call.operation.trainable_weights:
            coupling.untouched[call.path] = f"{name}: {reason}"
        return [fixed(tensor.shape) for tensor in call.outputs]


def groups_of(coupling: Coupling) -> list[ChannelGroup]:
    """Returns the groups of channels, in the order of the layers that make them.

    Args:
        coupling: What `follow` returned.
    """
    for ids in coupling.shapes:
        roots = coupling.roots(ids)
        differs = [axis for axis in range(roots.ndim) if (roots != np.take(roots, [0], axis)).any()]
        if len(differs) > 1:
            coupling.freeze(ids, "a reshape cuts the channels into parts")
    reasons = {coupling.root(number): reason for number, reason in coupling.reasons.items()}
    one_by_one = {coupling.root(number) for number in coupling.one_by_one}
    makers: dict[int, Counter] = {}
    for number, maker in enumerate(coupling.makers):
        if number:
            makers.setdefault(coupling.root(number), Counter())[maker] += 1
    members: dict[tuple, list[int]] = {}
    for root, counts in makers.items():
        members.setdefault(tuple(counts.items()), []).append(root)
    places = {
        root: (number, place)
        for number, roots in enumerate(members.values())
        for place, root in enumerate(roots)
    }
    parts = _by_group(coupling, coupling.slices.values(), lambda part: part.ids, places)
    seen = _by_group(coupling, coupling.activations, lambda pair: pair[1], places)
    return [
        ChannelGroup(
            layers=tuple(layer for layer, _ in layers),
            size=len(roots),
            stays=np.array([root in reasons for root in roots]),
            reason=next((reasons[root] for root in roots if root in reasons), _one(layers, roots)),
            roots=np.array(roots),
            parts=parts.get(number, []),
            activations=[(pair, *found) for pair, *found in seen.get(number, [])],
            one_by_one=not one_by_one.isdisjoint(roots),
            filters_each=tuple(count for _, count in layers),
        )
        for number, (layers, roots) in enumerate(members.items())
    ]


def _one(layers, roots):
    """Why the only channel of a group cannot go; empty for several channels."""
    if len(roots) > 1:
        return ""
    filters = max(count for _, count in layers)
    return "its only channel" if filters == 1 else f"its {filters} filters only go together"


def _by_group(coupling, things, ids_of, places):
    """Number of a group -> the things that have its channels, positions, and channels there."""
    found: dict[int, list] = {}
    for thing in things:
        roots = coupling.roots(np.asarray(ids_of(thing)).reshape(-1))
        where = np.array([places.get(root, (-1, -1)) for root in roots.tolist()]).reshape(-1, 2)
        for number in np.unique(where[:, 0]).tolist():
            if number >= 0:
                positions = np.flatnonzero(where[:, 0] == number)
                found.setdefault(number, []).append((thing, positions, where[positions, 1]))
    return found
