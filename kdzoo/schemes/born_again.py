"""Born-again networks: generations of one architecture, each taught by the one before."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.distiller import Distiller
from kdzoo.graph.acceleration import accelerate
from kdzoo.graph.new_weights import with_new_weights
from kdzoo.losses import (
    ConfidenceWeightedLabels,
    DistillationLoss,
    PermutedSoftTargets,
    SoftTargets,
)
from kdzoo.schemes.scheme_checks import check_batches, check_trainable
from kdzoo.schemes.scheme_settings import Compiling
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.training.stages import check_run
from kdzoo.utils import check_choice, check_integer, check_positive_integer
from kdzoo.utils.types import PathLike

# Name of a variant -> its loss, and the usual weight of the loss on the labels beside it.
_VARIANTS: dict[str, tuple[Callable[..., DistillationLoss], float]] = {
    "soft_targets": (SoftTargets, 0.5),
    "cwtm": (ConfidenceWeightedLabels, 0.0),
    "dkpp": (PermutedSoftTargets, 0.0),
}
VARIANTS = tuple(_VARIANTS)
_MOST_GENERATIONS = 1000


def born_again(
    student: keras.Model | Callable[[int], keras.Model],
    data: Any,
    directory: PathLike,
    *,
    generations: int,
    epochs: int,
    loss: Any,
    teacher: keras.Model | None = None,
    variant: Literal["soft_targets", "cwtm", "dkpp"] = "soft_targets",
    temperature: float = 1.0,
    student_loss_weight: float | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    seed: int = 0,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[list[keras.Model], dict[str, list[Any]]]:
    """Trains generations of one architecture, each taught by the one before; survives a kill.

    Generation 1 learns from `teacher`, or from a generation 0 that is trained on the labels first;
    each later one learns from the one before. Every generation begins with new initial weights. It
    minimizes `w · loss on the labels + (1 − w) · loss of the variant`.

    Args:
        student: The architecture: a functional or built sequential `keras.Model` that gives logits.
            It is left as it is; every generation is a new model of its layers, with weights drawn
            anew; `Normalization` and layers that are not trainable keep theirs. For other models a
            function from the number of a generation to a fresh, built model.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. The generations
            go on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints of the generations go.
        generations: How many are taught, from 1 to 1000.
        epochs: Epochs of each generation, also of generation 0.
        loss: The loss on the labels: a Keras loss, a function, or a name.
        teacher: A trained `keras.Model` that gives logits, of any architecture, or an ensemble;
            None for a generation 0.
        variant: What is learnt of the teacher. `"soft_targets"`: its probabilities. `"cwtm"`: its
            confidence alone, by which the labels are weighted
            (`kdzoo.losses.ConfidenceWeightedLabels`). `"dkpp"`: its probabilities, all but the
            largest permuted (`kdzoo.losses.PermutedSoftTargets`).
        temperature: T of the variant's loss, above 0; the paper has 1.
        student_loss_weight: w, between 0 and 1. With soft targets 0 is the paper's BAN, and 0.5
            half of its BAN+L. None for 0.5 with soft targets and 0, as in the paper, for the other
            variants.
        optimizer: An optimizer of Keras, whose settings that of each generation has, or a name.
        metrics: Metrics of each generation, Keras metrics or names, on labels and logits.
        validation_data: What each generation is validated on after each epoch: `(x, y)` or batches;
            None for no validation.
        seed: Integer of at least 0 that decides the initial weights of all generations.
        settings: JSON-able value that identifies the run, for example data and teacher. The numbers
            of generations and epochs, variant, temperature, weight, seed, whether there is a
            teacher, and the configurations of optimizer and loss are always part of it; checkpoints
            written with other settings are refused.
        callbacks: Further callbacks, for all generations.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        The generations that were trained here, a list, generation 0 first if there was no teacher;
        and their history: a dictionary of lists with one entry for each epoch. `"stage"` counts the
        generations from 1, and what a stage does not measure is `None`.

    Raises:
        ValueError: If new models cannot be made of the student, nothing of it is trainable, teacher
            and student do not fit each other, the variant is unknown, a number is out of range, or
            the directory holds a run with other settings. Nothing is trained then.

    Example:

    ```python
    students, history = kdzoo.schemes.born_again(
        student,
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/born-again",
        generations=3,
        epochs=30,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        teacher=teacher,
    )
    ensemble = kdzoo.Ensemble(students, average="probabilities")  # Can itself teach.
    ```

    Reference: Furlanello et al., "Born-Again Neural Networks", 2018, arXiv:1805.04770.
    """
    batches = check_batches(data)
    generations = check_positive_integer("generations", generations, _MOST_GENERATIONS)
    epochs = check_positive_integer("epochs", epochs)
    seed = check_integer("seed", seed, least=0)
    check_choice("variant", variant, VARIANTS)
    check_run(directory, callbacks)
    make_loss, usual_weight = _VARIANTS[variant]
    weight = usual_weight if student_loss_weight is None else student_loss_weight
    weight = argument_checks.check_student_loss_weight(weight)
    compiling = Compiling(optimizer, loss, metrics)
    compiling.check(1.0 if teacher is None else weight)
    temperature = make_loss(temperature).temperature

    first = 0 if teacher is None else 1
    students = [_generation(student, number, seed) for number in range(first, generations + 1)]
    pairs = list(itertools.pairwise(students if teacher is None else [teacher, *students]))

    def distiller(teacher, student):
        return Distiller(teacher, student, make_loss(temperature), student_loss_weight=weight)

    def compiled(teacher, student):
        return compiling.compiled(distiller(teacher, student))

    for pair in pairs:  # What does not fit is refused before anything is trained.
        distiller(*pair)
    makers = [functools.partial(compiled, *pair) for pair in pairs]
    if teacher is None:
        accelerate(students[0])  # The others are in a `Distiller`, which does it for itself.
        makers.insert(0, functools.partial(compiling.compiled, students[0]))
    stages = [
        SchemeStage(f"generation-{number}", make, epochs, validation_data)
        for number, make in enumerate(makers, first)
    ]
    settings = {
        "run": settings,
        "generations": generations,
        "epochs": epochs,
        "variant": [variant, temperature, weight],
        "seed": seed,
        "has_teacher": teacher is not None,
        **compiling.described(),
    }
    # Those of a function may begin with other weights when it is called again.
    kept = [] if isinstance(student, keras.Model) else students
    history = train_stages(stages, batches, directory, settings, callbacks, verbose, kept)
    return students, history


def _generation(student: Any, number: int, seed: int) -> keras.Model:
    """A fresh model of one generation."""
    if isinstance(student, keras.Model) or not callable(student):
        argument_checks.check_model("student", student)
        if student.built:
            check_trainable("student", student)
        return with_new_weights(student, f"{seed}, generation {number}")
    made = student(number)
    argument_checks.check_model(f"student({number})", made)
    if not made.built:
        raise ValueError(
            f"Expected `student({number})` to be a built model. Received: {made.name!r}, which has "
            "no weights yet; call it on a batch."
        )
    check_trainable(f"student({number})", made)
    return made
