"""Channels that go together, as numbers that are united while a graph is followed."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Value = Callable[[np.ndarray], Any]
"""Function of a mask, which says of each channel's number whether it stays, to a value."""


@dataclasses.dataclass(frozen=True)
class Slices:
    """The channels along one axis of one weight.

    Attributes:
        layer: The layer that has the weight.
        path: Its name, in nested models after the names of these.
        weight: The name of the layer's attribute, such as `"kernel"`; of a part of the layer after
            that of the part, as `"cell.kernel"`.
        axis: The axis, from 0.
        ids: The number of the channel of each position.
        role: `"out"` for filters, which make the channels; `"in"` for what reads them; `"through"`
            for what each channel has of its own, such as a normalization's scale.
    """

    layer: keras.layers.Layer
    path: str
    weight: str
    axis: int
    ids: np.ndarray
    role: str

    @property
    def variable(self) -> keras.Variable:
        """The weight itself."""
        return operator.attrgetter(self.weight)(self.layer)


@dataclasses.dataclass(frozen=True)
class Fold:
    """What a layer adds up of channels that are constants.

    Attributes:
        layer: The layer.
        weight: The name of the kernel that multiplies the channels.
        ids: The number of the channel of each input.
        constants: Their values; NaN where they depend on the input of the model.
        outputs: The numbers of the channels that come out.
    """

    layer: keras.layers.Layer
    weight: str
    ids: np.ndarray
    constants: np.ndarray
    outputs: np.ndarray


