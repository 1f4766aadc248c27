"""Early exits: a network that stops where it is sure, to a mean budget, in one file for a phone.

python examples/18_early_exits.py            Fashion-MNIST, tens of minutes
python examples/18_early_exits.py --smoke    scikit-learn's digits, half a minute
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 2 if SMOKE else 20

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
validation, test = data.validation.arrays(), data.test.arrays()
keras.utils.set_random_seed(0)

model = kdzoo.create("plain_cnn_2" if SMOKE else "resnet_20", data.classes, data.input_shape)
at = ["stage1"] if SMOKE else ["stage1", "stage2"]
exits = kdzoo.dynamic.add_exits(model, at, heads="convolved")
print("Multiply-accumulates up to each exit:", kdzoo.dynamic.exit_macs(exits))

# All exits at once: on labels, and on the soft targets of the last one.
learner = kdzoo.dynamic.ExitLearner(exits)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
learner.compile(keras.optimizers.Adam(1e-3), cross_entropy, metrics=["accuracy"])
learner.fit(data.train.batches(128, shuffle=True), epochs=EPOCHS, shuffle=False, verbose=2)

# How sure an exit must be, so that a sample costs half of the whole network in the mean.
classifier = kdzoo.dynamic.BudgetedClassifier(exits)
classifier.fit(*validation, budget=0.5 * classifier.costs[-1])
report = classifier.evaluate(*test)
print(f"Each exit alone: {', '.join(f'{right:.1%}' for right in report.exit_accuracies)}")
print(f"Samples that stop at each: {', '.join(f'{part:.0%}' for part in report.fractions)}")
print(f"Test accuracy: {report.accuracy:.1%}, at {report.mean_cost / classifier.costs[-1]:.0%}")

kdzoo.export.to_litert(classifier, "exits.tflite", representative_data=validation[0])
runner = kdzoo.export.DynamicRunner("exits.tflite")
found = runner.predict(test[0][:200])
print(f"In LiteRT: {found.milliseconds.mean():.2f} ms a sample, exits {found.exits[:10]} ...")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
