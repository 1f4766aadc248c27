"""The engine: makes what is missing of an experiment, in order, and resumes after a kill.

It knows stages by what they say of themselves, and no stage type by its name.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from kdzoo.data import Dataset, load
from kdzoo.experiments import build_and_fit
from kdzoo.experiments import precision as precisions
from kdzoo.experiments.finished_stages import RESULT, Runs, load_trained
from kdzoo.experiments.results_file import write_results
from kdzoo.experiments.run_json_files import check_row, write_json
from kdzoo.experiments.same_data_check import check_same_data, what_data
from kdzoo.experiments.stage import Node, for_each
from kdzoo.experiments.stage_context import StageContext
from kdzoo.experiments.stage_outcome import MODEL, Outcome, fingerprint
from kdzoo.experiments.stage_settings import as_json
from kdzoo.experiments.training_time import Clock
from kdzoo.utils import (
    check_choice,
    check_directory,
    one_process,
    shown,
)
from kdzoo.utils.types import PathLike

if TYPE_CHECKING:
    from kdzoo.experiments.experiment import Experiment


class Engine:
    """One run of an experiment."""

    def __init__(
        self,
        experiment: "Experiment",
        runs: Runs,
        data: Dataset,
        options: Mapping[str, Any],
        data_dir: PathLike | None = None,
    ) -> None:
        self.experiment, self.runs, self.data, self.options = experiment, runs, data, options
        self.data_dir = data_dir
        self._models: dict[Node, keras.Model] = {}
        self._kept: dict[tuple[str, str], dict[str, keras.Model]] = {}

    def model(self, node: Node, precision: str = "float32") -> keras.Model:
        """Returns the finished model of a stage with a seed, in a precision."""
        if node not in self._models:
            self._models[node] = load_trained(self.runs.of_node(node))
        model, built = self._models[node], self.experiment.built_from(node.stage)
        has_architecture = self.experiment.stage(node.stage).has_architecture
        if model.dtype_policy.name == precision or not has_architecture:
            return model
        return build_and_fit.copy_in(precision, model, built, self.data)

    def make(self, nodes: Sequence[Node], report: Callable[[str], Any]) -> None:
        """Makes what is missing."""
        missing = {node for node in nodes if self.runs.row(node) is None}
        sources = {node: set(self.experiment.sources_of(node)) for node in nodes}
        for node in missing:
            self.runs.check_new(node)
        for node in sorted(set().union(*(sources[node] for node in missing)) - missing):
            self.model(node)  # A damaged one is named before anything is trained.
            self.runs.check_products(node)
        for number, node in enumerate(nodes, start=1):
            stage = self.experiment.stage(node.stage)
            how = f"seed {node.seed}" if stage.trains else "pretrained"
            end = "" if node in missing else ": finished before"
            report(f"{number}/{len(nodes)} {node.stage}, {how}{end}")
            if node in missing:
                self._make(node)
                if not any(later[:2] == node[:2] for later in missing.intersection(nodes[number:])):
                    self._kept.pop(node[:2], None)  # No further seed takes it.

    def _make(self, node: Node) -> None:
        """Makes, measures and saves one model."""
        directory = self.runs.of_node(node)
        sources = self.experiment.sources(node.stage, node.seed)
        settings = self.experiment.settings(node.stage, node.seed)
        made_from = {f"{role}_weights": self._hashes(nodes) for role, nodes in sources.items()}
        data = self.data.resplit(node.seed) if self.experiment.split_by_seed else self.data
        clock = Clock(directory)
        context = StageContext(
            data=data,
            seed=node.seed,
            directory=directory,
            built=self.experiment.built_from(node.stage),
            options={
                **self.options,
                "callbacks": [*self.options["callbacks"], clock],
                "settings": {**settings, **made_from},
            },
            sources=sources,
            runs=self.runs,
            model=self.model,
            data_dir=self.data_dir,
            kept=self._kept.setdefault(node[:2], {}),
        )
        outcome = self.experiment.stage(node.stage).run(context)
        row = {
            **self._measured(node, outcome, made_from),
            "seconds": clock.seconds if outcome.seconds is None else outcome.seconds,
            "versions": clock.versions,
        }
        if chosen := precisions.choices(directory):
            row["precisions"] = chosen
        hashes = outcome.save(directory)
        row |= {
            "weights": hashes.pop(MODEL),
            **({"products": hashes} if hashes else {}),
            **made_from,
            "identity": self.experiment.identity(node.stage, node.seed),
            "history": json.loads(as_json(outcome.history)),
        }
        write_json(directory / RESULT, {**row, "settings": settings})
        clock.clear()
        precisions.forget(directory)

    def _measured(self, node: Node, outcome: Any, made_from: Collection[str]) -> dict[str, Any]:
        """What a row says of its stage and what was measured, if the outcome can be kept whole."""
        if not isinstance(outcome, Outcome):
            raise ValueError(f"Expected an Outcome of {node.stage!r}. Received: {shown(outcome)}")
        outcome.check(self.runs.of_node(node), made_from)
        measured = json.loads(as_json(outcome.measured))
        row = {"kind": node.stage, "seed": node.seed, **measured}
        try:
            check_row({**row, "history": json.loads(as_json(outcome.history))})
        except ValueError as error:
            raise ValueError(
                f"Expected an outcome of {node.stage!r} that a row can hold. Received: {error}"
            ) from error
        return row

    def _hashes(self, nodes: Sequence[Node]) -> str | list[str]:
        """The hashes of the weights of some models; of one its own."""
        hashes = [fingerprint(self.model(node)) for node in nodes]
        return hashes[0] if len(hashes) == 1 else hashes


def run(
    experiment: "Experiment",
    directory: PathLike,
    data_dir: PathLike | None,
    verbose: str | int,
    report: Callable[[str], Any],
    callbacks: Sequence[keras.callbacks.Callback],
    stages: Iterable[str] | None,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Makes what is missing of an experiment and returns the results: see `Experiment.run`."""
    experiment.check()
    names = _checked_names(stages, experiment.names)
    runs = Runs(experiment, check_directory(directory))
    data = load_data(experiment, data_dir, dataset)
    nodes = experiment.needed(names)
    options = {"verbose": verbose, "callbacks": callbacks}
    engine = Engine(experiment, runs, data, options, data_dir)
    used = dict.fromkeys((experiment.name, *(node.run for node in nodes)))
    with contextlib.ExitStack() as held:
        for name in used:
            held.enter_context(one_process(runs.of_run(name)))
        runs.rows()  # A run with other settings is refused now.
        said = what_data(data)
        for name in used:
            check_same_data(runs.of_run(name), data.name, said)
        engine.make(nodes, report)
        return write_results(runs, said)


