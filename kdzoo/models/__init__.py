"""Builders of models, one architecture family per file: functional graphs that end in logits."""

from kdzoo.models.mlp import mlp
from kdzoo.models.separable import separable
from kdzoo.models.wide_resnet import wide_resnet

__all__ = ["mlp", "separable", "wide_resnet"]
