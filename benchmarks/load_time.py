"""How long `kdzoo.load` takes beside `kdzoo.create` of the same model.

    python benchmarks/load_time.py [NAME ...] [--rounds 15] [--json PATH] [--smoke]

Both take turns in one process that has loaded the model once before. The clock stops when the
weights are there, which on JAX is after the call. The figure is the median of the ratios within a
round. Files
are in the operating system's cache. Run it on an idle machine.
"""

import statistics
import time

import command_line

LIMIT = 1.2


def measure(name, rounds):
    """Returns the seconds of creating and of loading a model, and the median of their ratios."""
    import kdzoo
    from kdzoo.zoo.manifest import find

    row = find(name)

    def create():
        return kdzoo.create(row.architecture, row.classes, row.input_shape, **row.arguments)

    seconds = {"create": [], "load": []}
    for number in range(rounds + 1):
        for what, function in (("create", create), ("load", lambda: kdzoo.load(name))):
            start = time.perf_counter()
            _wait_for(function())
            if number:  # The first of each fills caches.
                seconds[what].append(time.perf_counter() - start)
    ratios = [load / made for load, made in zip(seconds["load"], seconds["create"], strict=True)]
    return {"seconds": seconds, "ratio": statistics.median(ratios)}


def _wait_for(model):
    import keras

    if keras.config.backend() == "jax":
        import jax

        jax.block_until_ready([weight.value for weight in model.weights])


def main(arguments=None):
    """Prints a line for each model, and writes all as JSON if asked to."""
    import kdzoo
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "one model, one round", rounds=15)
    parser.add_argument("names", nargs="*", help="pretrained models; all by default")
    given = parser.parse_args(arguments)
    names = given.names or kdzoo.list_pretrained()
    results = {}
    for name in names[:1] if given.smoke else names:
        results[name] = measure(name, 1 if given.smoke else given.rounds)
        print(f"{name}: load / create {results[name]['ratio']:.2f} (target {LIMIT})", flush=True)
    content = {"limit": LIMIT, "machine": machine_name(), "models": results}
    command_line.write(given.json, content)
    return results


if __name__ == "__main__":
    main()
