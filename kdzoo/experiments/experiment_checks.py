"""The checks of an experiment before it runs: its fields, its stages and seeds, its base."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.experiments.stage import STAGE_TYPES, Node, Stage, directory_name
from kdzoo.experiments.training_settings import check_dictionaries
from kdzoo.utils import check_flag, check_fraction, check_integer, check_text, is_integer, shown

if TYPE_CHECKING:
    from kdzoo.experiments.experiment import Experiment


def check_fields(experiment: "Experiment") -> None:
    """Raises `ValueError` unless names are known and numbers in range, but for the base."""
    for field in ("name", "data"):
        check_text(field, getattr(experiment, field))
    _check_stages(experiment.stages)
    _check_seeds("seeds", experiment.seeds)
    check_dictionaries({"paper": experiment.paper, "smoke_settings": experiment.smoke_settings})
    if experiment.validation is not None:
        check_fraction("validation", experiment.validation)
    check_integer("enlarge", experiment.enlarge, least=1)
    check_flag("split_by_seed", experiment.split_by_seed)
    for stage in experiment.stages:
        if stage.seeds is not None:
            _check_seeds(f"seeds of {stage.name!r}", stage.seeds)
        stage.check()


def check_base(experiment: "Experiment", base: "Experiment") -> None:
    """Raises `ValueError` unless an experiment can start from stages of another one."""
    base.check()
    for field in ("data", "enlarge", "validation", "split_by_seed"):
        if getattr(base, field) != getattr(experiment, field):
            raise ValueError(
                f"Expected {field}={getattr(base, field)!r}, as the base has. "
                f"Received: {field}={getattr(experiment, field)!r}"
            )
    # Directories and stages are found by these names alone.
    above: Experiment | None = base
    while above is not None:
        if above.name == experiment.name:
            raise ValueError(
                f"Expected a name that no base has. Received: name={experiment.name!r}"
            )
        for name in experiment.names:
            if name in above.names:
                raise ValueError(
                    f"Expected names of stages that the base {above.name!r} does not have. "
                    f"Received: {name!r}, which both have"
                )
        above = above.base


def check_seeds_of_sources(sources: Mapping[Node, Sequence[Node]]) -> None:
    """Raises `ValueError` if a stage depends on one that has seen images it is tested on.

    Args:
        sources: Each stage with a seed -> those it depends on, where every seed has its own split.
    """
    for node, found in sources.items():
        for source in found:
            if source.seed != node.seed:
                raise ValueError(
                    "Expected stages that depend on those of the same seed, Dependency("
                    f"{source.stage!r}), as split_by_seed gives every seed its own test images. "
                    f"Received: {node.stage!r} of seed {node.seed}, which depends on seed "
                    f"{source.seed}"
                )


def _check_stages(stages: Any) -> None:
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


def _check_seeds(what: str, seeds: Any) -> None:
    """Raises `ValueError` unless there are seeds, none twice, that all generators take."""
    if not isinstance(seeds, tuple | list):
        raise ValueError(f"Expected {what} as a tuple. Received: seeds={shown(seeds)}")
    for seed in seeds:
        if not is_integer(seed, 0, 2**32 - 1):
            raise ValueError(
                f"Expected {what} to be integers from 0 to 2**32 - 1. Received: "
                f"seeds={shown(tuple(seeds))}"
            )
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(
            f"Expected at least one seed, each once. Received: seeds={shown(tuple(seeds))}"
        )
