"""Surgery: a functional or sequential graph, built again call by call with changes.

All that kdzoo changes in a network goes through here: what is copied, replaced, removed, inserted,
given other widths, tapped or split is new, and the model that it was made of stays as it was.
"""

import contextlib
import warnings
from collections.abc import Callable, Container, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.graph.adapted_layers import finalize_states
from kdzoo.graph.calls import Plan, graph_of, is_symbol, output_of
from kdzoo.graph.keras_internals import (
    copy_of_operation,
    free_names,
    functional_of,
    input_shape_argument,
    keeps_its_class,
    maker_of,
    nodes_of,
    output_shape_of_lambda,
    set_input_shape_argument,
)
from kdzoo.graph.outputs import remember_types_of

Weights = Sequence[np.ndarray]
Replace = Callable[
    [keras.Operation, str], "keras.Operation | tuple[keras.Operation, Weights] | None"
]


def copy_of(layer: keras.layers.Layer, /, **changes: Any) -> keras.layers.Layer:
    """Returns a new layer of the same configuration, without weights.

    Args:
        layer: The layer.
        **changes: Fields of the configuration that get other values, such as `units=10`.
    """
    if type(layer) is keras.layers.Lambda:  # Its configuration may hold code, which is not loaded.
        settings = {
            "output_shape": output_shape_of_lambda(layer),
            "mask": layer.mask,
            "arguments": layer.arguments,
            "name": layer.name,
            "trainable": layer.trainable,
            "dtype": layer.dtype_policy,
        }
        copy = keras.layers.Lambda(layer.function, **{**settings, **changes})
    else:
        copy = type(layer).from_config({**layer.get_config(), **changes})
    set_input_shape_argument(copy, input_shape_argument(layer))
    return copy


def rebuild(
    model: keras.Model,
    replace: Replace | None = None,
    perform: Callable[..., Any] | None = None,
    outputs: Any = None,
    name: str | None = None,
) -> keras.Model:
    """Returns a new model that computes what a model computes, but for the changes.

    Nested models are entered, layers that are called several times stay shared; names, structures
    of inputs and outputs and arguments of calls are kept, and so are the weights, which are copied.
    The model is left as it is; nothing of it belongs to the new one. A sequential model stays one
    where its layers still follow each other; a subclass of `keras.Sequential` becomes a plain
    sequential model, without the subclass's own methods and attributes.

    Args:
        model: The functional or built sequential `keras.Model`.
        replace: Function of a layer, or operation of `keras.ops`, and its path, that is called once
            for each. It returns what takes its place: None for a copy; another layer or operation,
            which is given the weights if it is not built and they fit; or that and a list of
            arrays, its weights. A nested model that is not replaced is entered.
        perform: Function of a `Call`, what takes its operation's place, the arguments and the
            keyword arguments, to the outputs; by default `operation(*args, **kwargs)`. It may leave
            a call out by returning its input, call something before or after it, or change
            arguments.
        outputs: Keras tensors of the model, or paths of layers (names joined by `/` that lead
            through nested models), in any structure; the model's own outputs when None.
        name: Name of the new model; the model's when None.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: If the model has no graph, an output is none of it or lies within a nested model
            that is called more than once, or the weights of a layer that was not replaced do not
            fit what is before it now.

    Example:

    ```python
    def without_dropout(call, layer, args, kwargs):
        is_dropout = isinstance(layer, keras.layers.Dropout)
        return args[0] if is_dropout else layer(*args, **kwargs)


    smaller = rebuild(model, perform=without_dropout)
    exits = rebuild(model, outputs=["stage1", "backbone/stage2", "logits"])
    ```
    """
    outputs = None if outputs is None else _as_tensors(model, outputs)
    rebuilding = _Rebuilding(replace, perform, keras.tree.flatten(outputs))
    made = rebuilding.model(model, outputs, name=name)
    rebuilding.set_weights()
    return made


def compile_like(new: keras.Model, model: keras.Model) -> keras.Model:
    """Compiles a model with the configuration of another one, if that is compiled, and returns it.

    A loss or metric that Keras cannot make from its configuration, such as a lambda, leaves the
    model uncompiled.

    Args:
        new: The model, such as `rebuild` returned.
        model: The other one.
    """
    if not model.compiled:
        return new
    with warnings.catch_warnings(), contextlib.suppress(ValueError, TypeError):
        warnings.simplefilter("ignore")  # Keras warns of lambdas that it serializes.
        new.compile_from_config(model.get_compile_config())
    return new


