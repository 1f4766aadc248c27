"""Every private part of Keras that kdzoo touches, each once; `keras` is all that others see of it.

`tests/graph/test_keras_internals.py` holds what each of them promises, so that a new Keras that
changes one fails there, by its name.
"""

import contextlib
import contextvars
import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
from keras.src import backend as _backend
from keras.src.backend.common import global_state as _global_state
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops import core as _core_operations
from keras.src.ops import image as _image_operations
from keras.src.ops import linalg as _linalg_operations
from keras.src.ops import math as _math_operations
from keras.src.ops import nn as _nn_operations
from keras.src.ops import numpy as _numpy_operations
from keras.src.saving import saving_lib as _saving_lib
from keras.src.saving.serialization_lib import SafeModeScope
from keras.src.trainers import data_adapters as _data_adapters
from keras.src.utils.naming import to_snake_case as _to_snake_case

from kdzoo.utils import heavy_libraries


class Store(_saving_lib.NpzIOStore):
    """What Keras's walk over a model's state saves into and loads from; to be derived from."""


CACHED_EVALUATION = "_use_cached_eval_dataset"
"""The argument by which `fit` calls `evaluate` for its validation."""


class Node(NamedTuple):
    """One call in a graph.

    Attributes:
        operation: The layer or `keras.Operation` that is called.
        args: Its arguments, Keras tensors among them.
        kwargs: Its keyword arguments, the masks that Keras handed on included.
        inputs: The Keras tensors among the arguments, a list.
        outputs: The Keras tensors that the call gave, a flat list.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict[str, Any]
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


# Graphs.


def functional_of(model: keras.Model) -> keras.Model | None:
    """Returns the functional model that a model is or, being sequential, is run by, or None."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, Functional) else None


def nodes_of(graph: keras.Model) -> list[Node]:
    """Returns the calls of a functional model but those of its input layers, in order."""
    levels = sorted(graph._nodes_by_depth.items(), reverse=True)
    return [
        Node(
            node.operation,
            node.arguments.args,
            node.arguments.kwargs,
            node.input_tensors,
            node.outputs,
        )
        for _, level in levels
        for node in level
        if not node.is_input
    ]


def maker_of(tensor: keras.KerasTensor) -> keras.Operation:
    """Returns the layer or operation that made a symbolic tensor; the input layer of an input."""
    return tensor._keras_history.operation


def free_names(outputs: Any, kept: set[int]) -> None:
    """Gives operations before symbolic outputs other names where two have one, layers none.

    Args:
        outputs: Keras tensors, in any structure.
        kept: The `id`s of operations that keep their names.
    """
    found, waiting = {}, keras.tree.flatten(outputs)
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if (id(operation), index) not in found:
            found[id(operation), index] = operation
            waiting += operation._inbound_nodes[index].input_tensors
    operations = {id(operation): operation for operation in found.values()}
    free = [key for key in operations if key not in kept]
    taken = {operations[key].name for key in operations.keys() - set(free)}
    for key in free:
        operation, number, name = operations[key], 0, operations[key].name
        while not isinstance(operation, keras.layers.Layer) and operation.name in taken:
            number += 1
            operation.name = f"{name}_{number}"
        taken.add(operation.name)


def keeps_its_class(model: keras.Model) -> bool:
    """Whether a functional model's class is made from inputs and outputs, as `keras.Model` is."""
    return functional_like_constructor(type(model))


def copy_of_operation(operation: keras.Operation) -> keras.Operation:
    """Returns an operation, not a layer, that computes the same and was never called."""
    # `copy.copy` would save and load it, and many have no configuration to be made from.
    copy = object.__new__(type(operation))
    vars(copy).update(vars(operation), _inbound_nodes=[], _outbound_nodes=[])
    return copy


def standardized_inputs(graph: keras.Model, inputs: Any) -> list:
    """Returns inputs as a functional model's layers take them: flat, as tensors, of its ranks."""
    return graph._standardize_inputs(inputs)


# Layers.


def flatten_layers(
    layer: keras.layers.Layer, include_self: bool = True, recursive: bool = True
) -> list[keras.layers.Layer]:
    """Returns the layers of a model or layer, each once, those of nested ones too.

    Args:
        layer: The `keras.Model` or layer.
        include_self: Whether it is among them, as the first.
        recursive: Whether the layers within its layers are.
    """
    return list(layer._flatten_layers(recursive=recursive, include_self=include_self))


@contextlib.contextmanager
def operations_wrapped(names: Iterable[str], wrap: Callable[[str, Callable], Callable]) -> Iterator:
    """Context in which functions of `keras.ops`, called by whatever, compute by others.

    Args:
        names: Names of functions of `keras.ops`.
        wrap: Function from a name and the backend's function to the one in its place.
    """
    found = [
        (module, name, getattr(module, name))
        for module in (_backend.numpy, _backend.nn)
        for name in names
        if hasattr(module, name)
    ]
    try:
        for module, name, function in found:
            setattr(module, name, wrap(name, function))
        yield
    finally:
        for module, name, function in found:
            setattr(module, name, function)


