"""What a recipe is made of: a stage, what it learns or starts from, and what it yields."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from kdzoo.utils import check_integer, check_text, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext
    from kdzoo.experiments.stage_outcome import Outcome

Built = tuple[str, dict[str, Any]]
"""Name of an architecture, and arguments of its builder."""

STAGE_TYPES: dict[str, type["Stage"]] = {}
"""Name of a class -> the stage type, of all that are registered."""

_RESERVED = ("kind", "seed", "type", "data", "enlarge", "validation", "split_by_seed")


def register(stage_type: type["Stage"]) -> type["Stage"]:
    """Registers a stage type, so that results may name it; a decorator.

    Args:
        stage_type: A frozen dataclass that extends `Stage`.

    Raises:
        ValueError: If it is no such class, another type has that name, or a field has one that
            identifies a stage.
    """
    is_type = isinstance(stage_type, type) and issubclass(stage_type, Stage)
    if not is_type or not dataclasses.is_dataclass(stage_type):
        raise ValueError(f"Expected a dataclass that extends Stage. Received: {shown(stage_type)}")
    name = stage_type.__name__
    for field in dataclasses.fields(stage_type):
        if field.name in _RESERVED:
            raise ValueError(
                f"Expected fields by other names than {', '.join(_RESERVED)}, which identify a "
                f"stage. Received: {field.name!r} of {name}"
            )
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


Dependencies = Dependency | tuple[Dependency, ...]
"""What a stage depends on in one role."""


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
    settings; a `Dependency` stands in one, alone or in tuples. A default must never change: what is
    at its default is left out of the stage's identity, so that a setting that comes later trains
    nothing again. So is a field with the metadata `{"identifies": False}`, such as the path of a
    file whose hash is another field.

    Attributes:
        name: Names its rows and directories.
        seeds: What it is made for; None for the seeds of the experiment.
    """

    name: str
    seeds: tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True)

    trains: ClassVar[bool] = True  # False for what is there without any training.
    has_architecture: ClassVar[bool] = True  # False for what only `own_model` makes.

    def dependencies(self) -> dict[str, Dependencies]:
        """Returns role -> what the stage learns or starts from, e.g. under `"teacher"`.

        A role is the name of a field: one `Dependency`, or a tuple of all that stand in the tuples
        and lists of the field, such as an ensemble of teachers.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found = {
            name: value if isinstance(value, Dependency) else tuple(_dependencies_in(value))
            for name, value in values.items()
        }
        return {name: value for name, value in found.items() if value}

    @property
    def title(self) -> str:
        """What the model is, in a few words: the name of its architecture."""
        raise NotImplementedError

    @property
    def epochs(self) -> int:
        """The epochs of all its trainings."""
        return 0

    def built_from(self, sources: Mapping[str, Any]) -> Built:
        """Returns the architecture's name and the builder's arguments.

        Args:
            sources: Role -> what the stage that it depends on is built from; of a field with
                several dependencies a tuple.
        """
        raise NotImplementedError

    def own_model(self, data: "Dataset") -> "keras.Model | None":
        """Returns the model of a stage that no architecture builds; None where `built_from` does.

        Args:
            data: The data set.
        """
        return None

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        check_text("name", self.name)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for dependency in _dependencies_in(value):
                check_dependency(field.name, dependency)
            if _hides_dependency(value):
                raise ValueError(
                    "Expected a Dependency as a field or in its tuples, where a stage says what it "
                    f"depends on. Received: one within {field.name}={shown(value)}"
                )

    def check_data(self, data: "Dataset") -> None:
        """Raises `ValueError` if the stage cannot be made for these data.

        Args:
            data: The data set.
        """

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        """Raises `ValueError` if the model cannot learn from its sources; nothing is trained.

        Args:
            model: A fresh model of the stage.
            sources: Role -> a fresh model of the stage that it depends on; of a field with several
                dependencies a tuple.
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


def as_tuple(found: Dependencies) -> tuple[Dependency, ...]:
    """Returns what a stage depends on in one role as a tuple."""
    return (found,) if isinstance(found, Dependency) else found


def for_each(found: Dependencies, function: Callable[[Dependency], Any]) -> Any:
    """Returns what a function makes of a dependency; of a tuple of them a tuple."""
    return function(found) if isinstance(found, Dependency) else tuple(map(function, found))


def _dependencies_in(value: Any) -> Iterator[Dependency]:
    """Yields the dependencies in a field: itself, or those in its tuples and lists."""
    if isinstance(value, Dependency):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _dependencies_in(part)


def _hides_dependency(value: Any, is_inside: bool = False) -> bool:
    """Whether a dependency stands where `Stage.dependencies` does not look."""
    if isinstance(value, Dependency):
        return is_inside
    if isinstance(value, tuple | list):
        return any(_hides_dependency(part, is_inside) for part in value)
    if dataclasses.is_dataclass(value):
        value = vars(value)
    parts = (*value, *value.values()) if isinstance(value, dict) else value
    return isinstance(value, dict | set | frozenset) and any(
        _hides_dependency(part, True) for part in parts
    )


def check_dependency(role: str, given: Any) -> None:
    """Raises `ValueError` unless something is a `Dependency` of a name and a seed."""
    if not isinstance(given, Dependency):
        raise ValueError(f"Expected a Dependency. Received: {role}={shown(given)}")
    check_text(f"stage of {role}", given.stage)
    if not isinstance(given.seed, str) or given.seed not in ("same", "all"):
        check_integer(f"seed of {role}, if not 'same' or 'all',", given.seed, least=0)


def directory_name(name: str, seed: int) -> str:
    """Returns the name of a stage's directory: "300 units, T=2.5", 0 -> "300-units-T-2.5-0"."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{seed}"
