"""A plain convolutional network whose convolutions become depthwise-separable, taught by it.

python examples/24_separable_convolutions.py            Fashion-MNIST, minutes
python examples/24_separable_convolutions.py --smoke    scikit-learn's digits, half a minute
"""

import sys

import kdzoo
import keras
from kdzoo.compression import to_separable

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
validation, test = data.validation.batches(500), data.test.arrays()
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def train(model: keras.Model) -> None:
    """Trains a network or a `Distiller` for some epochs."""
    model.compile(keras.optimizers.Adam(1e-3), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True)
    model.fit(batches, validation_data=validation, epochs=EPOCHS, shuffle=False, verbose=2)


plain = kdzoo.create("plain_cnn_2", data.classes, data.input_shape)
kdzoo.accelerate(plain)
train(plain)
# Each convolution as the nearest separable one; `layers=` takes some of them.
separable, report = to_separable(plain)
print(report)
print(f"Replaced, not trained: {kdzoo.evaluation.accuracy(separable, *test):.1%}")
train(kdzoo.Distiller(plain, separable, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1))

before, after = map(kdzoo.evaluation.count_macs, (plain, separable))
print(f"The plain network: {kdzoo.evaluation.accuracy(plain, *test):.1%}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(separable, *test):.1%}")
print(f"Multiply-accumulates: {after:,} of {before:,}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
