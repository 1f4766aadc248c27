"""One width of a slimmable network: a smaller model that computes with slices of its weights."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.smaller_model import smaller_model
from kdzoo.distillation.settings import Untracked
from kdzoo.graph import acceleration
from kdzoo.graph.adapted_layers import finalize_states
from kdzoo.graph.keras_internals import flatten_layers, without_autocast
from kdzoo.graph.surgery import rebuild
from kdzoo.utils.types import Tensor

NORMS = (keras.layers.BatchNormalization,)


class Run(NamedTuple):
    """What a width gives.

    Attributes:
        outputs: Its outputs, in their structure.
        updates: Variables of its own and what they are to become, in an order that does not change.
        loss: The sum of what its layers add to the loss, such as activity regularizers; None if
            they add nothing, or add it to the model themselves.
    """

    outputs: Any
    updates: list[tuple[keras.Variable, Tensor]]
    loss: Tensor | None = None


class NarrowWidth:
    """A width: a smaller model whose weights are slices of the whole one's, but for some.

    Its own are the means and variances of batch normalizations, their scales and shifts if it is
    not universal, and the states of random generators.

    Args:
        whole: The model of all channels.
        coupling: Its channels.
        stays: For each number of a channel, whether this width has it.
        universal: Whether scales and shifts are slices too.
    """

    def __init__(self, whole: keras.Model, coupling: Coupling, stays: np.ndarray, universal: bool):
        self._hidden = Untracked(smaller_model(whole, coupling, stays))
        cuts = _cuts(coupling, stays)
        self._sources: list[tuple[keras.Variable, keras.Variable, list]] = []
        self._shared: list[keras.Variable] = []  # Of layers that have variables of their own, too.
        self.own: list[keras.Variable] = []
        self.changing: list[keras.Variable] = []
        self.own_layers: list[keras.layers.Layer] = []
        self.generators: list[keras.random.SeedGenerator] = []
        known: set[int] = set()
        # Layers within others come first.
        pairs = list(zip(_layers(whole), _layers(self.model), strict=True))[::-1]
        for large, small in pairs:
            is_norm = isinstance(large, NORMS)
            statistics = {id(large.moving_mean), id(large.moving_variance)} if is_norm else set()
            weights = set(map(id, large.weights))
            for source, variable in zip(large.variables, small.variables, strict=True):
                if id(variable) in known:
                    continue
                known.add(id(variable))
                changes = id(source) in statistics or id(source) not in weights
                if changes or (is_norm and not universal):
                    self.own.append(variable)
                    self.changing += [variable] if changes else []
                    continue
                self._sources.append((variable, source, cuts.get(id(source), [])))
                self._shared += [variable] if is_norm else []
            self.own_layers += [small] if is_norm else []
            parts = vars(small).values()
            self.generators += [p for p in parts if isinstance(p, keras.random.SeedGenerator)]
        self.keep_shared_untrained()

    @property
    def model(self) -> keras.Model:
        """The smaller model, whose shared weights are looked up in the whole one."""
        return self._hidden.model

    def keep_shared_untrained(self) -> None:
        """Lets no variable be trained that only stands for a slice of the whole one's."""
        for variable in self._shared:
            variable.trainable = False

    def values(self) -> list[tuple[keras.Variable, Any]]:
        """Each variable of the smaller model, and its value."""
        shared = [(variable, _cut(source.value, cuts)) for variable, source, cuts in self._sources]
        return [*shared, *((variable, variable.value) for variable in self.own)]

    def run(self, inputs: Any, training: bool | None) -> Run:
        """Returns what the width gives.

        Args:
            inputs: What the model takes.
            training: Whether it runs as in training.
        """
        layers = acceleration.quicker_layers(self.model)
        with without_autocast():  # A layer in float32 has slices in float32.
            scope = keras.StatelessScope(state_mapping=self.values(), collect_losses=True)
        with acceleration.accelerated(layers), scope:
            outputs = self.model(inputs, training=training)
        losses = [ops.cast(loss, "float32") for loss in scope.losses]
        loss = ops.sum(ops.stack(losses)) if losses else None
        if not training:
            return Run(outputs, [], loss)
        return Run(outputs, [(own, scope.get_current_value(own)) for own in self.changing], loss)

    def extracted(self) -> keras.Model:
        """Returns a plain model of its own weights."""
        made = rebuild(self.model)
        values = {id(variable): value for variable, value in self.values()}
        for variable, copy in zip(self.model.variables, made.variables, strict=True):
            # A copy: on JAX a model's `fit` and `predict` use the memory of its arrays up.
            copy.assign(np.array(ops.convert_to_numpy(values[id(variable)])))
        for layer in flatten_layers(made, include_self=False):
            finalize_states(layer)
        return made


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model that have variables, those within others too, in their order."""
    return [
        layer
        for layer in flatten_layers(model, include_self=False)
        if not isinstance(layer, keras.Model) and layer.variables
    ]


def _cuts(coupling, stays):
    """`id` of a weight of the whole model -> the axes along which it is cut, and what stays."""
    cuts: dict[int, list[tuple[int, np.ndarray]]] = {}
    for part in coupling.slices.values():
        positions = np.flatnonzero(stays[part.ids])
        if len(positions) < len(part.ids):
            cuts.setdefault(id(part.variable), []).append((part.axis, positions))
    return cuts


def _cut(value: Any, cuts: list[tuple[int, np.ndarray]]) -> Any:
    """A slice of a weight."""
    for axis, positions in cuts:
        if np.array_equal(positions, np.arange(len(positions))):
            value = value[(slice(None),) * axis + (slice(0, len(positions)),)]
        else:
            value = ops.take(value, positions, axis)
    return value
