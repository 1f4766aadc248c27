"""Knowledge distillation and compression for Keras 3, up to the `.tflite` on a phone."""

import os as _os
import sys as _sys

from kdzoo.version import __version__

_HOME = {
    "Distiller": "kdzoo.distillation.distiller",
    "Ensemble": "kdzoo.models.ensemble",
    "accelerate": "kdzoo.graph.acceleration",
    "as_logits": "kdzoo.graph.logits",
    "card": "kdzoo.zoo.cards",
    "create": "kdzoo.zoo.building",
    "fuse_batch_normalization": "kdzoo.graph.acceleration",
    "list_models": "kdzoo.zoo.registry",
    "list_pairs": "kdzoo.zoo.pair_definitions",
    "list_pretrained": "kdzoo.zoo.manifest",
    "load": "kdzoo.zoo.pretrained",
    "load_pretrained": "kdzoo.zoo.sharing",
    "pair": "kdzoo.zoo.pairs",
    "save_pretrained": "kdzoo.zoo.sharing",
    "unfuse_batch_normalization": "kdzoo.graph.acceleration",
}
_ROOMS = (
    "acceleration",
    "callbacks",
    "compression",
    "data",
    "evaluation",
    "export",
    "losses",
    "models",
    "recipes",
    "schemes",
    "zoo",
)

__all__ = [*_HOME, *_ROOMS, "__version__"]


def __getattr__(name):
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"kdzoo.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    from kdzoo.utils import unknown_name

    raise AttributeError(str(unknown_name("attribute of kdzoo", name, __all__)))


def __dir__():
    return sorted({*globals(), *__all__})


# The command line answers `--help` and `list` without Keras. Everywhere else the classes are there
# from the start, because Keras finds them by their registered names when it loads a file.
_command = _os.path.basename(_sys.argv[0] if _sys.argv else "")
if _command == "-m":  # `python -m kdzoo` imports the package before it knows the file to run.
    # What precedes the arguments, of which `sys.argv` has kept those after the module's name.
    _command = _sys.orig_argv[-len(_sys.argv)].rpartition("-m")[2]
if _command not in ("kdzoo", "kdzoo.exe"):
    from kdzoo import compression, losses  # noqa: F401
    from kdzoo.distillation import distiller  # noqa: F401
    from kdzoo.models import ensemble  # noqa: F401
