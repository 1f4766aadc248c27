"""The whole zoo again: every model is trained by its recipe, and published when it is.

python -m tools.train_zoo --estimate     what is left to train, and how long it took last time
python -m tools.train_zoo                trains it, and goes on where it was stopped
python -m tools.train_zoo --only mnist   one data set, architecture or model
python -m tools.train_zoo --anew         trains what ships, too; `make zoo`

What ships with its results counts as trained unless `--anew` is given: a new student does not ask
for its teacher to be trained for hours again. `--anew` trains whatever there are committed results
of in the recipes that are asked for, as all in one of them have learned from one teacher.

Training needs either backend; compressing and publishing need TensorFlow. On JAX the rest is
trained, with `--data-dir` from arrays that `kdzoo data export` wrote; take `runs` to a machine with
TensorFlow, and the same command goes on there.
"""

import argparse
import pathlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

# Before Keras: so TensorFlow uses oneDNN on every processor.
import kdzoo  # noqa: F401  # isort: skip
import keras

from kdzoo.experiments import estimate as estimates
from kdzoo.experiments.finished_stages import RESULT, Runs
from kdzoo.experiments.run_json_files import read_results, write_json
from kdzoo.experiments.stage import Node
from kdzoo.recipes import RECIPES
from kdzoo.utils import unknown_name
from kdzoo.zoo.manifest import weights_directory
from tools.publish_into_zoo_weights import is_published, publish
from tools.restore_committed_runs import Committed
from tools.zoo_entries import ENTRIES, Entry

MEASURED = pathlib.Path(__file__).parents[1] / "results"

Restored = Callable[[str], Container[Node]]


def estimate(
    entries: Sequence[Entry],
    runs: pathlib.Path,
    restored: Restored = lambda name: (),
    measured: pathlib.Path = MEASURED,
    more: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[str, list[Node], list[float]]]:
    """Yields (recipe, what is left of it, seconds of what has been timed).

    What several recipes start from is counted for the first of them.

    Args:
        entries: The models that are wanted.
        runs: Directory with a directory of each recipe's run.
        restored: Function from a recipe's name to what needs no training.
        measured: Directory of committed results, which say how long a model took.
        more: Recipe -> further stages that are wanted of it.

    Raises:
        ValueError: If a model was trained with other settings than its recipe has now, or learned
            from another than there is.
    """
    wanted: dict[str, list[str]] = {}
    for entry in entries:
        stages = wanted.setdefault(entry.recipe, list((more or {}).get(entry.recipe, ())))
        stages.extend(entry.stages)
    counted: set[Node] = set()
    for name, stages in wanted.items():
        recipe, directory = RECIPES[name], runs / name
        found = Runs(recipe, directory)
        gone = any(restored(run) for run in {node.run for node in recipe.needed(stages)})

        def is_finished(node: Node, found: Runs = found, gone: bool = gone) -> bool:
            if node in counted or node in restored(node.run):
                return True
            # What it was made from comes back first; then the recipe sees whether it is that.
            exists = (found.of_node(node) / RESULT).exists()
            return exists if gone else found.row(node) is not None

        left = estimates.left(recipe, directory, stages, is_finished)
        counted.update(left)
        times = estimates.seconds(
            recipe, directory, left, lambda run: committed_rows(measured, run)
        )
        yield name, left, [seconds for seconds in times if seconds is not None]


def _wanted(only: str | None) -> list[Entry]:
    """The entries of this name and those that they start from; all when None."""
    named = [entry for entry in ENTRIES if only in (None, *_names(entry))]
    if not named:
        names = {name for entry in ENTRIES for name in _names(entry)}
        raise unknown_name("part of the zoo", only, names)
    starts = {node[:2] for entry in named for node in RECIPES[entry.recipe].needed([entry.stage])}
    return [entry for entry in ENTRIES if entry in named or (entry.recipe, entry.stage) in starts]


def _names(entry: Entry) -> tuple[str, ...]:
    """What `only` may call an entry: its name, architecture and data set."""
    return entry.name, *entry.name.split("/")[:2], entry.name.rpartition("/")[0]


