"""The architectures that come with kdzoo: a row for every name, with its builder."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from kdzoo.utils import first_line

MOBILENETS = "Howard et al. 2017, arXiv:1704.04861"
WIDE_RESNETS = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"
RESNETS = "He et al. 2016, arXiv:1512.03385"
FITNETS = "Romero et al. 2015, arXiv:1412.6550"
MAXOUT = "Goodfellow et al. 2013, arXiv:1302.4389"
DISTILLATION = "Hinton, Vinyals & Dean 2015, arXiv:1503.02531"
AIRBENCH = "Jordan 2024, arXiv:2404.00498"
DEEP_COMPRESSION = "Han, Mao & Dally 2016, arXiv:1510.00149"
MIMIC = "Ba & Caruana 2014, arXiv:1312.6184"
TEACHER_ASSISTANTS = "Mirzadeh et al. 2020, arXiv:1902.03393"
VGGS = "Simonyan & Zisserman 2015, arXiv:1409.1556"
BRANCHYNET = "Teerapittayanon et al. 2016, arXiv:1709.01686"
MSDNETS = "Huang et al. 2018, arXiv:1703.09844"
SLIMMABLE = "Yu et al. 2019, arXiv:1812.08928"


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A named architecture: how `kdzoo.create` builds it, and its description in lists.

    Attributes:
        name: The name that `kdzoo.create` takes, which is also the name of the built model.
        builder: `"package.module:function"`, imported when first built, or the function itself. It
            takes `classes`, `input_shape` and `name` besides the names in `arguments`.
        arguments: Further arguments of the builder, e.g. `{"depth": 16, "width": 2}`.
        description: One line on what it is and what it is for.
        paper: Authors, year and arXiv number.
    """

    name: str
    builder: str | Callable[..., Any]
    arguments: dict[str, Any]
    description: str
    paper: str = ""

    @property
    def family(self) -> str:
        """The name of the builder, e.g. `"wide_resnet"`."""
        if isinstance(self.builder, str):
            return self.builder.partition(":")[2]
        return self.builder.__name__

    def load_builder(self) -> Callable[..., Any]:
        """Returns the builder, a function; its module is imported if needed.

        Raises:
            ValueError: If there is no such module or function.
        """
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ModuleNotFoundError, AttributeError) as error:
            missing = getattr(error, "name", None) or ""
            if isinstance(error, ImportError) and not f"{module}.".startswith(f"{missing}."):
                raise  # The builder's module exists, but something that it imports does not.
            raise ValueError(
                f"Expected the builder of {self.name!r} to exist. Received: "
                f"{self.builder!r}: {first_line(error)}"
            ) from error


def _row(name, module, description, paper, function=None, **arguments):
    builder = f"kdzoo.models.{module}:{function or module}"
    return Architecture(name, builder, arguments, description, paper)


_FITNET_STAGES = (
    ((16, 16, 16), (32, 32, 32), (48, 48, 64)),
    ((16, 32, 32), (48, 64, 80), (96, 96, 128)),
    ((32, 48, 64, 64), (80,) * 4, (128,) * 3),
    ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6),
)

_PLAIN_CNNS = (
    (2, ((16,), (16,)), ()),
    (4, ((16, 16), (32, 32)), ()),
    (6, ((16, 16), (32, 32), (64, 64)), ()),
    (8, ((16, 16), (32, 32), (64, 64), (128, 128)), (64,)),
    (10, ((32, 32), (64, 64), (128, 128), (256, 256, 256, 256)), (128,)),
)

