"""The `kdzoo` command: it starts without Keras, which `kdzoo list` and `kdzoo card` do not need."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence


class _Waits(importlib.util.LazyLoader):
    """Puts off running a module, also when it is imported a second time.

    An import of a module that is there already looks at its `__spec__`, which would run it.
    """

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        lazy = type(module)

        class Waiting(lazy):  # type: ignore[misc, valid-type]
            def __getattribute__(self, name):
                if name == "__spec__":
                    return object.__getattribute__(self, name)
                return super().__getattribute__(name)

        module.__class__ = Waiting


class _IsThere(importlib.abc.Loader):
    """Gives a module that was imported while its package ran, which the import came to look at.

    An import of `kdzoo.data.split` looks for it first, and at the package's `__path__` then, which
    runs the package: without this there would be two modules, and two of each class.
    """

    def __init__(self, module: types.ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec


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
        if fullname in sys.modules and target is None:
            return importlib.machinery.ModuleSpec(fullname, _IsThere(sys.modules[fullname]))
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Waits(spec.loader)
        return spec


def main() -> int:
    """Runs the command line with the arguments of the process.

    Returns:
        The exit status: 0, 1 for what went wrong, 2 for a wrong command, 130 for Ctrl-C.
    """
    sys.meta_path.insert(0, ImportsWhenUsed())
    try:
        try:
            from kdzoo.cli import main as run
        except ImportError as error:  # A backend that is not installed, say.
            if os.environ.get("KDZOO_TRACEBACK") or not str(error).startswith("Expected"):
                raise
            sys.stderr.write(f"kdzoo: {error}\n")
            return 1
        return run()
    except KeyboardInterrupt:  # Before anything was begun.
        return 130
