"""What bfloat16 saves where the zoo trains in it: a student's training step, over that in float32.

    python benchmarks/half_precision.py [NAME ...] [--rounds 7] [--json PATH] [--smoke]

Every network is trained alone, accelerated, in batches of 128 images of 32x32 (for a student of
Fashion-MNIST 28x28, halved first). The two precisions take turns of ten steps, so that a machine
that drifts drifts for both. The figure is the median of the ratios within a round. Run it on an
idle machine.
"""

import statistics
import time

import command_line

BATCH, STEPS = 128, 10
PRECISIONS = ("float32", "mixed_bfloat16")
NETWORKS = {
    "separable_025": ((32, 32, 3), {}),
    "separable_050": ((32, 32, 3), {}),
    "separable_050, halved": ((28, 28, 1), {"halvings": 1}),
    "fitnet_1": ((32, 32, 3), {}),
}


def trainer(name, precision, batch):
    """Returns a function that trains a fresh network for so many steps."""
    import keras
    import numpy as np

    import kdzoo

    shape, arguments = NETWORKS[name]
    keras.config.set_dtype_policy(precision)
    try:
        model = kdzoo.create(name.partition(",")[0], 10, shape, **arguments)
    finally:
        keras.config.set_dtype_policy("float32")
    kdzoo.accelerate(model)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, 0.9, nesterov=True), cross_entropy)
    images = np.random.default_rng(0).random((batch, *shape), "float32")
    labels = np.arange(batch) % 10

    def train(steps):
        for _ in range(steps):
            model.train_on_batch(images, labels)

    return train


def measure(name, rounds, batch, steps):
    """Returns the milliseconds of a step in either precision, and the quartiles of the ratios."""
    trainers = {precision: trainer(name, precision, batch) for precision in PRECISIONS}
    milliseconds = {precision: [] for precision in PRECISIONS}
    for number in range(rounds + 1):
        for precision, train in trainers.items():
            start = time.perf_counter()
            train(steps)
            if number:  # The first of each traces.
                milliseconds[precision].append(1e3 * (time.perf_counter() - start) / steps)
    usual, half = (milliseconds[precision] for precision in PRECISIONS)
    ratios = [ours / theirs for ours, theirs in zip(half, usual, strict=True)]
    quartiles = statistics.quantiles(ratios) if rounds > 1 else 3 * ratios
    medians = {precision: statistics.median(times) for precision, times in milliseconds.items()}
    return {"milliseconds": medians, "quartiles": quartiles, "ratio": quartiles[1]}


def main(arguments=None):
    """Prints a line for each network, and writes all as JSON if asked to."""
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "two images, one step", rounds=7)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    given = parser.parse_args(arguments)
    sizes = (1, 2, 1) if given.smoke else (given.rounds, BATCH, STEPS)
    results = {"machine": machine_name(), "batch": BATCH, "models": {}}
    for name in given.names or NETWORKS:
        results["models"][name] = measure(name, *sizes)
        print(f"{name}: bfloat16 / float32 {results['models'][name]['ratio']:.2f}", flush=True)
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
