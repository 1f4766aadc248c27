"""FitNets' hints: a small student first learns a middle layer of its teacher, then its logits.

python examples/01_hints.py            Fashion-MNIST, tens of minutes
python examples/01_hints.py --smoke    scikit-learn's digits, half a minute: does it run?
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


def batches(epoch):
    """Returns the training images in batches, shuffled and shifted, from this epoch on."""
    return data.train.batches(128, shuffle=True, augmentation="default", initial_epoch=epoch)


# Both trainings write checkpoints here: started again, they continue or return at once.
directory = pathlib.Path("runs/example-hints-smoke" if SMOKE else "runs/example-hints")
keras.utils.set_random_seed(0)

teacher = kdzoo.create("wide_resnet_16_1", data.classes, data.input_shape)
kdzoo.accelerate(teacher)
teacher.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(teacher, batches, EPOCHS, directory / "teacher", validation, verbose=2)

student = kdzoo.create("separable_025", data.classes, data.input_shape)
student, history = kdzoo.schemes.hint_training(
    teacher,
    student,
    "stage2",  # the hint layer, of the teacher
    "stage2",  # the guided layer, of the student
    batches,
    directory / "student",
    hint_epochs=max(EPOCHS // 2, 1),
    epochs=EPOCHS,
    loss=cross_entropy,
    soft_targets=kdzoo.losses.SoftTargets(temperature=3.0),
    metrics=["accuracy"],
    validation_data=validation,
    verbose=2,
)
hints = [loss for loss, stage in zip(history["loss"], history["stage"], strict=True) if stage == 1]
print("Loss of the hints, epoch by epoch: " + " ".join(f"{loss:.3f}" for loss in hints))
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