ARCHITECTURES = (
    *(
        _row(
            f"separable_{round(100 * width):03d}",
            "separable",
            f"Depthwise-separable network of width {width}, {use}.",
            MOBILENETS,
            width=width,
        )
        for width, use in (
            (0.25, "the smallest student"),
            (0.5, "the usual student"),
            (0.75, "a larger student"),
            (1.0, "the largest student"),
        )
    ),
    *(
        _row(
            f"wide_resnet_{depth}_{width}",
            "wide_resnet",
            f"Wide residual network WRN-{depth}-{width}.",
            WIDE_RESNETS,
            depth=depth,
            width=width,
        )
        for depth, width in ((16, 1), (16, 2), (16, 4), (40, 1), (40, 2))
    ),
    *(
        _row(
            f"resnet_{depth}",
            "resnet",
            f"Residual network for CIFAR, ResNet-{depth}.",
            RESNETS,
            depth=depth,
        )
        for depth in (20, 32, 44, 56, 110)
    ),
    *(
        _row(
            f"vgg_{layers}",
            "vgg",
            f"VGG-{layers} for CIFAR with batch normalization, {use}.",
            VGGS,
            stages=stages,
        )
        for layers, use, stages in (
            (8, "a student", ((64,), (128,), (256,), (512,), (512,))),
            (13, "a teacher", ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))),
        )
    ),
    *(
        _row(
            f"plain_cnn_{convolutions}",
            "plain_cnn",
            f"Plain network of {convolutions} convolutions, for chains of teacher assistants.",
            TEACHER_ASSISTANTS,
            stages=stages,
            hidden=hidden,
        )
        for convolutions, stages, hidden in _PLAIN_CNNS
    ),
    _row(
        "airbench_94",
        "airbench",
        "Network of airbench: six wide convolutions, a teacher that trains quickly.",
        AIRBENCH,
    ),
    _row(
        "fitnet_mnist",
        "fitnet",
        "FitNet of 6 convolutional maxout layers, the paper's student on MNIST.",
        FITNETS,
        function="fitnet_mnist",
    ),
    *(
        _row(
            f"fitnet_{number}",
            "fitnet",
            f"FitNet {number} of {sum(map(len, stages))} convolutional maxout layers, a student on "
            "CIFAR.",
            FITNETS,
            stages=stages,
        )
        for number, stages in enumerate(_FITNET_STAGES, start=1)
    ),
    _row(
        "maxout_mnist",
        "maxout",
        "Maxout network of 48, 48 and 24 units, FitNets' teacher on MNIST.",
        MAXOUT,
    ),
    _row(
        "maxout_cifar",
        "maxout",
        "Maxout network of 96, 192, 192 and 500 units, FitNets' teacher on CIFAR.",
        MAXOUT,
        units=(96, 192, 192),
        padding=(4, 3, 3),
        dense_units=500,
        input_shape=(32, 32, 3),
    ),
    *(
        _row(
            f"shallow_{units}",
            "shallow",
            f"Shallow network of {units} hidden units, a student that mimics deep ones.",
            MIMIC,
            units=units,
        )
        for units in (4000, 30_000)
    ),
    _row(
        "mlp_1x512",
        "mlp",
        "Fully connected, 1 hidden layer of 512 units, a student for 8x8 digits.",
        DISTILLATION,
        hidden=(512,),
    ),
    *(
        _row(
            f"mlp_2x{units}",
            "mlp",
            f"Fully connected, 2 hidden layers of {units} units, {use}.",
            DISTILLATION,
            hidden=(units, units),
        )
        for units, use in (
            (64, "a student for 8x8 digits"),
            (128, "a student for 8x8 digits"),
            (800, "the paper's student on MNIST"),
            (1200, "the paper's teacher on MNIST"),
        )
    ),
    _row(
        "lenet_300_100",
        "lenet",
        "LeNet-300-100: fully connected, as papers on compression measure it.",
        DEEP_COMPRESSION,
        filters=(),
        hidden=(300, 100),
    ),
    _row(
        "lenet_5",
        "lenet",
        "LeNet-5 in Caffe's form, as papers on compression measure it.",
        DEEP_COMPRESSION,
    ),
)

# They give a list of logits, so that only what knows of exits can take them: lists leave them out.
OF_SEVERAL_EXITS = (
    _row(
        "branchy_lenet",
        "branchy",
        "B-LeNet, a LeNet that may stop after its first convolution.",
        BRANCHYNET,
        function="branchy_lenet",
    ),
    _row(
        "msdnet_small",
        "msdnet",
        "Multi-scale dense network of four exits, for CIFAR on two cores.",
        MSDNETS,
        exits=4,
        first_layers=3,
        more_layers=2,
        channels=8,
        growth=4,
        head_channels=64,
    ),
)
OF_SEVERAL_WIDTHS = (
    Architecture(
        "slimmable",
        "kdzoo.zoo.slimmable_networks:slimmable",
        {"network": "separable_050", "widths": [0.25, 0.5, 0.75, 1.0]},
        "A network that runs at several widths, each with the first channels of all layers.",
        SLIMMABLE,
    ),
)
