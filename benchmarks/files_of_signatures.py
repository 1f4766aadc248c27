"""What several exits or widths cost in one LiteRT file, beside the files of single networks.

    python benchmarks/files_of_signatures.py [NAME ...] [--runs 300] [--json PATH] [--smoke]

The networks have fresh weights, with means and variances of their normalizations by chance, so that
no two constants are alike. Of exits, the file is compared with that of the last exit alone, and
with one of all exits as outputs of one signature; of widths, with a file for each. Milliseconds are
medians of runs on one thread.
"""

import pathlib
import tempfile

import command_line


def networks():
    """Name -> function to a network of several exits, or of several widths."""
    import keras

    import kdzoo
    from kdzoo.dynamic import Slimmable, add_exits

    def resnet(heads):
        model = kdzoo.create("resnet_20", 10, (32, 32, 3))
        return moved(add_exits(model, ["stage1", "stage2"], heads))

    def mobilenet():
        options = {"alpha": 0.35, "weights": None, "classes": 10, "classifier_activation": None}
        model = keras.applications.MobileNetV2((96, 96, 3), **options)
        return moved(add_exits(model, ["block_5_add", "block_12_add"]))

    def separable():
        model = kdzoo.create("separable_050", 10, (32, 32, 3))
        return Slimmable(moved(model), (0.25, 0.5, 0.75, 1.0))

    return {
        'ResNet-20, `"pooled"` exits': lambda: resnet("pooled"),
        'ResNet-20, `"convolved"` exits': lambda: resnet("convolved"),
        'MobileNetV2 of keras.applications (0.35, 96 pixels), `"pooled"` exits': mobilenet,
        "B-LeNet, its own exit": lambda: moved(kdzoo.models.branchy_lenet()),
        "MSDNet, five exits of its own": lambda: moved(kdzoo.models.msdnet()),
        "`separable_050` at four widths": separable,
    }


def moved(model):
    """A model whose means, variances and biases are numbers by chance."""
    import numpy as np

    random = np.random.default_rng(0)
    low = {"bias": -0.1, "beta": -0.1, "moving_mean": -0.1, "moving_variance": 0.5}
    for weight in model.weights:
        if weight.name in low:
            weight.assign(random.uniform(low[weight.name], 1.5, weight.shape))
    return model


def measure(model, quantize, runs):
    """Bytes and milliseconds of one network in one file, and of single networks."""
    import numpy as np

    from kdzoo.dynamic import BudgetedClassifier, Slimmable, exit_model, extract
    from kdzoo.export import to_litert

    images = np.random.default_rng(0).random((16, *model.input_shape[1:]), "float32")

    def written(what, name, timed=()):
        path = pathlib.Path(directory) / name
        options = {"samples": 8, "min_agreement": 0, "tolerance": 1e-3}
        size = to_litert(what, path, quantize, images, **options).bytes
        return {"bytes": size, "ms": [milliseconds(path, signature, runs) for signature in timed]}

    with tempfile.TemporaryDirectory() as directory:
        if isinstance(model, Slimmable):
            names = sorted(model.alternatives())
            alone = [
                written(extract(model, width), f"{width}.tflite", [None]) for width in model.widths
            ]
            return {"file": written(model, "all.tflite", names), "alone": alone}
        names = [f"exit{number}" for number in range(1, len(model.outputs) + 1)]
        return {
            "file": written(BudgetedClassifier(model), "all.tflite", names),
            "alone": [written(exit_model(model, -1), "last.tflite", [None])],
            "one_signature": written(model, "one.tflite")["bytes"],
        }


def milliseconds(path, signature, runs):
    """The median time of a run of a file."""
    from kdzoo.evaluation import latency

    return latency(path, runs=runs, signature=signature).median_ms


def main(arguments=None):
    """Prints a line for each network, and writes all as JSON if asked to."""
    import keras

    from kdzoo.evaluation.latency import machine_name

    parser = command_line.parser(__doc__, "one network, one run", runs=300)
    parser.add_argument("names", nargs="*", help="networks; all by default")
    given = parser.parse_args(arguments)
    made = networks()
    names = given.names or (
        [next(name for name in made if "B-LeNet" in name)] if given.smoke else made
    )
    results = {"machine": machine_name(), "models": {}}
    for name in names:
        keras.utils.set_random_seed(0)
        model = made[name]()
        results["models"][name] = found = {}
        for quantize in (None, "int8"):
            form = quantize or "float32"
            found[form] = one = measure(model, quantize, 1 if given.smoke else given.runs)
            ratio = one["file"]["bytes"] / one["alone"][-1]["bytes"]
            print(f"{name}, {form}: {ratio:.3f} of the largest alone", flush=True)
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
