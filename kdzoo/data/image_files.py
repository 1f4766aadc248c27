"""Image files as arrays of bytes, all of one size."""

import concurrent.futures
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kdzoo.utils import first_line, heavy_libraries, open_regular

ColorMode = Literal["rgb", "grayscale"]

FORMATS = {  # What Pillow calls a format -> how names of its files end.
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MODES = {"rgb": ("RGB", 3), "grayscale": ("L", 1)}  # Colour mode -> Pillow's mode, channels.
_SPARE = 2  # How many times the wanted size a JPEG file is decoded in, at least.
_NAMED = 3  # Files that an error names.


def read_images(
    paths: Sequence[pathlib.Path],
    size: tuple[int, int],
    color_mode: ColorMode = "rgb",
    crop_to_aspect_ratio: bool = False,
) -> np.ndarray:
    """Returns the images of some files as one array, decoded on all cores.

    Args:
        paths: The files.
        size: Height and width that all images are given.
        color_mode: `"rgb"` or `"grayscale"`.
        crop_to_aspect_ratio: Whether the largest centred part of the wanted aspect ratio is taken;
            otherwise the whole image is stretched.

    Returns:
        uint8 array (n, height, width, channels).

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If files are no images that can be read; the error names the first of them.
    """
    pillow = heavy_libraries.pillow()
    mode, channels = MODES[color_mode]
    images = np.empty((len(paths), *size, channels), "uint8")
    failed: dict[int, str] = {}

    def read(number: int) -> None:
        try:
            image = _read(pillow, paths[number], size, mode, crop_to_aspect_ratio)
        except Exception as error:  # A damaged file leads Pillow to any exception.
            failed[number] = _reason(pillow, error)
        else:
            images[number] = image.reshape(images.shape[1:])

    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Of odd metadata, which are not looked at.
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        for _ in pool.map(read, range(len(paths))):
            pass
    if failed:
        named = [f"{paths[number]}, {failed[number]}" for number in sorted(failed)[:_NAMED]]
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise ValueError(
            f"Expected images that can be read; repair or remove the others. Received: "
            f"{'; '.join(named)}{more}"
        )
    return images


def _read(
    pillow: Any, path: pathlib.Path, size: tuple[int, int], mode: str, crops: bool
) -> np.ndarray:
    """The image of a file, (height, width) or (height, width, 3), uint8."""
    height, width = size
    with open_regular(path) as file, pillow.open(file, formats=tuple(FORMATS)) as image:
        # A photograph is much larger than what is wanted of it, and JPEG decodes an eighth as well.
        image.draft(None, (_SPARE * width, _SPARE * height))
        image.load()
        found = _in_mode(pillow, image, mode)
    box = _largest_part(found.size, (width, height)) if crops else None
    if found.size != (width, height) or box is not None:
        found = found.resize((width, height), pillow.Resampling.BILINEAR, box)
    return np.asarray(found)


def _in_mode(pillow: Any, image: Any, mode: str) -> Any:
    """An image of any mode in one of bytes: without alpha, of 16 bits the upper eight, as Keras."""
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):  # Pillow would make white of whatever is above 255.
        image = pillow.fromarray((np.asarray(image) >> 8).astype("uint8"))
    return image if image.mode == mode else image.convert(mode)


def _largest_part(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of the centred part that has the wanted aspect ratio."""
    (width, height), (wanted_width, wanted_height) = size, wanted
    part_width = max(1, min(width, height * wanted_width // wanted_height))
    part_height = max(1, min(height, width * wanted_height // wanted_width))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def _reason(pillow: Any, error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, pillow.DecompressionBombWarning | pillow.DecompressionBombError):
        return f"whose pixels are more than {pillow.MAX_IMAGE_PIXELS:,}"
    if isinstance(error, pillow.UnidentifiedImageError):
        return f"which is no image in {', '.join(FORMATS)}, or a damaged one"
    if isinstance(error, OSError) and error.strerror:
        return f"of which the system says: {error.strerror}"
    return f"of which is said: {first_line(error)}"
