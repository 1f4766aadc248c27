"""Whether zeros make a network faster in LiteRT: dense and sparse files of 80 % zeros.

    python benchmarks/sparse_latency.py [--rounds 7] [--json PATH] [--smoke]

Each network is written twice: its zeros stored as any number, and with `sparse=True`, which leaves
them out of the file. Both take turns, one thread, so that a machine that drifts drifts for both;
the ratio is the median of the ratios within a round. Run it on an idle machine.
"""

import pathlib
import statistics
import tempfile

import command_line

NETWORKS = ("separable_025", "separable_050", "separable_100")
RUNS, WARMUP = 60, 10


def files_of(name, folder):
    """Returns the paths of a network's dense and of its sparse file.

    Args:
        name: Its architecture in the zoo.
        folder: Where the files are written.
    """
    from kdzoo import export, zoo

    model, paths = zoo.load(f"{name}/cifar10/sparse_80"), []
    for sparse in (False, True):
        path = folder / f"{name}-{'sparse' if sparse else 'dense'}.tflite"
        export.to_litert(model, path, sparse=sparse, samples=1, min_agreement=0, check_images=False)
        paths.append(path)
    return paths


def measured(paths, rounds, runs):
    """Returns the figures of a network: milliseconds, their ratio, and bytes.

    Args:
        paths: Its dense and its sparse file.
        rounds: How often both take their turn.
        runs: Timed runs in a turn.
    """
    from kdzoo.evaluation import latency

    times = [
        [latency(path, runs=runs, warmup=WARMUP).median_ms for path in paths] for _ in range(rounds)
    ]
    dense, sparse = (min(found) for found in zip(*times, strict=True))
    return {
        "dense_ms": dense,
        "sparse_ms": sparse,
        "ratio": statistics.median(sparse / dense for dense, sparse in times),
        "dense_bytes": paths[0].stat().st_size,
        "sparse_bytes": paths[1].stat().st_size,
    }


def main(arguments=None):
    """Prints a line for each network, and writes all as JSON if asked to."""
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "one round of one run", rounds=7)
    given = parser.parse_args(arguments)
    rounds, runs = (1, 1) if given.smoke else (given.rounds, RUNS)
    results = {"machine": machine_name(), "rounds": rounds, "runs": runs, "networks": {}}
    with tempfile.TemporaryDirectory(prefix="kdzoo-sparse-") as folder:
        for name in NETWORKS:
            found = measured(files_of(name, pathlib.Path(folder)), rounds, runs)
            results["networks"][name] = found
            print(
                f"{name}: {found['dense_ms']:.3f} ms dense, {found['sparse_ms']:.3f} ms sparse, "
                f"{found['ratio']:.3f}; {found['sparse_bytes']:,} of {found['dense_bytes']:,} bytes"
            )
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
