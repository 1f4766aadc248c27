"""MobileNetV2 from keras.applications, fine-tuned, pruned, quantized and exported for a phone.

python examples/08_mobilenet_v2.py            CIFAR-10, hours on a CPU; downloads the weights
python examples/08_mobilenet_v2.py --smoke    scikit-learn's digits, minutes, no download
"""

import sys
from collections.abc import Sequence

import kdzoo
import keras
from kdzoo.compression import (
    Default8BitPrunePreserveQuantizeScheme,
    UpdatePruningStep,
    prune_low_magnitude,
    quantize_annotate_model,
    quantize_apply,
    schedule_over_epochs,
    strip_pruning,
)

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 3
BATCH = 64

# Enlarged from 8 x 8 pixels to 32 x 32, or from CIFAR-10's 32 x 32 to 96 x 96.
data = kdzoo.data.load("digits" if SMOKE else "cifar10").enlarged(4 if SMOKE else 3)
side = data.input_shape[0]
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)


def prepared(images: keras.KerasTensor) -> keras.KerasTensor:
    """Turns images in [0, 1] into three channels in [-1, 1], which MobileNetV2 was trained on."""
    if images.shape[-1] == 1:
        images = keras.ops.repeat(images, 3, axis=-1)
    return 2 * images - 1


def fit(
    model: keras.Model, rate: float, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> None:
    """Trains a model on shuffled images."""
    model.compile(keras.optimizers.Adam(rate), cross_entropy, metrics=["accuracy"])
    batches = data.train.batches(BATCH, shuffle=True)
    batches = batches.map(lambda images, labels: (prepared(images), labels))
    model.fit(batches, epochs=EPOCHS, callbacks=callbacks, shuffle=False, verbose=2)


backbone = keras.applications.MobileNetV2(
    (side, side, 3),
    alpha=0.35,
    include_top=False,
    pooling="avg",
    weights=None if SMOKE else "imagenet",
)
logits = keras.layers.Dense(data.classes, name="logits")(backbone.output)
model = keras.Model(backbone.input, logits)
fit(model, 3e-4)

# Half of the weights become zero; then 8 bits, in which the zeros stay zero.
schedule = schedule_over_epochs(0.5, EPOCHS, len(data.train), BATCH)
pruned = prune_low_magnitude(model, schedule)
fit(pruned, 1e-4, [UpdatePruningStep()])
annotated = quantize_annotate_model(strip_pruning(pruned))
quantized = quantize_apply(annotated, Default8BitPrunePreserveQuantizeScheme())
fit(quantized, 3e-5)

test_images, test_labels = data.test.arrays()
test_images = keras.ops.convert_to_numpy(prepared(test_images))
report = kdzoo.export.to_litert(
    quantized, "mobilenet_v2.tflite", "int8", min_agreement=0.0 if SMOKE else 0.9
)
gzipped = kdzoo.evaluation.gzipped_bytes(report.path)
print(f"{report.bytes:,} bytes, {gzipped:,} after gzip, {report.sparsity:.1%} of it zeros")
file = kdzoo.export.LiteRTModel(report.path)
accuracy = kdzoo.evaluation.accuracy(file, test_images, test_labels)
print(f"Test accuracy: {accuracy:.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
