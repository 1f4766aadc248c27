"""Layers that compute from what they were adapted to."""


def finalize_states(model):
    """Lets an adapted `Normalization` compute from the statistics that it was just given.

    `set_weights` and `assign` leave it with what it had made of those before. Other layers that
    adapt, such as `Discretization`, have what they found in their configuration and would lose it.

    Args:
        model: A `keras.Model`, or a layer.
    """
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
