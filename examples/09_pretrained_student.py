"""A pretrained student for classes of your own: its new head is trained, then all, then exported.

python examples/09_pretrained_student.py            CIFAR-10's student learns CIFAR-100
python examples/09_pretrained_student.py --smoke    scikit-learn's digits, a minute: does it run?
"""

import sys

import kdzoo
import keras
import numpy as np

SMOKE = "--smoke" in sys.argv
EPOCHS = 3 if SMOKE else 5
NAME = "separable_025/cifar10"

# 8 x 8 pixels become 32 x 32.
data = kdzoo.data.load("cifar100") if not SMOKE else kdzoo.data.load("digits").enlarged(4)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def colour(images: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the images with three channels, which the student was trained on."""
    return keras.ops.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def fit(model: keras.Model, rate: float) -> None:
    """Trains the trainable layers; the learning rate falls to zero along a cosine."""
    steps = EPOCHS * -(-len(data.train) // 64)
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.AdamW(falling), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(64, shuffle=True, augmentation="default")
    batches = batches.map(lambda images, labels: (colour(images), labels))
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=2)


model = kdzoo.load(NAME, classes=data.classes)  # Its features are trained, its head is not.
kdzoo.accelerate(model)
for layer in model.layers:
    layer.trainable = layer.name == "logits"
fit(model, 1e-2)
for layer in model.layers:
    layer.trainable = True
fit(model, 2e-3)

test_images, test_labels = data.test.arrays()
test_images = keras.ops.convert_to_numpy(colour(test_images))
accuracy = kdzoo.evaluation.accuracy(model, test_images, test_labels)
print(f"Test accuracy: {accuracy:.1%}")

samples = np.asarray(colour(data.train.arrays()[0][:256]))
report = kdzoo.export.to_litert(
    model, "my_student.tflite", "int8", samples, min_agreement=0.5 if SMOKE else 0.9
)
file = kdzoo.export.LiteRTModel(report.path)
accuracy = kdzoo.evaluation.accuracy(file, test_images, test_labels)
print(f"The int8 file: {report.bytes:,} bytes, {accuracy:.1%}")

# An int8 file that ships with kdzoo, trained with its roundings; `kdzoo card` says how good it is.
path = kdzoo.zoo.tflite(f"{NAME}/int8")
print(f"{path.name}: {kdzoo.evaluation.latency(path)}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies far below the zoo's.")
