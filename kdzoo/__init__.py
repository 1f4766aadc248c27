"""Knowledge distillation and compression for Keras 3, up to the `.tflite` on a phone."""

import importlib
import sys
import typing

from kdzoo.utils import onednn, served_backends
from kdzoo.version import __version__

if typing.TYPE_CHECKING:  # What `__getattr__` loads, for editors and type checkers.
    from kdzoo import (
        acceleration,
        callbacks,
        compression,
        data,
        dynamic,
        evaluation,
        experiments,
        export,
        losses,
        models,
        recipes,
        schemes,
        zoo,
    )
    from kdzoo.distillation.distiller import Distiller
    from kdzoo.graph.acceleration import (
        accelerate,
        fuse_batch_normalization,
        unfuse_batch_normalization,
    )
    from kdzoo.graph.as_logits import as_logits
    from kdzoo.models.ensemble import Ensemble
    from kdzoo.schemes.calibrate_biases import calibrate_biases
    from kdzoo.zoo import (
        card,
        create,
        list_models,
        list_pairs,
        list_pretrained,
        load,
        load_compressed,
        load_model,
        load_pretrained,
        pair,
        save_compressed,
        save_pretrained,
    )

__all__ = [
    "Distiller",
    "Ensemble",
    "__version__",
    "accelerate",
    "acceleration",
    "as_logits",
    "calibrate_biases",
    "callbacks",
    "card",
    "compression",
    "create",
    "data",
    "dynamic",
    "evaluation",
    "experiments",
    "export",
    "fuse_batch_normalization",
    "list_models",
    "list_pairs",
    "list_pretrained",
    "load",
    "load_compressed",
    "load_model",
    "load_pretrained",
    "losses",
    "models",
    "pair",
    "recipes",
    "save_compressed",
    "save_pretrained",
    "schemes",
    "unfuse_batch_normalization",
    "zoo",
]

# Public name -> the module that has it. The other names in `__all__` are modules themselves.
_DEFINED_IN = {
    "Distiller": "kdzoo.distillation.distiller",
    "Ensemble": "kdzoo.models.ensemble",
    "accelerate": "kdzoo.graph.acceleration",
    "as_logits": "kdzoo.graph.as_logits",
    "calibrate_biases": "kdzoo.schemes.calibrate_biases",
    "card": "kdzoo.zoo",
    "create": "kdzoo.zoo",
    "fuse_batch_normalization": "kdzoo.graph.acceleration",
    "list_models": "kdzoo.zoo",
    "list_pairs": "kdzoo.zoo",
    "list_pretrained": "kdzoo.zoo",
    "load": "kdzoo.zoo",
    "load_compressed": "kdzoo.zoo",
    "load_model": "kdzoo.zoo",
    "load_pretrained": "kdzoo.zoo",
    "pair": "kdzoo.zoo",
    "save_compressed": "kdzoo.zoo",
    "save_pretrained": "kdzoo.zoo",
    "unfuse_batch_normalization": "kdzoo.graph.acceleration",
}
# Old name of a module -> the module's name now; both can be imported.
_MOVED = {
    "checkpoints": "kdzoo.training.checkpoints",
    "distiller": "kdzoo.distillation.distiller",
    "taps": "kdzoo.graph.taps",
}

if not typing.TYPE_CHECKING:  # A type checker would take every name for one that this returns.

    def __getattr__(name):
        if name in _DEFINED_IN:
            value = getattr(importlib.import_module(_DEFINED_IN[name]), name)
        elif name in _MOVED:
            value = importlib.import_module(_MOVED[name])
        elif name in __all__:
            value = importlib.import_module(f"kdzoo.{name}")
        else:
            from kdzoo.utils import unknown_name

            raise AttributeError(str(unknown_name("attribute of kdzoo", name, __all__)))
        globals()[name] = value
        return value


def __dir__():
    return sorted(__all__)


served_backends.check_backend(is_command=served_backends.runs_as_command())
# TensorFlow, which Keras imports, decides now whether it uses oneDNN.
with onednn.turned_on():
    importlib.import_module("keras")

# Keras finds classes by their registered names when it loads a file.
from kdzoo import registration  # noqa: E402, F401

sys.modules.update(
    {f"kdzoo.{name}": importlib.import_module(module) for name, module in _MOVED.items()}
)
