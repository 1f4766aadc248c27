"""A recipe: a data set and a graph of stages, as plain data."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import engine
from kdzoo.experiments.experiment_checks import check_base, check_fields, check_seeds_of_sources
from kdzoo.experiments.stage import Built, Dependency, Node, Stage, as_tuple, for_each
from kdzoo.experiments.stage_settings import as_json, canonical, settings_of
from kdzoo.utils import check_choice, shown
from kdzoo.utils.types import PathLike

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset

SMOKE_DATA = "digits"  # What the smoke mode trains on: it is part of kdzoo's requirements.


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A recipe: what is trained, on what data, and what each learns or starts from.

    Students of a seed and an architecture start from the same weights and see the same batches in
    the same order. Nothing is chosen on the test images.

    Attributes:
        name: Names the directory of its run.
        data: Name of a data set, or a directory that `kdzoo data export` wrote.
        stages: What is made, in the order of the results.
        seeds: Of each stage that has none of its own.
        base: The experiment whose stages those of this one may depend on too. They are made in the
            directory of its name beside that of this one, and serve both.
        validation: Fraction of the training images that is held out; `None` for a tenth, 0 to
            train on all of them, with settings that were chosen before.
        enlarge: Every pixel becomes a square of this many pixels a side, for images that are too
            small for the networks.
        paper: Name of a stage -> test errors that a paper reports.
        smoke_settings: What the smoke mode changes besides: `"stages"`, the names of those it is
            left with, `"enlarge"`, and by its name the fields of a stage.
        split_by_seed: Whether every seed draws its own training, validation and test images, as
            `kdzoo.data.Dataset.resplit` does, so that the mean over the seeds is one over splits.
    """

    name: str
    data: str
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    base: "Experiment | None" = None
    validation: float | None = None
    enlarge: int = 1
    paper: dict[str, int] = dataclasses.field(default_factory=dict)
    smoke_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    split_by_seed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(stage.name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """Returns the stage of this name, also one of the base.

        Raises:
            ValueError: If there is none.
        """
        return next(stage for stage in self.owner(name).stages if stage.name == name)

    def owner(self, name: str) -> "Experiment":
        """Returns the experiment that has the stage of this name: this one, or a base."""
        if name in self.names or self.base is None:
            check_choice("stage", name, self.names)
            return self
        return self.base.owner(name)

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """Returns the seeds that a stage is made for."""
        owner = self.owner(name)
        seeds = owner.stage(name).seeds
        return tuple(int(seed) for seed in (owner.seeds if seeds is None else seeds))

    def sources(self, name: str, seed: int) -> dict[str, tuple[Node, ...]]:
        """Returns role -> what a stage with a seed learns or starts from.

        Args:
            name: Name of the stage.
            seed: One of its seeds.

        Raises:
            ValueError: If a stage that it depends on does not exist or has not that seed.
        """
        owner = self.owner(name)
        return {
            role: tuple(
                Node(owner.owner(dependency.stage).name, dependency.stage, its_seed)
                for dependency in as_tuple(found)
                for its_seed in owner._seeds(name, seed, dependency)
            )
            for role, found in owner.stage(name).dependencies().items()
        }

    def _seeds(self, name: str, seed: int, dependency: Dependency) -> tuple[int, ...]:
        """The seeds of another stage that a stage with a seed depends on."""
        known = self.seeds_of(dependency.stage)
        if dependency.seed == "all":
            return known
        wanted = seed if dependency.seed == "same" else int(dependency.seed)
        # A base makes a stage for whatever seed this asks for, unless it has seeds of its own.
        is_free = dependency.stage not in self.names and self.stage(dependency.stage).seeds is None
        if wanted not in known and not is_free:
            raise ValueError(
                f"Expected seeds of {name!r} that {dependency.stage!r}, which it depends on, has "
                f"too, at most {len(known)} seeds: {known}. Received: {wanted!r}"
            )
        return (wanted,)

    def nodes(self, names: Iterable[str] | None = None) -> list[Node]:
        """Returns the stages of some names with their seeds, those of a seed together.

        Args:
            names: Names of stages of this experiment; all when None.
        """
        names = self.names if names is None else tuple(names)
        seeds = dict.fromkeys(seed for name in names for seed in self.seeds_of(name))
        return [
            Node(self.name, name, seed)
            for seed in seeds
            for name in self.names
            if name in names and seed in self.seeds_of(name)
        ]

    def needed(self, names: Iterable[str] | None = None) -> list[Node]:
        """Returns all that is to be made for some stages, each after what it depends on.

        Args:
            names: As in `nodes`.
        """
        ordered: dict[Node, None] = {}
        for node in self.nodes(names):
            self._add(node, ordered, ())
        return list(ordered)

    def _add(self, node: Node, ordered: dict[Node, None], above: tuple[str, ...]) -> None:
        if node.stage in above:
            raise ValueError(
                "Expected stages that do not depend on themselves. Received: "
                f"{' -> '.join((*above, node.stage))}"
            )
        for source in self.sources_of(node):
            self._add(source, ordered, (*above, node.stage))
        ordered.setdefault(node)

    def sources_of(self, node: Node) -> Iterator[Node]:
        """Yields what a stage with a seed depends on."""
        for sources in self.sources(node.stage, node.seed).values():
            yield from sources

    def settings(self, name: str, seed: int) -> dict[str, Any]:
        """Returns what identifies a stage with a seed: its own settings, and whom it depends on.

        Whatever is at its default is left out, so that a new setting trains nothing again.
        """
        owner, stage = self.owner(name), self.stage(name)
        own = settings_of(stage)
        described = {
            f.name for f in dataclasses.fields(stage) if f.metadata.get("identifies", True)
        }
        own = {name: own[name] for name in own if name in described - {"name", "seeds"}}
        for role in stage.dependencies():
            own[role] = owner._with_identities(name, seed, getattr(stage, role))
        data = {"data": owner.data, "enlarge": owner.enlarge, "validation": owner.validation}
        if data["enlarge"] == 1:
            del data["enlarge"]
        if data["validation"] is None:
            del data["validation"]
        if owner.split_by_seed:
            data["split_by_seed"] = True
        settings = {"kind": name, "seed": seed, "type": type(stage).__name__, **data, **own}
        return json.loads(canonical(settings))

    def _with_identities(self, name: str, seed: int, value: Any) -> Any:
        """A setting with the identities of what a dependency in it stands for in its place."""
        if isinstance(value, Dependency):
            seeds = self._seeds(name, seed, value)
            return [self.identity(value.stage, its_seed) for its_seed in seeds]
        if isinstance(value, tuple | list):
            return [self._with_identities(name, seed, part) for part in value]
        return value

    def described(self) -> dict[str, Any]:
        """Returns the experiment as its results describe it: what is at its default is left out."""
        always = {"name": self.name, "data": self.data, "seeds": list(self.seeds)}
        said = {**always, **json.loads(as_json(self))}
        said.pop("smoke_settings", None)
        return said if self.base is None else {**said, "base": self.base.described()}

    def identity(self, name: str, seed: int) -> str:
        """Returns the SHA-256 of what identifies a stage with a seed, in hexadecimal.

        It is the same for a stage of another name with the same settings.
        """
        settings = {**self.settings(name, seed), "kind": None}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def built_from(self, name: str) -> Built:
        """Returns the architecture's name and the builder's arguments of a stage's model."""
        stage = self.stage(name)
        sources = stage.dependencies().items()
        return stage.built_from(
            {
                role: for_each(found, lambda dependency: self.built_from(dependency.stage))
                for role, found in sources
            }
        )

    def epochs_of(self, name: str) -> int:
        """Returns the epochs of a stage, those of the model that it starts from included."""
        stage = self.stage(name)
        starts = as_tuple(stage.dependencies().get("start", ()))
        return stage.epochs + max((self.epochs_of(start.stage) for start in starts), default=0)

    def smoke(self, only: Sequence[str] | None = None) -> "Experiment":
        """Returns the same recipe in seconds: one epoch and one seed on the embedded digits.

        Args:
            only: Names of the stages that it is left with; those of `smoke_settings` when None.
        """
        changes = dict(self.smoke_settings)
        kept = changes.pop("stages", self.names)
        enlarge = changes.pop("enlarge", 1)
        stages = tuple(
            dataclasses.replace(
                stage.smoke(), seeds=stage.seeds and stage.seeds[:1], **changes.get(stage.name, {})
            )
            for stage in self.stages
            if stage.name in (kept if only is None else only)
        )
        needed = {node.stage for node in self.needed()}
        base = self.base and self.base.smoke([name for name in self.base.names if name in needed])
        return dataclasses.replace(
            self,
            name=f"{self.name}-smoke",
            data=SMOKE_DATA,
            stages=stages,
            seeds=tuple(self.seeds[:1]),
            base=base,
            validation=None,
            enlarge=enlarge,
            smoke_settings={},
        )

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        check_fields(self)
        if self.base is not None:
            if not isinstance(self.base, Experiment):
                raise ValueError(f"Expected an Experiment. Received: base={shown(self.base)}")
            check_base(self, self.base)
        nodes = self.needed()  # Names what a stage depends on and there is not.
        if self.split_by_seed:
            check_seeds_of_sources({node: tuple(self.sources_of(node)) for node in nodes})

    def run(
        self,
        directory: PathLike,
        data_dir: PathLike | None = None,
        verbose: str | int = "auto",
        report: Callable[[str], Any] = lambda line: None,
        callbacks: "Sequence[keras.callbacks.Callback]" = (),
        stages: Iterable[str] | None = None,
        *,
        dataset: "Dataset | None" = None,
    ) -> dict[str, Any]:
        """Makes what is missing and returns the results.

        Args:
            directory: Where checkpoints, finished models (`.keras`) and `results.json` go. A run
                that was killed goes on from there; finished stages are not made again.
            data_dir: Where the data set lies, as in `kdzoo.data.load`.
            verbose: As in `keras.Model.fit`.
            report: Called with a line of text when a stage starts.
            callbacks: Callbacks for every `fit`, for example one that shows progress.
            stages: Names of the stages that are made, with what they depend on; all when None.
            dataset: The data set of the name `data`, such as `from_directory` returns.

        Returns:
            The content of `results.json`: a dictionary with the experiment under `"settings"`, one
            row per model of the stages that are finished for all their seeds, whatever `stages`
            names, the mean and standard deviation of each stage, and the versions of data set and
            packages.

        Raises:
            ValueError: If a name is unknown, a setting is out of range, or the directory holds a
                run with other settings or of other data, a student of another teacher, the
                recorded outputs of one that is gone, or a teacher whose file is damaged or gone, or
                another process works there. Nothing is trained then.
        """
        return engine.run(self, directory, data_dir, verbose, report, callbacks, stages, dataset)
