"""Layers that compute from what they were adapted to."""

import keras

from kdzoo.graph.keras_internals import flatten_layers


def finalize_states(model: keras.layers.Layer) -> None:
    """Lets an adapted `Normalization` compute from the statistics that it was just given.

    `set_weights` and `assign` leave it with what it had made of those before. Other layers that
    adapt, such as `Discretization`, have what they found in their configuration and would lose it.

    Args:
        model: A `keras.Model`, or a layer.
    """
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
