"""The versions of the packages that a result depends on, and the commit of kdzoo."""

import functools
import importlib.metadata
import pathlib
import subprocess

import keras


def versions() -> dict[str, str]:
    """Returns name -> version of the packages that a result depends on, and Keras's backend.

    Where kdzoo runs from a checkout, its commit is among them, with a "+" if its code is changed.
    """
    found = {}
    for package in ("kdzoo", "keras", "tensorflow", "jax", "tensorflow-datasets", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, "backend": keras.config.backend(), **({"commit": commit} if commit else {})}


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout that kdzoo is imported from; None where there is none, or no git.

    A package in the environment of another project is in that project's checkout, which is not it.
    """
    root = pathlib.Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", "-C", str(root), *arguments], text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "kdzoo/*.py")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
