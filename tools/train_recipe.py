"""One recipe, a stage after another; what is committed of it is not trained again.

python -m tools.train_recipe NAME ...

After each stage `results/NAME.json` has what is finished for all seeds, and so has the file of a
recipe that it starts from. A recipe of many hours can so be trained in parts: commit these files,
and the same command goes on with the rest, also where the run's directory is not at hand. There, of
models that do not ship, rows alone come back: a stage whose model another one is still to be
trained from is trained again, and so are all that were made from it.
"""

import argparse
import pathlib
from collections.abc import Callable, Sequence

# Before Keras: so TensorFlow uses oneDNN on every processor.
import kdzoo  # noqa: F401  # isort: skip

from kdzoo.experiments.run_json_files import write_json
from kdzoo.recipes import RECIPES
from kdzoo.utils import unknown_name
from kdzoo.zoo.manifest import weights_directory
from tools.restore_committed_runs import Committed
from tools.train_zoo import MEASURED
from tools.zoo_entries import ENTRIES


def train(
    name: str,
    runs: pathlib.Path,
    measured: pathlib.Path = MEASURED,
    data_dir: str | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Trains what is missing of a recipe, and writes its results after each stage.

    Args:
        name: Name of the recipe.
        runs: Directory with a directory of each recipe's run.
        measured: Directory of the committed results.
        data_dir: Where the data set lies, as in `kdzoo.data.load`.
        report: Called with a line of text for each model.

    Raises:
        ValueError: If the run has other settings than the recipe, or is of other images.
    """
    committed = Committed(ENTRIES, runs, weights_directory(), measured)
    for _, stage, seed in committed.restore_for(name):
        report(f"{stage}, seed {seed}: restored from what was committed")
    # What it starts from comes first.
    wanted = dict.fromkeys((node.run, node.stage) for node in RECIPES[name].needed())
    for run, stage in wanted:
        recipe = RECIPES[run]
        results = recipe.run(runs / run, data_dir, verbose=2, report=report, stages=(stage,))
        write_json(measured / f"{run}.json", results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the recipes that are named."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_recipe")
    parser.add_argument("recipes", nargs="+", help="names of recipes")
    parser.add_argument("--runs", default="runs", type=pathlib.Path)
    parser.add_argument("--data-dir", default=None)
    given = parser.parse_args(arguments)
    for name in given.recipes:
        if name not in RECIPES:
            parser.error(str(unknown_name("recipe", name, RECIPES)))
    for name in given.recipes:
        train(name, given.runs, data_dir=given.data_dir)


if __name__ == "__main__":
    main()
