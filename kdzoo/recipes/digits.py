"""The demo: an MLP of 26k parameters learns scikit-learn's digits from a wide residual network.

    kdzoo demo

A minute or two on two cores, see the README. Chosen on the validation images.
"""

from kdzoo.recipes.comparison import Comparison

RECIPE = Comparison(
    data="digits",
    teacher="wide_resnet_16_1",
    teacher_arguments={"depth": 10},
    student="mlp_2x128",
    teacher_epochs=30,
    epochs=40,
    temperature=2.0,
    batch_size=64,
    teacher_learning_rate=4e-3,
    learning_rate=5e-3,
    augment_student=False,
)
