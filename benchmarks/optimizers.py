"""What the optimizer is worth to the zoo's small networks: accuracy on held-out images.

    python benchmarks/optimizers.py [NETWORK/DATA ...] [--epochs 10] [--json PATH]

Every network is trained alone, with the settings of the zoo's recipe except optimizer and epochs,
on nine tenths of the training images, and judged by the rest. With `--json`, what that file has of
the same epochs and optimizers is not trained again.
"""

import json
import tempfile

import command_line

WAYS = {
    "AdamW, weight decay 0.02": {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.02},
    "AdamW, weight decay 0.2": {"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.2},
    "SGD, weight decay 0.005": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.005},
    "AdamW at 0.002": {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.2},
}
NETWORKS = ("separable_025/cifar10", "separable_025/fashion_mnist", "lenet_5/mnist")
NETWORKS += ("fitnet_1/cifar10",)
ONLY = {"AdamW at 0.002": "fitnet_1/cifar10"}  # What its recipe has.


def train(network, way, epochs, smoke=False):
    """Trains a network in a way; returns its accuracies, None if the loss was not finite."""
    import dataclasses

    from kdzoo.experiments import Experiment
    from kdzoo.recipes import RECIPES

    architecture, _, data_set = network.partition("/")
    stage = RECIPES[f"zoo_{data_set}"].stage(f"{architecture}, alone")
    training = dataclasses.replace(stage.training, **WAYS[way], epochs=epochs)
    stage = dataclasses.replace(stage, training=training, seeds=None)
    # Twice as large, digits suit LeNet 5.
    data = {"data": "digits", "enlarge": 2} if smoke else {"data": data_set}
    experiment = Experiment("optimizers", **data, stages=(stage,), seeds=(0,))
    found = {"network": network, "optimizer": way}
    with tempfile.TemporaryDirectory() as room:
        try:
            [row] = experiment.run(room, verbose=0)["rows"]
        except ValueError as error:
            if "a finite loss" not in str(error):
                raise
            return {**found, "validation_accuracy": None, "train_accuracy": None}
    return {
        **found,
        "validation_accuracy": row["validation_accuracy"],
        "train_accuracy": row["history"]["accuracy"][-1],
    }


def _rows_of_before(before, results):
    """The rows of earlier results whose epochs and settings are those of now."""
    if before["epochs"] != results["epochs"]:
        return []
    ways = {way for way in WAYS if before["settings"].get(way) == WAYS[way]}
    return [row for row in before["rows"] if row["optimizer"] in ways]


def main(arguments=None):
    """Prints a line for each network and optimizer, and writes all as JSON if asked to."""
    parser = command_line.parser(__doc__, "one epoch of handwritten digits", epochs=10)
    parser.add_argument("networks", nargs="*", metavar="NETWORK/DATA", help="all by default")
    given = parser.parse_args(arguments)
    results = {"epochs": 1 if given.smoke else given.epochs, "settings": WAYS, "rows": []}
    if given.json and given.json.exists():
        results["rows"] = _rows_of_before(json.loads(given.json.read_text()), results)
    rows = results["rows"]
    for network in given.networks or NETWORKS:
        for way in WAYS:
            if network != ONLY.get(way, network):
                continue
            if any((row["network"], row["optimizer"]) == (network, way) for row in rows):
                continue
            rows.append(row := train(network, way, results["epochs"], given.smoke))
            found = [row[f"{part}_accuracy"] for part in ("validation", "train")]
            said = "diverged"
            if None not in found:
                said = "{:.2%} held out, {:.2%} train".format(*found)
            print(f"{network}, {way}: {said}", flush=True)
            command_line.write(given.json, results)
    return results


if __name__ == "__main__":
    main()
