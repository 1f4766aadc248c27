"""Experiments of seconds that several tests run."""

import dataclasses

from kdzoo.experiments import Distill, Experiment, Train, Training, soft_targets

SOFT = ("SoftTargets", {"temperature": 3.0}, 1.0)
TEACHER = Train("teacher", "mlp_2x64", Training(1, learning_rate=2e-3), seeds=(0,))
STUDENT = ("mlp_2x64", Training(1))
TINY = Experiment(
    "tiny",
    "digits",
    (
        TEACHER,
        Train("alone", *STUDENT),
        Distill("distilled", *STUDENT, losses=soft_targets(4.0), student_loss_weight=1.0),
    ),
    seeds=(0, 1),
)


def changed(experiment, *names, **settings):
    """The experiment with other settings of some stages, of all if none is named."""
    return dataclasses.replace(
        experiment,
        stages=tuple(
            changed_stage(stage, **settings) if not names or stage.name in names else stage
            for stage in experiment.stages
        ),
    )


def changed_stage(stage, **settings):
    """The stage with other settings, of its own or of its training."""
    fields = {field.name for field in dataclasses.fields(stage)}
    own = {name: value for name, value in settings.items() if name in fields}
    rest = {name: value for name, value in settings.items() if name not in fields}
    if rest:
        own["training"] = dataclasses.replace(stage.training, **rest)
    return dataclasses.replace(stage, **own)


def with_stages(*stages, experiment=TINY, **settings):
    """The experiment with these stages after the teacher, and with other settings."""
    teacher = () if any(stage.name == "teacher" for stage in stages) else (TEACHER,)
    return dataclasses.replace(experiment, stages=(*teacher, *stages), **settings)
