"""What int8 does to a network of exits: its accuracy and mean cost, by thresholds fitted in Keras.

    python benchmarks/exits_in_int8.py [--json PATH] [--smoke]

`msdnet_small/cifar10` of the zoo. Thresholds are fitted to the validation images of CIFAR-10 for
half of the cost of the last exit and for three quarters; the test images run through Keras and
through the LiteRT files in float32 and int8, which stop by them. Its figures are of no machine.
"""

import pathlib
import tempfile

import command_line

BUDGETS = (0.5, 0.75)


def network(smoke):
    """The network and its data: for a smoke run one of fresh weights, and digits."""
    import keras

    import kdzoo

    if not smoke:
        return kdzoo.load("msdnet_small/cifar10"), kdzoo.data.load("cifar10")
    keras.utils.set_random_seed(0)
    data = kdzoo.data.load("digits")
    model = kdzoo.create("plain_cnn_2", data.classes, data.input_shape)
    return kdzoo.dynamic.add_exits(model, ["stage1"]), data


def measure(model, data):
    """Fraction of the cost -> form -> accuracy, mean cost, and how many stop where Keras does."""
    import numpy as np

    from kdzoo.dynamic import BudgetedClassifier
    from kdzoo.export import DynamicRunner, to_litert

    (x, y), found = data.test.arrays(), {}
    classifier = BudgetedClassifier(model)
    costs = np.asarray(classifier.costs)
    for fraction in BUDGETS:
        classifier.fit(*data.validation.arrays(), budget=fraction * costs[-1])
        predictions = {"Keras": classifier.predict(x)}
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "exits.tflite")
            for quantize in (None, "int8"):
                to_litert(classifier, path, quantize, data.train.arrays()[0][:200], min_agreement=0)
                predictions[quantize or "float32"] = DynamicRunner(path).predict(x)
        found[str(fraction)] = {
            form: {
                "accuracy": float((own.classes == y).mean()),
                "mean_macs": float(costs[own.exits - 1].mean()),
                "same_exit": float((own.exits == predictions["Keras"].exits).mean()),
            }
            for form, own in predictions.items()
        }
    return {"macs": int(costs[-1]), "budgets": found}


def main(arguments=None):
    """Prints a line for each budget and form, and writes all as JSON if asked to."""
    parser = command_line.parser(__doc__, "fresh weights, digits")
    given = parser.parse_args(arguments)
    results = measure(*network(given.smoke))
    for fraction, forms in results["budgets"].items():
        for form, own in forms.items():
            cost = own["mean_macs"] / results["macs"]
            print(f"budget {fraction}, {form}: {own['accuracy']:.2%} at {cost:.3f}", flush=True)
    command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
