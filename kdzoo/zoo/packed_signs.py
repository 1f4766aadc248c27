"""Weights that are ±s, with one s for each output, as a bit a number in a safetensors file.

Of such a weight `a/kernel` the file holds `a/kernel.signs`, bytes of eight signs each, the first in
the highest bit, 1 for +s, in the order of the numbers; and, unless every s is 1, `a/kernel.scale`,
float32 of the last axis.
"""

from collections.abc import Collection, Mapping

import numpy as np

from kdzoo.utils import shown

SIGNS, SCALE = ".signs", ".scale"


def packed(key: str, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """Returns name -> array of a weight in a file: packed if it can be, else as it is.

    Args:
        key: The path of the weight.
        tensor: Its value, of floats if it can be packed.
    """
    if tensor.ndim < 2 or not tensor.size or not np.issubdtype(tensor.dtype, np.floating):
        return {key: tensor}
    scale = np.abs(tensor.reshape(-1, tensor.shape[-1])[0])
    if not scale.all() or not (np.abs(tensor) == scale).all():
        return {key: tensor}
    with np.errstate(over="ignore"):
        if (scale != scale.astype("float32")).any():
            return {key: tensor}  # Scales of float64 that float32 cannot hold.
    made = {key + SIGNS: np.packbits(tensor.reshape(-1) > 0)}
    return made if (scale == 1).all() else {**made, key + SCALE: scale.astype("float32")}


def unpacked(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Collection[int]], name: str
) -> dict[str, np.ndarray]:
    """Returns the weights of a file with those that are packed as float32.

    Args:
        tensors: Name -> array in the file.
        shapes: Path -> shape of the weights that are looked for.
        name: What errors call the file.

    Raises:
        ValueError: If the packed signs or scales of a weight do not fit its shape.
    """
    found = dict(tensors)
    for key, shape in shapes.items():
        if key + SIGNS not in found or key in found:
            continue
        signs, shape = found.pop(key + SIGNS), tuple(shape)
        scale = found.pop(key + SCALE, np.float32(1))
        size = int(np.prod(shape))
        fits = signs.dtype == np.uint8 and signs.shape == (-(-size // 8),) and len(shape) > 1
        is_scale = not scale.shape or (scale.dtype == np.float32 and scale.shape == shape[-1:])
        if not fits or not is_scale or np.unpackbits(signs)[size:].any():
            raise ValueError(
                f"Expected signs of {key!r} in {name} for the shape {shape}. Received: "
                f"{shown(signs.shape)} of type {signs.dtype.name}, scales {shown(scale.shape)}"
            )
        ones = np.unpackbits(signs, count=size).reshape(shape)
        found[key] = np.where(ones, scale, -scale).astype("float32")
    return found
