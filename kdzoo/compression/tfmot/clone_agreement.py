"""Whether a tf_keras clone gives what its Keras 3 original gives."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import graph_of
from kdzoo.graph.keras_internals import flatten_layers

_MOST = 1e-3  # What an output may differ by, over its largest value, whatever the model amplifies.
_checking = contextvars.ContextVar("checking", default=True)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Context in which no model is compared: one that is loaded has its weights only later."""
    token = _checking.set(False)
    try:
        yield
    finally:
        _checking.reset(token)


def check_agreement(model: keras.Model, clone: Any, seed: int = 0) -> None:
    """Raises unless a model and its clone give the same outputs for random inputs.

    The two add in another order. Deep networks amplify such roundings, so an output may differ by
    more than usual if it does as well when the model's inputs or the clone's weights change by a
    rounding.

    Args:
        model: The Keras 3 model.
        clone: The tf_keras model; its weights are the same afterwards.
        seed: Of the inputs, uniform in [0, 1], sequences (batch, steps, features) with steps of
            zeros; integers are 0 or 1; unknown sizes are 32.

    Raises:
        RuntimeError: If an output differs by more than 1e-5 (in half precision 2e-2), or than 1e-5
            of its largest value where that is above 1, or than 1e-3 of it where that is small; and
            by more than 1e-3 of it or four times what such a rounding makes.
    """
    if not _checking.get():
        return
    random = np.random.default_rng(seed)
    inputs = [_random_input(random, tensor.shape, tensor.dtype) for tensor in model.inputs]

    ours = model(_as_structure(model, inputs), training=False)
    theirs = clone(inputs, training=False)
    _check_equal(model, ours, theirs, lambda: roundings(model, clone, inputs))


def roundings(
    model: keras.Model, clone: Any, inputs: list[np.ndarray]
) -> Iterator[tuple[Any, Any]]:
    """Yields pairs of outputs, before and after a change by the last bits.

    Args:
        model: The Keras 3 model, whose inputs are changed.
        clone: The tf_keras model, whose weights are; they are the same afterwards.
        inputs: A flat list of arrays.
    """

    def outputs(flat):
        return model(_as_structure(model, flat), training=False)

    ours, theirs, weights = outputs(inputs), clone(inputs, training=False), clone.get_weights()
    for up in (True, False):
        yield ours, outputs([_nudged(array, up) for array in inputs])
        clone.set_weights([_nudged(weight, up) for weight in weights])
        yield theirs, clone(inputs, training=False)
    clone.set_weights(weights)


def _nudged(array, up):
    """Floats, changed by their last bits."""
    if array.dtype.kind != "f":
        return array
    return (array * (1 + (1 if up else -1) * 2 * np.finfo(array.dtype).eps)).astype(array.dtype)


def build_alone(clone: Any, shapes: list[tuple[int | None, ...]]) -> None:
    """Builds a tf_keras layer that is in no model.

    Args:
        clone: The layer.
        shapes: Shapes of its inputs, one for each that it is called with.
    """
    if len(shapes) == 1:
        clone.build(shapes[0])
    else:  # Attention, which tf_keras builds in its first call.
        clone(*_layer_inputs(clone, shapes))


def check_layers_agree(
    layer: keras.layers.Layer, clone: Any, shapes: list[tuple[int | None, ...]]
) -> None:
    """Raises unless a built layer and its clone give the same outputs.

    Args:
        layer: The Keras 3 layer.
        clone: The tf_keras layer.
        shapes: Shapes of the inputs, one for each that they are called with, with None for unknown
            sizes. The inputs are uniform in [0, 1], or 0 and 1 for an `Embedding`.

    Raises:
        RuntimeError: If the outputs differ by more than 1e-5 (in half precision 2e-2), or than 1e-5
            of their largest value where that is above 1, or than 1e-3 of it where that is small.
    """
    inputs = _layer_inputs(layer, shapes)
    _check_equal(layer, layer(*inputs, training=False), clone(*inputs, training=False))


def _layer_inputs(layer, shapes):
    """Random inputs of a layer, the same for the same shapes."""
    random = np.random.default_rng(0)
    dtype = "int32" if type(layer).__name__ == "Embedding" else layer.compute_dtype
    arrays = [_random_input(random, shape, "float32") for shape in shapes]
    return [keras.ops.cast(array, dtype) for array in arrays]


def _check_equal(model, ours, theirs, nudged=list):
    ours, theirs = _arrays(ours), _arrays(theirs)
    half = any("16" in layer.compute_dtype for layer in flatten_layers(model))
    for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        largest, difference = np.abs(our).max(initial=0.0), _difference(our, their)
        tolerance, least = (2e-2, 2e-2) if half else (1e-5, 1e-3)
        # Deep networks without training may give next to nothing, which agrees with anything.
        if difference <= min(tolerance * max(1.0, largest), least * largest):
            continue
        own = max(
            (_difference(*(_arrays(part)[number] for part in pair)) for pair in nudged()),
            default=0.0,
        )
        if difference <= min(4 * own, _MOST * largest):
            continue
        message = (
            f"The tf_keras clone of {model.name!r} does not agree with it: output {number} "
            f"differs by {difference:.1e}, of at most {largest:.1e}. Nothing was wrapped."
        )
        if 4 * own > _MOST * largest:
            message += (
                f" The model's own output changes by {own:.1e} when its inputs or weights change "
                "by a rounding, so nothing can be compared: train it first, or load weights."
            )
        raise RuntimeError(message)


def _arrays(outputs):
    """Outputs of a model, a flat list of arrays."""
    return [
        np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(outputs)
    ]


def _difference(one, other):
    """The largest difference; NaN, which passes no limit, if there is one."""
    return np.abs(one.astype("float64") - other.astype("float64")).max(initial=0.0)


def _random_input(random, shape, dtype):
    shape = [2 if shape[0] is None else shape[0], *shape[1:]]
    shape = [32 if size is None else size for size in shape]
    if "int" in dtype or dtype == "bool":
        return random.integers(0, 2, shape).astype(dtype)
    values = random.random(shape).astype(dtype)
    if len(shape) == 3:  # A mask must leave out something.
        values[0, shape[1] - shape[1] // 3 :] = 0
    return values


def _as_structure(model, inputs):
    """The inputs as the model takes them: one array, a list, or a dictionary."""
    return keras.tree.pack_sequence_as(graph_of(model).input, inputs)
