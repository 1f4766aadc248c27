"""Ba & Caruana 2014: a shallow network mimics a deep one, or an ensemble, on CIFAR-10.

    kdzoo train mimic_cifar10

A convolution, pooling and one wide hidden layer learn the logits of a convolutional network of
`ensemble_cifar10`, or of all five, by regression. The paper's test errors with 30,000 units: 21.8 %
by labels, 15.4 % by one network (of 12.0 %), 14.2 % by an ensemble of four (of 11.0 %). Its network
by labels and that of the ensemble have 128 filters, here all have 64. It sees the images as they
are; here they are shifted and mirrored, for the teachers too. Those by labels have dropout, those
that mimic have none. Several targets are compared at 4,000 units. At 2,000 the linear bottleneck is
left out, to compare the loss after equal time. A shallow network of the teacher's own number of
parameters comes last.
"""

from typing import Any

from kdzoo.experiments import Distill, Experiment, Train, Training, soft_targets
from kdzoo.experiments.stages.distill_stage import OF_TEACHER, Losses
from kdzoo.recipes import ensemble_cifar10
from kdzoo.recipes.students import AUTO

_TRAINING = Training(10, 1e-3, 0.0, batch_size=256, precision=AUTO)
_SHORT = Training(5, 1e-3, 0.0, batch_size=256, precision=AUTO)


def _logits(**arguments: Any) -> Losses:
    return (("LogitRegression", arguments, 1.0),)


_TARGETS: dict[str, Losses] = {
    "logits": _logits(),
    "normalized logits": _logits(std=OF_TEACHER),
    "probabilities": _logits(target="probabilities"),
    "KL": _logits(target="kl"),
    "soft targets at T=20": soft_targets(20.0),
}


def _shallow(units: int, **more: Any) -> dict[str, Any]:
    """The arguments of a shallow network."""
    return {"units": units, "filters": 64, **more}


def _mimic(
    name: str,
    arguments: dict[str, Any],
    losses: Losses = _TARGETS["logits"],
    training: Training = _TRAINING,
    **more: Any,
) -> Distill:
    """A shallow network that sees no label."""
    given = {"teacher": ensemble_cifar10.ONE, **ensemble_cifar10.TEACHING, **more}
    return Distill(
        name,
        "shallow_4000",
        training,
        arguments,
        losses=losses,
        student_loss_weight=0.0,
        seeds=(0,),
        **given,
    )


def _by_labels(units: int) -> Train:
    arguments = _shallow(units, dropout=0.5)
    return Train(f"{units} by labels", "shallow_4000", _TRAINING, arguments, seeds=(0,))


# For the smoke mode.
_TINY = {"arguments": {"units": 40, "bottleneck": 10, "filters": 4}}
# As many parameters as the teacher has, 328,442; these are 328,472.
_OF_TEACHERS_SIZE = {"units": 1566, "bottleneck": 60, "filters": 16}

RECIPE = Experiment(
    name="mimic_cifar10",
    data="cifar10",
    base=ensemble_cifar10.RECIPE,
    stages=(
        _by_labels(4000),
        *(_mimic(f"4000 by {name}", _shallow(4000), loss) for name, loss in _TARGETS.items()),
        _mimic("4000 by an ensemble", _shallow(4000), teacher=ensemble_cifar10.ALL),
        _by_labels(30_000),
        _mimic("30000 by one network", _shallow(30_000)),
        _mimic("30000 by an ensemble", _shallow(30_000), teacher=ensemble_cifar10.ALL),
        _mimic("2000", _shallow(2000), training=_SHORT),
        _mimic("2000 without bottleneck", _shallow(2000, bottleneck=None), training=_SHORT),
        _mimic("of the teacher's size", _OF_TEACHERS_SIZE),
    ),
    validation=0,
    paper={
        "30000 by labels": 2180,
        "30000 by one network": 1540,
        "30000 by an ensemble": 1420,
    },
    smoke_settings={
        "enlarge": 2,
        "stages": (
            "4000 by labels",
            "4000 by normalized logits",
            "4000 by an ensemble",
            "of the teacher's size",
        ),
        "4000 by labels": _TINY,
        "4000 by normalized logits": _TINY,
        "4000 by an ensemble": _TINY,
        "of the teacher's size": _TINY,
    },
)
