"""A lottery ticket: a sparse network that trains well from the weights that it began with.

python examples/14_lottery_ticket.py            MNIST, minutes
python examples/14_lottery_ticket.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import pathlib
import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
ROUNDS, EPOCHS = (1, 1) if SMOKE else (8, 6)

data = kdzoo.data.load("digits" if SMOKE else "mnist")


def batches(epoch):
    """Returns the training images in batches, shuffled, from this epoch on."""
    return data.train.batches(128, shuffle=True, initial_epoch=epoch)


tickets, history = kdzoo.schemes.lottery_ticket(
    kdzoo.create("lenet_300_100", data.classes, data.input_shape),
    batches,
    pathlib.Path("runs/example-lottery-smoke" if SMOKE else "runs/example-lottery"),
    rounds=ROUNDS,
    epochs=EPOCHS,
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    fraction=0.2,  # Of the weights that are left, in each round.
    output_fraction=0.1,
    controls=["reinitialized"],
    optimizer=keras.optimizers.Adam(1.2e-3),
    metrics=["accuracy"],
    verbose=2,
)
images, labels = data.test.arrays()
for model, left in zip(tickets.models, tickets.weights_left, strict=True):
    print(f"{left:.0%} of the weights: {kdzoo.evaluation.accuracy(model, images, labels):.2%}")
control = kdzoo.evaluation.accuracy(tickets.controls["reinitialized"], images, labels)
print(f"The last mask with new initial weights: {control:.2%}")
# The ticket is a plain Keras model; a .kdz file leaves its zeros out.
accuracy = kdzoo.evaluation.accuracy(tickets.ticket, images, labels)
print(f"Test accuracy: {accuracy:.1%}, with {tickets.weights_left[-1]:.0%} of the weights")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
