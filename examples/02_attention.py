"""Attention transfer: three layers of the student learn where those of the teacher are active.

python examples/02_attention.py            CIFAR-10, an hour or so on two cores
python examples/02_attention.py --smoke    scikit-learn's digits, half a minute: does it run?
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 10

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

student = kdzoo.create("wide_resnet_16_1", data.classes, data.input_shape)
stages = ["stage1", "stage2", "stage3"]
losses = [kdzoo.losses.SoftTargets(4.0), kdzoo.losses.AttentionTransfer(stages, stages)]
distiller = kdzoo.Distiller(teacher, student, losses, [1.0, 1000.0])
distiller.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
distiller.fit(batches(), epochs=EPOCHS, validation_data=validation, shuffle=False, verbose=2)

agreement = kdzoo.evaluation.agreement(teacher, student, data.test.arrays()[0])
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")
print(f"Agreement with the teacher: {agreement:.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
