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
import statistics

from kdzoo.recipes import RECIPES, CompressionComparison
from kdzoo.recipes.compression_comparison import FLOAT
from kdzoo.recipes.files import read_result, read_results
from kdzoo.recipes.results import directory_name, write_json
from kdzoo.recipes.source import Entry
from kdzoo.utils import unknown_name
from kdzoo.zoo.manifest import weights_directory
from tools.publish import is_published, publish
from tools.restore import Committed

MEASURED = pathlib.Path(__file__).parents[1] / "results"
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
    Entry("wide_resnet_16_2/fashion_mnist", "zoo_fashion_mnist", "teacher"),
    *(
        Entry(f"{name}/fashion_mnist", "zoo_fashion_mnist", f"{name}, distilled", f"{name}, alone")
        for name in ("separable_025", "separable_050", "separable_100")
    ),
    Entry("wide_resnet_16_4/cifar10", "zoo_cifar10", "teacher"),
    *(
        Entry(f"{name}/cifar10", "zoo_cifar10", f"{name}, distilled", f"{name}, alone")
        for name in (
            "fitnet_1",
            "wide_resnet_16_1",
            "separable_025",
            "separable_050",
            "separable_100",
        )
    ),
    *(
        Entry(
            f"separable_{width}/cifar10/{form}",
            f"zoo_cifar10_{width}_compressed",
            kind,
            f"separable_{width}, alone",
        )
        for width in ("025", "050", "100")
        for form, kind in (("int8", "int8"), ("sparse_80", "80 % zeros"))
    ),
    Entry("wide_resnet_16_2/cifar100", "zoo_cifar100", "teacher"),
    Entry("resnet_20/cifar100", "zoo_cifar100", "resnet_20, distilled", "resnet_20, alone"),
)


def estimate(entries, runs, restored=lambda name: (), measured=MEASURED, more=None):
    """Yields (recipe, its stages that are left, seconds of those that have been timed).

    What several recipes start from is counted for the first of them.

    Args:
        entries: The `Entry`s that are wanted.
        runs: Directory with a directory of each recipe's run.
        restored: Function from a recipe's name to the (kind, seed) that need no training.
        measured: Directory of committed results, which say how long a model took.
        more: Recipe -> further kinds that are wanted of it.

    Raises:
        ValueError: If a model was trained with other settings than its recipe has now, or learned
            from another than there is.
    """
    wanted = {}
    for entry in entries:
        kinds = wanted.setdefault(entry.recipe, list((more or {}).get(entry.recipe, ())))
        kinds.extend(entry.kinds)
    counted = set()  # Recipes of compression start from stages of another.
    for name, kinds in wanted.items():
        left = [
            stage
            for stage in dict.fromkeys(_stages(name, kinds))
            if stage not in counted
            and stage[1:] not in restored(stage[0])
            and not _is_finished(runs, restored, *stage)
        ]
        counted.update(left)
        seconds = [_seconds(runs, measured, *stage) for stage in left]
        yield name, left, [each for each in seconds if each is not None]


def _wanted(only):
    """The entries that are asked for and those that they start from, a list; all when None."""
    asked = [entry for entry in ENTRIES if only in (None, *_names(entry))]
    if not asked:
        names = {name for entry in ENTRIES for name in _names(entry)}
        raise unknown_name("part of the zoo", only, names)
    starts = set()
    for entry in asked:
        recipe = RECIPES[entry.recipe]
        is_compressed = isinstance(recipe, CompressionComparison)
        starts |= {(recipe.base if is_compressed else entry.recipe, "teacher")}
        starts |= {(recipe.base, recipe.start)} if is_compressed else set()
    return [each for each in ENTRIES if each in asked or (each.recipe, each.kind) in starts]


def _names(entry):
    """What an entry may be asked for by: its name, architecture and data set."""
    return entry.name, *entry.name.split("/")[:2], entry.name.rpartition("/")[0]


def _stages(name, kinds):
    """Yields (recipe, kind, seed) of every model to train for some kinds, the teacher first."""
    recipe = RECIPES[name]
    if isinstance(recipe, CompressionComparison):
        yield from _stages_of(recipe.started_from, recipe.base, ("teacher", *recipe.start_kinds))
        yield from _stages_of(recipe, name, (FLOAT, *kinds))
    else:
        yield from _stages_of(recipe, name, ("teacher", *kinds))


def _stages_of(recipe, name, kinds):
    return ((name, kind, seed) for kind in kinds for seed in recipe.seeds_of(kind))


def _is_finished(runs, restored, name, kind, seed):
    recipe, home = RECIPES[name], runs / name / directory_name(kind, seed)
    if restored(name) or restored(getattr(recipe, "base", name)):
        # What it was made from comes back first; then the recipe sees whether it is that.
        return (home / "result.json").exists()
    return recipe.finished_row(kind, seed, home) is not None


def _committed_rows(measured, name):
    path = measured / f"{name}.json"
    return read_results(path)["rows"] if path.exists() else []


def _committed_kinds(entries, measured):
    """Recipe -> the kinds that there are committed results of and that it still has."""
    return {
        name: [
            kind
            for kind in dict.fromkeys(row["kind"] for row in _committed_rows(measured, name))
            if kind in RECIPES[name].kinds
        ]
        for name in dict.fromkeys(entry.recipe for entry in entries)
    }


def _seconds(runs, measured, name, kind, seed):
    """How long a model took, or its kind with other seeds on average; None if nothing is known."""
    rows = _committed_rows(measured, name)
    rows += [read_result(each) for each in (runs / name).glob("*/result.json")]
    by_seed = {row["seed"]: row.get("seconds") for row in rows if row["kind"] == kind}
    by_seed = {each: seconds for each, seconds in by_seed.items() if seconds is not None}
    return by_seed.get(seed, statistics.fmean(by_seed.values()) if by_seed else None)


def main(arguments=None):
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
    more = _committed_kinds(entries, given.measured) if given.anew else {}
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
            for kind, seed in committed.restore(name):
                print(f"{name}: {kind}, seed {seed}, restored from what was committed")
    for entry in entries:
        _make(entry, given, more.get(entry.recipe, ()))


def _is_checkout():
    return weights_directory().parent == MEASURED.parent


def _make(entry, given, more):
    """Trains and publishes a model, unless it is published already."""
    import keras

    recipe, home = RECIPES[entry.recipe], given.runs / entry.recipe
    publishes = keras.config.backend() == "tensorflow"
    if not publishes and isinstance(recipe, CompressionComparison):
        print(f"{entry.name}: left, TF-MOT needs TensorFlow")
        return
    [(_, left, _)] = estimate([entry], given.runs, more={entry.recipe: more})
    if publishes and not left and not given.again and is_published(entry, home, given.directory):
        print(f"{entry.name}: published")
        return
    kinds = tuple(dict.fromkeys((*entry.kinds, *more)))
    options = {"verbose": 2, "report": print, "kinds": kinds}
    results = recipe.run(home, given.data_dir, **options)
    if not publishes:
        print(f"{entry.name}: trained; publish {home} where TensorFlow is")
        return
    write_json(given.measured / f"{entry.recipe}.json", results)
    row = publish(entry, home, given.directory, given.data_dir)
    print(f"{row.name}: {100 * row.measured['accuracy']['shipped']:.2f} %, {row.files}")


if __name__ == "__main__":
    main()
