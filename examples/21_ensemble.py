"""An ensemble teaches: five networks are recorded one after another, one student learns from all.

The student has twice the epochs of a member, as one network wants to keep more of what five know.

python examples/21_ensemble.py            Fashion-MNIST, minutes
python examples/21_ensemble.py --smoke    scikit-learn's digits, half a minute
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS, MEMBERS = (1, 2) if SMOKE else (8, 5)

data = kdzoo.data.load("digits" if SMOKE else "fashion_mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
directory = pathlib.Path("runs/example-ensemble-smoke" if SMOKE else "runs/example-ensemble")


def batches(epoch):
    """Returns the training images in batches, shuffled, from this epoch on."""
    return data.train.batches(128, shuffle=True, initial_epoch=epoch)


def trained(seed: int) -> keras.Model:
    """Returns a network, trained on the labels, that differs from the others in its seed."""
    keras.utils.set_random_seed(seed)
    member = kdzoo.create("mlp_2x128", data.classes, data.input_shape)
    member.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
    kdzoo.schemes.train(member, batches, EPOCHS, directory / f"trained-{seed}", verbose=2)
    return member


members = [trained(seed) for seed in range(MEMBERS)]
recorded = kdzoo.schemes.ensemble(members, data.train, directory, average="probabilities")

keras.utils.set_random_seed(MEMBERS)
student = kdzoo.create("mlp_2x128", data.classes, data.input_shape)
distiller = kdzoo.Distiller(None, student, kdzoo.losses.SoftTargets(4.0), student_loss_weight=0.1)
distiller.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
distiller.fit(recorded.batches(128, shuffle=True), epochs=2 * EPOCHS, shuffle=False, verbose=2)

whole = kdzoo.Ensemble(members, average="probabilities")
for name, model in (("a member", members[0]), ("the ensemble", whole), ("the student", student)):
    print(f"Test accuracy: {kdzoo.evaluation.accuracy(model, *data.test.arrays()):.1%}, {name}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