def load_data(
    experiment: "Experiment", data_dir: PathLike | None = None, dataset: Dataset | None = None
) -> Dataset:
    """Returns the data set as an experiment takes it, once all stages are checked against it.

    Args:
        experiment: The experiment.
        data_dir: Where the data set lies.
        dataset: The data set, if it is there already.

    Raises:
        ValueError: If a split is missing, or a stage cannot be made for these images.
    """
    experiment.check()
    if dataset is None:
        data = load(experiment.data, data_dir=data_dir, validation=experiment.validation)
    else:
        data = _checked_data(experiment, dataset)
    data = data.enlarged(experiment.enlarge) if experiment.enlarge > 1 else data
    for split in ("test",) if experiment.validation == 0 else ("validation", "test"):
        if getattr(data, split) is None:
            raise ValueError(
                f"Expected data with a {split} split. Received: data={data!r} without one."
            )
    models: dict[str, keras.Model] = {}

    def fresh(name: str) -> keras.Model:
        if name not in models:
            own = experiment.stage(name).own_model(data)
            built = experiment.built_from(name)
            models[name] = build_and_fit.create(built, data) if own is None else own
        return models[name]

    for name in dict.fromkeys(node.stage for node in experiment.needed()):
        stage = experiment.stage(name)
        stage.check_data(data)
        if experiment.split_by_seed and not stage.trains:
            raise ValueError(
                "Expected stages that are trained, as split_by_seed gives every seed its own test "
                f"images. Received: {name!r}, which may have seen them"
            )
        sources = stage.dependencies().items()
        stage.check_models(
            fresh(name),
            {
                role: for_each(found, lambda dependency: fresh(dependency.stage))
                for role, found in sources
            },
        )
    return data


def _checked_data(experiment: "Experiment", dataset: Any) -> Dataset:
    """A data set that was given, if it is the one that an experiment names."""
    if not isinstance(dataset, Dataset) or dataset.name != experiment.data:
        raise ValueError(
            f"Expected the data set {experiment.data!r}, by its `name`. Received: "
            f"dataset={shown(getattr(dataset, 'name', dataset))}"
        )
    if experiment.validation != (0 if dataset.validation is None else None):
        raise ValueError(
            "Expected validation=None for a data set that is given, whose validation images are "
            "held out already, and 0 where it has none. Received: "
            f"validation={experiment.validation}"
        )
    return dataset


def _checked_names(names: Any, known: Sequence[str]) -> tuple[str, ...]:
    """The names of stages that are asked for; all that are known when None."""
    if isinstance(names, str | bytes) or not (names is None or hasattr(names, "__iter__")):
        raise ValueError(f"Expected a list of names. Received: stages={shown(names)}")
    chosen = tuple(known) if names is None else tuple(names)
    for name in chosen:
        check_choice("stage", name, known)
    return chosen
