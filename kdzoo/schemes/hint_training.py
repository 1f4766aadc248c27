"""FitNets' training in two stages: hints up to the middle, then soft targets to the end."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.copies import check_metrics
from kdzoo.distillation.distiller import Distiller
from kdzoo.graph import taps
from kdzoo.losses import DistillationLoss, Hint, SoftTargets
from kdzoo.models.ensemble import Ensemble
from kdzoo.schemes.scheme_checks import check_batches, check_optimizers
from kdzoo.schemes.scheme_settings import describe
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.training.callbacks import Anneal, linear
from kdzoo.training.stages import check_run
from kdzoo.utils import check_positive_integer, shown
from kdzoo.utils.types import PathLike


def hint_training(
    teacher: keras.Model,
    student: keras.Model,
    hint_layer: str | None,
    guided_layer: str,
    data: Any,
    directory: PathLike,
    *,
    hint_epochs: int,
    epochs: int,
    loss: Any,
    activation: str | Callable[[Any], Any] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    soft_targets: Any = None,
    student_loss_weight: float = 0.5,
    teacher_weight: tuple[float, float] | None = None,
    teacher_transform: Callable[[Any], Any] | None = None,
    hint_optimizer: str | keras.optimizers.Optimizer = "adam",
    optimizer: str | keras.optimizers.Optimizer = "adam",
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[keras.Model, dict[str, list[Any]]]:
    """Trains a student in FitNets' two stages, going on from where a killed run stopped.

    First the student's layers up to the guided one learn to predict the teacher's hint layer,
    through a regressor; what lies above is not computed. Then the whole student learns from labels
    and teacher, `w · student_loss + (1 − w) · λ · soft_targets`, with λ falling evenly over the
    epochs. At w = ½ that is half the paper's `student_loss + λ · cross-entropy` up to a constant,
    if λ is divided by the T² that `SoftTargets` has and the paper's cross-entropy has not.

    Args:
        teacher: A trained functional or sequential `keras.Model` that gives logits; one, as hints
            come from one network.
        student: The functional or built sequential `keras.Model` to train; it is changed in place.
        hint_layer: Name of the teacher's layer that is learnt, a path in a nested model. None where
            labels take the place of the hint, for comparison: in the first stage the layers up to
            the guided one then learn `loss`, through a linear classifier that is no part of the
            student.
        guided_layer: Name of the student's layer that learns it.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. The second stage
            goes on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints of the two stages go, and the weights that the student
            begins with: called again there, it gets these, whatever is passed.
        hint_epochs: Epochs of the first stage.
        epochs: Epochs of the second stage.
        loss: The student's loss on the labels: a Keras loss, a function, or a name.
        activation: The regressor's non-linearity, see `kdzoo.losses.Hint`.
        reduction: `"mean"` or, as in the paper's equation 3, `"sum"` over the hint's features.
        soft_targets: The second stage's distillation loss; `SoftTargets(3.0)` when `None`.
        student_loss_weight: w, between 0 and 1.
        teacher_weight: λ in the first and in the last epoch of the second stage, two numbers. When
            `None` those of the paper on MNIST, 4 and 1, over the T² of `soft_targets` if it has a
            temperature: 0.44 and 0.11 at T = 3.
        teacher_transform: Function from the student's inputs to the teacher's, in both stages;
            None where both see the same.
        hint_optimizer: The first stage's optimizer, a Keras optimizer or a name.
        optimizer: The second stage's optimizer, another object.
        metrics: The second stage's metrics, Keras metrics or names, on labels and student logits.
        validation_data: What the second stage is validated on after each epoch: `(x, y)` or
            batches; None for no validation.
        settings: JSON-able value that identifies the run, for example data and optimizers. The
            layers, epochs, regressor, `soft_targets` and all weights of losses are always part of
            it; checkpoints written with other settings are refused.
        callbacks: Further callbacks, for both stages.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        The student, and the history of both stages: a dictionary of lists with one entry for each
        epoch that was trained; `"stage"` is 1 or 2, and what a stage does not measure is `None`.

    Raises:
        ValueError: If a model cannot be cut at its layer, a layer does not exist, the features
            cannot be matched, a number is out of range, both stages are given the same optimizer
            object, or the directory holds a run with other settings. Nothing is trained then.

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
    _check_teacher(teacher)
    batches = check_batches(data)
    hint_epochs = check_positive_integer("hint_epochs", hint_epochs)
    epochs = check_positive_integer("epochs", epochs)
    check_optimizers(hint_optimizer, optimizer)
    check_run(directory, callbacks)
    check_metrics(metrics)
    student_loss_weight = argument_checks.check_student_loss_weight(student_loss_weight)
    soft_targets = SoftTargets(3.0) if soft_targets is None else soft_targets
    weights = _weights(teacher_weight, soft_targets)
    settings = {
        "run": settings,
        "layers": [hint_layer, guided_layer],
        "epochs": [hint_epochs, epochs],
        "regressor": [_name_of(activation), reduction],
        "soft_targets": soft_targets.get_config(),
        "weights": [student_loss_weight, *weights],
    }

    transform: dict[str, Any] = {"teacher_transform": teacher_transform}
    hints: keras.Model
    begun_with: list[keras.layers.Layer] = [student]
    if hint_layer is None:
        hints = classifier_on(student, guided_layer)
        begun_with.append(hints.layers[-1])
        hints.compile(hint_optimizer, loss)
    else:
        parts = taps.cut(teacher, hint_layer), taps.cut(student, guided_layer)
        hint = Hint(activation=activation, reduction=reduction)
        hints = Distiller(*parts, hint, student_loss_weight=0.0, name="hints", **transform)
        hints.compile(hint_optimizer)
    distiller = Distiller(
        teacher, student, soft_targets, student_loss_weight=student_loss_weight, **transform
    )
    distiller.compile(optimizer, loss, metrics=list(metrics))
    annealing = Anneal("distillation_loss_weight", linear(*weights, epochs=epochs))

    stages = [
        SchemeStage("hints", lambda: hints, hint_epochs),
        SchemeStage("distillation", lambda: distiller, epochs, validation_data, [annealing]),
    ]
    history = train_stages(stages, batches, directory, settings, callbacks, verbose, begun_with)
    return student, history


