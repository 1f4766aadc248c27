"""What it costs that Keras 3 trains what TF-MOT wrapped: a step, over that of tf_keras's own fit.

    python benchmarks/compression_cost.py [--rounds 20] [--json PATH] [--smoke]

The same TF-MOT model of separable_050, batches of 128 images, SGD with momentum: once wrapped by
kdzoo and trained by the `train_function` of Keras 3's `fit`, once by that of tf_keras. They take
turns, one step at a time, so that a machine that drifts drifts for both. Last, the inference of a
stripped model over that of a plain one. A figure is the median of the ratios within a round. Run
it on an idle machine.
"""

import statistics
import time
import warnings

import command_line

LIMIT = 1.05
CLUSTERS = 16


def wrapped_by_both():
    """Returns name -> (kdzoo's function of a Keras 3 model, TF-MOT's of a tf_keras model)."""
    from kdzoo import compression
    from kdzoo.compression.tfmot.library import load_tfmot

    tfmot = load_tfmot()
    every_step = {"target_sparsity": 0.5, "begin_step": 0, "frequency": 100}

    def their_pruning(model):
        import tf_keras

        from kdzoo.compression.tfmot.library import pruning_registry

        prunable, prune = pruning_registry(), tfmot.sparsity.keras.prune_low_magnitude
        schedule = tfmot.sparsity.keras.ConstantSparsity(**every_step)

        def wrapped(layer):
            return prune(layer, schedule) if prunable(layer) else layer

        return tf_keras.models.clone_model(model, clone_function=wrapped)

    def our_pruning(model):
        return compression.prune_low_magnitude(model, compression.ConstantSparsity(**every_step))

    return {
        "prune_low_magnitude": (our_pruning, their_pruning),
        "cluster_weights": (
            lambda model: compression.cluster_weights(model, CLUSTERS, "LINEAR"),
            lambda model: tfmot.clustering.keras.cluster_weights(
                model, CLUSTERS, tfmot.clustering.keras.CentroidInitialization.LINEAR
            ),
        ),
        "quantize_model": (compression.quantize_model, tfmot.quantization.keras.quantize_model),
    }


def steps(options):
    """Returns name -> function that takes one step or one prediction, compiled and warm."""
    import keras
    import tensorflow as tf
    import tf_keras

    import kdzoo
    from kdzoo.compression.tfmot.tf_keras_clone import build_clone

    batch = 8 if options.smoke else 128
    images, labels = tf.random.uniform((batch, 32, 32, 3), seed=1), tf.range(batch) % 10
    made = {}
    plain = kdzoo.create("separable_025" if options.smoke else "separable_050")
    for technique, pair in wrapped_by_both().items():
        models = pair[0](plain), pair[1](build_clone(plain).model)
        for name, model, api in zip(("kdzoo", "tf_keras"), models, (keras, tf_keras), strict=True):
            loss = api.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(api.optimizers.SGD(0.01, momentum=0.9), loss)
            for layer in getattr(model, "wrapped", model).layers:
                if hasattr(layer, "pruning_step"):
                    layer.pruning_step.assign(0)  # As the callback does when training begins.
            train = model.make_train_function() or model.train_function
            batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
            made[f"{technique}: {name}"] = lambda t=train, b=batches: float(t(b)["loss"])
    stripped = kdzoo.compression.strip_pruning(kdzoo.compression.prune_low_magnitude(plain))
    for name, model in (("kdzoo", stripped), ("plain", plain)):
        predict = tf.function(lambda x, m=model: m(x, training=False))
        made[f"inference of the stripped: {name}"] = lambda p=predict: p(images).numpy()
    for step in made.values():
        step(), step()
    return made


def measure(made, rounds):
    """Returns name -> seconds by round; the two of a pair take turns in coming first."""
    seconds, names = {name: [] for name in made}, list(made)
    for number in range(rounds):
        for start in range(0, len(names), 2):
            pair = names[start : start + 2]
            for name in pair if number % 2 else pair[::-1]:
                before = time.perf_counter()
                made[name]()
                seconds[name].append(time.perf_counter() - before)
    return seconds


def main(arguments=None):
    parser = command_line.parser(__doc__, "a tiny network, one round", rounds=20)
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        seconds = measure(steps(options), 1 if options.smoke else options.rounds)
    names, rows = list(seconds), []
    for ours, theirs in zip(names[::2], names[1::2], strict=True):
        ratios = [a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
        what, ratio = ours.partition(":")[0], statistics.median(ratios)
        rows.append({"what": what, "seconds": statistics.median(seconds[ours]), "ratio": ratio})
        verdict = "met" if ratio <= LIMIT else "missed"
        print(f"{what:28} {1000 * rows[-1]['seconds']:8.1f} ms  x {ratio:.3f}  {verdict}")
    command_line.write(options.json, {"limit": LIMIT, "rows": rows})


if __name__ == "__main__":
    main()
