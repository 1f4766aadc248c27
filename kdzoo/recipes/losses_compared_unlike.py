"""`losses_compared` for a pair that has little in common: depthwise blocks teach a plain network.

    kdzoo train losses_compared_unlike

The teacher is the zoo's separable network of width 0.5, the student one of six convolutions with
pooling between them, whose stages are half as large a side as the teacher's. Weights and budget are
those of `losses_compared`, but for one seed. The teacher may have seen the held-out images.

Four losses more have a row here. Standardized soft targets (Sun et al. 2024) have temperature and
weights of their authors' code, 9 beside 0.1 for the labels; the correlation of predictions (DIST,
Huang et al. 2022) has its authors' settings for CIFAR-100 and stands in the place of soft targets;
variational information (Ahn et al. 2019) and probabilistic transfer (Passalis & Tefas 2018) have
the weights of RepDistiller.
"""

from kdzoo.experiments import Distill, Experiment, Pretrained, Train, Training
from kdzoo.experiments.stages.distill_stage import Losses
from kdzoo.recipes.losses_compared import ADDED, by_each_loss, tapping

_STUDENT = ("plain_cnn_6", Training(epochs=8, augmentation=None))
# The teacher's third and the student's second stage have maps of 8x8.
_MAPS = {"teacher_layer": "stage3", "student_layer": "stage2"}
_ADDED = {
    **ADDED,
    " + hint": (("Hint", {**_MAPS, "reduction": "mean"}, 200.0),),
    " + variational": (("VariationalInformation", _MAPS, 1.0),),
    " + probabilistic": (("ProbabilisticTransfer", tapping("features"), 30_000.0),),
}
# Losses in the place of soft targets, and the weight of the labels beside them.
_INSTEAD: dict[str, tuple[Losses, float]] = {
    "standardized soft targets": (
        (("SoftTargets", {"temperature": 2.0, "standardize": True}, 10.0),),
        0.1,
    ),
    "correlation": (
        (
            (
                "PredictionCorrelation",
                {"inter_class_weight": 2.0, "intra_class_weight": 2.0, "temperature": 4.0},
                1.0,
            ),
        ),
        0.5,
    ),
}

RECIPE = Experiment(
    name="losses_compared_unlike",
    data="cifar10",
    stages=(
        Pretrained("teacher", "separable_050/cifar10", seeds=(0,)),
        Train("alone", *_STUDENT),
        *by_each_loss(_ADDED, *_STUDENT),
        *(
            Distill(name, *_STUDENT, losses=losses, student_loss_weight=weight)
            for name, (losses, weight) in _INSTEAD.items()
        ),
    ),
    seeds=(0,),
    smoke_settings={"enlarge": 2},
)
