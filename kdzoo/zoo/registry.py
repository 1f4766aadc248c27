"""Names of architectures, and the builders they stand for, imported when one is built."""

import copy
import dataclasses
import importlib

from kdzoo.utils import check_choice, check_text, first_line, shown

MOBILENETS = "Howard et al. 2017, arXiv:1704.04861"
WIDE_RESNETS = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"
RESNETS = "He et al. 2016, arXiv:1512.03385"
FITNETS = "Romero et al. 2015, arXiv:1412.6550"
MAXOUT = "Goodfellow et al. 2013, arXiv:1302.4389"
DISTILLATION = "Hinton, Vinyals & Dean 2015, arXiv:1503.02531"
AIRBENCH = "Jordan 2024, arXiv:2404.00498"
DEEP_COMPRESSION = "Han, Mao & Dally 2016, arXiv:1510.00149"


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A named architecture: what `create` builds, and what a list says about it.

    Attributes:
        name: The name it is asked for by, which the built model bears too.
        builder: `"package.module:function"`, imported when first built, or the function itself. It
            takes `classes`, `input_shape` and `name` besides the names in `arguments`.
        arguments: What the builder is called with, e.g. `{"depth": 16, "width": 2}`.
        description: One line on what it is and what it is for.
        paper: Authors, year and arXiv number.
    """

    name: str
    builder: object
    arguments: dict
    description: str
    paper: str = ""

    @property
    def family(self):
        """The name of the builder, e.g. `"wide_resnet"`."""
        if isinstance(self.builder, str):
            return self.builder.partition(":")[2]
        return self.builder.__name__

    def load_builder(self):
        """Returns the builder, importing it if need be."""
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ModuleNotFoundError, AttributeError) as error:
            missing = getattr(error, "name", None) or ""
            if isinstance(error, ImportError) and not f"{module}.".startswith(f"{missing}."):
                raise  # The builder's module is there, and something that it imports is not.
            raise ValueError(
                f"Expected the builder of {self.name!r} to be there. Received: "
                f"{self.builder!r}: {first_line(error)}"
            ) from error


_ARCHITECTURES = {}


def register(name, builder, arguments=None, description="", paper=""):
    """Adds a name to the zoo, for `list_models` and `create`.

    Args:
        name: A new name, e.g. `"my_net_050"`.
        builder: `"package.module:function"` or a function that returns a `keras.Model` ending in
            logits and takes `classes`, `input_shape` and `name`.
        arguments: Further arguments for the builder, which `create` can override.
        description: One line on what it is and what it is for.
        paper: Authors, year and arXiv number.

    Returns:
        The new `Architecture`.

    Raises:
        ValueError: If the name is taken, no string or has a "/", the builder is neither, or the
            arguments are no dictionary or hold `classes` or `name`, which `create` gives.

    Example:

    ```python
    kdzoo.zoo.register("tiny_050", "my_package.models:tiny", {"width": 0.5}, "My own student.")
    kdzoo.create("tiny_050", classes=7)
    ```
    """
    if "/" in check_text("name", name):
        raise ValueError(
            "Expected a name without '/', which stands in names of pretrained models. Received: "
            f"name={shown(name)}"
        )
    if name in _ARCHITECTURES:
        raise ValueError(
            "Expected a new name, as registering never replaces a model. Received: "
            f"name={shown(name)}"
        )
    is_path = isinstance(builder, str) and all(builder.partition(":"))
    if not is_path and not hasattr(builder, "__name__"):
        raise ValueError(
            "Expected builder to be a function or its path as 'package.module:function'. "
            f"Received: builder={shown(builder)}"
        )
    if not isinstance(arguments, dict | None):
        raise ValueError(
            f"Expected arguments to be a dictionary. Received: arguments={shown(arguments)}"
        )
    check_text("description", description, may_be_empty=True)
    check_text("paper", paper, may_be_empty=True)
    arguments = copy.deepcopy(arguments or {})
    for given in ("classes", "name"):
        if given in arguments:
            raise ValueError(
                f"Expected arguments without {given!r}, which `create` gives. Received: "
                f"arguments={arguments}"
            )
    _ARCHITECTURES[name] = Architecture(name, builder, arguments, description, paper)
    return architecture(name)


def list_models(family=None):
    """Returns the names `create` knows, family by family.

    Args:
        family: Only this family, e.g. `"separable"`; all when None.

    Returns:
        A list of names.

    Raises:
        ValueError: If there is no such family; the nearest is suggested.

    Example:

    >>> list_models("separable")
    ['separable_025', 'separable_050', 'separable_075', 'separable_100']
    """
    families = {each.family for each in _ARCHITECTURES.values()}
    if family is not None:
        check_choice("family", family, families)
    return [
        name for name, each in _ARCHITECTURES.items() if family is None or each.family == family
    ]


def architecture(name):
    """Returns the `Architecture` of this name.

    Args:
        name: A name in `list_models()`.

    Returns:
        Its `Architecture`.

    Raises:
        ValueError: If there is no such model; the nearest is suggested.
    """
    found = _ARCHITECTURES[check_choice("model", name, _ARCHITECTURES)]
    # Of the arguments a copy, as whoever asks may change them.
    return dataclasses.replace(found, arguments=copy.deepcopy(found.arguments))


def create(name, classes=10, input_shape=None, **overrides):
    """Builds the model of this name, with fresh weights.

    Args:
        name: A name in `list_models()`.
        classes: Number of classes, at least 2.
        input_shape: (height, width, channels) of one image; the architecture's own when None,
            (32, 32, 3) or (28, 28, 1).
        **overrides: Arguments of the builder to replace or add, e.g. `dropout=0.3`.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes), which is called `name` too.

    Raises:
        ValueError: If there is no such model, an argument is outside its range, or what was
            registered under the name builds no `keras.Model`.
        TypeError: If the builder has no such argument.

    Example:

    >>> create("separable_050", classes=100).output_shape
    (None, 100)
    """
    chosen = architecture(name)
    arguments = {**chosen.arguments, **overrides, "classes": classes, "name": name}
    if input_shape is not None:
        arguments["input_shape"] = input_shape
    model = chosen.load_builder()(**arguments)
    if not hasattr(model, "count_params"):
        raise ValueError(
            f"Expected the builder of {name!r} to return a keras.Model. Received: a "
            f"{type(model).__name__}"
        )
    return model


def _register_convolutional():
    for hundredths, use in (
        (25, "the smallest student"),
        (50, "the usual student"),
        (75, "a larger student"),
        (100, "the largest student"),
    ):
        register(
            f"separable_{hundredths:03d}",
            "kdzoo.models.separable:separable",
            {"width": hundredths / 100},
            f"Depthwise-separable network of width {hundredths / 100}, {use}.",
            MOBILENETS,
        )
    for depth, width in ((16, 1), (16, 2), (16, 4), (40, 1), (40, 2)):
        register(
            f"wide_resnet_{depth}_{width}",
            "kdzoo.models.wide_resnet:wide_resnet",
            {"depth": depth, "width": width},
            f"Wide residual network WRN-{depth}-{width}.",
            WIDE_RESNETS,
        )
    for depth in (20, 32, 44, 56, 110):
        register(
            f"resnet_{depth}",
            "kdzoo.models.resnet:resnet",
            {"depth": depth},
            f"Residual network for CIFAR, ResNet-{depth}.",
            RESNETS,
        )
    register(
        "airbench_94",
        "kdzoo.models.airbench:airbench",
        description="Network of airbench: six wide convolutions, a teacher that trains quickly.",
        paper=AIRBENCH,
    )


def _register_fitnets():
    register(
        "fitnet_mnist",
        "kdzoo.models.fitnet:fitnet_mnist",
        description="FitNet of 6 convolutional maxout layers, the paper's student on MNIST.",
        paper=FITNETS,
    )
    for number, stages in enumerate(
        (
            ((16, 16, 16), (32, 32, 32), (48, 48, 64)),
            ((16, 32, 32), (48, 64, 80), (96, 96, 128)),
            ((32, 48, 64, 64), (80,) * 4, (128,) * 3),
            ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6),
        ),
        start=1,
    ):
        depth = sum(map(len, stages))
        register(
            f"fitnet_{number}",
            "kdzoo.models.fitnet:fitnet",
            {"stages": stages},
            f"FitNet {number} of {depth} convolutional maxout layers, a student on CIFAR.",
            FITNETS,
        )
    register(
        "maxout_mnist",
        "kdzoo.models.maxout:maxout",
        description="Maxout network of 48, 48 and 24 units, FitNets' teacher on MNIST.",
        paper=MAXOUT,
    )
    register(
        "maxout_cifar",
        "kdzoo.models.maxout:maxout",
        {
            "units": (96, 192, 192),
            "padding": (4, 3, 3),
            "dense_units": 500,
            "input_shape": (32, 32, 3),
        },
        "Maxout network of 96, 192, 192 and 500 units, FitNets' teacher on CIFAR.",
        MAXOUT,
    )


def _register_for_mnist():
    for units, layers, use in (
        (64, 2, "a student for 8x8 digits"),
        (128, 2, "a student for 8x8 digits"),
        (800, 2, "the paper's student on MNIST"),
        (1200, 2, "the paper's teacher on MNIST"),
    ):
        register(
            f"mlp_{layers}x{units}",
            "kdzoo.models.mlp:mlp",
            {"hidden": (units,) * layers},
            f"Fully connected, {layers} hidden layers of {units} units, {use}.",
            DISTILLATION,
        )
    register(
        "lenet_300_100",
        "kdzoo.models.lenet:lenet",
        {"filters": (), "hidden": (300, 100)},
        "LeNet-300-100: fully connected, as papers on compression measure it.",
        DEEP_COMPRESSION,
    )
    register(
        "lenet_5",
        "kdzoo.models.lenet:lenet",
        description="LeNet-5 in Caffe's form, as papers on compression measure it.",
        paper=DEEP_COMPRESSION,
    )


_register_convolutional()
_register_fitnets()
_register_for_mnist()
