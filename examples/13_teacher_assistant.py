"""Teacher assistants: a large teacher teaches a small student over a model between the two.

python examples/13_teacher_assistant.py            Fashion-MNIST, minutes
python examples/13_teacher_assistant.py --smoke    scikit-learn's digits, half a minute
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
directory = pathlib.Path("runs/example-assistant-smoke" if SMOKE else "runs/example-assistant")
keras.utils.set_random_seed(0)


def batches(epoch):
    """Returns the training images in batches, shuffled and shifted, from this epoch on."""
    return data.train.batches(128, shuffle=True, augmentation="default", initial_epoch=epoch)


def network(units: int) -> keras.Model:
    """Returns a fresh network of two hidden layers."""
    return kdzoo.models.mlp((units, units), data.classes, data.input_shape, name=f"mlp_{units}")


teacher, student = network(800), network(20)
(size,) = kdzoo.schemes.assistant_sizes(teacher.count_params(), student.count_params())
assistant = min(map(network, range(20, 800, 20)), key=lambda m: abs(m.count_params() - size))
print(f"An assistant of {assistant.count_params():,} parameters, for {size:,} proposed")

teacher.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
kdzoo.schemes.train(teacher, batches, EPOCHS, directory / "teacher", validation, verbose=2)
student, history = kdzoo.schemes.teacher_assistant(
    teacher,
    [assistant, student],
    batches,
    directory / "student",
    epochs=EPOCHS,
    loss=cross_entropy,
    optimizer=keras.optimizers.AdamW(2e-3),
    metrics=["accuracy"],
    validation_data=validation,
    verbose=2,
)
for name, model in (("teacher", teacher), ("assistant", assistant)):
    print(f"The {name}: {kdzoo.evaluation.accuracy(model, *data.test.arrays()):.1%}")
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}, the student")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
