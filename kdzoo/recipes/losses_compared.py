"""Which loss to take when: one teacher, one student, CIFAR-10, each loss beside soft targets.

    kdzoo train losses_compared

The weights are the authors' (RepDistiller's settings where a paper has none), the budget one that
two cores can run. `student_loss_weight` is ½: a weight w here is w / 2 beside half the loss on
labels, the proportion that the authors use. The contrastive loss has 4,096 negatives; its authors
take 16,384. The students see the images as they are, so the teacher predicts once; what the
losses tap of it is kept in memory in float16, for attention 2.6 GB. Of the test images, in the mean
of three seeds: alone 73.8 %, soft targets 76.2, with hints 80.7, attention 78.6, contrastive 77.3,
similarity 77.0, relational 74.5. Each model took 10 to 20 minutes of one core.
"""

from typing import Any

from kdzoo.experiments import Distill, Experiment, Train, Training, soft_targets
from kdzoo.experiments.stages.distill_stage import Losses
from kdzoo.recipes.separable_cifar10 import TEACHER

_STAGES = ["stage1", "stage2", "stage3"]


def tapping(*layers: str) -> dict[str, Any]:
    """The same layers in both networks, as arguments of a loss."""
    layer = layers[0] if len(layers) == 1 else list(layers)
    return {"teacher_layer": layer, "student_layer": layer}


ADDED: dict[str, Losses] = {
    "": (),
    " + hint": (("Hint", {**tapping("stage2"), "reduction": "mean"}, 200.0),),
    " + attention": (("AttentionTransfer", tapping(*_STAGES), 1000.0),),
    " + relational": (
        ("RelationalDistance", tapping("features"), 25.0),
        ("RelationalAngle", tapping("features"), 50.0),
    ),
    " + similarity": (("SimilarityPreserving", tapping("stage3"), 3000.0),),
    " + contrastive": (
        ("ContrastiveRepresentation", {**tapping("features"), "negatives": 4096}, 0.8),
    ),
}


def by_each_loss(
    added: dict[str, Losses], architecture: str, training: Training
) -> tuple[Distill, ...]:
    """Returns a student by soft targets and each of some losses.

    Args:
        added: What the name of the stage ends in -> the losses beside the soft targets.
        architecture: Of the student.
        training: Of the student.
    """
    return tuple(
        Distill(
            f"soft targets{name}",
            architecture,
            training,
            losses=(*soft_targets(), *losses),
            student_loss_weight=0.5,
        )
        for name, losses in added.items()
    )


_STUDENT = ("separable_025", Training(epochs=8, augmentation=None))

RECIPE = Experiment(
    name="losses_compared",
    data="cifar10",
    stages=(
        TEACHER,
        Train("alone", *_STUDENT),
        *by_each_loss(ADDED, *_STUDENT),
    ),
    smoke_settings={"teacher": {"arguments": {"depth": 10}}},
)