def split(model: keras.Model, at: Any) -> tuple[keras.Model, keras.Model]:
    """Returns two new models: from the inputs to some tensors, and from these to the outputs.

    Nested models in which a tensor lies become part of the model around them, and a layer of theirs
    whose name is taken there gets the nested model's before its own. A layer that both halves call
    is shared by them.

    Args:
        model: The functional or built sequential `keras.Model`; it is left as it is.
        at: Keras tensors of it, or paths of layers (names joined by `/` that lead through nested
            models), in any structure: that of the first half's outputs and of the second half's
            inputs.

    Raises:
        ValueError: If the model has no graph, a tensor is none of it, or an output also depends on
            an input of the model that is not among the tensors.
    """
    tensors = _as_tensors(model, at)
    rebuilding = _Rebuilding(wanted=keras.tree.flatten(tensors), flattens=True)
    first = rebuilding.model(model, tensors, name=f"{model.name}_until")
    second = rebuilding.model(model, inputs=tensors, name=f"{model.name}_from")
    rebuilding.set_weights()
    return first, second


def parts(
    model: keras.Model,
    ends: Sequence[tuple[Any, Any]],
    replace: Replace | None = None,
    perform: Callable[..., Any] | None = None,
    entered: Container[int] = (),
) -> list[keras.Model]:
    """Returns new models, each from some tensors of a model to others.

    Nested models in which a tensor lies become part of the model around them. A layer that several
    parts call is shared by them. Tensors in half precision are handed on in float32.

    Args:
        model: The functional or built sequential `keras.Model`; it is left as it is.
        ends: For each part the tensors that are its inputs and those that are its outputs: Keras
            tensors of the model, or paths of layers (names joined by `/` that lead through nested
            models), in any structure, which is that of the part's own inputs and outputs.
        replace: What takes the place of layers, as `rebuild` takes it.
        perform: How calls are made, as `rebuild` takes it.
        entered: The `id`s of nested models that become part of the model around them, too.

    Raises:
        ValueError: If the model has no graph, a tensor is none of it, or an output also depends on
            an input of the model that is not among its part's inputs.
    """
    ends = [(_as_tensors(model, inputs), _as_tensors(model, outputs)) for inputs, outputs in ends]
    wanted = keras.tree.flatten(ends)
    rebuilding = _Rebuilding(replace, perform, wanted, True, widens=True, entered=entered)
    made = [
        rebuilding.model(model, outputs, inputs=inputs, name=f"{model.name}_part{number}")
        for number, (inputs, outputs) in enumerate(ends, 1)
    ]
    rebuilding.set_weights()
    return made


def _as_tensors(model: keras.Model, given: Any) -> Any:
    """Tensors, for paths of layers among them, in their structure."""
    return keras.tree.map_structure(
        lambda leaf: output_of(model, leaf) if isinstance(leaf, str) else leaf, given
    )


