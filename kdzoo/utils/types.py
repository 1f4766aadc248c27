"""Names for the types that many signatures share."""

import os
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from numpy.typing import ArrayLike

PathLike: TypeAlias = str | os.PathLike[str]
"""The path of a file or directory."""

Shape: TypeAlias = Sequence[int | None]
"""The sizes of an array or tensor; None for a size that is not known."""

Tensor: TypeAlias = Any
"""A tensor of the Keras backend; the backends' classes have no common one to be checked."""

TensorLike: TypeAlias = Tensor | ArrayLike
"""A tensor of the Keras backend, an array, or numbers that NumPy makes an array of."""

PixelScale: TypeAlias = Literal["0..1", "0..255", "-1..1", "torch", "caffe"]
"""What a pixel is given as; the last two as `keras.applications` calls its modes."""
