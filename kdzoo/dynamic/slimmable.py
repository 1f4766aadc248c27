"""Slimmable networks: one set of weights that runs at several widths."""

import decimal
import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.compression.filter_pruning.channel_groups import follow, groups_of
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.smaller_model import smaller_model
from kdzoo.distillation.settings import Untracked
from kdzoo.evaluation.labelled_batches import check_inputs, labelled_batches
from kdzoo.graph import acceleration
from kdzoo.graph.adapted_layers import finalize_states
from kdzoo.graph.calls import graph_of
from kdzoo.graph.exportable import HasGraph
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.surgery import rebuild
from kdzoo.utils import check_flag, check_name, check_positive_integer, is_number, shown
from kdzoo.utils.types import Tensor

_NORMS = (keras.layers.BatchNormalization,)


@keras.saving.register_keras_serializable("kdzoo")
class Slimmable(HasGraph, keras.Model):
    """A network that runs at several widths, each with the first channels of all layers.

    Which channels go together is found by following the graph, so that any functional model will
    do. Convolutions and dense layers are shared by all widths: a
    narrow one has slices of the weights. Batch normalizations see other statistics at each width,
    and have means and variances for each; their scales and shifts are also of a width's own
    ("switchable"), or slices too ("universal").

    `call` takes the width. Train all widths at once with `kdzoo.dynamic.WidthLearner`; `calibrate`
    measures means and variances anew; `kdzoo.dynamic.extract` makes a plain model of one width.

    Args:
        model: A functional or built sequential `keras.Model`; its weights are copied.
        widths: Fractions of the channels, increasing, the last of them 1.
        universal: Whether scales and shifts of batch normalizations are shared by all widths.
        round_to: Numbers of channels are multiples of this, and at least this, or all there are.
        name: Name of the model; that of the given one and `_slimmable` when None.

    Raises:
        ValueError: If the model has no graph or nothing in it can be narrower, or widths are not
            such fractions.

    Example:

    ```python
    model = kdzoo.create("separable_050", classes=10, input_shape=(32, 32, 3))
    slimmable = kdzoo.dynamic.Slimmable(model, widths=(0.25, 0.5, 0.75, 1.0))
    learner = kdzoo.dynamic.WidthLearner(slimmable)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    learner.fit(images, labels, epochs=10)
    logits = slimmable(images, width=0.5)
    small = kdzoo.dynamic.extract(slimmable, width=0.5)
    ```

    References: Yu et al., "Slimmable Neural Networks", 2019, arXiv:1812.08928; Yu & Huang,
    "Universally Slimmable Networks and Improved Training Techniques", 2019, arXiv:1903.05134.
    """

    def __init__(
        self,
        model: keras.Model,
        widths: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        universal: bool = False,
        round_to: int = 8,
        name: str | None = None,
    ):
        graph_of(model)
        checked_widths = _check_widths(widths)
        round_to = check_positive_integer("round_to", round_to, most=1 << 16)
        whole = rebuild(model)
        super().__init__(
            name=check_name(name) or f"{model.name}_slimmable", dtype=model.dtype_policy
        )
        self.whole = whole
        self.widths = checked_widths
        self.universal = check_flag("universal", universal)
        self.round_to = round_to
        coupling = _follow_whatever_the_weights(whole)
        groups = groups_of(coupling)
        if not any((~group.stays).any() for group in groups):
            raise ValueError(
                "Expected a model in which channels can go. Received: "
                f"{model.name!r}, whose channels all have to stay."
            )
        self._narrow = {
            width: _Narrow(whole, coupling, _first(coupling, groups, width, round_to), universal)
            for width in self.widths[:-1]
        }
        # What the widths have of their own, where Keras finds it.
        self.own_layers = [
            layer for width in self.widths[:-1] for layer in self._narrow[width].own_layers
        ]
        self.built = True

    # A method, as Keras saves the weights of whatever it finds in a property.
    def graph_model(self) -> keras.Model:
        return self.whole

    def call(self, inputs: Any, width: float | None = None, training: bool | None = None) -> Tensor:
        """Returns the outputs at one width.

        Args:
            inputs: What the model takes.
            width: One of `widths`; 1 when None.
            training: Whether it runs as in training.

        Raises:
            ValueError: If there is no such width.
        """
        outputs, updates = self.run(inputs, self.check_width(width), training)
        for variable, value in updates:
            variable.assign(value)
        return outputs

    def check_width(self, width: float | None) -> float:
        """Returns one of the model's widths, or raises `ValueError`.

        Args:
            width: The width; None for the last.
        """
        if width is None:
            return self.widths[-1]
        if not is_number(width) or float(width) not in self.widths:
            raise ValueError(
                f"Expected one of the widths {self.widths}. Received: width={shown(width)}"
            )
        return float(width)

    def run(
        self, inputs: Any, width: float, training: bool | None = None
    ) -> tuple[Tensor, list[tuple[keras.Variable, Tensor]]]:
        """Returns the outputs at one width, and what its own variables are to become.

        Args:
            inputs: What the model takes.
            width: One of `widths`.
            training: Whether it runs as in training.

        Returns:
            (outputs, pairs of a variable and its new value, in an order that does not change).
        """
        if width == self.widths[-1]:
            layers = acceleration.quicker_layers(self.whole)
            with acceleration.accelerated(layers):
                return self.whole(inputs, training=training), []
        return self._narrow[width].run(inputs, training)

    def own_variables(self, width: float) -> list[keras.Variable]:
        """Returns the variables that a width changes when it runs as in training.

        Args:
            width: One of `widths`.
        """
        return [] if width == self.widths[-1] else self._narrow[width].changing

    def narrow_model(self, width: float) -> keras.Model:
        """Returns a new plain model of a width, with its weights.

        Args:
            width: One of `widths`.
        """
        width = self.check_width(width)
        if width == self.widths[-1]:
            return rebuild(self.whole)
        return self._narrow[width].extracted()

    def alternatives(self) -> dict[str, keras.Model]:
        """Returns a plain model of each width by `width_` and its digits, from the widest down."""
        made = {f"width_{_digits(width)}": self.narrow_model(width) for width in self.widths[::-1]}
        for name, model in made.items():
            model.name = f"{model.name}_{name}"
        return made

    def calibrate(self, x: Any, batch_size: int = 128, batches: int = 50) -> None:
        """Measures the means and variances of batch normalizations anew, at every width.

        They become the averages over the batches, of which each counts alike.

        Args:
            x: Array `(samples, ...)` of inputs, or a dataset of batches `x` or `(x, ...)`.
            batch_size: Samples in a batch of an array.
            batches: How many batches at most are looked at.

        Raises:
            ValueError: If there is no sample.
        """
        batches = check_positive_integer("batches", batches, most=1 << 31)
        labelled = labelled_batches(x, None, batch_size)
        found = [batch for batch, _ in itertools.islice(labelled, batches)]
        for batch in found:
            check_inputs(batch, self.whole)
        for width in self.widths:
            layers = [layer for layer in self._layers_of(width) if isinstance(layer, _NORMS)]
            kept = [layer.momentum for layer in layers]
            try:
                for number, batch in enumerate(found):
                    for layer in layers:
                        layer.momentum = number / (number + 1)
                    self(batch, width=width, training=True)
            finally:
                for layer, momentum in zip(layers, kept, strict=True):
                    layer.momentum = momentum

    def _layers_of(self, width):
        model = self.whole if width == self.widths[-1] else self._narrow[width].model
        return flatten_layers(model)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.whole),
            "widths": self.widths,
            "universal": self.universal,
            "round_to": self.round_to,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Slimmable":
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def extract(model: Slimmable, width: float) -> keras.Model:
    """Returns a new plain Keras model of one width of a slimmable network, with its weights.

    Args:
        model: The slimmable network.
        width: One of its widths.

    Raises:
        ValueError: If it is no such network, or there is no such width.
    """
    if not isinstance(model, Slimmable):
        raise ValueError(f"Expected a `kdzoo.dynamic.Slimmable`. Received: {type(model).__name__}")
    return model.narrow_model(width)


