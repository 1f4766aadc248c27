"""Carries results of before there were stages over: their settings become those of an experiment.

    python tests/tools/migrate_results.py results/*.json

Each row gets the identity that its stage has now, if the settings that it was made with are those
of the recipe; numbers, seeds and hashes stay.
"""

import dataclasses
import json
import pathlib
import sys

from kdzoo.experiments import (
    Compress,
    Compression,
    Dependency,
    Distill,
    Experiment,
    HintTraining,
    Train,
    Training,
    retraining,
)

# What a field was where settings of before it was there do not say.
COMPARISON = {
    "validation": None,
    "views": None,
    "enlarge": 1,
    "optimizer": "adamw",
    "teacher_optimizer": "adamw",
    "teacher_weight_decay": None,
    "teacher_augmentation": None,
    "precision": "float32",
    "teacher_precision": None,
    "paper": {},
    "students": {},
}
STUDENT = dict.fromkeys(("optimizer", "learning_rate", "weight_decay", "precision", "epochs"))
STUDENT |= dict.fromkeys(("architecture", "hints", "teacher_weight", "student_loss_weight"))
STUDENT |= {"losses": [], "arguments": {}, "seed_count": None}


def experiment_of(name, settings):
    """Returns the experiment that a recipe's settings of before there were stages describe.

    Args:
        name: Name of the recipe.
        settings: `"settings"` of its results.
    """
    if "base" not in settings:
        return _trained(name, {**COMPARISON, **settings})
    base = _trained(settings["base"], {**COMPARISON, **settings["comparison"]})
    start = Dependency(settings["start"], "same")
    float_seeds = None
    if settings.get("start_seed") is not None:
        start = Dependency(settings["start"], settings["start_seed"])
        float_seeds = (settings["start_seed"],)
    stages = [Compress("float32", start, seeds=float_seeds)]
    counts = settings.get("seed_counts", {})
    for kind, given in settings["kinds"].items():
        seeds = tuple(settings["seeds"][: counts[kind]]) if kind in counts else None
        stages.append(_compress(kind, start, given, seeds, settings["comparison"]))
    seeds = tuple(settings["seeds"])
    shared = {"data": base.data, "validation": base.validation, "enlarge": base.enlarge}
    return Experiment(name, stages=tuple(stages), seeds=seeds, base=base, **shared)


def _compress(kind, start, given, seeds, comparison):
    training = retraining(
        given["epochs"],
        given["learning_rate"],
        batch_size=given["batch_size"],
        augmentation="default" if given["augment"] else None,
    )
    fields = ("prune", "cluster", "quantize", "temperature", "student_loss_weight", "sparse")
    compression = Compression(training=training, **{name: given[name] for name in fields})
    if not compression.steps:  # Nothing is trained, whatever it says of that.
        compression = dataclasses.replace(compression, training=retraining())
    teaching = {}
    if given["taught"]:
        teaching = {"teacher": Dependency("teacher", 0), "views": comparison.get("views")}
        if teaching["views"]:
            teaching["teacher_precision"] = _teacher_precision({**COMPARISON, **comparison})
    return Compress(kind, start, compression, seeds=seeds, **teaching)


def _teacher_precision(settings):
    return settings["teacher_precision"] or settings["precision"]


def _trained(name, settings):
    decay = settings["teacher_weight_decay"]
    teacher = Training(
        epochs=settings["teacher_epochs"],
        learning_rate=settings["teacher_learning_rate"],
        weight_decay=settings["weight_decay"] if decay is None else decay,
        optimizer=settings["teacher_optimizer"],
        batch_size=settings["batch_size"],
        precision=_teacher_precision(settings),
        augmentation=settings["teacher_augmentation"] or "default",
    )
    arguments = settings["teacher_arguments"]
    stages = [Train("teacher", settings["teacher"], teacher, arguments, seeds=(0,))]
    soft_targets = [["SoftTargets", {"temperature": settings["temperature"]}, 1.0]]
    students = settings["students"] or {"alone": {}, "distilled": {"losses": soft_targets}}
    for kind, student in students.items():
        stages.append(_student(kind, {**STUDENT, **student}, settings))
    fields = {field: settings[field] for field in ("data", "validation", "enlarge", "paper")}
    return Experiment(name, stages=tuple(stages), seeds=tuple(settings["seeds"]), **fields)


def _student(kind, student, settings):
    def own(field):
        return settings[field] if student[field] is None else student[field]

    training = Training(
        augmentation="default" if settings["augment_student"] else None,
        batch_size=settings["batch_size"],
        **{
            field: own(field)
            for field in ("epochs", "learning_rate", "weight_decay", "optimizer", "precision")
        },
    )
    usual = settings["student_arguments"] if student["architecture"] is None else {}
    network = student["architecture"] or settings["student"]
    network = (network, training, {**usual, **student["arguments"]})
    count = student["seed_count"]
    seeds = None if count is None else tuple(settings["seeds"][:count])
    if not student["losses"]:
        return Train(kind, *network, seeds=seeds)
    annealed = student["teacher_weight"]
    teaching = {
        "losses": student["losses"],
        "student_loss_weight": own("student_loss_weight"),
        "teacher_weight": annealed and tuple(annealed),
    }
    if student["hints"]:
        # The teacher predicts at every step.
        teaching["teacher_precision"] = _teacher_precision(settings)
        return HintTraining(kind, *network, **teaching, hints=tuple(student["hints"]), seeds=seeds)
    teaching["views"] = settings["views"]
    if settings["augment_student"]:  # Else its outputs are kept, those of float32.
        teaching["teacher_precision"] = _teacher_precision(settings)
    return Distill(kind, *network, **teaching, seeds=seeds)


def migrated(name, content):
    """Returns results as they are written now, with the identities that their stages have now.

    Args:
        name: Name of the recipe.
        content: The results.

    Raises:
        ValueError: If the settings are others than the recipe has now.
    """
    from kdzoo.recipes import RECIPES

    recipe, said = RECIPES[name], content["settings"]
    then = said if "stages" in said else experiment_of(name, said).described()
    if then != recipe.described():
        raise ValueError(f"Expected the settings of {name!r}. Received: other settings")
    rows = [
        {**row, "identity": recipe.identity(row["kind"], row["seed"])} for row in content["rows"]
    ]
    settings = said if "stages" in said else recipe.described()
    return {**content, "settings": settings, "rows": rows}


def main(paths):
    """Rewrites files of results."""
    for path in map(pathlib.Path, paths):
        content = migrated(path.stem, json.loads(path.read_text()))
        path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
