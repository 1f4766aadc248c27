"""The backends of Keras that kdzoo computes on, checked before Keras is imported."""

import importlib.util
import json
import os
import sys

_SERVED = ("tensorflow", "jax")


def check_backend(is_command: bool = False) -> None:
    """Raises unless the backend that Keras has, or will take, is one of kdzoo's and installed.

    Args:
        is_command: Whether the sentence is all that is to be seen: the process ends with it.

    Raises:
        ImportError: In one sentence, which says what to install or to set.
        SystemExit: In place of it, in a command.
    """
    try:
        _check_backend()
    except ImportError as error:
        if is_command and not os.environ.get("KDZOO_TRACEBACK"):
            sys.exit(f"kdzoo: {error}")
        raise


def runs_as_command() -> bool:
    """Whether `python -m kdzoo` is importing the package, before its `__main__.py` runs."""
    if sys.argv[:1] != ["-m"]:
        return False
    return sys.orig_argv[: -len(sys.argv) + 1 or None][-2:] == ["-m", "kdzoo"]


def _check_backend() -> None:
    name, said = _chosen()
    if name not in _SERVED:
        raise ImportError(
            "Expected KERAS_BACKEND to be tensorflow or jax, the backends that kdzoo computes on. "
            f"Received: {said}"
        )
    if not _is_installed(name):
        (other,) = set(_SERVED) - {name}
        raise ImportError(
            f"Expected {name}, the backend that Keras is to take, to be installed. Received: "
            f"{said}, and no {name}; install it with `pip install {name}`, or set "
            f"KERAS_BACKEND={other}."
        )


def _chosen() -> tuple[str, str]:
    """The name of Keras's backend, and how it was chosen."""
    keras = sys.modules.get("keras")
    if sys.modules.get("keras.src") and keras is not None:
        name = keras.backend.backend()
        return name, f"KERAS_BACKEND={name}"
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name, f"KERAS_BACKEND={name}"
    path, name = _configuration()
    return name, f'"backend": "{name}" in {path}' if path else f"no KERAS_BACKEND, so {name}"


def _configuration() -> tuple[str | None, str]:
    """The path of Keras's file of settings, if it names a backend, and the name."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = os.path.expanduser("~")
        home = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    path = os.path.expanduser(os.path.join(home, "keras.json"))
    try:
        with open(path) as file:
            name = json.load(file)["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, "tensorflow"
    return path, str(name)


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
