"""What needs Keras, loaded when an experiment is first run: definitions are listed without it.

`loaded.fitting` is the module `kdzoo.experiments.fitting`, and so on. The definitions of stages and
recipes reach what trains them through here alone.
"""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name not in ("compressing", "engine", "fitting", "recorded"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"kdzoo.experiments.{name}")
