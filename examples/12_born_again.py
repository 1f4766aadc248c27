"""Born-again networks: generations of one student, each taught by the one before, and all of them.

python examples/12_born_again.py            Fashion-MNIST, tens of minutes
python examples/12_born_again.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 6

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def batches(epoch):
    """Returns the training images in batches, shuffled and shifted, from this epoch on."""
    return data.train.batches(128, shuffle=True, augmentation="default", initial_epoch=epoch)


# Without a teacher there is a generation 0, which is trained on the labels alone.
students, history = kdzoo.schemes.born_again(
    kdzoo.create("separable_025", data.classes, data.input_shape),
    batches,
    pathlib.Path("runs/example-born-again-smoke" if SMOKE else "runs/example-born-again"),
    generations=2,
    epochs=EPOCHS,
    loss=cross_entropy,
    optimizer=keras.optimizers.AdamW(2e-3),
    metrics=["accuracy"],
    validation_data=data.validation.batches(500),
    verbose=2,
)
images, labels = data.test.arrays()
for number, student in enumerate(students):
    print(f"Generation {number}: {kdzoo.evaluation.accuracy(student, images, labels):.1%}")
# The ensemble is a model, which can itself teach.
ensemble = kdzoo.Ensemble(students, average="probabilities")
accuracy = kdzoo.evaluation.accuracy(ensemble, images, labels)
print(f"Test accuracy: {accuracy:.1%}, all generations together")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
