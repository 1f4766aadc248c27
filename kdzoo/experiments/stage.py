"""What a recipe is made of: a stage, what it learns or starts from, and what it yields."""

import dataclasses
import json
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kdzoo.utils import check_text, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.work import Work

Built = tuple[str, dict[str, Any]]
"""Name of an architecture, and arguments of its builder."""

STAGE_TYPES: dict[str, type["Stage"]] = {}
"""Name of a class -> the stage type, of all that are registered."""


def register(stage_type: type["Stage"]) -> type["Stage"]:
    """Registers a stage type, so that results may name it; a decorator.

    Args:
        stage_type: A frozen dataclass that extends `Stage`.

    Raises:
        ValueError: If another type has that name.
    """
    name = stage_type.__name__
    if STAGE_TYPES.setdefault(name, stage_type) is not stage_type:
        raise ValueError(f"Expected a name that no other stage type has. Received: {name!r}")
    return stage_type


@dataclasses.dataclass(frozen=True)
class Dependency:
    """Another stage, whose products a stage takes.

    Attributes:
        stage: Its name.
        seed: Which of its seeds: `"same"`, that of the stage that depends on it; a number, always
            that one; or `"all"`, a list of the products of every seed.
    """

    stage: str
    seed: int | Literal["same", "all"] = "same"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stage yields for one seed.

    Attributes:
        products: Name -> a model, which is saved as `NAME.keras`, or the path of a file that the
            stage wrote into its directory. `"model"` is what other stages learn or start from.
        measured: What the row says of it, JSON-able; `"test_accuracy"` is among it.
        history: The history of its training.
        seconds: How long it took; None for what the engine measured.
    """

    products: Mapping[str, Any]
    measured: Mapping[str, Any]
    history: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """One model of a recipe, for each of its seeds: how it is made, as plain data.

    A stage type extends this in a file of its own, `kdzoo/experiments/stages/`. Its fields are its
    settings. A default must never change: what is at its default is left out of the stage's
    identity, so that a setting that comes later trains nothing again.

    Attributes:
        name: Names its rows and directories.
        seeds: What it is made for; None for the seeds of the experiment.
    """

    name: str
    seeds: tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True)

    trains: ClassVar[bool] = True  # False for what is there without any training.

    def dependencies(self) -> dict[str, Dependency]:
        """Returns role -> what the stage learns or starts from, e.g. under `"teacher"`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Dependency)}

    @property
    def title(self) -> str:
        """What the model is, in a few words: the name of its architecture."""
        raise NotImplementedError

    @property
    def epochs(self) -> int:
        """The epochs of all its trainings."""
        return 0

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        """Returns the architecture's name and the builder's arguments.

        Args:
            sources: Role -> the same of the stage that it depends on.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        check_text("name", self.name)
        for role, dependency in self.dependencies().items():
            check_text(f"{role} of {self.name!r}", dependency.stage)

    def check_data(self, data: "Dataset") -> None:
        """Raises `ValueError` if the stage cannot be made for these data.

        Args:
            data: The data set.
        """

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        """Raises `ValueError` if the model cannot learn from its sources; nothing is trained.

        Args:
            model: A fresh model of the stage.
            sources: Role -> a fresh model of the stage that it depends on.
        """

    def smoke(self) -> "Stage":
        """Returns the same stage as it is made in seconds: trained for one epoch."""
        return self

    def run(self, work: "Work") -> Outcome:
        """Makes the model, or goes on with it where a killed process stopped.

        Args:
            work: The data, the seed, the directory, and the products of the stages it depends on.
        """
        raise NotImplementedError


def settings_of(part: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as JSON gives them back, those at their default left out.

    Args:
        part: A stage, or a configuration within one. Of dataclasses within it the same is said.
    """
    said = {}
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or as_json(value) != as_json(default):
            said[field.name] = json.loads(as_json(value))
    return said


def as_json(value: Any) -> str:
    """Returns the JSON of a value; of a dataclass that of its settings, and of a stage its type."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, numbers.Real):  # Of NumPy.
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if not dataclasses.is_dataclass(value):
        raise ValueError(f"Expected settings that JSON can hold. Received: {shown(value)}")
    kind = {"type": type(value).__name__} if isinstance(value, Stage) else {}
    return {**kind, **settings_of(value)}
