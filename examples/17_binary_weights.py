"""Binary weights: a student that learns with weights of one bit, and its file.

python examples/17_binary_weights.py            Fashion-MNIST, minutes
python examples/17_binary_weights.py --smoke    scikit-learn's digits, half a minute
"""

import pathlib
import sys

import kdzoo
import keras
from kdzoo.compression import binarize, strip_binarization

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


teacher = kdzoo.create("mlp_2x128", data.classes, data.input_shape)
train(teacher)
# Sums of signs want a normalization after each layer.
student = kdzoo.models.mlp((256, 256), data.classes, data.input_shape, batch_norm=True)
binary, report = binarize(student)
print(f"{sum(report.layers.values()):,} weights of one bit, {report.real:,} others")
train(kdzoo.Distiller(teacher, binary, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1))

plain = strip_binarization(binary)  # Plain Keras layers whose kernels are 1 and -1.
directory = pathlib.Path("runs/example-binary-smoke" if SMOKE else "runs/example-binary")
kdzoo.save_pretrained(plain, directory, dtype="binary")
_, size = kdzoo.zoo.save_weights(plain, directory / "packed.safetensors", dtype="binary")
_, whole = kdzoo.zoo.save_weights(plain, directory / "float32.safetensors")
print(f"{size:,} bytes instead of {whole:,}")
again = kdzoo.load_pretrained(directory)
print(f"The teacher: {kdzoo.evaluation.accuracy(teacher, *test):.1%}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(again, *test):.1%}, of one bit a weight")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