class _Narrow:
    """A width: a smaller model whose weights are slices of the whole one's, but for some.

    Args:
        whole: The model of all channels.
        coupling: Its channels.
        stays: For each number of a channel, whether this width has it.
        universal: Whether scales and shifts are slices too.
    """

    def __init__(self, whole: keras.Model, coupling: Coupling, stays: np.ndarray, universal: bool):
        self._hidden = Untracked(smaller_model(whole, coupling, stays))
        parts: dict[int, list[tuple[int, np.ndarray]]] = {}
        for part in coupling.slices.values():
            positions = np.flatnonzero(stays[part.ids])
            if len(positions) < len(part.ids):
                parts.setdefault(id(part.variable), []).append((part.axis, positions))
        self._sources: list[tuple[keras.Variable, keras.Variable, list]] = []
        self.own: list[keras.Variable] = []
        self.own_layers: list[keras.layers.Layer] = []
        pairs = zip(_leaves(whole), _leaves(self.model), strict=True)
        for large, small in pairs:
            is_norm = isinstance(large, _NORMS)
            own = []
            for source, variable in zip(large.variables, small.variables, strict=True):
                is_shared = variable.trainable and (universal or not is_norm)
                is_shared |= not variable.trainable and not is_norm and _is_weight(large, source)
                if is_shared:
                    cuts = parts.get(id(source), [])
                    self._sources.append((variable, source, cuts))
                else:
                    own.append(variable)
            if own:  # Keras finds the layer, and is not to train what stands for the whole one's.
                for variable in small.variables:
                    variable.trainable &= any(variable is kept for kept in own)
            self.own += own
            self.own_layers += [small] if own else []
        self.changing = [variable for variable in self.own if not variable.trainable]

    @property
    def model(self) -> keras.Model:
        """The smaller model, whose shared weights are looked up in the whole one."""
        return self._hidden.model

    def values(self) -> list[tuple[keras.Variable, Any]]:
        """Each variable of the smaller model, and its value."""
        shared = [(variable, _cut(source.value, cuts)) for variable, source, cuts in self._sources]
        return [*shared, *((variable, variable.value) for variable in self.own)]

    def run(self, inputs, training):
        layers = acceleration.quicker_layers(self.model)
        with (
            acceleration.accelerated(layers),
            keras.StatelessScope(state_mapping=self.values()) as scope,
        ):
            outputs = self.model(inputs, training=training)
        if not training:
            return outputs, []
        return outputs, [(own, scope.get_current_value(own)) for own in self.changing]

    def extracted(self) -> keras.Model:
        """A plain model of its own weights."""
        made = rebuild(self.model)
        values = {id(variable): value for variable, value in self.values()}
        for variable, copy in zip(self.model.variables, made.variables, strict=True):
            # A copy: on JAX a model's `fit` and `predict` use the memory of its arrays up.
            copy.assign(np.array(ops.convert_to_numpy(values[id(variable)])))
        for layer in flatten_layers(made, include_self=False):
            finalize_states(layer)
        return made


