"""What a model costs: parameters, multiply-accumulates, bytes on disk.

MACs are counted while one example of zeros runs through the model, in the `call` of layers that
multiply and in the operations of `keras.ops` that others call. So a shared layer counts as often as
it runs, nested and subclassed models are counted, and nothing depends on how the graph was built.
"""

import functools
import gzip
import math
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from kdzoo.evaluation.mac_tally import recording
from kdzoo.graph.input_shape_checks import check_input_shapes
from kdzoo.utils import check_path, heavy_libraries, open_regular, shown
from kdzoo.utils.types import PathLike

_MOST = 1 << 31  # Numbers of an example whose pass is counted.


def count_parameters(model: keras.Model) -> int:
    """Returns the number of a Keras model's weights, trainable or not.

    Args:
        model: A built Keras model.

    Returns:
        An int; a weight that two layers share counts once.

    Raises:
        ValueError: If the model is not built.
    """
    _check_built(model)
    return int(model.count_params())


def count_macs(model: keras.Model, input_shape: Sequence[int] | None = None) -> int:
    """Returns the multiply-accumulates of one forward pass of one example.

    One MAC is one multiplication with its addition; papers call it a "mult-add". Convolutions,
    dense and recurrent layers, attention and, whoever calls them, the products of `keras.ops`
    (`matmul`, `dot`, `inner`, `vdot`, `tensordot`, `einsum`, `dot_product_attention`, convolutions)
    count; biases, normalization, activations, products of single elements (such as those of a
    recurrent layer's gates, and what masks cost), pooling and embeddings do not. A recurrent layer
    and `TimeDistributed` count every time step of their inputs. A transposed convolution counts the
    products it makes, those later cropped included; an `einsum` of several operands takes them one
    after another.

    Not seen are products that a layer or a `Lambda` of one's own makes beside `keras.ops`, such as
    by `tf.matmul`, and all turns but those that are traced of a loop of `keras.ops`, such as
    `scan`.

    Args:
        model: A built Keras model on any backend.
        input_shape: Shape without the batch, e.g. `(32, 32, 3)`, for a model with one input; by
            default the shape that the model was built with.

    Returns:
        An int.

    Raises:
        ValueError: If the model is not built, or a dimension is not known.

    Warns:
        UserWarning: If the model has layers with weights that this function cannot count; they
            count as 0 and are named.

    Example:

    ```python
    macs = kdzoo.evaluation.count_macs(keras.applications.MobileNet(weights=None))  # 568.7 million
    ```

    Reference: Howard et al., "MobileNets", 2017, arXiv:1704.04861, equations 2 to 5 and table 4.
    """
    _check_built(model)
    input_shape = None if input_shape is None else _sizes(input_shape)
    with recording(model) as tally:
        _run(model, _zeros(model, input_shape))
    if tally.unknown:
        names = sorted({f"{layer.name} ({type(layer).__name__})" for layer in tally.unknown})
        warnings.warn(
            f"count_macs counts these layers as 0 MACs: {', '.join(names)}.", stacklevel=2
        )
    return tally.frames[0][0]


def file_bytes(path: PathLike) -> int:
    """Returns the size of a file in bytes.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no file at `path`.
    """
    return len(_content(path))


def gzipped_bytes(path: PathLike) -> int:
    """Returns the size of a file in bytes after gzip at its highest level.

    It shows what pruned and clustered weights save where a file is shipped compressed.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no file at `path`.
    """
    return len(gzip.compress(_content(path), compresslevel=9, mtime=0))


def _content(path):
    try:
        with open_regular(check_path("path", path)) as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected a file. Received: path={str(path)!r}, not a file."
        ) from None


def _check_built(model):
    if not getattr(model, "built", False):
        raise ValueError(
            "Expected a built Keras model. "
            f"Received: {shown(getattr(model, 'name', model))}: call it once on real data."
        )


def _sizes(input_shape):
    """The sizes of one example as a tuple, or raises."""
    is_shape = isinstance(input_shape, list | tuple) and all(
        isinstance(size, int | np.integer) and size > 0 for size in input_shape
    )
    if not is_shape or math.prod(input_shape) > _MOST:
        raise ValueError(
            "Expected input_shape as the sizes of one example, e.g. (32, 32, 3). Received: "
            f"input_shape={shown(input_shape)}"
        )
    return tuple(input_shape)


def _run(model, inputs):
    """Runs the model once; JAX, which would compile each operation, follows the shapes alone."""
    if keras.backend.backend() == "jax":
        heavy_libraries.jax().eval_shape(functools.partial(model, training=False), inputs)
    else:
        model(inputs, training=False)


def _zeros(model, input_shape):
    """Returns one example of zeros in the structure of the model's inputs."""
    tensors = getattr(model, "inputs", None)
    if input_shape is not None:
        dtype = tensors[0].dtype if tensors else "float32"
        check_input_shapes(np.zeros((1, *input_shape), "bool"), model, "input_shape")
        return keras.ops.zeros((1, *input_shape), dtype)
    if tensors:
        structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
        return keras.tree.map_structure(_zeros_like, structure)
    return _zeros_of_shape((model.get_build_config() or {}).get("input_shape"), "float32")


def _zeros_like(tensor):
    return _zeros_of_shape(tensor.shape, tensor.dtype)


def _zeros_of_shape(shape, dtype):
    """Returns zeros of `shape` with a batch of one."""
    if shape is None or not all(isinstance(size, int) for size in shape[1:]):
        raise ValueError(
            "Expected a model of known input shape. "
            f"Received: {shape}: pass `input_shape`, e.g. (32, 32, 3)."
        )
    return keras.ops.convert_to_tensor(np.zeros((1, *shape[1:])), dtype=dtype)
