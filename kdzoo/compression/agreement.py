"""Whether a tf_keras twin gives what its Keras 3 original gives."""

import keras
import numpy as np

from kdzoo.taps import graph_of


def check_agreement(model, twin, seed=0):
    """Raises unless a model and its twin give the same outputs for random inputs.

    Args:
        model: The Keras 3 model.
        twin: The tf_keras model.
        seed: Of the inputs, uniform in [0, 1]; integers are 0 or 1; unknown sizes are 32.

    Raises:
        RuntimeError: If an output differs by more than 1e-5 (in half precision 2e-2), or than 1e-5
            of its largest value where that is above 1, or than 1e-3 of it where that is small.
    """
    random = np.random.default_rng(seed)
    inputs = [_random_input(random, tensor.shape, tensor.dtype) for tensor in model.inputs]
    ours = model(_as_structure(model, inputs), training=False)
    _check_equal(model, ours, twin(inputs, training=False))


def check_layers_agree(layer, twin, input_shape, seed=0):
    """Raises unless a built layer of one input and its twin give the same outputs.

    Args:
        layer: The Keras 3 layer.
        twin: The tf_keras layer.
        input_shape: Shape of the input, with None for unknown sizes.
        seed: As in `check_agreement`.

    Raises:
        RuntimeError: As `check_agreement`.
    """
    dtype = "int32" if isinstance(layer, keras.layers.Embedding) else layer.compute_dtype
    inputs = _random_input(np.random.default_rng(seed), input_shape, "float32")
    inputs = keras.ops.cast(inputs, dtype)
    _check_equal(layer, layer(inputs, training=False), twin(inputs, training=False))


def _check_equal(model, ours, theirs):
    ours, theirs = keras.tree.flatten(ours), keras.tree.flatten(theirs)
    half = any("16" in str(keras.backend.standardize_dtype(each.dtype)) for each in ours)
    half = half or "16" in str(model.dtype_policy.compute_dtype)
    for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        our, their = (
            np.asarray(keras.ops.convert_to_numpy(each), "float64") for each in (our, their)
        )
        largest = np.abs(our).max(initial=0.0)
        difference = np.abs(our - their).max(initial=0.0)
        tolerance, least = (2e-2, 2e-2) if half else (1e-5, 1e-3)
        # Deep networks without training may give next to nothing, which agrees with anything.
        if not difference <= min(tolerance * max(1.0, largest), least * largest):
            raise RuntimeError(
                f"The tf_keras twin of {model.name!r} does not agree with it: output {number} "
                f"differs by {difference:.1e}, of at most {largest:.1e}. Nothing was wrapped."
            )


def _random_input(random, shape, dtype):
    shape = [2 if shape[0] is None else shape[0], *shape[1:]]
    shape = [32 if size is None else size for size in shape]
    if "int" in dtype or dtype == "bool":
        return random.integers(0, 2, shape).astype(dtype)
    return random.random(shape).astype(dtype)


def _as_structure(model, inputs):
    """The inputs as the model takes them: one array, a list, or a dictionary."""
    return keras.tree.pack_sequence_as(graph_of(model)._inputs_struct, inputs)
