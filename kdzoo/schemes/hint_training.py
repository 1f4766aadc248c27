"""FitNets' training in two stages: hints up to the middle, then soft targets to the end."""

import pathlib

import keras

from kdzoo import taps
from kdzoo.callbacks import Anneal, linear
from kdzoo.distiller import Distiller
from kdzoo.losses import Hint, SoftTargets
from kdzoo.schemes.training import train


def hint_training(
    teacher,
    student,
    hint_layer,
    guided_layer,
    data,
    directory,
    *,
    hint_epochs,
    epochs,
    loss,
    activation=None,
    reduction="mean",
    soft_targets=None,
    student_loss_weight=0.5,
    teacher_weight=(4.0, 1.0),
    hint_optimizer="adam",
    optimizer="adam",
    metrics=(),
    validation_data=None,
    settings=None,
    callbacks=(),
    verbose="auto",
):
    """Trains a student in FitNets' two stages, going on from where a killed run stopped.

    First the student's layers up to the guided one learn to predict the teacher's hint layer,
    through a regressor; what lies above is not computed. Then the whole student learns from labels
    and teacher, `w · student_loss + (1 − w) · λ · soft_targets`, with λ falling evenly over the
    epochs. The paper's `student_loss + λ · soft_targets` is twice this at w = ½.

    Args:
        teacher: A trained functional or sequential `keras.Model` that gives logits.
        student: The functional or sequential `keras.Model` to train; it is changed in place.
        hint_layer: Name of the teacher's layer that is learnt, a path in a nested model.
        guided_layer: Name of the student's layer that learns it.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. The second stage
            goes on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints of the two stages go.
        hint_epochs: Epochs of the first stage.
        epochs: Epochs of the second stage.
        loss: The student's loss on the labels, as in `compile`.
        activation: The regressor's non-linearity, see `kdzoo.losses.Hint`.
        reduction: `"sum"` or `"mean"` over the hint's features.
        soft_targets: The second stage's distillation loss; `SoftTargets(3.0)` when `None`.
        student_loss_weight: w, between 0 and 1.
        teacher_weight: λ in the first and in the last epoch of the second stage. The paper lets it
            fall from 4 to 1 on MNIST.
        hint_optimizer: The first stage's optimizer, as in `compile`.
        optimizer: The second stage's optimizer, another object.
        metrics: The second stage's metrics, as in `compile`.
        validation_data: As in `keras.Model.fit`, for the second stage.
        settings: JSON-able value that identifies the run; checkpoints written with other settings
            are refused.
        callbacks: Further callbacks, for both stages.
        verbose: As in `keras.Model.fit`.

    Returns:
        The student, and the history of both stages: a dictionary of lists with one entry for each
        epoch; `"stage"` is 1 or 2, and what a stage does not measure is `None`.

    Raises:
        ValueError: If a model cannot be cut at its layer, a layer does not exist, the features
            cannot be matched, or both stages are given the same optimizer object.

    Example:

    ```python
    student, history = kdzoo.schemes.hint_training(
        teacher,
        student,
        "stage2",
        "stage2",
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/fitnet",
        hint_epochs=10,
        epochs=40,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    ```

    Reference: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, arXiv:1412.6550,
    algorithm 1 and equations 2 to 4.
    """
    directory = pathlib.Path(directory)
    if isinstance(optimizer, keras.optimizers.Optimizer) and optimizer is hint_optimizer:
        raise ValueError(
            "Expected an optimizer for each stage, as they train other weights. Received: the same "
            "object twice; make two."
        )
    batches = data if callable(data) else lambda epoch: data
    options = {"settings": settings, "callbacks": callbacks, "verbose": verbose}

    parts = taps.cut(teacher, hint_layer), taps.cut(student, guided_layer)
    hint = Hint(activation=activation, reduction=reduction)
    hints = Distiller(*parts, hint, student_loss_weight=0.0, name="hints")
    hints.compile(hint_optimizer)
    first = train(hints, batches, hint_epochs, directory / "hints", **options)

    soft_targets = soft_targets or SoftTargets(3.0)
    distiller = Distiller(teacher, student, soft_targets, student_loss_weight=student_loss_weight)
    distiller.compile(optimizer, loss, metrics=list(metrics))
    options["callbacks"] = [
        Anneal("distillation_loss_weight", linear(*teacher_weight, epochs=epochs)),
        *callbacks,
    ]
    second = train(
        distiller,
        lambda epoch: batches(hint_epochs + epoch),
        epochs,
        directory / "distillation",
        validation_data,
        **options,
    )
    return student, _joined(first, second, hint_epochs, epochs)


def _joined(first, second, hint_epochs, epochs):
    """One history of both stages."""
    joined = {"stage": [1] * hint_epochs + [2] * epochs}
    for name in {**first, **second}:
        early, late = first.get(name, [None] * hint_epochs), second.get(name, [None] * epochs)
        joined[name] = [*early, *late]
    return joined
