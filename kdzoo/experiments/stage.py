"""What a recipe is made of: a stage, what it learns or starts from, and what it yields."""

import dataclasses
import json
import numbers
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from kdzoo.utils import check_integer, check_text, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.outcome import Outcome
    from kdzoo.experiments.stage_context import StageContext

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


class Node(NamedTuple):
    """A stage with one of its seeds.

    Attributes:
        run: Name of the experiment that has the stage, and of its run directory.
        stage: Name of the stage.
        seed: The seed.
    """

    run: str
    stage: str
    seed: int


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
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is Dependency or (field.type == Dependency | None and value is not None):
                _check_dependency(field.name, value)

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

    def run(self, context: "StageContext") -> "Outcome":
        """Makes the model, or goes on with it where a killed process stopped.

        Args:
            context: The data, the seed, the directory, and the products of the stages that it
                depends on.
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
    name = {"type": type(value).__name__} if isinstance(value, Stage) else {}
    return {**name, **settings_of(value)}


def _check_dependency(role: str, given: Any) -> None:
    if not isinstance(given, Dependency):
        raise ValueError(f"Expected a Dependency. Received: {role}={shown(given)}")
    check_text(f"stage of {role}", given.stage)
    if not isinstance(given.seed, str) or given.seed not in ("same", "all"):
        check_integer(f"seed of {role}, if not 'same' or 'all',", given.seed, least=0)


def directory_name(name: str, seed: int) -> str:
    """Returns the name of a stage's directory: "300 units, T=2.5", 0 -> "300-units-T-2.5-0"."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{seed}"


def check_stages(stages: Any) -> None:
    """Raises `ValueError` unless these are stages with names and directories of their own."""
    are_stages = isinstance(stages, tuple | list) and all(
        isinstance(stage, Stage) and STAGE_TYPES.get(type(stage).__name__) is type(stage)
        for stage in stages
    )
    if not are_stages or not stages:
        raise ValueError(
            f"Expected stages as a tuple, of registered stage types. Received: "
            f"stages={shown(stages)}"
        )
    by_directory: dict[str, list[str]] = {}
    for stage in stages:
        check_text("name", stage.name)
        by_directory.setdefault(directory_name(stage.name, 0), []).append(stage.name)
    for directory, names in by_directory.items():
        if len(names) > 1:
            raise ValueError(
                "Expected names of stages whose directories differ from each other's. Received: "
                f"{names[0]!r} and {names[1]!r}, both in {directory}"
            )


def check_seeds(what: str, seeds: Any) -> None:
    """Raises `ValueError` unless there are seeds, none twice, that all generators take."""
    if not isinstance(seeds, tuple | list):
        raise ValueError(f"Expected {what} as a tuple. Received: seeds={shown(seeds)}")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ValueError(
                f"Expected {what} to be integers from 0 to 2**32 - 1. Received: "
                f"seeds={shown(tuple(seeds))}"
            )
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(
            f"Expected at least one seed, each once. Received: seeds={shown(tuple(seeds))}"
        )
