"""The zoo: models by name, pretrained ones, pairs of teacher and student, and cards."""

from kdzoo.zoo.cards import card
from kdzoo.zoo.manifest import Pretrained, list_pretrained
from kdzoo.zoo.pairs import Pair, list_pairs, pair
from kdzoo.zoo.pretrained import load, tflite
from kdzoo.zoo.registry import Architecture, architecture, create, list_models, register
from kdzoo.zoo.sharing import load_pretrained, save_pretrained
from kdzoo.zoo.weights import load_weights, save_weights

__all__ = [
    "Architecture",
    "Pair",
    "Pretrained",
    "architecture",
    "card",
    "create",
    "list_models",
    "list_pairs",
    "list_pretrained",
    "load",
    "load_pretrained",
    "load_weights",
    "pair",
    "register",
    "save_pretrained",
    "save_weights",
    "tflite",
]
