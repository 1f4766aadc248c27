"""A slimmable network: one set of weights that runs at four widths, and who chooses one.

python examples/19_slimmable.py            Fashion-MNIST, tens of minutes
python examples/19_slimmable.py --smoke    scikit-learn's digits, a minute
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 2 if SMOKE else 20

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
keras.utils.set_random_seed(0)

model = kdzoo.create("plain_cnn_2" if SMOKE else "separable_050", data.classes, data.input_shape)
widths = (0.5, 1.0) if SMOKE else (0.25, 0.5, 0.75, 1.0)
slimmable = kdzoo.dynamic.Slimmable(model, widths)

# Every width in every step, on labels.
learner = kdzoo.dynamic.WidthLearner(slimmable)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
learner.compile(keras.optimizers.Adam(1e-3), cross_entropy, metrics=["accuracy"])
learner.fit(data.train.batches(128, shuffle=True), epochs=EPOCHS, shuffle=False, verbose=2)

for width in widths:
    small = kdzoo.dynamic.extract(slimmable, width)
    macs = kdzoo.evaluation.count_macs(small)
    right = kdzoo.evaluation.accuracy(small, *data.test.arrays())
    print(f"Width {width:g}: {macs:,} multiply-accumulates. Test accuracy: {right:.1%}")

# The device has less and less time for a prediction as its battery runs down.
times = [1.0 + 7.0 * width for width in widths]  # Milliseconds; measure your own.
controller = kdzoo.dynamic.Controller(times, kdzoo.dynamic.battery_policy(times[0], 10.0))
for battery in (1.0, 0.8, 0.6, 0.4, 0.2):
    levels = [controller.choose(battery=battery) for _ in range(9)]
    print(f"Battery at {battery:.0%}: width {widths[levels[-1]]:g}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
