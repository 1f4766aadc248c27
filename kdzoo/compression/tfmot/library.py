"""The door to TF-MOT (tensorflow-model-optimization): how it is loaded and what is used of it."""

import functools
import importlib
import os
import warnings

import keras
import numpy as np

from kdzoo.utils import shown

_LARGEST = 1e15  # Of a kernel's numbers that are clustered.


def load_tfmot():
    """Imports TF-MOT and returns it; `tf.keras` and the environment stay as they were.

    Raises:
        RuntimeError: If Keras runs on another backend than TensorFlow.
    """
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            "Pruning, clustering and quantization with TF-MOT need Keras's TensorFlow backend "
            f"(this is {keras.config.backend()!r}): start Python with KERAS_BACKEND=tensorflow; "
            "models and weights cross over as `.keras` files."
        )
    import tensorflow as tf

    # Resolved now: TF-MOT sets a switch by which the first use of it would bring tf_keras instead.
    tf.keras.Model  # noqa: B018
    switch = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(switch)
    try:
        with warnings.catch_warnings():
            # It compares versions with distutils, which is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            import tensorflow_model_optimization
    finally:
        os.environ.pop(switch, None)
        if before is not None:
            os.environ[switch] = before
    return tensorflow_model_optimization


def check_no_distiller(model):
    """Raises for a model that trains another."""
    if isinstance(getattr(model, "student", None), keras.Model):
        raise ValueError(
            f"Expected the model itself. Received: a {type(model).__name__}, which trains one: "
            "pass `distiller.student`."
        )


def check_model(argument, model):
    """Raises unless the argument of this name is a `keras.Model`."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`. Received: "
            f"{argument}={shown(model)} of type {type(model).__name__}"
        )
    check_no_distiller(model)
    if any(hasattr(layer, "wrapped") for layer in model._flatten_layers()):
        raise ValueError(
            "Expected a plain model. Received: "
            f"{model.name!r}, which is being pruned, clustered or quantized already: pass "
            "`strip_pruning(model)` or `strip_clustering(model)`."
        )


def check_made_by(verb, kind, model):
    """Raises unless a model is of the kind that a verb returns."""
    if not isinstance(model, kind):
        raise ValueError(
            f"Expected a model that `{verb}` returned. Received: "
            f"{shown(getattr(model, 'name', model))} of type {type(model).__name__}"
        )


def pruning_registry():
    """Returns a function: tf_keras layer -> names of the weights that TF-MOT prunes in it.

    The names are empty for a layer that is left dense, and for one that TF-MOT does not know.
    """
    load_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

    registry = prune_registry.PruneRegistry

    def names(layer):
        if not registry.supports(layer):
            return []
        is_recurrent = registry._is_rnn_layer(layer)
        return ["kernel"] if is_recurrent else registry._weight_names(layer)

    return names


def knows_no_weights(layer):
    """Whether TF-MOT's registry says that Keras 3 layers of this kind have nothing to prune."""
    load_tfmot()
    import tf_keras
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

    theirs = getattr(tf_keras.layers, type(layer).__name__, None)
    return prune_registry.PruneRegistry._LAYERS_WEIGHTS_MAP.get(theirs) == []


def output_config():
    """Returns TF-MOT's configuration for a layer without weights whose output is quantized."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs,
    )

    return default_8bit_quantize_configs.Default8BitOutputQuantizeConfig()


@functools.cache
def quantize_config_classes():
    """Returns name -> class of the `QuantizeConfig`s that are TF-MOT's own, a dictionary."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_config
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as eight_bits,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.experimental import (
        default_n_bit,
    )

    n_bits = importlib.import_module(f"{default_n_bit.__name__}.default_n_bit_quantize_registry")
    held = (quantize_config.OutputOnlyConfig, quantize_config.FixedQuantizeConfig)
    return {
        **n_bits._types_dict(),
        **eight_bits._types_dict(),
        **{kind.__name__: kind for kind in held},
    }


def carrying_masks(wrapper):
    """Returns one of TF-MOT's wrappers, made to hand masks on as the layer within does.

    It is not to be called yet. TF-MOT's own lose the mask of an embedding, and hand on masks to
    layers that take none.
    """
    inner = getattr(wrapper, "layer", None)
    if inner is not None:
        wrapper.supports_masking = inner.supports_masking
        wrapper.compute_mask = inner.compute_mask
        wrapper._compute_mask_overridden = True
        wrapper._call_spec._expects_mask_arg = inner._call_spec.expects_mask_arg
    return wrapper


def cluster_preserving():
    """Returns TF-MOT's scheme of cluster-preserving quantization, and its registry of layers."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve as parts,
    )

    registry = parts.cluster_preserve_quantize_registry.Default8bitClusterPreserveQuantizeRegistry
    scheme = parts.default_8bit_cluster_preserve_quantize_scheme
    return scheme.Default8BitClusterPreserveQuantizeScheme, registry


def cluster(twin, settings):
    """Returns the twin with TF-MOT's clustering around it, where it has something to cluster.

    Args:
        twin: The tf_keras model, or a layer.
        settings: Arguments of TF-MOT's `cluster_weights`, the experimental ones included.
    """
    load_tfmot()
    import tf_keras
    from tensorflow_model_optimization.python.core.clustering.keras import cluster as tools
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_registry

    registry = clustering_registry.ClusteringRegistry

    def wrapped(layer):
        # What has nothing to cluster need not be wrapped, and TF-MOT may not know it.
        if not layer.trainable_weights or not registry.supports(layer):
            return layer
        kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
        sizes = [weight.shape.num_elements() for weight in kernels]
        if sizes and min(sizes) <= settings["number_of_clusters"]:
            return layer
        for kernel in kernels:
            # Of NaN, or where squares overflow, TensorFlow's k-means++ never comes to an end.
            if not np.abs(kernel.numpy()).max(initial=0) < _LARGEST:
                raise ValueError(
                    f"Expected kernels of numbers below {_LARGEST:.0e}, to cluster. Received: "
                    f"others in {layer.name!r}"
                )
        return carrying_masks(tools._cluster_weights(layer, **settings))

    if not isinstance(twin, tf_keras.Model):
        return wrapped(twin)
    return tf_keras.models.clone_model(twin, clone_function=wrapped)
