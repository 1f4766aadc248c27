"""Weight clustering: TF-MOT's `cluster_weights` for Keras 3 models."""

import warnings

import keras
import numpy as np

from kdzoo.compression.tfmot import (
    HostedModel,
    check_made_by,
    check_model,
    cluster,
    load_tfmot,
)
from kdzoo.taps import find_layer
from kdzoo.utils import positive_integer, unknown_name


def cluster_weights(
    to_cluster,
    number_of_clusters,
    cluster_centroids_init=None,
    preserve_sparsity=False,
    cluster_per_channel=False,
):
    """Returns a copy of a model whose kernels have few different values, in training too.

    Names and arguments are TF-MOT's. Train the result for a few epochs at a small learning rate,
    then take `strip_clustering(model)`, whose file compresses well.

    Args:
        to_cluster: The trained functional or sequential `keras.Model`; it is not changed.
        number_of_clusters: Number of values of each kernel, at least 2 (3 if sparsity is
            preserved).
        cluster_centroids_init: A value of `CentroidInitialization`: where the values start;
            `KMEANS_PLUS_PLUS` when None.
        preserve_sparsity: Whether weights that are zero stay zero.
        cluster_per_channel: Whether each channel of a convolution has values of its own.

    Returns:
        A `ClusteredModel`, not compiled.

    Raises:
        ValueError: If a layer has no twin in tf_keras, or TF-MOT cannot cluster it, or an argument
            is out of range.

    Warns:
        UserWarning: Names the layers that have kernels and will not be clustered.

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
    check_model("to_cluster", to_cluster)
    model = ClusteredModel(
        to_cluster,
        number_of_clusters,
        cluster_centroids_init,
        preserve_sparsity,
        cluster_per_channel,
    )
    model.warn_of_what_is_left()
    return model


def strip_clustering(model):
    """Returns the plain Keras 3 model with the clustered weights.

    Args:
        model: What `cluster_weights` returned.

    Raises:
        ValueError: If it is another model.
    """
    check_made_by("cluster_weights", ClusteredModel, model)
    return model.plain_model()


@keras.saving.register_keras_serializable("kdzoo")
class ClusteredModel(HostedModel):
    """A model whose weights are clustered while it is trained; `cluster_weights` makes it.

    Args:
        model: As `to_cluster` of `cluster_weights`.
        number_of_clusters: As there.
        cluster_centroids_init: As there, or its name.
        preserve_sparsity: As there.
        cluster_per_channel: As there.
        name: Name of the model.
    """

    def __init__(
        self,
        model,
        number_of_clusters,
        cluster_centroids_init=None,
        preserve_sparsity=False,
        cluster_per_channel=False,
        name=None,
    ):
        number = positive_integer("number_of_clusters", number_of_clusters)
        if number < 2 + bool(preserve_sparsity):
            raise ValueError(
                f"Expected number_of_clusters to be at least {2 + bool(preserve_sparsity)}. "
                f"Received: number_of_clusters={number}"
            )
        self._settings = {
            "number_of_clusters": number,
            "cluster_centroids_init": _initialization(cluster_centroids_init).name,
            "preserve_sparsity": bool(preserve_sparsity),
            "cluster_per_channel": bool(cluster_per_channel),
        }
        super().__init__(model, name)

    def _wrap(self, twin):
        settings = dict(self._settings)
        settings["cluster_centroids_init"] = _initialization(settings["cluster_centroids_init"])
        return cluster(twin.model, settings)

    @property
    def clustered_layers(self):
        """The wrapped layers that are clustered: TF-MOT's `ClusterWeights`, a list."""
        return [each for each in self.wrapped.layers if getattr(each, "cluster_centroids", None)]

    def warn_of_what_is_left(self):
        """Warns, by name, of layers that have a kernel and will not be clustered."""
        left = self.left_out({layer.layer.name for layer in self.clustered_layers})
        if left:
            warnings.warn(
                f"Not clustered in {self.name!r}: {', '.join(left)}. TF-MOT clusters no depthwise "
                "kernels, and none with hardly more weights than clusters.",
                stacklevel=3,
            )

    def unique_weights(self):
        """Returns path of a clustered layer -> number of different values in its kernel."""
        plain = self.plain_model()
        return {
            self.paths[layer.layer.name]: len(
                np.unique(find_layer(plain, self.paths[layer.layer.name]).get_weights()[0])
            )
            for layer in self.clustered_layers
        }

    def _plain_weights(self, layer, order):
        weights = super()._plain_weights(layer, order)
        if not getattr(layer, "cluster_centroids", None):
            return weights
        layer.update_clustered_weights_associations()
        clustered = {
            original.name: np.asarray(layer.get_weight_from_layer(name))
            for name, original in layer.original_clusterable_weights.items()
        }
        pairs = zip(order, weights, strict=True)
        return [clustered.get(name, weight) for name, weight in pairs]

    def get_config(self):
        return {**super().get_config(), **self._settings}


def _initialization(given):
    """A value of TF-MOT's `CentroidInitialization` from one, from its name, or from None."""
    choices = load_tfmot().clustering.keras.CentroidInitialization
    if given is None:
        return choices.KMEANS_PLUS_PLUS
    if isinstance(given, choices):
        return given
    names = [each.name for each in choices]
    if given not in names:
        raise unknown_name("centroid initialization", given, names)
    return choices[given]
