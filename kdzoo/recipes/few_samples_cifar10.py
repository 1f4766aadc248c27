"""Hinton, Vinyals & Dean 2015, section 6: few images, and many images with few labels, on CIFAR-10.

    kdzoo train few_samples_cifar10

A student is trained on 3 % or 10 % of the images, each class in proportion, by their labels or by
soft targets of a teacher that knows all labels, recorded for every view that a student sees; and on
all images with 3 % of the labels: by that teacher, and by one that saw these 3 % alone. Every model
sees a million images, but for a second one of 3 % by labels, which sees a quarter of a million, as
long trainings of few images may overfit: the paper had to stop that row early. The paper, on
speech: 44.5 % of frames right by 3 % of the labels, 57.0 by soft targets, 58.9 by all labels. All
rows have one seed. The teacher of few labels sees a quarter of a million images.
"""

from typing import Any

from kdzoo.experiments import Dependency, Distill, Experiment, Pretrained, Train, Transfer
from kdzoo.recipes.students import AUTO, by_sgd

_EPOCHS = 20  # Of all images: a million.
_STUDENT = "separable_025"
_TEACHING: dict[str, Any] = {"views": _EPOCHS, "teacher_precision": AUTO}
_LABELLED = Transfer(labelled=0.03)
_OF_FEW = Dependency("teacher of 3 %", 0)


def _few(fraction: float) -> tuple[Train, Distill]:
    """A student of a part of the images, by labels and by soft targets."""
    part, epochs = Transfer(fraction=fraction), round(_EPOCHS / fraction)
    training, views = by_sgd(epochs), {**_TEACHING, "views": epochs}
    name = f"{fraction:.0%}".replace("%", " %")
    return (
        Train(f"{name}, labels", _STUDENT, training, transfer=part),
        Distill(f"{name}, soft targets", _STUDENT, training, transfer=part, **views),
    )


RECIPE = Experiment(
    name="few_samples_cifar10",
    data="cifar10",
    stages=(
        Pretrained("teacher", "wide_resnet_16_4/cifar10"),
        Train(
            "teacher of 3 %",
            "wide_resnet_16_2",
            by_sgd(round(_EPOCHS / 0.03 / 4)),
            transfer=Transfer(fraction=0.03),
        ),
        Train("all, labels", _STUDENT, by_sgd(_EPOCHS)),
        Distill("all, soft targets", _STUDENT, by_sgd(_EPOCHS), **_TEACHING),
        *_few(0.03),
        Train(
            "3 %, labels, a quarter as long",
            _STUDENT,
            by_sgd(round(_EPOCHS / 0.03 / 4)),
            transfer=Transfer(fraction=0.03),
        ),
        *_few(0.1),
        Distill(
            "3 % of the labels, all images",
            _STUDENT,
            by_sgd(_EPOCHS),
            transfer=_LABELLED,
            **_TEACHING,
        ),
        Distill(
            "3 % of the labels, all images, teacher of 3 %",
            _STUDENT,
            by_sgd(_EPOCHS),
            teacher=_OF_FEW,
            transfer=_LABELLED,
            **_TEACHING,
        ),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "3 %, labels", "3 % of the labels, all images"),
    },
)
