"""What `fit`, `evaluate` and `predict` take beside their steps, with kdzoo and with Keras's own.

    python benchmarks/epoch_overhead.py [--rounds 5] [--epochs 5] [--json PATH] [--smoke]

A Distiller of WRN-16-2 → separable_050 in float32, batches of 128 images of 32x32. *Steps* are as
many steps as in the epochs, taken one after the other by the function that `fit` runs, on a batch
that lies ready. Beside them are whole calls on arrays, on a `tf.data.Dataset` and on a `PyDataset`;
*Keras* is the call on arrays with tf.data's tuner, as Keras leaves it. All take turns, so that a
machine that drifts drifts for all alike; the figures are medians of the ratios within a round. Run
it on an idle machine.
"""

import functools
import statistics
import time

import command_line

LIMIT = 1.05
BATCH = 128
CALLS = ("fit", "evaluate", "predict")


def make_distiller(smoke):
    """Returns the compiled distiller."""
    import keras

    import kdzoo

    teacher, student = (
        kdzoo.create(name)
        for name in (("mlp_2x64",) * 2 if smoke else ("wide_resnet_16_2", "separable_050"))
    )
    distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.SGD(0.01, 0.9), cross_entropy, metrics=["accuracy"])
    return distiller


def forms_of(images, labels, size):
    """Returns name -> the arguments by which `fit` and `evaluate` are given the data."""
    import keras
    import tensorflow as tf

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return len(images) // size

        def __getitem__(self, index):
            part = slice(index * size, (index + 1) * size)
            return images[part], labels[part]

    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)
    return {"arrays": (images, labels), "tf.data": (dataset,), "PyDataset": (Sequence(),)}


def steps_of(distiller, call, batch, count):
    """Returns a function that takes so many steps of a call."""
    import tensorflow as tf

    ready = iter(tf.data.Dataset.from_tensors(batch).repeat())
    name = {"fit": "train", "evaluate": "test"}.get(call, call) + "_function"
    given = [(tf.constant(batch[0]),)] if call == "predict" else ready

    def run():
        function = getattr(distiller, name)  # `fit` and the others made it.
        for _ in range(count):
            function(given)

    return run


def runs_of(distiller, call, images, labels, size, epochs):
    """Returns name -> function that does the work of a call: steps, and calls on forms of data."""
    import keras

    batches = len(images) // size
    options = {"verbose": 0}
    if call == "fit":
        options |= {"epochs": epochs, "shuffle": False}

    def called(owner, arguments):
        method = getattr(owner, call)
        arguments = arguments[:1] if call == "predict" else arguments
        own = {"batch_size": size} if hasattr(arguments[0], "shape") else {}
        return functools.partial(method, *arguments, **own, **options)

    forms = forms_of(images, labels, size)
    runs = {name: called(distiller, arguments) for name, arguments in forms.items()}
    tuned = getattr(keras.Model, call).__get__(distiller)
    runs["Keras, arrays"] = functools.partial(
        tuned, *runs["arrays"].args, **runs["arrays"].keywords
    )
    count = batches * (epochs if call == "fit" else 1)
    runs["steps"] = steps_of(distiller, call, (images[:size], labels[:size]), count)
    for run in runs.values():  # What is traced is traced now.
        run()
    return runs


def measure(rounds, epochs, batches, size, smoke):
    """Returns call -> the seconds of each run by name, and the median ratios to its steps."""
    import numpy as np

    rng, distiller = np.random.default_rng(0), make_distiller(smoke)
    shape = distiller.student.input_shape[1:]
    images = rng.random((batches * size, *shape), "float32")
    labels = rng.integers(0, 10, len(images))
    found = {}
    for call in CALLS:
        if call == "evaluate":  # As many steps in one pass as `fit` took in its epochs.
            images, labels = np.tile(images, (epochs, 1, 1, 1)), np.tile(labels, epochs)
        runs = runs_of(distiller, call, images, labels, size, epochs)
        seconds = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        ratios = {
            name: statistics.median(a / b for a, b in zip(times, seconds["steps"], strict=True))
            for name, times in seconds.items()
        }
        found[call] = {"seconds": seconds, "ratios": ratios}
    return found


def main(arguments=None):
    """Prints a line for each call, and writes all as JSON if asked to."""
    parser = command_line.parser(__doc__, "tiny networks, one round", rounds=5, epochs=5, batches=8)
    given = parser.parse_args(arguments)

    from kdzoo.evaluation.latency import machine_name

    sizes = (1, 2, 2, 8) if given.smoke else (given.rounds, given.epochs, given.batches, BATCH)
    found = measure(*sizes, given.smoke)
    for call, figures in found.items():
        seconds = statistics.median(figures["seconds"]["steps"])
        ratios = (f"{name} {ratio:.3f}" for name, ratio in figures["ratios"].items())
        print(f"{call}, {seconds:.2f} s of steps: {', '.join(ratios)} (target {LIMIT})")
    content = {"machine": machine_name(), "limit": LIMIT, "calls": found}
    command_line.write(given.json, content)
    return content


if __name__ == "__main__":
    main()
