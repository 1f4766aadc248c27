"""What `cluster_weights` is told: checked, saved, and handed to TF-MOT."""

from typing import Any

from kdzoo.compression.tfmot.config_checks import Checks
from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.utils import check_choice, check_flag, check_positive_integer
from kdzoo.utils.field_checks import is_boolean, is_count, is_name

CHECKS: Checks = {
    "number_of_clusters": is_count,
    "cluster_centroids_init": is_name,
    "preserve_sparsity": is_boolean,
    "cluster_per_channel": is_boolean,
}
"""Name of a setting -> whether a value of a file fits it, before it is checked as any other."""

_MOST_CLUSTERS = 1 << 24


def clustering_settings(
    number_of_clusters: Any,
    cluster_centroids_init: Any,
    preserve_sparsity: Any,
    cluster_per_channel: Any,
) -> dict[str, Any]:
    """The arguments of `cluster_weights`, checked, as a configuration holds them."""
    number = check_positive_integer("number_of_clusters", number_of_clusters, _MOST_CLUSTERS)
    preserve_sparsity = check_flag("preserve_sparsity", preserve_sparsity)
    if number < 2 + preserve_sparsity:
        raise ValueError(
            f"Expected number_of_clusters to be at least {2 + preserve_sparsity}. "
            f"Received: number_of_clusters={number}"
        )
    return {
        "number_of_clusters": number,
        "cluster_centroids_init": _initialization(cluster_centroids_init).name,
        "preserve_sparsity": preserve_sparsity,
        "cluster_per_channel": check_flag("cluster_per_channel", cluster_per_channel),
    }


def for_tfmot(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings as TF-MOT takes them, from a configuration."""
    initialization = _initialization(settings["cluster_centroids_init"])
    return {**settings, "cluster_centroids_init": initialization}


def _initialization(given):
    """A value of TF-MOT's `CentroidInitialization` from one, from its name, or from None."""
    choices = load_tfmot().clustering.keras.CentroidInitialization
    if given is None:
        return choices.KMEANS_PLUS_PLUS
    if isinstance(given, choices):
        return given
    names = [choice.name for choice in choices]
    check_choice("centroid initialization", given, names)
    return choices[given]
