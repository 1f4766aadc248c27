"""Low rank: a dense network in a quarter of its parameters, trained on by what it was before.

python examples/16_low_rank.py            Fashion-MNIST, minutes
python examples/16_low_rank.py --smoke    scikit-learn's digits, half a minute
"""

import sys

import kdzoo
import keras
from kdzoo.compression import factorize, merge_factors

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 8

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
validation, test = data.validation.batches(500), data.test.arrays()
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def train(model: keras.Model) -> None:
    """Trains a network or a `Distiller` for some epochs."""
    model.compile(keras.optimizers.Adam(1e-3), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True)
    model.fit(batches, validation_data=validation, epochs=EPOCHS, shuffle=False, verbose=2)


whole = kdzoo.create("lenet_300_100", data.classes, data.input_shape)
train(whole)
# Of a quarter of the parameters, every kernel keeps the same fraction of its sum of squares.
smaller, report = factorize(whole, ratio=0.25)
print(report)
print(f"Cut, not trained: {kdzoo.evaluation.accuracy(smaller, *test):.1%}")
train(kdzoo.Distiller(whole, smaller, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1))
print(f"The whole network: {kdzoo.evaluation.accuracy(whole, *test):.1%}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(smaller, *test):.1%}, of a quarter")

# Or as small as leaves the accuracy that it has on data that it was not trained on.
wanted = 0.99 * kdzoo.evaluation.accuracy(whole, *data.validation.arrays())
_, report = factorize(whole, accuracy=wanted, data=data.validation.arrays())
for trial in report.tried:
    print(f"{trial.parameters:,} parameters: {trial.accuracy:.1%}")

# The chains multiplied out again: as many layers as before.
merged = merge_factors(smaller)
print(f"Merged: {kdzoo.evaluation.accuracy(merged, *test):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
