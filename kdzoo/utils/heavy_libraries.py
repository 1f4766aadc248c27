"""Heavy libraries, each imported when something first needs it, and by this module alone."""

from collections.abc import Callable
from types import ModuleType


def tensorflow() -> ModuleType:
    """Returns the module `tensorflow`."""
    import tensorflow

    return tensorflow


def jax() -> ModuleType:
    """Returns the module `jax`."""
    import jax

    return jax


def matplotlib() -> ModuleType:
    """Returns the module `matplotlib`, with its submodule `figure`.

    Raises:
        ImportError: If it is not installed; the error names the extra that brings it.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            "Expected matplotlib, which draws plots; install it with `pip install 'kdzoo[report]'`."
        ) from error
    return matplotlib


def zstd() -> Callable[[bytes], bytes] | None:
    """Returns what packs bytes as zstd does by default; None where it is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard.compress


def pillow() -> ModuleType:
    """Returns the module `PIL.Image`, which knows the formats that images are read in.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        from PIL import Image, WebPImagePlugin  # noqa: F401  The plugin registers its format.
    except ImportError as error:
        raise ImportError(
            "Expected Pillow, which decodes images; install it with `pip install pillow`."
        ) from error
    return Image
