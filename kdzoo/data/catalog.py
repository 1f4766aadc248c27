"""What is known of data sets by their names: source, licence, limits and usual augmentation."""

import dataclasses
from typing import Any

from kdzoo.data.augmentation import Augmentation
from kdzoo.utils import shown


@dataclasses.dataclass(frozen=True)
class KnownDataset:
    """What is known of a data set.

    Attributes:
        augmentation: What `augmentation="default"` stands for.
        title: What it is called in prose.
        source: Its authors and its publication.
        licence: Of its images.
        limits: What a model that was trained on it takes, and is not good for.
        origin: Where kdzoo gets it from.
    """

    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    title: str | None = None
    source: str = "source not known to kdzoo"
    licence: str = "not known to kdzoo"
    limits: str = "Limits unknown."
    origin: str = "tensorflow-datasets"


DATASETS = {
    "digits": KnownDataset(
        Augmentation(shift=1),
        title="scikit-learn's digits",
        source="Alpaydin & Kaynak 1998, doi:10.24432/C50P49",
        licence="CC BY 4.0",
        limits="Takes one handwritten digit of 8x8 pixels; good for tests and demonstrations.",
        origin="scikit-learn, no download",
    ),
    "mnist": KnownDataset(
        Augmentation(shift=2),
        title="MNIST",
        source="LeCun, Cortes & Burges, 1998",
        licence="CC BY-SA 3.0",
        limits=(
            "Takes one white digit on black, centred, of 28x28 pixels. It was not tested on other "
            "writing, other paper or photographs."
        ),
    ),
    "kmnist": KnownDataset(Augmentation(shift=2)),
    "emnist": KnownDataset(Augmentation(shift=2)),
    "fashion_mnist": KnownDataset(
        Augmentation(shift=2, flip=True),
        title="Fashion-MNIST",
        source="Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
        licence="MIT",
        limits=(
            "Takes one piece of clothing on black, centred, grey, of 28x28 pixels. It was not "
            "tested on photographs."
        ),
    ),
    "svhn_cropped": KnownDataset(Augmentation(shift=2)),
    "cifar10": KnownDataset(
        Augmentation(shift=4, flip=True),
        title="CIFAR-10",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none stated by its authors",
        limits=(
            "Takes one object of ten kinds that fills 32x32 pixels; calls whatever else it is shown"
            " one of the ten. 3.3 % of the test images have near duplicates among the training "
            "images (Barz & Denzler 2020, arXiv:1902.00423), so the accuracy is a little too high. "
            "Where kdzoo measured it, 20 of the 10,000 test images (19 ships and a horse) were "
            "decoded from JPEG copies; with the originals it may differ by at most 0.2 points."
        ),
    ),
    "cifar100": KnownDataset(
        Augmentation(shift=4, flip=True),
        title="CIFAR-100",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none stated by its authors",
        limits=(
            "Takes one object of a hundred kinds that fills 32x32 pixels. About 10 % of the test "
            "images have near duplicates among the training images (Barz & Denzler 2020, "
            "arXiv:1902.00423), so the accuracy is too high."
        ),
    ),
}
"""Name of a data set, before any "/" or ":" -> what is known of it."""


def usual_augmentation(name: str) -> Augmentation | None:
    """Returns what a data set is usually augmented by; None where nothing is known of it.

    Args:
        name: Name of the data set, with or without a configuration or a version.

    Example:

    >>> usual_augmentation("fashion_mnist:3.0.1")
    Augmentation(shift=2, flip=True, cutout=0)
    """
    known = DATASETS.get(name.partition("/")[0].partition(":")[0])
    return None if known is None else known.augmentation


def resolve_augmentation(augmentation: Any, name: str) -> Augmentation | None:
    """Returns the `Augmentation` that the argument of `Split.batches` stands for, or None.

    Args:
        augmentation: An `Augmentation`, None, or "default".
        name: Name of the data set, which decides what "default" means.

    Raises:
        ValueError: If it is something else, or there is no default for this data set.
    """
    if augmentation is None or isinstance(augmentation, Augmentation):
        return augmentation
    if not isinstance(augmentation, str) or augmentation != "default":
        raise ValueError(
            "Expected an `Augmentation`, 'default' or None. Received: "
            f"augmentation={shown(augmentation)}"
        )
    usual = usual_augmentation(name)
    if usual is None:
        raise ValueError(
            "Expected an `Augmentation`, e.g. `Augmentation(shift=2)`, because no default is "
            f"known for the data set {name!r}. Received: augmentation='default'"
        )
    return usual
