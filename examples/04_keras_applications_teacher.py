"""A teacher from keras.applications, with an image size, a preprocessing and a softmax of its own.

python examples/04_keras_applications_teacher.py            CIFAR-10; downloads the weights
python examples/04_keras_applications_teacher.py --smoke    digits, half a minute, no download
"""

import sys

import kdzoo
import keras

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 5
SIDE = 32 if SMOKE else 96  # Of the teacher's images.

data = kdzoo.data.load("digits" if SMOKE else "cifar10")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def batches():
    """Returns the training images in batches, shuffled and shifted anew in each epoch."""
    return data.train.batches(64, shuffle=True, augmentation="default")


def for_the_teacher(images: keras.KerasTensor) -> keras.KerasTensor:
    """Turns the student's images, in [0, 1], into the teacher's: larger, in colour, in [-1, 1]."""
    images = keras.ops.image.resize(images, (SIDE, SIDE))
    if images.shape[-1] == 1:
        images = keras.ops.repeat(images, 3, axis=-1)
    return keras.applications.mobilenet_v2.preprocess_input(255.0 * images)


# An ordinary classifier: an ImageNet backbone and a new head that ends in a softmax.
backbone = keras.applications.MobileNetV2(
    (SIDE, SIDE, 3),
    alpha=0.35,
    include_top=False,
    pooling="avg",
    weights=None if SMOKE else "imagenet",
)
probabilities = keras.layers.Dense(data.classes, activation="softmax")(backbone.output)
classifier = keras.Model(backbone.input, probabilities)
teacher = kdzoo.as_logits(classifier)

# Fine-tuned on images as the teacher takes them.
images = keras.Input(data.input_shape)
tuned = keras.Model(images, teacher(keras.layers.Lambda(for_the_teacher)(images)))
kdzoo.accelerate(tuned)
tuned.compile(keras.optimizers.AdamW(1e-4), cross_entropy, metrics=["accuracy"])
tuned.fit(batches(), epochs=EPOCHS, shuffle=False, verbose=2)

student = kdzoo.create("separable_050", data.classes, data.input_shape)
distiller = kdzoo.Distiller(
    teacher,
    student,
    kdzoo.losses.SoftTargets(4.0),
    student_loss_weight=0.1,
    teacher_transform=for_the_teacher,
)
distiller.compile(keras.optimizers.AdamW(2e-3), cross_entropy, metrics=["accuracy"])
distiller.fit(batches(), epochs=2 * EPOCHS, shuffle=False, verbose=2)
print(f"Test accuracy: {kdzoo.evaluation.accuracy(student, *data.test.arrays()):.1%}")
if SMOKE:
    print("--smoke shows that it runs. So little training leaves accuracies near chance.")
