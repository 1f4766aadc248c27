"""Specialists: a network for the classes that a generalist confuses, and all of them as a teacher.

python examples/22_specialists.py            Fashion-MNIST, minutes
python examples/22_specialists.py --smoke    scikit-learn's digits, half a minute
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 8

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
directory = pathlib.Path("runs/example-specialists-smoke" if SMOKE else "runs/example-specialists")
keras.utils.set_random_seed(0)


def batches(epoch):
    """Returns the training images in batches, shuffled, from this epoch on."""
    return data.train.batches(128, shuffle=True, initial_epoch=epoch)


generalist = kdzoo.create("mlp_2x128", data.classes, data.input_shape)
generalist.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(generalist, batches, EPOCHS, directory / "generalist", verbose=2)

# The clusters come from what the generalist predicts; `classes=` would name them.
teacher, history = kdzoo.schemes.specialists(
    generalist,
    data.train,
    directory / "specialists",
    clusters=3,
    epochs=EPOCHS,
    optimizer=keras.optimizers.AdamW(1e-3),
    verbose=2,
)
for number, classes in enumerate(teacher.classes, 1):
    print(f"Specialist {number}: {', '.join(data.class_names[label] for label in classes)}")

student = kdzoo.create("mlp_2x64", data.classes, data.input_shape)
distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(4.0))
distiller.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(distiller, batches, EPOCHS, directory / "student", verbose=2)
for name, model in {"generalist": generalist, "all": teacher, "student": student}.items():
    print(f"Test accuracy: {kdzoo.evaluation.accuracy(model, *data.test.arrays()):.1%}, {name}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
