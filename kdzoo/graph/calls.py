"""The calls of a graph: in order, found by path, run with values of any library."""

import collections
import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import keras

from kdzoo.graph.keras_internals import Node, functional_of, mask_of, nodes_of
from kdzoo.utils import shown, unknown_name


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or operation in a graph.

    Attributes:
        operation: The model's own layer, or operation of `keras.ops`, that is called.
        path: Its name; in a nested model after the names of the models, joined by "/".
        inputs: The model's own Keras tensors among the arguments and keyword arguments, a list in
            their order; without the masks that Keras found at other arguments.
        outputs: The model's own Keras tensors that it gives, a flat list.
    """

    operation: keras.Operation
    path: str
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def graph_of(model: keras.Model) -> keras.Model:
    """Returns the functional model that a model is or, if it is sequential, is run by.

    Args:
        model: A `keras.Model`.

    Raises:
        ValueError: If it is no model, subclassed, or sequential and not built.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`. Received: "
            f"{shown(model)} of type {type(model).__name__}"
        )
    graph = functional_of(model)
    if graph is None and isinstance(model, keras.Sequential):
        raise ValueError(
            "Expected a sequential model that is built; give it a `keras.Input` as its first "
            f"layer, or call it once. Received: {model.name!r}"
        )
    if graph is None:
        raise ValueError(
            "Expected a functional or sequential model, which has a graph. Received: "
            f"{model.name!r} of type {type(model).__name__}"
        )
    return graph


def output_of(model: keras.Model, path: str) -> Any:
    """Returns the Keras tensor, or the list of them, that a layer of a graph gives.

    Args:
        model: A functional or built sequential `keras.Model`.
        path: Name of a layer, or names joined by `/` that lead through nested models.

    Raises:
        ValueError: If there is no such layer, or it is called more than once.
    """
    name, _, rest = path.partition("/")
    call = call_of(model, name)
    if rest:
        return output_of(call.operation, rest)
    return call.outputs[0] if len(call.outputs) == 1 else call.outputs


def call_of(model: keras.Model, name: str) -> Node:
    """Returns the only call that a graph makes of a layer.

    A layer's first call may belong to another model, so only those of this graph count.

    Args:
        model: A functional or built sequential `keras.Model`.
        name: Name of the layer.

    Raises:
        ValueError: If there is no such layer (the nearest name is suggested), or it is called more
            than once.
    """
    nodes = nodes_of(graph_of(model))
    calls = [node for node in nodes if node.operation.name == name]
    if not calls:
        names = {node.operation.name for node in nodes}
        raise unknown_name(f"layer of {model.name!r}", name, names)
    if len(calls) > 1:
        raise ValueError(
            f"Expected a layer that {model.name!r} calls once. Received: {name!r}, which it calls "
            f"{len(calls)} times; name a layer that is not shared."
        )
    return calls[0]


def nodes_within(model: keras.Model) -> Iterator[Node]:
    """Yields the calls of a graph, and those within nested models as often as these are called."""
    for node in nodes_of(graph_of(model)):
        yield node
        if functional_of(node.operation) is not None:
            yield from nodes_within(node.operation)


def models_of_several_outputs(model: keras.Model) -> set[int]:
    """Returns the `id`s of the nested models that give several tensors and are called once.

    Args:
        model: A functional or built sequential `keras.Model`.
    """
    nodes = list(nodes_within(model))
    calls = collections.Counter(id(node.operation) for node in nodes)
    return {
        id(node.operation)
        for node in nodes
        if functional_of(node.operation) is not None
        and len(node.outputs) > 1
        and calls[id(node.operation)] == 1
    }


def run_graph(model: keras.Model, inputs: Any, perform: Callable[..., Any], path: str = "") -> Any:
    """Runs a graph call by call, with tensors of any library.

    Masks that Keras found at the inputs are left out of the arguments, as it finds them again;
    masks that were given by hand stay.

    Args:
        model: A functional or built sequential `keras.Model`.
        inputs: What takes the place of its inputs, in any structure.
        perform: Function of a `Call`, its arguments and its keyword arguments to the outputs, as
            many as the operation gives, in any structure.
        path: What comes before the names of operations in their paths.

    Returns:
        What takes the place of the model's outputs, in their structure.
    """
    graph = graph_of(model)
    values = dict(zip(map(id, graph.inputs), keras.tree.flatten(inputs), strict=True))
    plan = Plan(graph, path)
    plan.run(plan.needed(graph.outputs, values), values, perform)
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], graph.output)


PlannedCall = tuple[Call, tuple, dict[str, Any]]
"""A call, and the arguments and keyword arguments that it has in the model."""


class Plan:
    """The calls of a graph in order, those of some nested models among them.

    Args:
        graph: The functional model.
        path: What comes before the names of operations.
        flattens: Whether the calls within a nested model are calls of this graph.
        inner: Function of an operation to the tensors within it that it shall give as well.
    """

    def __init__(
        self,
        graph: keras.Model,
        path: str = "",
        flattens: Callable[[keras.Operation], bool] = lambda operation: False,
        inner: Callable[[keras.Operation], Sequence[keras.KerasTensor]] = lambda operation: (),
    ):
        self.calls: list[PlannedCall] = []
        self._same: dict[int, keras.KerasTensor] = {}
        self._flattens, self._inner = flattens, inner
        self._flattened: set[int] = set()
        self._add(graph_of(graph), path)

    def _add(self, graph, path):
        own = {id(tensor) for tensor in graph.inputs}
        for node in nodes_of(graph):
            where = f"{path}{node.operation.name}"
            masks = _found_masks(node)
            kwargs = {name: value for name, value in node.kwargs.items() if name not in masks}
            inputs = [leaf for leaf in keras.tree.flatten((node.args, kwargs)) if is_symbol(leaf)]
            call = Call(node.operation, where, inputs, list(node.outputs))
            if not self._flattens(node.operation):
                self.calls.append((call, node.args, kwargs))
                continue
            inside = graph_of(node.operation)
            if id(inside) in self._flattened:
                raise _called_again(where)
            self._flattened.add(id(inside))
            given = keras.tree.flatten(node.args[0] if node.args else kwargs["inputs"])
            for inner, outer in zip(inside.inputs, given, strict=True):
                if inner is outer:  # A model that was built from the tensor it is called with.
                    continue
                if id(inner) in own:
                    raise ValueError(
                        "Expected a nested model with inputs of its own, or called with those that "
                        f"it was built from. Received: {where!r}, built from {inner.name!r} of "
                        "the model around it"
                    )
                self._same[id(inner)] = outer
            self._add(inside, f"{where}/")
            self._same.update(zip(map(id, node.outputs), inside.outputs, strict=True))

    def source(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the tensor of a call, or of an input, that a tensor stands for."""
        while id(tensor) in self._same:
            tensor = self._same[id(tensor)]
        return tensor

    def key(self, tensor: keras.KerasTensor) -> int:
        """Returns what a tensor's value is found by."""
        return id(self.source(tensor))

    def _gives(self, call):
        return [self.key(tensor) for tensor in (*call.outputs, *self._inner(call.operation))]

    def needed(
        self, targets: Iterable[keras.KerasTensor], given: Container[int]
    ) -> list[PlannedCall]:
        """Returns the calls that tensors depend on, but for those behind given ones.

        Args:
            targets: The tensors.
            given: The keys of tensors that need not be computed.

        Raises:
            ValueError: If one depends on a tensor that is neither given nor the output of a call,
                or lies within a model that is called more than once.
        """
        makers: dict[int, int] = {}
        needed: set[int] = set()
        within: set[int] = set()
        for number, (call, *_) in enumerate(self.calls):
            inner = {self.key(tensor) for tensor in self._inner(call.operation)}
            if inner & within:
                raise _called_again(call.path)
            within |= inner
            makers.update(dict.fromkeys(self._gives(call), number))
        waiting = list(targets)
        while waiting:
            tensor = waiting.pop()
            maker = makers.get(self.key(tensor))
            if self.key(tensor) in given or maker in needed:
                continue
            if maker is None:
                raise ValueError(
                    "Expected tensors of the model, through which all of it goes that comes after "
                    f"them. Received: tensors beside {tensor.name!r}"
                )
            needed.add(maker)
            waiting += self.calls[maker][0].inputs
        return [self.calls[number] for number in sorted(needed)]

    def run(
        self, calls: Iterable[PlannedCall], values: dict[int, Any], perform: Callable[..., Any]
    ) -> None:
        """Makes calls one after the other.

        Args:
            calls: What `needed` returned.
            values: Key of a tensor -> its value; the outputs of the calls are added.
            perform: Function of a `Call`, its arguments and its keyword arguments to the outputs.
        """
        for call, args, kwargs in calls:
            args, kwargs = keras.tree.map_structure(
                lambda leaf: values[self.key(leaf)] if is_symbol(leaf) else leaf, (args, kwargs)
            )
            outputs = keras.tree.flatten(perform(call, args, kwargs))
            values.update(zip(self._gives(call), outputs, strict=True))


def _called_again(path: str) -> ValueError:
    return ValueError(
        f"Expected a tensor of a model that is called once. Received: one of {path!r}"
    )


def _found_masks(node: Node) -> set[str]:
    """The names of the arguments that are masks which Keras found at other arguments."""
    if not isinstance(node.operation, keras.layers.Layer):
        return set()
    found = {id(mask_of(tensor)) for tensor in node.inputs} | {id(None)}
    names = [name for name in node.kwargs if name == "mask" or name.endswith("_mask")]
    masks = {name: keras.tree.flatten(node.kwargs[name]) for name in names}
    return {name for name in names if all(id(mask) in found for mask in masks[name])}


def is_symbol(value: Any) -> bool:
    """Returns whether a value is a Keras tensor, which stands for values."""
    return isinstance(value, keras.KerasTensor)
