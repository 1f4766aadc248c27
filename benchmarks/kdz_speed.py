"""How fast a `.kdz` file is decoded: megabytes of float32 weights a second.

    python benchmarks/kdz_speed.py [--rounds 5] [--json PATH] [--smoke]

A dense layer of 56 MB of normally distributed weights, without zeros and with 90 % of them. The
weights are decoded in memory, and the file is loaded by `kdzoo.load_compressed`, which also builds
the model and assigns them; both in the median of the rounds. The file is in the operating system's
cache. Run it on an idle machine.
"""

import pathlib
import statistics
import tempfile
import time

import command_line

LIMIT = 100  # Megabytes a second.
ZEROS = (0.0, 0.9)
SHAPE = (3500, 4000)


def measure(zeros, shape, rounds):
    """Returns what decoding one layer takes, a row.

    Args:
        zeros: The fraction of zeros in its kernel.
        shape: The shape of the kernel.
        rounds: How often it is timed, after once to warm up.
    """
    import keras
    import numpy as np

    import kdzoo
    from kdzoo.zoo.compressed_files import weights_of_compressed

    model = keras.Sequential([keras.Input(shape[:1]), keras.layers.Dense(shape[1], name="wide")])
    rng = np.random.default_rng(0)
    kernel = np.where(rng.random(shape) < zeros, 0, rng.normal(0, 0.05, shape))
    model.set_weights([kernel.astype("float32"), np.zeros(shape[1], "float32")])
    with tempfile.TemporaryDirectory() as room:
        path = pathlib.Path(room) / "wide.kdz"
        report = kdzoo.save_compressed(model, path)
        content = path.read_bytes()
        seconds = {
            "decode": _times(lambda: weights_of_compressed(content, path.name), rounds),
            "load": _times(lambda: kdzoo.load_compressed(path), rounds),
        }
    rates = {what: report.plain / 1e6 / statistics.median(found) for what, found in seconds.items()}
    return {
        "zeros": zeros,
        "plain_bytes": report.plain,
        "bytes": report.bytes,
        "seconds": seconds,
        "megabytes_per_second": rates,
    }


def _times(function, rounds):
    """The seconds of a call in each round, after one that fills caches."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def main(arguments=None):
    """Prints a line for each fraction of zeros, and writes all as JSON if a path is given."""
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "a small layer, one round", rounds=5)
    given = parser.parse_args(arguments)
    shape, rounds = ((100, 200), 1) if given.smoke else (SHAPE, given.rounds)
    results = {"limit": LIMIT, "machine": machine_name(), "rows": []}
    for zeros in ZEROS:
        row = measure(zeros, shape, rounds)
        results["rows"].append(row)
        rates = row["megabytes_per_second"]
        print(
            f"{zeros:.0%} zeros: {row['plain_bytes']:,} bytes in {row['bytes']:,}; decoded at "
            f"{rates['decode']:.0f} MB/s, loaded at {rates['load']:.0f} MB/s (target {LIMIT})",
            flush=True,
        )
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