def mask_of(tensor: Any) -> Any | None:
    """Returns the mask that Keras keeps with a tensor, or None."""
    return _backend.get_keras_mask(tensor)


def input_shape_argument(layer: keras.layers.Layer) -> tuple | None:
    """Returns the `input_shape` that a layer was made with, without the batch, or None."""
    return getattr(layer, "_input_shape_arg", None)


def set_input_shape_argument(layer: keras.layers.Layer, shape: tuple | None) -> None:
    """Lets a layer that begins a sequential model bring the model's input shape along."""
    if shape is not None:
        layer._input_shape_arg = shape


def track_variable(owner: keras.layers.Layer, variable: keras.Variable) -> None:
    """Makes a variable one of a layer's or model's own."""
    owner._track_variable(variable)


def raised_as_it_is(error: Exception) -> Exception:
    """Returns an error that Keras hands on from within a layer without a word of its own."""
    error._keras_call_info_injected = True  # type: ignore[attr-defined]
    return error


def output_shape_of_lambda(layer: keras.layers.Lambda) -> Any:
    """Returns the `output_shape` that a `Lambda` was made with."""
    return layer._output_shape


# Training.


def compile_loss(model: keras.Model) -> Callable | None:
    """Returns the loss that `compile` was given, as it is computed, or None."""
    return model._compile_loss


def additional_loss(model: keras.Model, loss: Any) -> Any:
    """Returns one of `model.losses` as Keras adds it: counted once over all replicas."""
    return model._aggregate_additional_loss(loss)


def train_writer(callback: keras.callbacks.TensorBoard) -> Any:
    """Returns what a TensorBoard callback writes the figures of the training with."""
    return callback._train_writer


class JaxStateHook:
    """Beside `keras.Model`, for a model that changes what a step on JAX is handed.

    On JAX, Keras takes the values out of all variables before a step, and puts back what it
    remembers once the epoch is over.
    """

    def changed_jax_state(self, parts: dict[str, list], purges: bool) -> dict[str, list]:
        """Returns what a step is handed in the place of what Keras would hand it.

        Args:
            parts: Of `"trainable_variables"`, `"non_trainable_variables"`, `"optimizer_variables"`
                and `"metrics_variables"` those that the step takes -> arrays.
            purges: Whether the variables have lost their values to it.
        """
        raise NotImplementedError

    def _get_jax_state(self, purge_model_variables: bool = False, **wanted: bool) -> tuple:
        state = super()._get_jax_state(  # type: ignore[misc]
            purge_model_variables=purge_model_variables, **wanted
        )
        order = ("trainable", "non_trainable", "optimizer", "metrics")
        names = [f"{part}_variables" for part in order if wanted.get(f"{part}_variables")]
        parts = dict(zip(names, map(list, state), strict=True))
        return tuple(self.changed_jax_state(parts, purge_model_variables).values())

    def remember_jax_state(self, parts: dict[str, list]) -> None:
        """Lets `jax_state_sync` put these arrays back into the variables."""
        self._jax_state = parts


def set_value(variable: keras.Variable, array: Any) -> None:
    """Gives a variable an array of the backend as its value, not a copy of it."""
    variable._value = array


def compiles_by_xla() -> bool:
    """Whether TensorFlow hands the function that is being traced to XLA."""
    tensorflow = heavy_libraries.tensorflow()
    control_flow = sys.modules["tensorflow.python.ops.control_flow_util"]
    graph = tensorflow.compat.v1.get_default_graph()
    return bool(
        control_flow.GraphOrParentsInXlaContext(graph) or tensorflow.config.optimizer.get_jit()
    )


# Passes over data.

_usual_adapter = _data_adapters.get_data_adapter
_changes: contextvars.ContextVar[Callable[[Any], Any] | None]
_changes = contextvars.ContextVar("what is done to a dataset before it is read", default=None)
_blocks, _lock = 0, threading.Lock()


@contextlib.contextmanager
def datasets_changed(change: Callable[[Any], Any]) -> Iterator[None]:
    """Context in which `fit`, `evaluate` and `predict`, called in it, iterate over other datasets.

    Args:
        change: Function from the `tf.data.Dataset` that Keras made of the data, or was given, to
            the one that it iterates over.
    """
    global _blocks
    token = _changes.set(change)
    with _lock:
        _blocks += 1
        _data_adapters.get_data_adapter = _changing_adapter
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                _data_adapters.get_data_adapter = _usual_adapter
        _changes.reset(token)


