"""Builders of models, one architecture family per file: functional graphs that end in logits."""

from kdzoo.models.airbench import airbench
from kdzoo.models.fitnet import fitnet, fitnet_mnist
from kdzoo.models.lenet import lenet
from kdzoo.models.maxout import maxout
from kdzoo.models.mlp import mlp
from kdzoo.models.resnet import resnet
from kdzoo.models.separable import separable
from kdzoo.models.wide_resnet import wide_resnet

__all__ = [
    "airbench",
    "fitnet",
    "fitnet_mnist",
    "lenet",
    "maxout",
    "mlp",
    "resnet",
    "separable",
    "wide_resnet",
]
