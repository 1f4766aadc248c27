"""Clustering: each kernel has sixteen different weights, so that gzip makes the file small.

python examples/07_clustering.py            Fashion-MNIST, tens of minutes
python examples/07_clustering.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys

import kdzoo
import keras
from kdzoo.compression import CentroidInitialization, cluster_weights, strip_clustering

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def fit(model: keras.Model, rate: float, epochs: int = EPOCHS) -> None:
    """Trains a model on shuffled and shifted images."""
    model.compile(keras.optimizers.AdamW(rate), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True, augmentation="default")
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)


def write(model: keras.Model, path: str) -> None:
    """Exports a model to a verified file, and prints how large it is."""
    report = kdzoo.export.to_litert(model, path, representative_data=data.validation.arrays()[0])
    gzipped = kdzoo.evaluation.gzipped_bytes(report.path)
    print(f"{path}: {report.bytes:,} bytes, {gzipped:,} after gzip")


model = kdzoo.create("separable_050", data.classes, data.input_shape)
kdzoo.accelerate(model)
fit(model, 2e-3)
print(f"Before: {kdzoo.evaluation.accuracy(model, *data.test.arrays()):.1%}")
write(model, "plain.tflite")

clustered = cluster_weights(model, 16, CentroidInitialization.KMEANS_PLUS_PLUS)
fit(clustered, 1e-4, max(EPOCHS // 3, 1))
model = strip_clustering(clustered)
write(model, "clustered.tflite")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(model, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