def _changing_adapter(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Stands in for what gives an epoch iterator its adapter; other threads get the usual one."""
    adapter, change = _usual_adapter(x, *args, **kwargs), _changes.get()
    if change is None or adapter is x:  # An adapter of the user's own is left as it is.
        return adapter
    if isinstance(adapter, _data_adapters.TFDatasetAdapter):
        adapter._dataset = change(adapter._dataset)
    else:
        usual = adapter.get_tf_dataset
        adapter.get_tf_dataset = lambda: change(usual())
    return adapter


# Variables that are being made.


def initialize_function() -> Callable[[keras.Variable, Callable], None]:
    """Returns the function, of a variable and its initializer, that gives first values."""
    return keras.Variable._initialize_with_initializer


def set_initialize_function(function: Callable[[keras.Variable, Callable], None]) -> None:
    """Lets all variables that are made from now on get their first values by a function."""
    keras.Variable._initialize_with_initializer = function


def begin_with(variable: keras.Variable, value: Any) -> None:
    """Lets a variable that has no value yet begin with this one."""
    variable._initializer = lambda shape, dtype=None: value


def waiting_variables() -> list[keras.Variable]:
    """Returns the variables that were made within a `keras.StatelessScope` and have no values."""
    return list(_global_state.get_global_attribute("uninitialized_variables") or ())


def set_waiting_variables(variables: Sequence[keras.Variable]) -> None:
    """Sets the variables that get values when the outermost `keras.StatelessScope` ends."""
    _global_state.set_global_attribute("uninitialized_variables", list(variables))


@contextlib.contextmanager
def outside_of_traces() -> Iterator[None]:
    """Context in which variables are made and read as they are, though a layer is being traced."""
    attributes = ("stateless_scope", "symbolic_scope")
    before = {name: _global_state.get_global_attribute(name) for name in attributes}
    try:
        for name in attributes:
            _global_state.set_global_attribute(name, None)
        with _backend.AutocastScope(None):
            yield
    finally:
        for name, scope in before.items():
            _global_state.set_global_attribute(name, scope)


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Context in which variables have and are read in the dtype that they were made with."""
    # In a scope of no dtype, a variable's `dtype` would be `floatx`, whatever it is.
    scope = _global_state.get_global_attribute("autocast_scope")
    try:
        _global_state.set_global_attribute("autocast_scope", None)
        yield
    finally:
        _global_state.set_global_attribute("autocast_scope", scope)


def current_scope() -> keras.StatelessScope | None:
    """Returns the innermost `keras.StatelessScope`, or None outside of all."""
    return get_stateless_scope()


# Operations.


def operation_class(name: str) -> type[keras.Operation] | None:
    """Returns the class that a function of `keras.ops` makes a node of a graph with, or None.

    Args:
        name: The name of the class, such as `"GetItem"`, which is all that HDF5 files tell.
    """
    for module in (
        _numpy_operations,
        _nn_operations,
        _core_operations,
        _math_operations,
        _image_operations,
        _linalg_operations,
    ):
        found = vars(module).get(name)
        if isinstance(found, type) and found.__module__ == module.__name__:
            return found if issubclass(found, keras.Operation) else None
    return None


@contextlib.contextmanager
def plain_argmax() -> Iterator[None]:
    """Lets `keras.ops.argmax` and `argmin` be TensorFlow's own inside the block.

    Keras's tell -0.0 from 0.0 by operations on bits, which converters do not know.
    """
    numpy_of_backend = _backend.numpy
    kept = {name: getattr(numpy_of_backend, name) for name in ("argmax", "argmin")}

    def plain(function):
        def index(x, axis=None, keepdims=False):
            x = keras.ops.convert_to_tensor(x)
            flat = keras.ops.reshape(x, (-1,)) if axis is None else x
            found = function(flat, axis=0 if axis is None else axis, output_type="int32")
            if not keepdims:
                return found
            shape = (1,) * len(x.shape)
            return (
                keras.ops.reshape(found, shape)
                if axis is None
                else keras.ops.expand_dims(found, axis)
            )

        return index

    try:
        for name in kept:
            setattr(numpy_of_backend, name, plain(getattr(heavy_libraries.tensorflow().math, name)))
        yield
    finally:
        for name, function in kept.items():
            setattr(numpy_of_backend, name, function)


# Files.


def refusing_code() -> SafeModeScope:
    """Returns a context in which Keras loads no code, whatever it was told before."""
    return SafeModeScope(True)


def keras_file(model: keras.Model) -> memoryview:
    """Returns the bytes of a model's `.keras` file."""
    buffer = io.BytesIO()
    _saving_lib.save_model(model, buffer)
    return buffer.getbuffer()


def save_state(model: keras.Model, store: Store) -> None:
    """Saves all that `save_weights` would, optimizer included, into a store."""
    _saving_lib._save_state(model, store, None, "", set())


def load_state(model: keras.Model, store: Store) -> None:
    """Loads what `save_state` saved."""
    _saving_lib._load_state(model, store, None, "", visited_saveables=set())


def to_snake_case(class_name: str) -> str:
    """Returns what `.keras` files call the first layer of a class among the layers of a model."""
    return _to_snake_case(class_name)


def load_keras_weights(model: keras.Model, content: io.BytesIO) -> None:
    """Loads the weights of a `.keras` file; raises `ValueError` if the model lacks some of them.

    Args:
        model: The model, of the file's configuration.
        content: The HDF5 file within the `.keras` file.
    """
    store = _saving_lib.H5IOStore(content, mode="r")
    failed: set[int] = set()
    messages: dict[int, tuple] = {}
    try:
        _saving_lib._load_state(
            model,
            store,
            None,
            "",
            visited_saveables=set(),
            failed_saveables=failed,
            error_msgs=messages,
        )
    finally:
        store.close()
    if failed:
        _saving_lib._raise_loading_failure(messages)
