"""Relations: a student of another width learns how the teacher arranges the samples of a batch.

python examples/03_relations.py            CIFAR-10, an hour or so on two cores
python examples/03_relations.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 2 if SMOKE else 10

data = kdzoo.data.load("digits" if SMOKE else "cifar10")
validation = data.validation.batches(500)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def batches():
    """Returns the training images in batches, shuffled and shifted anew in each epoch."""
    return data.train.batches(128, shuffle=True, augmentation="default")


teacher = kdzoo.create("wide_resnet_16_2", data.classes, data.input_shape)
kdzoo.accelerate(teacher)
teacher.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
teacher.fit(batches(), epochs=EPOCHS, validation_data=validation, shuffle=False, verbose=2)

# 128 features in the teacher, 256 in the student: relations need no projection between them.
student = kdzoo.create("separable_050", data.classes, data.input_shape)
losses = [
    kdzoo.losses.SoftTargets(4.0),
    kdzoo.losses.RelationalDistance("features", "features"),
    kdzoo.losses.RelationalAngle("features", "features"),
]
distiller = kdzoo.Distiller(teacher, student, losses, [1.0, 25.0, 50.0])
distiller.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
# The loss on angles starts in the second epoch: random features have no angles worth learning.
late = kdzoo.callbacks.Anneal(
    "distillation_loss_weight", lambda epoch: 50.0 * (epoch > 0), "relational_angle"
)
distiller.fit(
    batches(), epochs=EPOCHS, validation_data=validation, callbacks=[late], shuffle=False, verbose=2
)
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
