"""Quantization-aware training inside a Distiller, to an int8 file that needs no calibration.

python examples/06_quantization.py            Fashion-MNIST, tens of minutes
python examples/06_quantization.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys

import kdzoo
import keras
from kdzoo.compression import quantize_model

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def fit(model: keras.Model, rate: float, epochs: int = EPOCHS) -> None:
    """Trains a model, or a Distiller, on shuffled and shifted images."""
    model.compile(keras.optimizers.AdamW(rate), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True, augmentation="default")
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)


def distiller_of(student: keras.Model) -> kdzoo.Distiller:
    """Returns a Distiller in which the teacher trains this student."""
    return kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1)


teacher = kdzoo.create("wide_resnet_16_1", data.classes, data.input_shape)
kdzoo.accelerate(teacher)
fit(teacher, 2e-3)
student = kdzoo.create("separable_025", data.classes, data.input_shape)
fit(distiller_of(student), 2e-3)
print(f"In float32: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")

quantized = quantize_model(student)
fit(distiller_of(quantized), 3e-4, max(EPOCHS // 3, 1))

report = kdzoo.export.to_litert(
    quantized,
    "student.tflite",
    "int8",
    labels=list(data.class_names),
    min_agreement=0.0 if SMOKE else 0.9,  # It is hardly trained, so its classes are nearly random.
)
file = kdzoo.export.LiteRTModel(report.path)
print(f"{report.bytes:,} bytes; takes {report.io} images, computes in {report.quantize}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(file, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
