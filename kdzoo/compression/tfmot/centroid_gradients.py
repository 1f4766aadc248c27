"""Gradients of cluster centroids, as Keras 3's optimizers need them."""

from typing import Any

from kdzoo.utils import heavy_libraries


def sum_gradients_of(algorithm: Any) -> None:
    """Makes the gradient of the centroids of one of TF-MOT's clustering algorithms one array.

    A centroid is read once for each weight of its cluster, and TensorFlow hands optimizers as many
    parts of its gradient. tf_keras's optimizers sum them first. Those of Keras 3 do not: Adam adds
    the squares of the parts, and its steps are too long by the root of the cluster's size.

    Args:
        algorithm: A `ClusteringAlgorithm`; it is changed.
    """
    tf, compute = heavy_libraries.tensorflow(), algorithm.get_clustered_weight

    @tf.custom_gradient
    def summed(centroids):
        return tf.identity(centroids), tf.convert_to_tensor

    def get_clustered_weight(pulling_indices, original_weight):
        centroids = algorithm.cluster_centroids
        algorithm.cluster_centroids = summed(tf.convert_to_tensor(centroids))
        try:
            return compute(pulling_indices, original_weight)
        finally:
            algorithm.cluster_centroids = centroids

    algorithm.get_clustered_weight = get_clustered_weight