def classifier_on(student: keras.Model, layer: str) -> keras.Model:
    """Returns a student's layers up to one, and a new linear classifier of its outputs.

    Args:
        student: The functional or sequential `keras.Model`, which gives logits (batch, classes);
            the layers are its own.
        layer: Name of the layer.
    """
    part = taps.cut(student, layer)
    features = keras.layers.Flatten(name="guided_features")(part.outputs[0])
    classifier = keras.layers.Dense(student.output_shape[-1], name="guided_logits", dtype="float32")
    return keras.Model(part.inputs, classifier(features), name="guided_by_labels")


def _name_of(activation: Any) -> Any:
    """What identifies an activation in every process."""
    if activation is None:
        return None
    # As earlier versions wrote it, whose runs go on; but for an address, which is of one process.
    name = str(activation)
    return describe(activation) if " at 0x" in name else name


def _check_teacher(teacher: Any) -> None:
    """Raises if the teacher has no one layer that gives the hint."""
    if isinstance(teacher, Ensemble):
        raise ValueError(
            "Expected one model as the teacher, whose layer gives the hint. Received: an ensemble; "
            "pass one of its members."
        )


def _weights(teacher_weight: Any, soft_targets: Any) -> tuple[float, float]:
    """The first and the last weight of the soft targets."""
    if not isinstance(soft_targets, DistillationLoss | keras.distillation.DistillationLoss):
        raise ValueError(
            "Expected `soft_targets` to be one distillation loss. Received: "
            f"soft_targets={shown(soft_targets)}; for several, train the second stage with a "
            "`Distiller`."
        )
    if teacher_weight is None:
        squared = getattr(soft_targets, "temperature", 1.0) ** 2
        return 4.0 / squared, 1.0 / squared
    return argument_checks.check_teacher_weight(teacher_weight)
