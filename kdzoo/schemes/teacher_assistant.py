"""Teacher assistants: a chain from a large teacher over models between to a small student."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.distiller import Distiller
from kdzoo.losses import SoftTargets
from kdzoo.schemes.scheme_checks import check_batches, check_chain
from kdzoo.schemes.scheme_settings import Compiling
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.training.stages import check_run
from kdzoo.utils import check_positive_integer, shown
from kdzoo.utils.types import PathLike

_MOST = 2**63 - 1  # Of parameters.


def teacher_assistant(
    teacher: keras.Model,
    models: Sequence[keras.Model],
    data: Any,
    directory: PathLike,
    *,
    epochs: int | Sequence[int],
    loss: Any,
    distillation_loss: Any = None,
    student_loss_weight: float = 0.5,
    teacher_transform: Callable[[Any], Any] | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[keras.Model, dict[str, list[Any]]]:
    """Distils a teacher into a student over assistants of sizes between; survives a kill.

    Each model of the chain learns from labels and from the one before it, in a `kdzoo.Distiller`:
    the first assistant from the teacher, the student from the last assistant.

    Args:
        teacher: A trained `keras.Model` that gives logits, or an ensemble.
        models: The assistants, the largest first, and at the end the student: built `keras.Model`,
            which are changed in place. `assistant_sizes` proposes sizes.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. Later stages go
            on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints of the stages go, and the weights that the models
            begin with: called again there, they get these, whatever is passed.
        epochs: Epochs of every model, or a list with those of each.
        loss: The loss of each model on the labels: a Keras loss, a function, or a name.
        distillation_loss: What each learns of the one before: a distillation loss, which every
            stage has a new one of; `SoftTargets(4.0)` when None.
        student_loss_weight: Weight of the loss on the labels, between 0 and 1; the distillation
            loss has the rest.
        teacher_transform: Function from the models' inputs to the teacher's; None where both see
            the same.
        optimizer: An optimizer of Keras, whose settings that of each model has, or a name.
        metrics: Metrics of each model, Keras metrics or names, on labels and logits.
        validation_data: What each model is validated on after each epoch: `(x, y)` or batches; None
            for no validation.
        settings: JSON-able value that identifies the run, for example data and teacher. The epochs,
            the distillation loss, `student_loss_weight`, and the configurations of optimizer and
            loss are always part of it; checkpoints written with other settings are refused.
        callbacks: Further callbacks, for all stages.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        The student, which is the last of `models`, and the history of all stages: a dictionary of
        lists with one entry for each epoch; `"stage"` counts from 1, and what a stage does not
        measure is `None`.

    Raises:
        ValueError: If a model has more parameters than the one that it learns from or nothing that
            is trainable, two models do not fit each other, a number is out of range, or the
            directory holds a run with other settings. Nothing is trained then.

    Example:

    ```python
    student, history = kdzoo.schemes.teacher_assistant(
        teacher,
        [assistant, student],
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/assistant",
        epochs=30,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    ```

    Reference: Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", 2020,
    arXiv:1902.03393.
    """
    batches = check_batches(data)
    check_run(directory, callbacks)
    chain = check_chain(teacher, models)
    counts = _check_epochs(epochs, len(chain) - 1)
    student_loss_weight = argument_checks.check_student_loss_weight(student_loss_weight)
    compiling = Compiling(optimizer, loss, metrics)
    compiling.check(student_loss_weight)
    given = SoftTargets(4.0) if distillation_loss is None else distillation_loss
    taught_by = argument_checks.as_one_loss(given)

    def distiller(teacher, student, transform):
        own = type(taught_by).from_config(taught_by.get_config())
        weights = {"student_loss_weight": student_loss_weight}
        return Distiller(teacher, student, own, teacher_transform=transform, **weights)

    def compiled(step):
        return compiling.compiled(distiller(*step))

    transforms = [teacher_transform] + [None] * (len(chain) - 2)
    steps = [(*pair, how) for pair, how in zip(itertools.pairwise(chain), transforms, strict=True)]
    for step in steps:  # What does not fit is refused before anything is trained.
        distiller(*step)
    names = [*(f"assistant-{number}" for number in range(1, len(steps))), "student"]
    stages = [
        SchemeStage(name, functools.partial(compiled, step), count, validation_data)
        for name, step, count in zip(names, steps, counts, strict=True)
    ]
    settings = {
        "run": settings,
        "epochs": counts,
        "distillation_loss": [type(taught_by).__name__, taught_by.get_config()],
        "student_loss_weight": student_loss_weight,
        **compiling.described(),
    }
    history = train_stages(stages, batches, directory, settings, callbacks, verbose, chain[1:])
    return chain[-1], history


def assistant_sizes(teacher_parameters: int, student_parameters: int, count: int = 1) -> list[int]:
    """Returns how many parameters assistants should have: evenly between, in logarithms.

    Args:
        teacher_parameters: Number of the teacher's parameters, `teacher.count_params()`.
        student_parameters: Number of the student's, at most the teacher's.
        count: How many assistants, at least 1.

    Returns:
        A number of parameters for each assistant, the largest first; each is the same multiple of
        the one after it, up to rounding.

    Raises:
        ValueError: If a number is no positive integer, or the student is larger than the teacher.

    Example:

    >>> assistant_sizes(1_000_000, 10_000)
    [100000]
    >>> assistant_sizes(80_000, 10_000, count=2)
    [40000, 20000]
    """
    teacher_parameters = check_positive_integer("teacher_parameters", teacher_parameters, _MOST)
    student_parameters = check_positive_integer("student_parameters", student_parameters, _MOST)
    count = check_positive_integer("count", count, 1000)
    if student_parameters > teacher_parameters:
        raise ValueError(
            "Expected a student of at most the teacher's parameters. Received: "
            f"teacher_parameters={teacher_parameters}, student_parameters={student_parameters}"
        )
    ratio = math.log(student_parameters / teacher_parameters)
    return [
        round(teacher_parameters * math.exp(ratio * number / (count + 1)))
        for number in range(1, count + 1)
    ]


def _check_epochs(epochs: Any, count: int) -> list[int]:
    """Returns the epochs of each stage, or raises."""
    given = list(epochs) if isinstance(epochs, list | tuple) else [epochs] * count
    if len(given) != count:
        raise ValueError(
            f"Expected epochs as a number, or as a list of {count}, one for each model. Received: "
            f"epochs={shown(epochs)}"
        )
    return [check_positive_integer("epochs", number) for number in given]
