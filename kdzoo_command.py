"""The `kdzoo` command: it starts without Keras, which `kdzoo list` and `kdzoo card` do not need."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence


class ImportsWhenUsed(importlib.abc.MetaPathFinder):
    """Puts off running the modules of kdzoo, and Keras, until something of them is used.

    `import keras` at the top of a module then costs nothing before `keras.Model`, say, is needed.
    Once Keras runs, modules run when they are imported, as usual.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the usual specification of a module with a loader that waits, else None."""
        waits = fullname == "keras" or fullname.partition(".")[0] == "kdzoo"
        if not waits or sys.modules.get("keras.src"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def main() -> int:
    """Runs the command line with the arguments of the process.

    Returns:
        The exit status: 0, 1 for what went wrong, 2 for a wrong command, 130 for Ctrl-C.
    """
    sys.meta_path.insert(0, ImportsWhenUsed())
    from kdzoo.cli import main as run

    return run()
