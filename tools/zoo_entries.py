"""The models of the zoo: the recipe and stage that trains each, and its row in a manifest."""

import dataclasses
import pathlib

from kdzoo.recipes import RECIPES
from kdzoo.zoo.hashed_files import read_checked
from kdzoo.zoo.manifest import Pretrained, read_manifest


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the zoo, and the stage of a recipe that trains it.

    Attributes:
        name: `"architecture/data set"`, as `kdzoo.load` will know it, and `"/int8"` or the like
            of a compressed one.
        recipe: Name of the recipe.
        stage: Name of the stage.
        alone: The stage that is the same network on the same budget without a teacher, also of the
            recipe that this one starts from; None for a teacher.
        start: The stage whose file is that of the model before it was compressed; None for a model
            that ships as its weights alone, also as those of a `.kdz` file.
    """

    name: str
    recipe: str
    stage: str
    alone: str | None = None
    start: str | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of its recipe that are to be made for it, besides what they depend on."""
        wanted = (self.stage, self.alone, self.start)
        return tuple(name for name in wanted if name in RECIPES[self.recipe].names)


ENTRIES = (
    Entry("mlp_2x1200/mnist", "hinton_mnist", "teacher"),
    Entry("mlp_2x800/mnist", "hinton_mnist", "distilled", "alone"),
    Entry("maxout_mnist/mnist", "fitnet_mnist", "teacher"),
    Entry("fitnet_mnist/mnist", "fitnet_mnist", "hints", "alone, as long"),
    Entry("wide_resnet_16_1/mnist", "zoo_mnist", "teacher"),
    *(
        Entry(f"{name}/mnist", "zoo_mnist", f"{name}, distilled", f"{name}, alone")
        for name in ("lenet_300_100", "lenet_5", "separable_025")
    ),
    Entry(
        "lenet_300_100/mnist/kdz",
        "deep_compression_lenet_300_100",
        "smaller, taught",
        "dense",
    ),
    Entry("wide_resnet_16_2/fashion_mnist", "zoo_fashion_mnist", "teacher"),
    *(
        Entry(f"{name}/fashion_mnist", "zoo_fashion_mnist", f"{name}, distilled", f"{name}, alone")
        for name in ("separable_025", "separable_050", "separable_100")
    ),
    Entry("wide_resnet_16_4/cifar10", "zoo_cifar10", "teacher"),
    *(
        Entry(f"{name}/cifar10", "zoo_cifar10", f"{name}, distilled", f"{name}, alone")
        for name in ("fitnet_1", "separable_025", "separable_050", "separable_100")
    ),
    *(
        Entry(
            f"separable_{width}/cifar10/{form}",
            f"zoo_cifar10_{width}_compressed",
            stage,
            f"separable_{width}, alone",
            "float32",
        )
        for width in ("025", "050", "100")
        for form, stage in (("int8", "int8"), ("sparse_80", "80 % zeros"))
    ),
    Entry("msdnet_small/cifar10", "msdnet_cifar10", "exits"),
    Entry("wide_resnet_16_2/cifar100", "zoo_cifar100", "teacher"),
    Entry("resnet_20/cifar100", "zoo_cifar100", "resnet_20, distilled", "resnet_20, alone"),
)


def rows_in(directory: pathlib.Path) -> dict[str, Pretrained]:
    """Returns name -> row of a zoo's manifest; nothing where there is no manifest yet."""
    try:
        return dict(read_manifest(directory))
    except FileNotFoundError:
        return {}


def is_whole(row: Pretrained, directory: pathlib.Path) -> bool:
    """Whether the files that a row names are there and are what it says, byte for byte."""
    try:
        for file in row.files.values():
            read_checked(directory / file.file, file.sha256, file.bytes)
    except (FileNotFoundError, ValueError):
        return False
    return True
