"""Slimmable networks: one set of weights that runs at several widths."""

import itertools
import types
from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.compression.filter_pruning.channel_groups import groups_of
from kdzoo.dynamic.narrow_width import NORMS, NarrowWidth, Run
from kdzoo.dynamic.width_channels import (
    check_widths,
    digits,
    first_channels,
    follow_whatever_the_weights,
)
from kdzoo.evaluation.labelled_batches import check_inputs, labelled_batches
from kdzoo.graph import acceleration
from kdzoo.graph.calls import graph_of
from kdzoo.graph.exportable import HasGraph
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.surgery import rebuild
from kdzoo.utils import check_flag, check_name, check_positive_integer, is_number, shown
from kdzoo.utils.field_checks import (
    check_fields,
    is_boolean,
    is_count,
    is_dictionary,
    is_name,
    is_plain,
)
from kdzoo.utils.types import Tensor

_FIELDS = types.MappingProxyType(
    {
        "name": is_name,
        "model": is_dictionary,
        "widths": is_plain,
        "universal": is_boolean,
        "round_to": is_count,
    }
)
"""Name of a field of a configuration -> whether a value from a file fits it."""


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
        checked_widths = check_widths(widths)
        round_to = check_positive_integer("round_to", round_to, most=1 << 16)
        whole = rebuild(model)
        # The layers cast for themselves, as in a plain model.
        super().__init__(
            name=check_name(name) or f"{model.name}_slimmable",
            dtype=model.dtype_policy,
            autocast=False,
        )
        self.whole = whole
        self._widths = tuple(checked_widths)
        self._universal = check_flag("universal", universal)
        self._round_to = round_to
        coupling = follow_whatever_the_weights(whole)
        groups = groups_of(coupling)
        if not any((~group.stays).any() for group in groups):
            raise ValueError(
                "Expected a model in which channels can go. Received: "
                f"{model.name!r}, whose channels all have to stay."
            )
        self._narrow = {
            width: NarrowWidth(
                whole, coupling, first_channels(coupling, groups, width, round_to), universal
            )
            for width in self._widths[:-1]
        }
        # What the widths have of their own, where Keras finds it.
        narrow = self._narrow.values()
        self.own_layers = [
            _OwnLayers(narrow.own_layers, f"width_{digits(width)}")
            for width, narrow in self._narrow.items()
        ]
        self.own_generators = [generator for width in narrow for generator in width.generators]
        self.built = True

    @property
    def widths(self) -> list[float]:
        """The widths, increasing, the last of them 1."""
        return list(self._widths)

    @property
    def universal(self) -> bool:
        """Whether scales and shifts of batch normalizations are shared by all widths."""
        return self._universal

    @property
    def round_to(self) -> int:
        """What numbers of channels are multiples of."""
        return self._round_to

    @property
    def trainable(self) -> bool:
        """Whether the network is trained."""
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.Model.trainable.fset(self, value)
        for narrow in self._narrow.values():
            narrow.keep_shared_untrained()

    # A method, as Keras saves the weights of whatever it finds in a property.
    def graph_model(self) -> keras.Model:
        return graph_of(self.whole)

    def __call__(
        self, inputs: Any, width: float | None = None, training: bool | None = None, **kwargs: Any
    ) -> Tensor:
        # Before Keras makes a tensor of a NumPy number, and two screens of an error.
        width = None if width is None else self.check_width(width)
        return super().__call__(inputs, width=width, training=training, **kwargs)

    def call(self, inputs: Any, width: float | None = None, training: bool | None = None) -> Tensor:
        """Returns the outputs at one width.

        Args:
            inputs: What the model takes.
            width: One of `widths`; 1 when None.
            training: Whether it runs as in training.

        Raises:
            ValueError: If there is no such width.
        """
        found = self.run(inputs, self.check_width(width), training)
        for variable, value in found.updates:
            variable.assign(value)
        if found.loss is not None:
            self.add_loss(found.loss)
        return found.outputs

    def compute_output_spec(  # type: ignore[override]
        self, inputs: Any, width: float | None = None, training: bool | None = None
    ) -> Any:
        self.check_width(width)
        return self.whole.compute_output_spec(inputs)

    def check_width(self, width: float | None) -> float:
        """Returns one of the model's widths, or raises `ValueError`.

        Args:
            width: The width; None for the last.
        """
        if width is None:
            return self._widths[-1]
        if not is_number(width) or float(width) not in self._widths:
            raise ValueError(
                f"Expected one of the widths {self.widths}. Received: width={shown(width)}"
            )
        return float(width)

    def run(self, inputs: Any, width: float, training: bool | None = None) -> Run:
        """Returns what one width gives, and what its own variables become, which stay as they are.

        Those of the last width, which is a plain model, change at once.

        Args:
            inputs: What the model takes.
            width: One of `widths`.
            training: Whether it runs as in training.
        """
        if width == self._widths[-1]:
            layers = acceleration.quicker_layers(self.whole)
            with acceleration.accelerated(layers):
                return Run(self.whole(inputs, training=training), [])
        return self._narrow[width].run(inputs, training)

    def own_variables(self, width: float) -> list[keras.Variable]:
        """Returns the variables that `run` tells the new values of; of the last width none.

        Args:
            width: One of `widths`.
        """
        return [] if width == self._widths[-1] else self._narrow[width].changing

    def narrow_model(self, width: float) -> keras.Model:
        """Returns a new plain model of a width, with its weights.

        Args:
            width: One of `widths`.
        """
        width = self.check_width(width)
        if width == self._widths[-1]:
            return rebuild(self.whole)
        return self._narrow[width].extracted()

    def alternatives(self) -> dict[str, keras.Model]:
        """Returns a plain model of each width by `width_` and its digits, from the widest down."""
        made = {f"width_{digits(width)}": self.narrow_model(width) for width in self.widths[::-1]}
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
        for width in self._widths:
            layers = [layer for layer in self._layers_of(width) if isinstance(layer, NORMS)]
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
        model = self.whole if width == self._widths[-1] else self._narrow[width].model
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
        if cls is Slimmable:  # A subclass may have arguments of its own.
            check_fields("Slimmable", config, _FIELDS, optional=_FIELDS.keys() - {"model"})
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


class _OwnLayers(keras.layers.Layer):
    """The layers that a width has of its own, under its name: each weight has another path."""

    def __init__(self, own: list[keras.layers.Layer], name: str):
        super().__init__(name=name)
        self.own = own
        self.built = True


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
