"""Heavy libraries, each imported when something first needs it, and by this module alone."""

from types import ModuleType


def tensorflow() -> ModuleType:
    """Returns the module `tensorflow`."""
    import tensorflow

    return tensorflow


def jax() -> ModuleType:
    """Returns the module `jax`."""
    import jax

    return jax
