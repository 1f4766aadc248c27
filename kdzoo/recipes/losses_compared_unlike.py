"""`losses_compared` for a pair that has little in common: depthwise blocks teach a plain network.

    kdzoo train losses_compared_unlike

The teacher is the zoo's separable network of width 0.5, the student one of six convolutions with
pooling between them, whose stages are half as large a side as the teacher's. Weights and budget are
those of `losses_compared`, but for one seed. The teacher may have seen the held-out images.
"""

from kdzoo.experiments import Distill, Experiment, Pretrained, Train, Training, soft_targets
from kdzoo.experiments.stages.distill_stage import Losses
from kdzoo.recipes.losses_compared import tapping

_STAGES = ("stage1", "stage2", "stage3")
_STUDENT = ("plain_cnn_6", Training(epochs=8, augmentation=None))
_ADDED: dict[str, Losses] = {
    "": (),
    # The teacher's third and the student's second stage have maps of 8x8.
    " + hint": (
        (
            "Hint",
            {"teacher_layer": "stage3", "student_layer": "stage2", "reduction": "mean"},
            200.0,
        ),
    ),
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

RECIPE = Experiment(
    name="losses_compared_unlike",
    data="cifar10",
    stages=(
        Pretrained("teacher", "separable_050/cifar10", seeds=(0,)),
        Train("alone", *_STUDENT),
        *(
            Distill(
                f"soft targets{name}",
                *_STUDENT,
                losses=(*soft_targets(), *losses),
                student_loss_weight=0.5,
            )
            for name, losses in _ADDED.items()
        ),
    ),
    seeds=(0,),
    smoke_settings={"enlarge": 2},
)
