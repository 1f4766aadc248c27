"""How long an image takes in LiteRT in each form of `separable_050` that the figure shows.

    python benchmarks/pareto_latency.py [--runs-dir runs] [--rounds 7] [--json PATH] [--smoke]

The files are those that `kdzoo train compression_pareto` and `kdzoo train qat_4_bit_cifar10` left
in `runs/`, and those of the zoo; what is not trained yet is left out. All of them take turns, one
thread, so that a machine that drifts drifts for all. The figure is the least of the medians of the
rounds, as other work makes runs slow and never fast. Run it on an idle machine, then
`python -m tools.compression_pareto`.
"""

import pathlib
import tempfile

import command_line

from kdzoo.experiments.stage import directory_name
from tools.compression_pareto import VARIANTS

RUNS, WARMUP = 60, 10


def file_of(variant, runs, folder):
    """Returns the `.tflite` file of a variant, or None where there is none.

    Args:
        variant: One of `VARIANTS`.
        runs: Directory of the runs.
        folder: Where files are written that the zoo has no `.tflite` of.
    """
    from kdzoo import export, zoo

    if variant.zoo is None:
        path = runs / variant.recipe / directory_name(variant.stage, 0) / "model.tflite"
        return path if path.exists() else None
    if variant.zoo.count("/") == 2:
        return zoo.tflite(variant.zoo)
    path = folder / f"{variant.zoo.replace('/', '-')}.tflite"
    export.to_litert(zoo.load(variant.zoo), path, samples=1, min_agreement=0, check_images=False)
    return path


def measure(files, rounds, runs):
    """Returns name -> milliseconds of an image.

    Args:
        files: Name -> path.
        rounds: How often each file takes its turn.
        runs: Timed runs in a turn.
    """
    from kdzoo.evaluation import latency

    found = [
        {name: latency(path, runs=runs, warmup=WARMUP).median_ms for name, path in files.items()}
        for _ in range(rounds)
    ]
    return {name: min(times[name] for times in found) for name in files}


def main(arguments=None):
    """Prints a line for each form, and writes all as JSON if asked to."""
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "one round of one run", rounds=7)
    parser.add_argument("--runs-dir", type=pathlib.Path, default="runs", help="of the recipes")
    given = parser.parse_args(arguments)
    rounds, runs = (1, 1) if given.smoke else (given.rounds, RUNS)
    with tempfile.TemporaryDirectory(prefix="kdzoo-latency-") as folder:
        found = {
            variant.name: file_of(variant, given.runs_dir, pathlib.Path(folder))
            for variant in VARIANTS
        }
        files = {name: path for name, path in found.items() if path is not None}
        results = {
            "machine": machine_name(),
            "rounds": rounds,
            "runs": runs,
            "milliseconds": measure(files, rounds, runs),
        }
    for name, time in results["milliseconds"].items():
        print(f"{name}: {time:.3f} ms")
    print(f"not trained yet: {', '.join(name for name in found if name not in files) or 'none'}")
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
