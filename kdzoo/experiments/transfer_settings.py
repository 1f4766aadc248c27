"""The samples that a stage trains on, where they are not the training images as they are."""

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

from kdzoo import data as data_sets
from kdzoo.experiments.stage_settings import canonical, settings_of
from kdzoo.utils import check_flag, check_integer, check_positive_integer, check_text, shown
from kdzoo.utils.types import PathLike

if TYPE_CHECKING:
    from kdzoo.data import Dataset, Split


@dataclasses.dataclass(frozen=True)
class Transfer:
    """The arguments of a `kdzoo.data.transfer_set` as plain data.

    Attributes:
        without: Classes that are left out.
        only: The only classes that are kept; all when empty.
        fraction: The fraction of the samples that is kept, each class in proportion; None for all.
        per_class: How many samples of each class are kept; None for all.
        others: Names of data sets whose training images are mixed in, without their labels.
        alone: Whether the other data sets take the place of the images.
        weights: The fraction of the mix for the images, unless others stand alone, and for each of
            the others; empty to take each sample once.
        size: Number of samples in the mix; None for as many as there are training images.
        labelled: The fraction of the labelled samples that keep their label; None for all.
        seed: Decides every choice; the same for all seeds of the stage.
    """

    without: tuple[int, ...] = ()
    only: tuple[int, ...] = ()
    fraction: float | None = None
    per_class: int | None = None
    others: tuple[str, ...] = ()
    alone: bool = False
    weights: tuple[float, ...] = ()
    size: int | None = None
    labelled: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises `ValueError` unless the fields are of the right types."""
        check_flag("alone", self.alone)
        for field in ("without", "only", "others", "weights"):
            if not isinstance(getattr(self, field), tuple | list):
                value = shown(getattr(self, field))
                raise ValueError(f"Expected {field} as a tuple. Received: {field}={value}")
        for name in self.others:
            check_text("a name among others", name)
        sources = len(self.others) + (not self.alone)
        if self.weights and len(self.weights) != sources:
            raise ValueError(
                f"Expected a weight for each of {sources} sources. Received: "
                f"weights={shown(self.weights)}"
            )
        if self.alone and not self.others:
            raise ValueError("Expected other data sets that stand alone. Received: others=()")
        check_integer("seed", self.seed, least=0)
        if self.size is not None:
            check_positive_integer("size", self.size)
            if not self.weights:
                raise ValueError(
                    f"Expected weights beside a size. Received: weights=(), size={self.size}"
                )

    def check_data(self, data: "Dataset") -> None:
        """Raises `ValueError` if the classes or fractions cannot be taken of these data.

        The other data sets are loaded when the stage runs.
        """
        dataclasses.replace(self, others=(), alone=False, weights=(), size=None).of(data)

    @property
    def has_unlabelled(self) -> bool:
        """Whether samples without a label are among them."""
        return bool(self.others) or self.labelled not in (None, 1)

    @property
    def changes_images(self) -> bool:
        """Whether other images are trained on, and not only some of the labels."""
        return dataclasses.replace(self, labelled=None, seed=0) != Transfer()

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for these settings."""
        return hashlib.sha256(canonical(settings_of(self)).encode()).hexdigest()[:12]

    def smoke(self) -> "Transfer":
        """Returns the same without other data sets."""
        return dataclasses.replace(self, others=(), alone=False, weights=(), size=None)

    def of(self, data: "Dataset", data_dir: PathLike | None = None) -> "Dataset":
        """Returns the data set with these samples in place of the training images.

        Args:
            data: The data set.
            data_dir: Where the others lie, as in `kdzoo.data.load`.

        Raises:
            ValueError: If they cannot be taken of these data, or none is left.
        """
        sources: list[Split] = [] if self.alone else [data.train]
        for name in self.others:
            sources.append(data_sets.load(name, data_dir=data_dir, validation=0).train)
        more: dict[str, Any] = {}
        if self.weights:
            more = {"weights": self.weights, "size": self.size or len(data.train)}
        train = data_sets.transfer_set(
            *sources,
            without=self.without,
            only=self.only,
            fraction=self.fraction,
            per_class=self.per_class,
            labelled=self.labelled,
            seed=self.seed,
            **more,
        )
        if self.alone:  # Of another name: its labels are those of other classes.
            train = data_sets.transfer_set(train, labelled=0.0)
            train = data_sets.Split(
                train.images, train.labels, train.scale, train.indices, data.name
            )
        return dataclasses.replace(data, train=train)