class _Rebuilding:
    """What is copied so far, each layer once, and what the copies' weights will be."""

    def __init__(
        self,
        replace: Replace | None = None,
        perform: Callable[..., Any] | None = None,
        wanted: Sequence[keras.KerasTensor | None] = (),
        flattens: bool = False,
        widens: bool = False,
        entered: Container[int] = (),
    ):
        self._replace = replace or (lambda operation, path: None)
        self._perform = perform or (
            lambda call, operation, args, kwargs: operation(*args, **kwargs)
        )
        self._wanted, self._flattens = [t for t in wanted if t is not None], flattens
        self._widens, self._entered = widens, entered
        self._copies: dict[int, tuple[keras.Operation, keras.Operation]] = {}
        self._weights: list[tuple] = []

    def model(self, model, outputs=None, inputs=None, name=None, path=""):
        """A new model, from the inputs of a model, or from other tensors of it, to outputs."""
        graph = graph_of(model)
        wanted = graph.output if outputs is None else outputs
        starts = graph.input if inputs is None else inputs
        plan = Plan(graph, path, self._enters, self._inner)
        names = starts if isinstance(starts, dict) else {}
        names = {id(tensor): name for name, tensor in names.items()}
        values = {
            plan.key(tensor): _input_like(tensor, names.get(id(tensor)), self._widens)
            for tensor in keras.tree.flatten(starts)
        }
        calls = plan.needed(keras.tree.flatten(wanted), values)
        names = self._names(calls)

        def perform(call, args, kwargs):
            operation = self._copy(call.operation, call.path, names[id(call.operation)])
            return self._perform(call, operation, args, kwargs)

        plan.run(calls, values, perform)
        new_inputs, new_outputs = keras.tree.map_structure(
            lambda tensor: values[plan.key(tensor)], (starts, wanted)
        )
        is_whole = outputs is None and inputs is None
        copies = {id(copy) for _, copy in self._copies.values()}
        return _made(model, new_inputs, new_outputs, name or model.name, is_whole, copies)

    def _enters(self, operation):
        return self._flattens and (id(operation) in self._entered or bool(self._inside(operation)))

    def _inner(self, operation):
        return [] if self._flattens else self._inside(operation)

    def _inside(self, operation):
        """The wanted tensors that are made within a nested model."""
        graph = functional_of(operation)
        if not self._wanted or graph is None:
            return []
        nodes = nodes_of(graph)
        own = {id(tensor) for node in nodes for tensor in node.outputs}
        found = [tensor for tensor in self._wanted if id(tensor) in own]
        return found + [tensor for node in nodes for tensor in self._inside(node.operation)]

    def _names(self, calls):
        """Names for the copies: their own; within another model's calls after that of theirs."""
        taken, names = {call.operation.name for call, *_ in calls if "/" not in call.path}, {}
        for call, *_ in calls:
            operation = call.operation
            if id(operation) not in names:
                *outer, name = call.path.split("/")
                is_free = not (self._flattens and outer) or name not in taken
                names[id(operation)] = name if is_free else "_".join((*outer, name))
                taken.add(names[id(operation)])
        return names

    def _copy(self, operation, path, name):
        if id(operation) not in self._copies:
            self._copies[id(operation)] = operation, self._new(operation, path, name)
        return self._copies[id(operation)][1]

    def _new(self, operation, path, name):
        made, weights = self._replace(operation, path), None
        if isinstance(made, tuple):
            made, weights = made
        is_copy, is_layer = made is None, isinstance(operation, keras.layers.Layer)
        if is_copy and functional_of(operation) is not None:
            inner = self._inner(operation)
            outputs = [*graph_of(operation).outputs, *inner] if inner else None
            return self.model(operation, outputs, name=name, path=f"{path}/")
        if is_copy and is_layer:
            made = copy_of(operation, **({} if name == operation.name else {"name": name}))
        elif is_copy:
            made = copy_of_operation(operation)
            made.name = name
        if isinstance(made, keras.layers.Layer) and (
            is_copy or weights is not None or not made.built
        ):
            self._weights.append((path, made, operation, weights, is_copy))
        return made

    def set_weights(self):
        """Gives the copies their weights, once they are built."""
        for path, made, original, weights, is_copy in self._weights:
            if weights is None:
                is_layer = isinstance(original, keras.layers.Layer)
                weights = original.get_weights() if is_layer else []
                shapes = [tuple(weight.shape) for weight in made.weights]
                fits = shapes == [weight.shape for weight in weights]
                if is_copy and not fits and made.built:
                    raise ValueError(
                        f"Expected as wide inputs of {path!r} as they were, or `replace` to return "
                        "it with other weights. Received: weights of shape "
                        f"{[weight.shape for weight in weights]} for {shapes}"
                    )
                weights = weights if fits else None
            if made.built and weights is not None:  # What was not called is in no model.
                made.set_weights(weights)
                finalize_states(made)


def _input_like(
    tensor: keras.KerasTensor, name: str | None = None, widens: bool = False
) -> keras.KerasTensor:
    """A new input of a tensor's shape; of an input its name and all that else it was told."""
    maker = maker_of(tensor)
    if isinstance(maker, keras.layers.InputLayer):
        return copy_of(maker).output
    is_half = widens and tensor.dtype in ("float16", "bfloat16")
    dtype = "float32" if is_half else tensor.dtype
    options = {"dtype": dtype, "sparse": tensor.sparse, "name": name}
    return keras.Input(batch_shape=tensor.shape, **options)


def _made(model, inputs, outputs, name, is_whole, copies):
    """A model of the class of another one, where it is made from inputs and outputs."""
    free_names(outputs, copies)
    is_plain = isinstance(model, keras.Sequential) or not keeps_its_class(model)
    model_class = type(model) if is_whole and not is_plain else keras.Model
    options = {"name": name} if model.trainable else {"name": name, "trainable": False}
    made = model_class(inputs, outputs, **options)
    layers = _chain(made) if is_whole and isinstance(model, keras.Sequential) else None
    if layers:
        made = keras.Sequential([maker_of(made.inputs[0]), *layers], **options)
    if is_whole:
        remember_types_of(made, model)
    if made.dtype_policy != model.dtype_policy:
        made.dtype_policy = model.dtype_policy
    return made


def _chain(model):
    """The layers of a functional model of which each takes what the one before gives, or None."""
    plan, layers, last = Plan(model), [], model.inputs[0]
    for call, args, kwargs in plan.calls:
        layer = call.operation
        is_next = (
            len(args) == 1 and args[0] is last and not any(is_symbol(v) for v in kwargs.values())
        )
        if not (isinstance(layer, keras.layers.Layer) and is_next) or layer in layers:
            return None
        layers.append(layer)
        (last,) = call.outputs if len(call.outputs) == 1 else (None,)
    return layers if last is model.outputs[0] else None
