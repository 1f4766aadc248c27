"""Weight clustering: TF-MOT's `cluster_weights` for Keras 3 models."""

import math
import warnings
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.clustering_settings import CHECKS, clustering_settings, for_tfmot
from kdzoo.compression.tfmot.config_checks import Checks, nothing_runs
from kdzoo.compression.tfmot.library import (
    check_made_by,
    check_no_distiller,
    cluster,
    why_not_clustered,
)
from kdzoo.compression.tfmot.tf_keras_weights import plain_weights
from kdzoo.compression.tfmot.unwrapping import (
    check_layer_or_model,
    check_not_compressed,
    passes,
    with_reasons,
    without_wrappers,
    wrapped_parts,
)
from kdzoo.compression.tfmot.wrapped_layer import WrappedLayer, wrapper_name
from kdzoo.compression.tfmot.wrapped_model import WrappedModel
from kdzoo.utils import heavy_libraries


def cluster_weights(
    to_cluster: Any,
    number_of_clusters: int,
    cluster_centroids_init: Any = None,
    preserve_sparsity: bool = False,
    cluster_per_channel: bool = False,
) -> Any:
    """Returns a copy of a model, or layer, whose kernels have few values, in training too.

    Names and arguments are TF-MOT's. Train the result for a few epochs at a small learning rate,
    then take `strip_clustering(model)`, whose file compresses well. Batch normalizations run on
    their moving statistics meanwhile, and leave them as they are.

    Args:
        to_cluster: The trained functional or sequential `keras.Model`; or a `keras.layers.Layer`,
            or a list of them, for a model of which some layers are clustered. None is changed.
        number_of_clusters: Number of values of each kernel, at least 2 (3 if sparsity is
            preserved).
        cluster_centroids_init: A value of `CentroidInitialization`: where the values start;
            `KMEANS_PLUS_PLUS` when None.
        preserve_sparsity: Whether weights that are zero stay zero.
        cluster_per_channel: Whether each channel of a `Conv2D` has values of its own, as many as
            `number_of_clusters`.

    Returns:
        A `ClusteredModel`, not compiled; for a layer a `ClusteredLayer`, for a list a list. What is
        clustered already, activations and normalizations, as they are.

    Raises:
        ValueError: If tf_keras lacks a layer, or TF-MOT cannot cluster it, or an argument
            is out of range.

    Warns:
        UserWarning: Names the layers that have kernels and will not be clustered; a single layer
            that is built and has hardly more weights than clusters comes back as it is.

    Example:

    ```python
    from kdzoo.compression import CentroidInitialization, cluster_weights, strip_clustering

    clustered = cluster_weights(model, 16, CentroidInitialization.KMEANS_PLUS_PLUS)
    clustered.compile(keras.optimizers.Adam(1e-5), cross_entropy, metrics=["accuracy"])
    clustered.fit(x_train, y_train, epochs=1)
    model = strip_clustering(clustered)
    ```

    Reference: Han, Mao & Dally, "Deep Compression", 2016, arXiv:1510.00149, section 3, and the
    documentation of tensorflow-model-optimization 0.8.
    """
    settings = (
        number_of_clusters,
        cluster_centroids_init,
        preserve_sparsity,
        cluster_per_channel,
    )
    if isinstance(to_cluster, ClusteredModel | ClusteredLayer):
        return to_cluster
    if isinstance(to_cluster, list):
        return [cluster_weights(layer, *settings) for layer in to_cluster]
    check_layer_or_model("to_cluster", to_cluster)
    check_not_compressed(to_cluster)
    if not isinstance(to_cluster, keras.Model):
        if passes(to_cluster):
            return to_cluster
        clustered = ClusteredLayer(to_cluster, *settings)
        if _has_too_few_weights(to_cluster, number_of_clusters, cluster_per_channel):
            warnings.warn(
                f"Not clustered: {to_cluster.name} (hardly more weights than clusters).",
                stacklevel=2,
            )
            return to_cluster
        return clustered
    model = ClusteredModel(to_cluster, *settings)
    model.warn_of_what_is_left()
    return model


