"""Kernels in 4 bits, and a layer that no 8 bits can compute, in one file for the phone.

python examples/25_four_bits.py            Fashion-MNIST, minutes
python examples/25_four_bits.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys

import kdzoo
import keras
from kdzoo.compression import quantize_model

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
test = data.test.arrays()
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def train(model: keras.Model, rate: float) -> None:
    """Trains a network or a `Distiller` for some epochs."""
    model.compile(keras.optimizers.AdamW(rate), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(128, shuffle=True)
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=2)


def convnext_like() -> keras.Model:
    """Returns a network of your own: its layer normalization has no integer form."""
    inputs = keras.Input(data.input_shape)
    x = keras.layers.Conv2D(32, 4, strides=2, padding="same")(inputs)
    for _ in range(2):
        y = keras.layers.DepthwiseConv2D(3, padding="same")(x)
        y = keras.layers.LayerNormalization()(y)
        y = keras.layers.Conv2D(64, 1, activation="gelu")(y)
        x = keras.layers.Add()([x, keras.layers.Conv2D(32, 1)(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(data.classes)(x))


model = convnext_like()
train(model, 2e-3)
print(f"In float32: {kdzoo.evaluation.accuracy(model, *test):.1%}")

# Without allow_float the first layer that has no integer form is an error.
quantized = quantize_model(model, weight_bits=4, allow_float=True)
print("In float32 still:", ", ".join(quantized.layers_in_float))
soft_targets = kdzoo.losses.SoftTargets(4.0)
train(kdzoo.Distiller(model, quantized, soft_targets, student_loss_weight=0.1), 5e-4)

report = kdzoo.export.to_litert(
    quantized,
    "four_bits.tflite",
    "int8",
    min_agreement=0.0 if SMOKE else 0.9,  # It is hardly trained, so its classes are nearly random.
)
file = kdzoo.export.LiteRTModel(report.path)
print(f"{report.bytes:,} bytes")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(file, *test):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
