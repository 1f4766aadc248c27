"""Which student learns what from which teacher, as plain data: needs no Keras to be listed."""

import copy
import dataclasses
from typing import Any

from kdzoo.utils import check_choice

APPLICATIONS = "keras.applications."


@dataclasses.dataclass(frozen=True)
class PairDefinition:
    """The data of a `kdzoo.zoo.Pair`, whose docstring says what the fields mean."""

    name: str
    teacher: str
    student: str
    dataset: str
    classes: int
    input_shape: tuple[int, int, int]
    losses: tuple[tuple[str, dict[str, Any], float], ...] = (
        ("SoftTargets", {"temperature": 4.0}, 1.0),
    )
    student_loss_weight: float = 0.1
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    teacher_module: str | None = None


def list_pairs(dataset: str | None = None) -> list[str]:
    """Returns the names that `kdzoo.pair` knows.

    Args:
        dataset: Only pairs for this data set, e.g. `"cifar10"`; all when None.

    Returns:
        A list of names, `"<data set>_<student>"`.

    Raises:
        ValueError: If there is no pair for the data set; the nearest is suggested.

    Example:

    >>> list_pairs("fashion_mnist")[0]
    'fashion_mnist_separable_025'
    """
    known = {definition.dataset for definition in _PAIRS.values()}
    if dataset is not None:
        check_choice("data set with pairs", dataset, known)
    return [pair.name for pair in _PAIRS.values() if dataset in (None, pair.dataset)]


def pair_definition(name: str) -> PairDefinition:
    """Returns the data of the pair of this name.

    Args:
        name: A name in `list_pairs()`.

    Raises:
        ValueError: If there is no such pair; the nearest is suggested.
    """
    check_choice("pair", name, _PAIRS)
    return copy.deepcopy(_PAIRS[name])  # It holds dictionaries, which a caller may change.


def _definition(dataset, student, teacher, classes, input_shape, **settings):
    name = f"{dataset}_{student.removesuffix(f'_{dataset}')}"
    return PairDefinition(name, teacher, student, dataset, classes, input_shape, **settings)


def _soft_targets(temperature):
    return (("SoftTargets", {"temperature": temperature}, 1.0),)


def _definitions():
    digits = (10, (28, 28, 1))
    mlp = _soft_targets(20.0)
    yield _definition("mnist", "mlp_2x800", "mlp_2x1200/mnist", *digits, losses=mlp)
    fitnet = _soft_targets(3.0)
    yield _definition("mnist", "fitnet_mnist", "maxout_mnist/mnist", *digits, losses=fitnet)
    for student in ("lenet_300_100", "lenet_5", "separable_025"):
        arguments = {"halvings": 1} if student == "separable_025" else {}
        yield _definition("mnist", student, "wide_resnet_16_1/mnist", *digits, arguments=arguments)
    separable = ("separable_025", "separable_050", "separable_100")
    for student in separable:
        teacher = "wide_resnet_16_2/fashion_mnist"
        yield _definition("fashion_mnist", student, teacher, *digits, arguments={"halvings": 1})
    for student in (*separable, "fitnet_1", "wide_resnet_16_1"):
        yield _definition("cifar10", student, "wide_resnet_16_4/cifar10", 10, (32, 32, 3))
    yield _definition(
        "cifar100",
        "resnet_20",
        "wide_resnet_16_2/cifar100",
        100,
        (32, 32, 3),
        student_loss_weight=0.5,
    )
    for student, teacher, module in (
        ("separable_050", "EfficientNetB0", "efficientnet"),
        ("separable_100", "ResNet50", "resnet"),
    ):
        yield _definition(
            "imagenet2012",
            student,
            f"{APPLICATIONS}{teacher}",
            1000,
            (224, 224, 3),
            teacher_module=module,
        )


_PAIRS = {definition.name: definition for definition in _definitions()}
