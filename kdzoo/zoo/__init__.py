"""The zoo: models by name."""

from kdzoo.zoo.registry import Architecture, architecture, create, list_models, register

__all__ = ["Architecture", "architecture", "create", "list_models", "register"]