class Coupling:
    """The channels of a graph while they are found.

    Attributes:
        makers: For each number the path of the layer that makes the channel; 0 is none.
        reasons: Number -> why the channel stays.
        slices: The `Slices` of all weights.
        products: Layer, name of a weight, and at how many positions each of its values is
            multiplied in one pass.
        products_along: Multiplications that no weight takes part in, and the key in `slices` of the
            channels that they are proportional to.
        one_by_one: The numbers of channels that are wide themselves, of which any number may stay.
        changes: `id` of a layer or operation -> it, and its fields that follow from what stays.
        folds: `id` of a layer -> its `Fold`.
        shapes: Channels of tensors that must keep straight edges.
        activations: Keras tensors after activations that give zeros, and their channels.
        untouched: Path of a layer with weights -> why none of its own channels may go.
    """

    def __init__(self) -> None:
        self.makers: list[str] = [""]
        self.reasons: dict[int, str] = {}
        self.slices: dict[tuple[int, str, int], Slices] = {}
        self.products: list[tuple[keras.layers.Layer, str, int]] = []
        self.products_along: list[tuple[int, tuple[int, str, int]]] = []
        self.one_by_one: set[int] = set()
        self.changes: dict[int, tuple[keras.Operation, dict[str, Value]]] = {}
        self.folds: dict[int, Fold] = {}
        self.shapes: list[np.ndarray] = []
        self.activations: list[tuple[keras.KerasTensor, np.ndarray]] = []
        self.untouched: dict[str, str] = {}
        self._parents = [0]
        self._made: dict[tuple[int, str], np.ndarray] = {}
        self._reshaped: dict[int, tuple[tuple, np.ndarray]] = {}

    def new(self, layer: keras.Operation, path: str, count: int, part: str = "") -> np.ndarray:
        """Returns numbers for the channels that a layer makes, at each of its calls the same."""
        key = id(layer), part
        if key not in self._made:
            first = len(self._parents)
            self._made[key] = np.arange(first, first + count)
            self._parents.extend(range(first, first + count))
            self.makers.extend([path] * count)
        return self._made[key]

    def root(self, number: int) -> int:
        """Returns the number that stands for all that a channel is united with."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """Returns the numbers that stand for channels, in the shape of `ids`."""
        unique, inverse = np.unique(ids, return_inverse=True)
        found = np.array([self.root(int(number)) for number in unique], "int64")
        return found[inverse].reshape(np.shape(ids))

    def unite(self, one: np.ndarray, two: np.ndarray, reason: str) -> None:
        """Lets channels go or stay together.

        Args:
            one: Numbers.
            two: Numbers, of a shape that can be broadcast with the other.
            reason: Why those stay that meet a channel that always stays.
        """
        pairs = np.stack([part.reshape(-1) for part in np.broadcast_arrays(one, two)], 1)
        for first, second in np.unique(pairs, axis=0).tolist():
            if first and second:
                self._parents[self.root(first)] = self.root(second)
            else:
                self.freeze(np.array([first, second]), reason)

    def freeze(self, ids: np.ndarray, reason: str) -> None:
        """Lets channels stay.

        Args:
            ids: Their numbers.
            reason: Why.
        """
        for number in np.unique(ids).tolist():
            if number:
                self.reasons.setdefault(number, reason)

    def has(
        self, layer: keras.Operation, path: str, weight: str, axis: int, ids: np.ndarray, role: str
    ) -> None:
        """Notes that a weight has channels along an axis; nothing where there is no such weight."""
        try:
            variable = operator.attrgetter(weight)(layer)
        except AttributeError:
            return
        if variable is None:
            return
        axis %= len(variable.shape)
        known = self.slices.setdefault(
            (id(layer), weight, axis), Slices(layer, path, weight, axis, ids, role)
        )
        if known.ids is not ids:
            self.unite(known.ids, ids, f"{path!r} is also called with channels that stay")

    def multiplies(self, layer: keras.Operation, weight: str, sizes: Any) -> None:
        """Notes at how many positions a weight is multiplied; sizes that are not known count 0."""
        sizes = tuple(sizes)
        self.products.append((layer, weight, 0 if None in sizes else int(np.prod(sizes))))

    def multiplies_along(self, layer: keras.Operation, weight: str, axis: int, macs: int) -> None:
        """Notes multiplications that are proportional to the channels along an axis of a weight."""
        self.products_along.append((macs, (id(layer), weight, axis)))

    def goes_one_by_one(self, ids: np.ndarray) -> None:
        """Notes channels whose number need not be rounded, such as heads of attention."""
        self.one_by_one.update(ids.tolist())

    def change(self, operation: keras.Operation, **fields: Value) -> None:
        """Notes fields of a layer's configuration that follow from what stays."""
        self.changes.setdefault(id(operation), (operation, {}))[1].update(fields)

    def takes_shape(
        self, operation: keras.Operation, path: str, shape: tuple, ids: np.ndarray
    ) -> None:
        """Notes that sizes of an operation's own follow from channels, the same at each call.

        Args:
            operation: The operation, or layer.
            path: Its name.
            shape: The shape that it gives.
            ids: The numbers of the channels of what it gives, of as many axes.
        """
        known_shape, known = self._reshaped.setdefault(id(operation), (shape, ids))
        if known is ids:
            return
        if known_shape == shape:
            self.unite(known, ids, f"{path!r} is also called with channels that stay")
        else:
            for part in (known, ids):
                self.freeze(part, f"{path!r} is called with tensors of different shapes")

    def folds_into(self, fold: Fold) -> None:
        """Notes what a layer adds up of constant channels."""
        known = self.folds.setdefault(id(fold.layer), fold)
        differ = ~np.isclose(known.constants, fold.constants, equal_nan=True)
        if differ.any():  # One bias cannot hold what two calls add up.
            self.freeze(fold.ids[differ], f"{fold.layer.name!r} is called with several constants")


def count_left(ids: np.ndarray) -> Value:
    """Returns the function of what stays to how many of some channels stay."""
    return lambda stays: int(stays[ids].sum())


def kernel_of(layer: keras.layers.Layer, weight: str) -> np.ndarray:
    """Returns a kernel as an array `(positions, inputs, outputs)` of float64.

    Args:
        layer: A dense layer or a convolution.
        weight: The name of the kernel.
    """
    kernel = np.asarray(getattr(layer, weight), "float64")
    if "Transpose" in type(layer).__name__:
        kernel = kernel.swapaxes(-1, -2)
    return kernel.reshape(-1, *kernel.shape[-2:])
