"""TF-MOT (tensorflow-model-optimization) and tf_keras: how they load, and what is used of them."""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType, SimpleNamespace
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.centroid_gradients import sum_gradients_of
from kdzoo.graph.exportable import exportable, student_of
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import heavy_libraries, shown

_LARGEST = 1e15  # Of a kernel's numbers that are clustered.


def load_tfmot() -> ModuleType:
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
    # Resolved now: TF-MOT sets a switch by which the first use of it would bring tf_keras instead.
    heavy_libraries.tensorflow().keras.Model  # noqa: B018
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


def load_tf_keras() -> ModuleType:
    """Imports tf_keras, which TF-MOT works on, and returns it.

    Raises:
        RuntimeError: If Keras runs on another backend than TensorFlow.
    """
    load_tfmot()
    import tf_keras

    return tf_keras


def refusing_code() -> AbstractContextManager:
    """Returns a context in which tf_keras loads no code."""
    load_tf_keras()
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(True)


def plain_variable(variable: Any) -> Any:
    """Returns the `tf.Variable` that one of tf_keras's, which may cast itself, stands for."""
    inner = getattr(variable, "_variable", None)
    return variable if inner is None else inner


def check_no_distiller(model: Any) -> None:
    """Raises for a model that trains another."""
    if student_of(model) is not None:
        raise ValueError(
            f"Expected the model itself. Received: a {type(model).__name__}, which trains one: "
            "pass `distiller.student`."
        )


def check_model(argument: str, model: Any) -> None:
    """Raises unless the argument of this name is a `keras.Model` that nothing is done to yet."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`. Received: "
            f"{argument}={shown(model)} of type {type(model).__name__}"
        )
    check_no_distiller(model)
    if any(exportable(layer).is_being_compressed for layer in flatten_layers(model)):
        raise ValueError(
            "Expected a plain model. Received: "
            f"{model.name!r}, which is being pruned, clustered or quantized already: pass "
            "`strip_pruning(model)` or `strip_clustering(model)`."
        )


def check_made_by(function: str, model_class: type, model: Any) -> None:
    """Raises unless a model is of the class that a function of kdzoo returns."""
    if not isinstance(model, model_class):
        raise ValueError(
            f"Expected a model that `{function}` returned. Received: "
            f"{shown(getattr(model, 'name', model))} of type {type(model).__name__}"
        )


def pruning_registry() -> Callable[[Any], list[str] | None]:
    """Returns a function: tf_keras layer -> names of the weights that TF-MOT prunes in it.

    The names are empty for a layer that is left dense, and None for one that TF-MOT does not know.
    """
    load_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

    registry = prune_registry.PruneRegistry

    def names(layer):
        if not registry.supports(layer):
            return None
        is_recurrent = registry._is_rnn_layer(layer)
        return ["kernel"] if is_recurrent else registry._weight_names(layer)

    return names


def knows_no_weights(layer: keras.layers.Layer) -> bool:
    """Whether TF-MOT's registry says that layers of this one's class have nothing to prune."""
    tf_keras = load_tf_keras()
    from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

    theirs = getattr(tf_keras.layers, type(layer).__name__, None)
    return prune_registry.PruneRegistry._LAYERS_WEIGHTS_MAP.get(theirs) == []


def output_config() -> Any:
    """Returns TF-MOT's configuration for a layer without weights whose output is quantized."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs,
    )

    return default_8bit_quantize_configs.Default8BitOutputQuantizeConfig()


@functools.cache
def quantize_config_classes() -> dict[str, type]:
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
        **{config.__name__: config for config in held},
    }


def eight_bit_modules() -> SimpleNamespace:
    """Returns TF-MOT's modules of the scheme of 8 bits, each by a short name."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras import (
        quantize_aware_activation,
        quantize_layout_transform,
        utils,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry,
        default_8bit_transforms,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
        model_transformer,
    )

    return SimpleNamespace(
        activation=quantize_aware_activation,
        layout=quantize_layout_transform,
        registry=default_8bit_quantize_registry,
        transformer=model_transformer,
        transforms=default_8bit_transforms,
        utils=utils,
    )


def carrying_masks(wrapper: Any) -> Any:
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


def cluster_preserving() -> tuple[type, type]:
    """Returns TF-MOT's scheme of cluster-preserving quantization, and its registry of layers."""
    load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve as parts,
    )

    registry = parts.cluster_preserve_quantize_registry.Default8bitClusterPreserveQuantizeRegistry
    scheme = parts.default_8bit_cluster_preserve_quantize_scheme
    return scheme.Default8BitClusterPreserveQuantizeScheme, registry


