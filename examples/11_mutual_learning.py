"""Deep mutual learning: two students without a teacher learn from each other.

python examples/11_mutual_learning.py            Fashion-MNIST, tens of minutes
python examples/11_mutual_learning.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 8

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
validation = data.validation.batches(500)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
directory = pathlib.Path("runs/example-mutual-smoke" if SMOKE else "runs/example-mutual")


def batches(epoch):
    """Returns the training images in batches, shuffled and shifted, from this epoch on."""
    return data.train.batches(128, shuffle=True, augmentation="default", initial_epoch=epoch)


def student(seed: int) -> keras.Model:
    """Returns a fresh student, whose weights follow from a seed."""
    keras.utils.set_random_seed(seed)
    model = kdzoo.create("separable_025", data.classes, data.input_shape)
    kdzoo.accelerate(model)
    return model


alone = student(0)
alone.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(alone, batches, EPOCHS, directory / "alone", validation, verbose=2)

peers, history = kdzoo.schemes.mutual_learning(
    [student(0), student(1)],
    batches,
    directory / "peers",
    epochs=EPOCHS,
    loss=cross_entropy,
    optimizer=keras.optimizers.AdamW(2e-3),
    metrics=["accuracy"],
    validation_data=validation,
    verbose=2,
)
images, labels = data.test.arrays()
print(f"The first student alone: {kdzoo.evaluation.accuracy(alone, images, labels):.1%}")
print(f"The second peer: {kdzoo.evaluation.accuracy(peers[1], images, labels):.1%}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(peers[0], images, labels):.1%}, the first peer")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
