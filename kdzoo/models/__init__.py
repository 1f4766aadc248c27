"""Builders of models, one family per file, which end in logits; and `absorb_bottleneck`."""

from kdzoo.graph.absorbed_bottleneck import absorb_bottleneck
from kdzoo.models.airbench import airbench
from kdzoo.models.branchy import branchy_lenet
from kdzoo.models.fitnet import fitnet, fitnet_mnist
from kdzoo.models.lenet import lenet
from kdzoo.models.maxout import maxout
from kdzoo.models.mlp import mlp
from kdzoo.models.msdnet import msdnet
from kdzoo.models.plain_cnn import plain_cnn
from kdzoo.models.resnet import resnet
from kdzoo.models.separable import separable
from kdzoo.models.shallow import shallow
from kdzoo.models.vgg import vgg
from kdzoo.models.wide_resnet import wide_resnet

__all__ = [
    "absorb_bottleneck",
    "airbench",
    "branchy_lenet",
    "fitnet",
    "fitnet_mnist",
    "lenet",
    "maxout",
    "mlp",
    "msdnet",
    "plain_cnn",
    "resnet",
    "separable",
    "shallow",
    "vgg",
    "wide_resnet",
]