def _has_too_few_weights(layer, number_of_clusters, per_channel):
    """Whether a built layer has a kernel, or a channel of it, that is as small as its clusters."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return False  # It is never clustered, of which it is told.
    by_channel = per_channel and isinstance(layer, keras.layers.Conv2D)
    kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
    sizes = [math.prod(k.shape) // (k.shape[-1] if by_channel else 1) for k in kernels]
    return bool(sizes) and min(sizes) <= number_of_clusters


def strip_clustering(model: keras.Model) -> keras.Model:
    """Returns the plain Keras 3 model with the clustered weights.

    Args:
        model: What `cluster_weights` returned, or a functional or sequential model with layers that
            it returned.

    Raises:
        ValueError: If it is another model.
    """
    check_no_distiller(model)
    classes = ClusteredLayer, ClusteredModel
    if isinstance(model, keras.Model) and wrapped_parts(model, classes):
        return without_wrappers(model)
    check_made_by("cluster_weights", ClusteredModel, model)
    return model.plain_model()


@keras.saving.register_keras_serializable("kdzoo")
class ClusteredModel(WrappedModel):
    """A model whose weights are clustered while it is trained; `cluster_weights` makes it.

    Args:
        model: The trained functional or sequential `keras.Model`; it is copied.
        number_of_clusters: Number of values of each kernel.
        cluster_centroids_init: A value of `CentroidInitialization`, or its name.
        preserve_sparsity: Whether weights that are zero stay zero.
        cluster_per_channel: Whether each channel of a convolution has values of its own.
        name: Name of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        number_of_clusters: int,
        cluster_centroids_init: Any = None,
        preserve_sparsity: bool = False,
        cluster_per_channel: bool = False,
        name: str | None = None,
    ):
        self._settings = clustering_settings(
            number_of_clusters, cluster_centroids_init, preserve_sparsity, cluster_per_channel
        )
        super().__init__(model, name)

    def _wrap(self, clone):
        with nothing_runs():
            return cluster(clone.model, for_tfmot(self._settings))

    def _further_variables(self, wrapped):
        return [variable for layer in wrapped.layers for variable in _own_masks(layer)]

    @property
    def clustered_layers(self) -> list[Any]:
        """The wrapped layers that are clustered: TF-MOT's `ClusterWeights`, a list."""
        layers = self.wrapped.layers
        return [layer for layer in layers if getattr(layer, "cluster_centroids", None)]

    def warn_of_what_is_left(self) -> None:
        """Warns, by name, of layers that have a kernel and will not be clustered, and says why."""
        left = self.left_out({layer.layer.name for layer in self.clustered_layers})
        if left:
            whys = {
                path: why_not_clustered(layer, self._settings)
                or "TF-MOT clusters no depthwise kernels"
                for path, layer in left.items()
            }
            message = f"Not clustered in {self.name!r}: {with_reasons(whys)}."
            warnings.warn(message, stacklevel=3)

    def unique_weights(self) -> dict[str, int]:
        """Returns path of a clustered layer -> largest number of values in a clustered kernel."""
        found = {}
        for layer in self.clustered_layers:
            layer.update_clustered_weights_associations()
            kernels = [
                np.asarray(layer.get_weight_from_layer(name)) for name in layer.cluster_centroids
            ]
            numbers = [len(np.unique(kernel)) for kernel in kernels]
            found[self.paths[layer.layer.name]] = max(numbers)
        return found

    def _plain_weights(self, layer, order):
        return _clustered_weights(layer, order)

    @classmethod
    def checks_of_fields(cls) -> Checks:
        return {**super().checks_of_fields(), **CHECKS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable("kdzoo")
class ClusteredLayer(WrappedLayer):
    """A layer whose weights are clustered while its model is trained; `cluster_weights` makes it.

    Its name is the layer's after "cluster_", as in TF-MOT.

    Args:
        layer: The `keras.layers.Layer`.
        number_of_clusters: Number of values of each kernel.
        cluster_centroids_init: A value of `CentroidInitialization`, or its name.
        preserve_sparsity: Whether weights that are zero stay zero.
        cluster_per_channel: Whether each channel of a convolution has values of its own.
        name: Name of this layer.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        number_of_clusters: int,
        cluster_centroids_init: Any = None,
        preserve_sparsity: bool = False,
        cluster_per_channel: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        self._settings = clustering_settings(
            number_of_clusters, cluster_centroids_init, preserve_sparsity, cluster_per_channel
        )
        super().__init__(layer, wrapper_name(layer, name, "cluster"), **kwargs)

    def _wrap(self, clone):
        with nothing_runs():
            wrapped = cluster(clone, for_tfmot(self._settings))
        if not getattr(wrapped, "cluster_centroids", None) and not _will_cluster(wrapped):
            raise ValueError(
                "Expected a layer that TF-MOT clusters, dense, convolutional but not depthwise, "
                "recurrent, an embedding, with more weights than clusters. Received: "
                f"{clone.name!r}, a {type(clone).__name__}"
            )
        return wrapped

    def _further_variables(self):
        return _own_masks(self.wrapped)

    def plain_weights(self) -> list[np.ndarray]:
        return _clustered_weights(self.wrapped, self.order)

    @classmethod
    def checks_of_fields(cls) -> Checks:
        return {**super().checks_of_fields(), **CHECKS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}


def _will_cluster(wrapped):
    """Whether TF-MOT's wrapper, not built yet, is around a layer with something to cluster."""
    inner = getattr(wrapped, "layer", None)
    return inner is not None and bool(inner.get_clusterable_weights())


def _own_masks(layer):
    """Makes variables of what a clustered layer remembers of zeros, constants in TF-MOT.

    A model that is loaded is wrapped with other weights than those that it is to go on with.
    """
    tf = heavy_libraries.tensorflow()

    made = []
    for field in ("sparsity_masks", "zero_idx"):
        for name, value in getattr(layer, field, {}).items():
            variable = tf.Variable(value, trainable=False, name=f"{layer.name}/{field}_{name}")
            getattr(layer, field)[name] = variable
            made.append(variable)
    return made


def _clustered_weights(layer, order):
    """The weights of the layer within TF-MOT's wrapper, kernels with few values."""
    weights = plain_weights(layer, order)
    if not getattr(layer, "cluster_centroids", None):
        return weights
    layer.update_clustered_weights_associations()
    clustered = {
        original.name: np.asarray(layer.get_weight_from_layer(name))
        for name, original in layer.original_clusterable_weights.items()
    }
    return [clustered.get(name, weight) for name, weight in zip(order, weights, strict=True)]
