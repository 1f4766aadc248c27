"""What it costs to learn from a recorded teacher: an epoch, over that of the student alone.

    python benchmarks/recorded_teacher.py [--rounds 10] [--json PATH] [--smoke]

separable_050 on 5,120 augmented images of 32x32, batches of 128, float32, normalizations fused in
both: once trained by itself, once by a Distiller with `teacher=None` from recorded logits. They
take turns, an epoch at a time, so that a machine that drifts drifts for both. The figure is the
median of the ratios within a round, data pipeline included. Run it on an idle machine.
"""

import statistics
import tempfile
import time

import command_line

LIMIT = 1.05
BATCH = 128


def trainers(examples, directory):
    """Returns name -> function that trains an epoch of its number."""
    import keras
    import numpy as np

    import kdzoo
    import kdzoo.data

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, 32, 32, 3)).astype("uint8")
    split = kdzoo.data.from_arrays(images, np.arange(examples) % 10, validation=0).train
    augmentation = kdzoo.data.Augmentation(shift=4, flip=True)
    teacher = kdzoo.create("separable_025")
    kdzoo.data.record_teacher(teacher, split, directory, 2, augmentation=augmentation)
    recorded = kdzoo.data.with_recorded_teacher(split, directory)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    alone = kdzoo.create("separable_050")
    kdzoo.fuse_batch_normalization(alone)
    taught = kdzoo.Distiller(None, kdzoo.create("separable_050"), kdzoo.losses.SoftTargets(4.0))
    for model in (alone, taught):
        model.compile(keras.optimizers.AdamW(1e-3), cross_entropy, metrics=["accuracy"])

    def alone_epoch(number):
        batches = split.batches(BATCH, True, augmentation, initial_epoch=number)
        alone.fit(batches, verbose=0, shuffle=False)

    def taught_epoch(number):
        batches = recorded.batches(BATCH, True, initial_epoch=number)
        taught.fit(batches, verbose=0, shuffle=False)

    return {"alone": alone_epoch, "recorded": taught_epoch}


def measure(rounds, examples):
    """Returns the seconds of each epoch by name, and the median ratio."""
    with tempfile.TemporaryDirectory() as directory:
        epochs = trainers(examples, directory)
        for epoch in epochs.values():
            epoch(0)
        seconds = {name: [] for name in epochs}
        for number in range(1, rounds + 1):
            for name, epoch in epochs.items():
                start = time.perf_counter()
                epoch(number)
                seconds[name].append(time.perf_counter() - start)
    ratios = [ours / own for ours, own in zip(seconds["recorded"], seconds["alone"], strict=True)]
    quartiles = statistics.quantiles(ratios) if rounds > 1 else 3 * ratios
    return {"seconds": seconds, "quartiles": quartiles, "ratio": quartiles[1], "limit": LIMIT}


def main(arguments=None):
    """Prints the ratio, and writes it as JSON if asked to."""
    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "few images, one round", rounds=10)
    given = parser.parse_args(arguments)
    result = measure(1 if given.smoke else given.rounds, 2 * BATCH if given.smoke else 40 * BATCH)
    first, _, third = result["quartiles"]
    print(
        f"from a recorded teacher / alone: {result['ratio']:.3f} (target {LIMIT}), quartiles "
        f"{first:.3f} and {third:.3f}"
    )
    content = {"machine": machine_name(), **result}
    command_line.write(given.json, content)
    return result


if __name__ == "__main__":
    main()