def _follow_whatever_the_weights(model: keras.Model) -> Coupling:
    """What is known of a model's channels, none of which is taken for a constant."""
    weights = model.get_weights()
    try:
        model.set_weights([np.ones_like(weight) for weight in weights])
        return follow(model)
    finally:
        model.set_weights(weights)


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model that have variables of their own, in their order."""
    return [
        layer
        for layer in flatten_layers(model, include_self=False)
        if not isinstance(layer, keras.Model) and layer.variables
    ]


def _is_weight(layer: keras.layers.Layer, variable: keras.Variable) -> bool:
    """Whether a variable is a weight, and no state of a random generator."""
    return any(variable is weight for weight in layer.weights)


def _cut(value: Any, cuts: list[tuple[int, np.ndarray]]) -> Any:
    """A slice of a weight."""
    for axis, positions in cuts:
        if np.array_equal(positions, np.arange(len(positions))):
            value = value[(slice(None),) * axis + (slice(0, len(positions)),)]
        else:
            value = ops.take(value, positions, axis)
    return value


def _first(coupling: Coupling, groups: Any, width: float, round_to: int) -> np.ndarray:
    """For each number of a channel, whether a width has it: the first ones of each group."""
    gone = []
    for group in groups:
        count = max(round_to, math.floor(width * group.size / round_to + 0.5) * round_to)
        # Those that have to stay come first, so that a narrow network is part of a wide one.
        order = np.argsort(~group.stays, kind="stable")
        count = max(min(count, group.size), int(group.stays.sum()))
        gone.append(group.roots[order[count:]])
    roots = coupling.roots(np.arange(len(coupling.makers)))
    return ~np.isin(roots, np.concatenate(gone))


def _digits(width: float) -> str:
    """A width by its digits, two at least behind the point, which is left out: "050" of 0.5."""
    before, _, after = format(decimal.Decimal(repr(width)), "f").partition(".")
    return before + after.ljust(2, "0")


def _check_widths(widths: Any) -> list[float]:
    """The widths as a list of floats, or raises."""
    is_listed = isinstance(widths, list | tuple) and len(widths) > 1
    if not is_listed or not all(is_number(width) and 0 < width <= 1 for width in widths):
        raise ValueError(
            f"Expected two or more widths above 0 up to 1. Received: widths={shown(widths)}"
        )
    found = [float(width) for width in widths]
    if sorted(set(found)) != found or found[-1] != 1:
        raise ValueError(
            f"Expected widths that increase, up to 1. Received: widths={shown(list(widths))}"
        )
    return found
