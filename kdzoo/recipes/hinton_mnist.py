"""Hinton, Vinyals & Dean 2015, section 3: what 2x800 units learn of 2x1200 with dropout on MNIST.

    kdzoo train hinton_mnist

The teacher has dropout, a bound on the norm of the weights into each unit, and images shifted by up
to two pixels; the students have none of it. The paper counts 67 errors of the teacher on the test
images, 146 of the student alone and 74 of the student at temperature 20. All 60,000 images are
trained on, as in the paper, with one teacher for the three seeds of students.
"""

from kdzoo.recipes.comparison import Comparison

RECIPE = Comparison(
    data="mnist",
    teacher="mlp_2x1200",
    teacher_arguments={"dropout": 0.5, "max_norm": 4.0},
    student="mlp_2x800",
    teacher_epochs=300,
    epochs=100,
    temperature=20.0,
    batch_size=256,
    precision="mixed_bfloat16",
    teacher_learning_rate=1e-3,
    learning_rate=3e-3,
    weight_decay=0.0,
    augment_student=False,
    validation=0,
    paper={"teacher": 67, "alone": 146, "distilled": 74},
)