def committed_rows(measured: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """Returns the rows of the committed results of a recipe; none where there are none."""
    path = measured / f"{name}.json"
    return read_results(path)["rows"] if path.exists() else []


def _committed_stages(entries: Sequence[Entry], measured: pathlib.Path) -> dict[str, list[str]]:
    """Recipe -> the stages that there are committed results of and that it still has."""
    return {
        name: [
            stage
            for stage in dict.fromkeys(row["kind"] for row in committed_rows(measured, name))
            if stage in RECIPES[name].names
        ]
        for name in dict.fromkeys(entry.recipe for entry in entries)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is missing of the zoo, and writes files and manifest."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_zoo")
    parser.add_argument("--estimate", action="store_true", help="only say what is left")
    parser.add_argument(
        "--only", help="data set, architecture or model; what it starts from comes along"
    )
    parser.add_argument(
        "--anew", action="store_true", help="train what ships, too, where its run is gone"
    )
    parser.add_argument(
        "--again", action="store_true", help="measure and publish what is published, too"
    )
    parser.add_argument("--runs", default="runs", type=pathlib.Path)
    parser.add_argument(
        "--directory", type=pathlib.Path, help="the zoo; this checkout's if left out"
    )
    parser.add_argument("--measured", type=pathlib.Path, help="results; this checkout's, too")
    parser.add_argument("--data-dir", default=None)
    given = parser.parse_args(arguments)
    try:
        entries = _wanted(given.only)
    except ValueError as error:
        parser.error(str(error))
    if not given.estimate and None in (given.directory, given.measured) and not _is_checkout():
        parser.error(
            "Expected --directory and --measured, where to write. Received: a kdzoo that is "
            "installed, whose own zoo is left as it is."
        )
    if given.runs.exists() and not given.runs.is_dir():
        parser.error(f"Expected --runs to be a directory. Received: {given.runs}, a file.")
    given.directory = given.directory or weights_directory()
    given.measured = given.measured or MEASURED
    try:
        committed = Committed(ENTRIES, given.runs, given.directory, given.measured)
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    restored = (lambda name: ()) if given.anew else committed.missing
    more = _committed_stages(entries, given.measured) if given.anew else {}
    for entry in entries:
        if entry.name in committed.broken and not given.anew:
            print(f"{entry.name}: its files are damaged or gone; put them back, or it is made anew")
    try:
        found = list(estimate(entries, given.runs, restored, given.measured, more))
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    for name, left, seconds in found:
        time = f"about {sum(seconds) / 60:.0f} minutes for {len(seconds)} of them"
        time = time if seconds else "not timed yet"
        print(f"{name}: {f'{len(left)} models to train, {time}' if left else 'finished'}")
    if given.estimate:
        return
    if not given.anew:
        # What others start from is wanted too, and comes before them.
        for name in dict.fromkeys(entry.recipe for entry in entries):
            for _, stage, seed in committed.restore(name):
                print(f"{name}: {stage}, seed {seed}, restored from what was committed")
    for entry in entries:
        _make(entry, given, more.get(entry.recipe, ()))


def _is_checkout() -> bool:
    return weights_directory().parent == MEASURED.parent


def _make(entry: Entry, given: argparse.Namespace, more: Sequence[str]) -> None:
    """Trains and publishes a model, unless it is published already."""
    recipe, run = RECIPES[entry.recipe], given.runs / entry.recipe
    publishes = keras.config.backend() == "tensorflow"
    if not publishes and entry.start:
        print(f"{entry.name}: left, TF-MOT needs TensorFlow")
        return
    [(_, left, _)] = estimate([entry], given.runs, more={entry.recipe: more})
    if publishes and not left and not given.again and is_published(entry, run, given.directory):
        print(f"{entry.name}: published")
        return
    stages = tuple(dict.fromkeys((*entry.stages, *more)))
    results = recipe.run(run, given.data_dir, verbose=2, report=print, stages=stages)
    if not publishes:
        print(f"{entry.name}: trained; publish {run} where TensorFlow is")
        return
    write_json(given.measured / f"{entry.recipe}.json", results)
    row = publish(entry, run, given.directory, given.data_dir)
    print(f"{row.name}: {100 * row.measured['accuracy']['shipped']:.2f} %, {row.files}")


if __name__ == "__main__":
    main()
