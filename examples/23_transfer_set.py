"""A transfer set without a class: what a student knows of a digit that it never saw.

python examples/23_transfer_set.py            MNIST, minutes
python examples/23_transfer_set.py --smoke    scikit-learn's digits, half a minute
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS, UNSEEN = (1 if SMOKE else 10), 3

data = kdzoo.data.load("digits" if SMOKE else "mnist")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)

teacher = kdzoo.create("mlp_2x800", data.classes, data.input_shape)
teacher.compile(keras.optimizers.AdamW(1e-3), cross_entropy, metrics=["accuracy"])
kdzoo.accelerate(teacher)
teacher.fit(data.train.batches(128, shuffle=True), epochs=EPOCHS, shuffle=False, verbose=2)

# No image of a 3, and soft targets alone.
transfer = kdzoo.data.transfer_set(data.train, without=[UNSEEN])
student = kdzoo.create("mlp_2x128", data.classes, data.input_shape)
distiller = kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(20.0), student_loss_weight=0)
distiller.compile(keras.optimizers.AdamW(1e-3))
distiller.fit(transfer.batches(128, shuffle=True), epochs=2 * EPOCHS, shuffle=False, verbose=2)

# Its bias, from held-out images whose labels nobody looks at: so that a tenth are threes.
images, _ = data.validation.arrays()
mended, report = kdzoo.schemes.calibrate_biases(student, images, classes=[UNSEEN])
print(report)

images, labels = data.test.arrays()
for name, model in (("as trained", student), ("with its bias mended", mended)):
    accuracy = kdzoo.evaluation.accuracy(model, images, labels)
    of_unseen = kdzoo.evaluation.accuracy(model, images[labels == UNSEEN], labels[labels == UNSEEN])
    print(f"Test accuracy: {accuracy:.1%}, of the {UNSEEN}s {of_unseen:.1%}, {name}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
