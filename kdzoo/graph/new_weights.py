"""A model like another one, with initial weights of its own."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import keras

from kdzoo.graph.keras_internals import flatten_layers, functional_of
from kdzoo.graph.outputs import remember_types_of

_MOST = 2**31  # Of a seed.


def with_new_weights(model: keras.Model, seed: str) -> keras.Model:
    """Returns a model of the same layers, whose initial weights are drawn anew.

    Seeds that the layers were given, of initializers and dropout, are replaced too. Weights that
    training would not change keep their values: those of `Normalization`, and of layers that are
    not trainable. The model itself and the state of Python's random numbers stay as they are.

    Args:
        model: A functional or built sequential `keras.Model`.
        seed: Text that decides the weights.

    Raises:
        ValueError: If it is another model, whose layers are not known.
    """
    if functional_of(model) is None:
        raise ValueError(
            "Expected a functional or built sequential model, of whose layers another one can be "
            f"made. Received: {model.name!r} of type {type(model).__name__}; pass a function that "
            "returns a fresh model."
        )
    with seeds_from(seed):
        copy = keras.models.clone_model(model, clone_function=_new_layer)
    for theirs, ours in zip(flatten_layers(model), flatten_layers(copy), strict=True):
        if isinstance(theirs, keras.layers.Normalization):
            ours.set_weights(theirs.get_weights())
            ours.finalize_state()
        elif not theirs.trainable:
            ours.set_weights(theirs.get_weights())
    remember_types_of(copy, model)
    return copy


@contextlib.contextmanager
def seeds_from(seed: str) -> Iterator[None]:
    """Context in which layers and initializers that are given no seed get one that follows from it.

    Keras draws them from Python's random numbers, whose state is afterwards what it was before.

    Args:
        seed: Text that decides the seeds.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _new_layer(layer):
    return type(layer).from_config(_with_new_seeds(layer.get_config()))


def _with_new_seeds(config: Any) -> Any:
    """A configuration whose seeds are others."""
    if isinstance(config, list | tuple):
        return type(config)(_with_new_seeds(part) for part in config)
    if not isinstance(config, dict):
        return config
    return {
        name: random.randrange(_MOST)
        if name == "seed" and isinstance(part, int)
        else _with_new_seeds(part)
        for name, part in config.items()
    }
