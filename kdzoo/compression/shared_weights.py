"""Weights that share a few values: k-means of each kernel, and codebooks that learn."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.graph.layer_chains import (
    Chain,
    check_layers,
    layers_with_kernels,
    left_with_reasons,
    why_left,
    with_chains,
)
from kdzoo.utils import check_integer

PLAIN = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
"""The layers whose kernels can share values."""

_MOST_VALUES = 65_535
_MOST_STEPS = 300  # Of k-means, which ends where nothing changes any more.


@dataclasses.dataclass(frozen=True)
class SharedWeightsReport:
    """What `share_weights` made of a model.

    Attributes:
        layers: Path of each layer that has a codebook -> how many values are in it.
        zeros: Path of each of these -> the fraction of its kernel that is zero, and stays so.
        errors: Path of each of these -> the Frobenius norm of what its kernel lost over that of the
            kernel.
        left: Path of each other layer that has a kernel -> why it was left.
    """

    layers: dict[str, int]
    zeros: dict[str, float]
    errors: dict[str, float]
    left: dict[str, str]


def share_weights(
    model: keras.Model, values: int | Mapping[str, int]
) -> tuple[keras.Model, SharedWeightsReport]:
    """Lets the numbers of each kernel share a few values, which learn.

    The numbers of a kernel that are not zero are clustered by k-means, whose centroids begin at
    even distances between the smallest and the largest number. They become a codebook, of which an
    index for each number makes the kernel. The gradient of a value is the sum of the gradients of
    all numbers that share it. Which number shares which value never changes again, and zeros stay
    zeros. A regularizer or constraint of the kernel does not act on the codebook.

    The new model trains with any loss and optimizer, on TensorFlow and JAX, and as the student of a
    `Distiller`. With plain SGD take a learning rate that is smaller by about the size of a cluster.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        values: Values in each codebook, from 1 to 65,535, zero not among them: one number for every
            `Dense`, `Conv1D`, `Conv2D` and `Conv3D` that can be, or path of a layer (names joined
            by "/" through nested models) -> its number; others are then left.

    Returns:
        A new model, compiled as the model was, and a `SharedWeightsReport`. `strip_shared_weights`
        makes plain layers of it.

    Raises:
        ValueError: If the model has no graph, a number is out of range, or a layer in `values` does
            not exist or cannot share weights.

    Example:

    ```python
    shared, report = kdzoo.compression.share_weights(pruned, 32)
    shared.compile("adam", loss)
    shared.fit(x, y)
    plain = kdzoo.compression.strip_shared_weights(shared)
    kdzoo.save_compressed(plain, "student.kdz")
    ```

    Reference: Han, Mao & Dally, "Deep Compression", 2016, arXiv:1510.00149, section 3.
    """
    known = layers_with_kernels(model)
    counts = check_by_layer("values", values, known, _count)
    left = {path: why for path, layer in known.items() if (why := why_left(layer, PLAIN))}
    chains, errors, zeros = {}, {}, {}
    for path in counts:
        kernel = known[path].get_weights()[0]
        chains[path] = _shared(known[path], kernel, counts[path])
        made = _plain_kernel(*_book_and_indices(chains[path])).astype("float64")
        norm = np.linalg.norm(kernel.astype("float64"))
        errors[path] = float(np.linalg.norm(made - kernel.astype("float64")) / (norm or 1.0))
        zeros[path] = float((kernel == 0).mean())
    sizes = {path: len(_book_and_indices(chain)[0]) for path, chain in chains.items()}
    left = left_with_reasons(known, left, counts)
    return with_chains(model, chains, known), SharedWeightsReport(sizes, zeros, errors, left)


def strip_shared_weights(model: keras.Model) -> keras.Model:
    """Returns a model of plain layers, whose kernels are made of the codebooks.

    Args:
        model: What `share_weights` made, trained or not. It is not changed.

    Returns:
        A new model, compiled as the model was, with the same outputs. `save_compressed` finds the
        codebooks again.

    Raises:
        ValueError: If the model has no graph, or no layer with a codebook.
    """
    known = layers_with_kernels(model)
    chains = {path: _plain(layer) for path, layer in known.items() if isinstance(layer, _Shared)}
    if not chains:
        raise ValueError(
            f"Expected a model that `share_weights` made. Received: {model.name!r}, without layers "
            "that share weights"
        )
    return with_chains(model, chains, known)


def check_by_layer(name: str, given: Any, known: Mapping[str, Any], check: Any) -> dict[str, Any]:
    """Returns path -> setting of each layer that has one.

    Args:
        name: Name of the argument.
        given: A setting for all layers that can have one, or path -> setting.
        known: What `layers_with_kernels` returned.
        check: Function of a name and a setting, which returns the setting or raises.

    Raises:
        ValueError: If a layer does not exist or cannot have one, no layer can, or a setting is
            none.
    """
    left = {path: why for path, layer in known.items() if (why := why_left(layer, PLAIN))}
    if not isinstance(given, Mapping):
        setting = check(name, given)
        return dict.fromkeys(check_layers(None, known, left), setting)
    paths = check_layers(list(given), known, left, name)
    return {path: check(f"{name}[{path!r}]", given[path]) for path in paths}


def check_bits(name: str, bits: Any) -> int:
    """Returns the bits of an index, from 1 to 8, which are all that `.kdz` files have; or raises.

    Args:
        name: What the caller calls it.
        bits: What was given.
    """
    return check_integer(name, bits, 1, 8)


def cluster(numbers: np.ndarray, values: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centroids of numbers, by k-means from even distances, and the index of each.

    Args:
        numbers: Finite numbers, one dimension, float64.
        values: How many centroids at most; those that no number is nearest to are left out.

    Example:

    >>> cluster(np.array([0.0, 0.1, 1.0, 0.2]), 2)
    (array([0.1, 1. ]), array([0, 0, 1, 0]))
    """
    if not len(numbers):
        return np.zeros(0), np.zeros(0, int)
    ordered = np.sort(numbers)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.linspace(ordered[0], ordered[-1], values)
    for _ in range(_MOST_STEPS):
        inner = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        bounds = np.concatenate([[0], inner, [len(ordered)]])
        counts = np.diff(bounds)
        moved = np.where(counts, np.diff(sums[bounds]) / np.maximum(counts, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, numbers)
    used, indices = np.unique(nearest, return_inverse=True)
    return centroids[used], indices.reshape(-1)


class _Shared(keras.layers.Layer):
    """What layers that share weights add to Keras's: a codebook and indices make the kernel."""

    def __init__(self, *args: Any, values: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.values = _count("values", values)

    def add_weight(self, shape: Any = None, name: str | None = None, **options: Any) -> Any:
        """Makes a codebook and indices in the place of the kernel."""
        if name != "kernel":
            return super().add_weight(shape=shape, name=name, **options)
        trainable = options.get("trainable", True)
        self.codebook = super().add_weight(
            shape=(self.values,), initializer="zeros", trainable=trainable, name="codebook"
        )
        # Zero is index 0, and no part of the codebook.
        dtype = "uint8" if self.values < 256 else "uint16"
        self.indices = super().add_weight(
            shape=shape, initializer="zeros", dtype=dtype, trainable=False, name="indices"
        )
        return None

    @property
    def kernel(self) -> Any:
        """The kernel, a tensor whose gradient reaches the codebook."""
        return _looked_up(ops.convert_to_tensor(self.codebook), self.indices, self.values)

    def save_own_variables(self, store: Any) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "values": self.values}


@keras.saving.register_keras_serializable("kdzoo")
class SharedDense(_Shared, keras.layers.Dense):
    """A `Dense` layer whose kernel has few values; `share_weights` makes it."""


@keras.saving.register_keras_serializable("kdzoo")
class SharedConv1D(_Shared, keras.layers.Conv1D):
    """A `Conv1D` whose kernel has few values; `share_weights` makes it."""


@keras.saving.register_keras_serializable("kdzoo")
class SharedConv2D(_Shared, keras.layers.Conv2D):
    """A `Conv2D` whose kernel has few values; `share_weights` makes it."""


@keras.saving.register_keras_serializable("kdzoo")
class SharedConv3D(_Shared, keras.layers.Conv3D):
    """A `Conv3D` whose kernel has few values; `share_weights` makes it."""


_SHARED = dict(zip(PLAIN, (SharedDense, SharedConv1D, SharedConv2D, SharedConv3D), strict=True))


def _looked_up(codebook: Any, indices: Any, values: int) -> Any:
    """The numbers that indices stand for, 0 for index 0; the gradient is one array on TensorFlow.

    Optimizers of Keras would otherwise be handed a part of it for each number.
    """
    flat = ops.reshape(ops.cast(indices, "int32"), (-1,))

    @ops.custom_gradient
    def look_up(book: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return ops.segment_sum(ops.reshape(upstream, (-1,)), flat, values + 1)

        return ops.reshape(ops.take(book, flat), indices.shape), gradient

    return look_up(ops.concatenate([ops.zeros((1,), codebook.dtype), codebook]))


def _count(name: str, values: Any) -> int:
    return check_integer(name, values, 1, _MOST_VALUES)


def _shared(layer: keras.layers.Layer, kernel: np.ndarray, values: int) -> Chain:
    """The layer that shares weights in the place of a plain one, and its weights."""
    flat = kernel.reshape(-1).astype("float64")
    kept = flat != 0
    book, nearest = cluster(flat[kept], values)
    book = book if len(book) else np.zeros(1)
    indices = np.zeros(len(flat), "uint8" if len(book) < 256 else "uint16")
    indices[kept] = nearest + 1
    made = _SHARED[type(layer)].from_config({**layer.get_config(), "values": len(book)})
    _, *bias = layer.get_weights()
    return [(made, [book.astype(kernel.dtype), *bias, indices.reshape(kernel.shape)])]


def _book_and_indices(chain: Chain) -> tuple[np.ndarray, np.ndarray]:
    ((_, weights),) = chain
    return weights[0], weights[-1]


def _plain_kernel(book: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, book.dtype), book])[indices]


def _plain(layer: _Shared) -> Chain:
    """The plain layer in the place of one that shares weights, and its weights."""
    book, *bias, indices = layer.get_weights()
    config = layer.get_config()
    del config["values"]
    made = next(plain for plain in PLAIN if isinstance(layer, plain)).from_config(config)
    return [(made, [_plain_kernel(book, indices), *bias])]
