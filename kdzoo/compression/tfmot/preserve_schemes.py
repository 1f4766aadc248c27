"""Quantization that keeps zeros and clusters: what TF-MOT's schemes read off the kernels.

TF-MOT reads zeros and clusters once, when it wraps a layer, and keeps the zeros as constants. Here
they are variables, so that a saved model, which is wrapped again before its weights are loaded,
goes on with what it had.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdzoo.compression.tfmot.centroid_gradients import sum_gradients_of
from kdzoo.compression.tfmot.library import cluster_preserving
from kdzoo.utils import heavy_libraries
from kdzoo.utils.field_checks import is_boolean, is_count, is_name

_SPARSITY, _CENTROIDS, _ALGORITHM = "sparsity_mask", "centroids_mask", "clst_impl"


@functools.cache
def cluster_scheme() -> type:
    """Returns TF-MOT's `Default8BitClusterPreserveQuantizeScheme`, with two corrections.

    TF-MOT's layers share a quantizer, so that one layer without a zero makes all of them forget
    their zeros. Here each layer has its own. And the gradients of centroids are sums.
    """
    scheme, registry = cluster_preserving()

    class OneForEachLayer(registry):  # type: ignore[valid-type, misc]
        def get_quantize_config(self, layer):
            config = registry(self._preserve_sparsity).get_quantize_config(layer)
            quantizer = getattr(config, "weight_quantizer", None)
            if hasattr(quantizer, "build"):
                quantizer.build = _summing(quantizer.build)
            return config

    class Default8BitClusterPreserveQuantizeScheme(scheme):  # type: ignore[valid-type, misc]
        __doc__ = scheme.__doc__

        def get_quantize_registry(self):
            made = OneForEachLayer(self.preserve_sparsity)
            made._preserve_sparsity = self.preserve_sparsity
            return made

    return Default8BitClusterPreserveQuantizeScheme


def _summing(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A quantizer's method that makes its variables, the gradients of whose centroids are sums."""

    @functools.wraps(build)
    def build_and_sum(*args: Any, **kwargs: Any) -> dict[str, Any]:
        variables = build(*args, **kwargs)
        if _ALGORITHM in variables:
            sum_gradients_of(variables[_ALGORITHM])
        return variables

    return build_and_sum


def keeps_clusters(scheme: Any) -> bool:
    """Whether a scheme of TF-MOT keeps clusters."""
    return isinstance(scheme, cluster_preserving()[0])


def describe_kernels(model: Any) -> dict[str, dict[str, Any]]:
    """Returns what the shapes of a cluster-preserving model's variables depend on.

    Args:
        model: A tf_keras model that is not wrapped yet.

    Returns:
        Name of a kernel -> how many different values each channel has, how many there are in all,
        and whether zero is among them.
    """
    found = {}
    for weight in model.weights:
        if len(weight.shape) > 1:
            values = weight.numpy()
            channels = values.reshape(-1, values.shape[-1]).T
            found[weight.name] = {
                "of_channels": [len(np.unique(channel)) for channel in channels],
                "values": len(np.unique(values)),
                "has_zeros": bool((values == 0).any()),
            }
    return found


def is_description(value: Any) -> bool:
    """Whether a value of a file has the form of what `describe_kernels` returns, or is None."""
    return value is None or (
        isinstance(value, dict)
        and all(is_name(name) and _describes_a_kernel(kernel) for name, kernel in value.items())
    )


def _describes_a_kernel(value):
    return (
        isinstance(value, dict)
        and value.keys() == {"of_channels", "values", "has_zeros"}
        and isinstance(value["of_channels"], list)
        and all(map(is_count, value["of_channels"]))
        and is_count(value["values"])
        and is_boolean(value["has_zeros"])
    )


def set_stand_ins(model: Any, descriptions: dict[str, dict[str, Any]]) -> None:
    """Sets kernels to some that `describe_kernels` would describe so.

    Args:
        model: A tf_keras model that is not wrapped yet.
        descriptions: What `describe_kernels` returned.
    """
    for weight in model.weights:
        if weight.name in descriptions:
            _check_describes(weight, descriptions[weight.name])
            weight.assign(_stand_in(weight.shape.as_list(), **descriptions[weight.name]))


def _check_describes(weight, description):
    """Raises unless a description may be that of a kernel of this shape."""
    size, channels = weight.shape.num_elements(), weight.shape[-1]
    of_channels, values = description["of_channels"], description["values"]
    if len(of_channels) != channels or max(*of_channels, values) > size:
        raise ValueError(
            f"Expected the numbers of values of {weight.name!r}, with {channels} channels and "
            f"{size} values at most. Received: {len(of_channels)} channels, up to "
            f"{max(*of_channels, values)} values"
        )


def _stand_in(shape, of_channels, values, has_zeros):
    size, at, channels = int(np.prod(shape[:-1])), 0, []
    for count in of_channels:
        # The next so many values, in turn over the channel.
        channels.append((at + np.arange(size) % count) % values)
        at += count
    numbers = np.stack(channels, axis=-1).reshape(shape)
    return ((numbers + (not has_zeros)) / values).astype("float32")


def preserving_layers(wrapped: Any) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yields (layer, kernel, variables of its quantizer) where zeros or clusters are kept.

    Args:
        wrapped: The tf_keras model that TF-MOT made.
    """
    for layer in wrapped.layers:
        for kernel, _, variables in getattr(layer, "_weight_vars", ()):
            if _SPARSITY in variables or has_clusters(variables):
                yield layer, kernel, variables


def has_clusters(variables: dict[str, Any]) -> bool:
    """Whether a quantizer with these variables keeps clusters."""
    return "cluster_centroids_tf" in variables


def own_masks(wrapped: Any) -> list[Any]:
    """Makes variables of the masks, which are constants in TF-MOT, and returns them."""
    tf = heavy_libraries.tensorflow()

    made = []
    for layer, _, variables in preserving_layers(wrapped):
        for mask in (_SPARSITY, _CENTROIDS):
            if variables.get(mask) is not None:
                name = f"{layer.name}/{mask}"
                variables[mask] = tf.Variable(variables[mask], trainable=False, name=name)
                made.append(variables[mask])
    return made
