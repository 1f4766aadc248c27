"""The zoo: models by name, pretrained models, pairs of teacher and student, and cards.

Names that need Keras are imported when they are first used, so that lists and cards need none.
"""

import importlib
import typing

from kdzoo.zoo.architectures import Architecture
from kdzoo.zoo.cards import card
from kdzoo.zoo.manifest import Pretrained, list_pretrained
from kdzoo.zoo.pair_definitions import list_pairs
from kdzoo.zoo.pretrained_files import tflite
from kdzoo.zoo.registry import architecture, list_models, register

if typing.TYPE_CHECKING:
    from kdzoo.zoo.building import create
    from kdzoo.zoo.compressed_files import load_compressed, save_compressed
    from kdzoo.zoo.compressed_report import CompressedFile, CompressedWeight
    from kdzoo.zoo.model_loading import load_model
    from kdzoo.zoo.pairs import Pair, pair
    from kdzoo.zoo.pretrained import load
    from kdzoo.zoo.safetensors_weights import load_weights, save_weights
    from kdzoo.zoo.save_load_pretrained import load_pretrained, save_pretrained

_NEED_KERAS = {
    "CompressedFile": "compressed_report",
    "CompressedWeight": "compressed_report",
    "Pair": "pairs",
    "create": "building",
    "load": "pretrained",
    "load_compressed": "compressed_files",
    "load_model": "model_loading",
    "load_pretrained": "save_load_pretrained",
    "load_weights": "safetensors_weights",
    "pair": "pairs",
    "save_compressed": "compressed_files",
    "save_pretrained": "save_load_pretrained",
    "save_weights": "safetensors_weights",
}

__all__ = [
    "Architecture",
    "CompressedFile",
    "CompressedWeight",
    "Pair",
    "Pretrained",
    "architecture",
    "card",
    "create",
    "list_models",
    "list_pairs",
    "list_pretrained",
    "load",
    "load_compressed",
    "load_model",
    "load_pretrained",
    "load_weights",
    "pair",
    "register",
    "save_compressed",
    "save_pretrained",
    "save_weights",
    "tflite",
]


if not typing.TYPE_CHECKING:  # A type checker would accept every name because of it.

    def __getattr__(name):
        if name not in _NEED_KERAS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"kdzoo.zoo.{_NEED_KERAS[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
