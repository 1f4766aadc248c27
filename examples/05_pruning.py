"""Pruning inside a Distiller: nine in ten weights of the pruned layers become zero.

python examples/05_pruning.py            Fashion-MNIST, tens of minutes
python examples/05_pruning.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys
from collections.abc import Sequence

import kdzoo
import keras
from kdzoo.compression import (
    CompressionMonitor,
    UpdatePruningStep,
    prune_low_magnitude,
    schedule_over_epochs,
    strip_pruning,
)

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def fit(
    model: keras.Model, rate: float, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> None:
    """Trains a model, or a Distiller, on shuffled and shifted images."""
    model.compile(keras.optimizers.AdamW(rate), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True, augmentation="default")
    model.fit(batches, epochs=EPOCHS, callbacks=callbacks, shuffle=False, verbose=2)


def distiller_of(student: keras.Model) -> kdzoo.Distiller:
    """Returns a Distiller in which the teacher trains this student."""
    return kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1)


teacher = kdzoo.create("wide_resnet_16_1", data.classes, data.input_shape)
kdzoo.accelerate(teacher)
fit(teacher, 2e-3)
student = kdzoo.create("separable_025", data.classes, data.input_shape)
fit(distiller_of(student), 2e-3)
print(f"Before: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")

# From no zeros to 90 % of them over the first two thirds of the training.
schedule = schedule_over_epochs(0.9, EPOCHS, len(data.train), batch_size=128)
pruned = prune_low_magnitude(student, schedule)
fit(distiller_of(pruned), 1e-3, [UpdatePruningStep(), CompressionMonitor()])
student = strip_pruning(pruned)

# Zeros take no space: a sparse file leaves them out, and gzip shortens them.
for sparse in (False, True):
    report = kdzoo.export.to_litert(student, "pruned.tflite", sparse=sparse)
    gzipped = kdzoo.evaluation.gzipped_bytes(report.path)
    sizes = f"{report.bytes:,} bytes, {gzipped:,} after gzip"
    print(f"sparse={sparse}: {sizes}, {report.sparsity:.1%} of the weights zero")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
