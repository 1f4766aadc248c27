"""Fewer filters: a network of half the multiply-accumulates, taught by the network that it was.

python examples/15_filter_pruning.py            Fashion-MNIST, tens of minutes
python examples/15_filter_pruning.py --smoke    scikit-learn's digits, a minute: does it run?
"""

import sys
import tempfile

import kdzoo
import keras
from kdzoo.evaluation import accuracy, count_macs, latency

SMOKE = "--smoke" in sys.argv
EPOCHS, STEPS = (1, 1) if SMOKE else (4, 3)

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)

model = kdzoo.create("separable_025", data.classes, data.input_shape)
kdzoo.accelerate(model)
model.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
batches = data.train.batches(128, shuffle=True, augmentation="default")
model.fit(batches, epochs=EPOCHS * STEPS, shuffle=False, verbose=2)

# What goes together, and what each group would save.
_, report = kdzoo.compression.prune_filters(model, target_macs=0.5, dry_run=True)
print(report)

with tempfile.TemporaryDirectory() as directory:
    smaller, _ = kdzoo.schemes.filter_pruning(
        model,
        lambda epoch: data.train.batches(
            128, shuffle=True, initial_epoch=epoch, augmentation="default"
        ),
        f"{directory}/run",  # Killed, it goes on from there.
        target_macs=0.5,
        steps=STEPS,
        epochs=EPOCHS,
        loss=cross_entropy,
        optimizer=keras.optimizers.AdamW(1e-3),
        verbose=2,
    )
    for name, net in (("before", model), ("after", smaller)):
        file = kdzoo.export.to_litert(net, f"{directory}/{name}.tflite")
        print(
            f"{name}: {count_macs(net):,} MACs, {net.count_params():,} weights, "
            f"{latency(file).median_ms:.3g} ms, {accuracy(net, *data.test.arrays()):.1%}"
        )

print(f"Test accuracy: {accuracy(smaller, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs.")