def cluster(clone: Any, settings: dict[str, Any]) -> Any:
    """Returns the clone with TF-MOT's clustering around it, where it has something to cluster.

    Args:
        clone: The tf_keras model, or a layer.
        settings: Arguments of TF-MOT's `cluster_weights`, the experimental ones included.
    """
    tf_keras = load_tf_keras()
    from tensorflow_model_optimization.python.core.clustering.keras import cluster as tools

    def wrapped(layer):
        if why_not_clustered(layer, settings) is not None:
            return layer
        for kernel in _kernels(layer):
            # Of NaN, or where squares overflow, TensorFlow's k-means++ never comes to an end.
            if not np.abs(kernel.numpy()).max(initial=0) < _LARGEST:
                raise ValueError(
                    f"Expected kernels of numbers below {_LARGEST:.0e}, to cluster. Received: "
                    f"others in {layer.name!r}"
                )
        # TF-MOT counts the channels of a convolution by its bias, which not all have.
        by_channel = _by_channel(layer, settings)
        make = tools.cluster_wrapper.ClusterWeights if by_channel else tools._cluster_weights
        made = make(layer, **settings)
        made.data_format = "channels_last"  # Of the kernel, whatever that of the images.
        return carrying_masks(_in_own_precision(_summing_gradients(made)))

    if not isinstance(clone, tf_keras.Model):
        return wrapped(clone)
    return tf_keras.models.clone_model(clone, clone_function=wrapped)


def why_not_clustered(layer: Any, settings: dict[str, Any]) -> str | None:
    """Returns why a tf_keras layer is not given to TF-MOT to cluster, or None if it is.

    What is given need not have something to cluster: normalizations and depthwise convolutions.

    Args:
        layer: The layer.
        settings: Arguments of TF-MOT's `cluster_weights`.
    """
    load_tfmot()
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_registry

    registry = clustering_registry.ClusteringRegistry
    if not layer.trainable_weights:
        return "frozen"
    if not registry.supports(layer):
        return unknown_to_tfmot(layer)
    channels = [
        kernel.shape[-1] if _by_channel(layer, settings) else 1 for kernel in _kernels(layer)
    ]
    sizes = [k.shape.num_elements() // n for k, n in zip(_kernels(layer), channels, strict=True)]
    if sizes and min(sizes) <= settings["number_of_clusters"]:
        return "hardly more weights than clusters"
    return None


def unknown_to_tfmot(layer: Any) -> str:
    """Returns, for a warning, what a tf_keras layer is that TF-MOT knows no weights of."""
    inner = getattr(layer, "layer", None)
    if inner is None:
        return f"TF-MOT knows no weights of a {type(layer).__name__}"
    reason = f"TF-MOT does not look into a {type(layer).__name__}"
    if type(layer).__name__ == "TimeDistributed" and type(inner).__name__ == "Dense":
        reason += "; a Dense takes sequences without it"
    return reason


def _kernels(layer):
    return [weight for weight in layer.weights if len(weight.shape) > 1]


def _by_channel(layer, settings):
    """Whether each channel of a layer gets clusters of its own."""
    return settings["cluster_per_channel"] and isinstance(layer, load_tf_keras().layers.Conv2D)


def _summing_gradients(wrapper):
    """TF-MOT's clustering wrapper, the gradients of whose centroids are sums."""
    build = wrapper.build

    def build_and_sum(input_shape):
        build(input_shape)
        for algorithm in wrapper.clustering_algorithms.values():
            sum_gradients_of(algorithm)

    wrapper.build = build_and_sum
    return wrapper


def _in_own_precision(wrapper):
    """TF-MOT's clustering wrapper, whose layer computes in half precision where it does so alone.

    What is clustered stays in float32.
    """
    from tf_keras.src.mixed_precision import autocast_variable

    tf, layer = heavy_libraries.tensorflow(), wrapper.layer
    dtype = layer.compute_dtype
    if "16" not in dtype:
        return wrapper

    def cast(tensor):
        return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor

    def call(inputs, training=None, **kwargs):
        wrapper.update_clustered_weights_associations()
        for name in wrapper.original_clusterable_weights:
            wrapper.set_weight_to_layer(name, cast(wrapper.get_weight_from_layer(name)))
        with autocast_variable.enable_auto_cast_variables(tf.as_dtype(dtype)):
            return layer.call(tf.nest.map_structure(cast, inputs), **kwargs)

    wrapper.call = call
    return wrapper
