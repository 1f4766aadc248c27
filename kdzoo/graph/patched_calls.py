"""Layers that compute in another way for a while: the one place that patches a layer's `call`.

Class, configuration and variables of a patched layer stay as they are, so files know nothing of it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras

# A layer that `keras.Model.quantize` changed runs the second instead.
_METHODS = ("call", "quantized_call")


def set_call(layer: keras.layers.Layer, call: Callable) -> None:
    """Lets a layer compute by another function of the same arguments.

    Args:
        layer: The layer.
        call: The function, without the layer among its arguments.
    """
    vars(layer)["call"] = call


def reset_call(layer: keras.layers.Layer) -> None:
    """Lets a layer compute as its class does."""
    vars(layer).pop("call", None)


def wrap_calls(layer: keras.layers.Layer, wrap: Callable[[Callable], Callable]) -> None:
    """Lets a layer, one of tf_keras too, compute by what is made of its own functions.

    Args:
        layer: The layer.
        wrap: Function from a function of the layer to the one in its place.
    """
    for method in _METHODS:
        if hasattr(layer, method):
            vars(layer)[method] = wrap(getattr(layer, method))


@contextlib.contextmanager
def calls_restored(layers: Iterable[keras.layers.Layer]) -> Iterator[None]:
    """Context after which layers compute as they did before it.

    Args:
        layers: The layers.
    """
    found = [(layer, {m: vars(layer)[m] for m in _METHODS if m in vars(layer)}) for layer in layers]
    try:
        yield
    finally:
        for layer, own in reversed(found):
            for method in _METHODS:
                vars(layer).pop(method, None)
            vars(layer).update(own)
