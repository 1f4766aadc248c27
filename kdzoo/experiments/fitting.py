"""How the stages of one network are trained: alone, distilled, or in two stages with hints."""

from collections.abc import Callable
from typing import Any

import keras

from kdzoo import losses as loss_types
from kdzoo.data import Dataset
from kdzoo.distillation import argument_checks
from kdzoo.distillation.distiller import Distiller
from kdzoo.experiments.recorded import predict, recorded_split
from kdzoo.experiments.results import measure
from kdzoo.experiments.stage import Built, Outcome
from kdzoo.experiments.stages import Distill, HintTraining
from kdzoo.experiments.training import Training, check_dictionaries
from kdzoo.experiments.work import Work
from kdzoo.graph import taps
from kdzoo.graph.acceleration import accelerate
from kdzoo.schemes.hint_training import hint_training
from kdzoo.training.callbacks import Anneal, linear
from kdzoo.training.stages import train
from kdzoo.utils import check_choice, first_line
from kdzoo.zoo import create as create_by_name
from kdzoo.zoo import load

Fit = Callable[[keras.Model, Work], dict[str, Any]]


def create(built: Built, data: Dataset, precision: str = "float32") -> keras.Model:
    """Returns a fresh model for the images and classes of a data set.

    Args:
        built: Name of the architecture, and arguments of its builder.
        data: The data set.
        precision: The dtype policy that it computes in.

    Raises:
        ValueError: If the builder takes no such argument.
    """
    name, arguments = built
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return create_by_name(name, data.classes, data.input_shape, **arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {name!r} takes. Received: {arguments!r}: {first_line(error)}"
        ) from error
    finally:
        keras.config.set_dtype_policy(usual)


def copy_in(precision: str, model: keras.Model, built: Built, data: Dataset) -> keras.Model:
    """Returns a copy of a model that computes in a precision.

    Args:
        precision: The dtype policy.
        model: The model.
        built: What it was built from.
        data: The data set that it is for.
    """
    copy = create(built, data, precision)
    copy.set_weights(model.get_weights())
    return copy


def run(precision: str, fit: Fit, work: Work) -> Outcome:
    """Trains a fresh model of a stage and measures it, in float32.

    Args:
        precision: The dtype policy of the training.
        fit: Function that trains a model in place and returns its history.
        work: What the stage works with.
    """
    keras.utils.set_random_seed(work.seed)
    model = create(work.built, work.data, precision)
    history = fit(model, work)
    # Not compiled: whoever loads it needs nothing but Keras.
    model = copy_in("float32", model, work.built, work.data)
    return Outcome({"model": model}, measure(model, work.data), history)


def load_pretrained(name: str, work: Work) -> Outcome:
    """Returns a pretrained model as a stage yields it.

    Args:
        name: Name of the model.
        work: What the stage works with.
    """
    model = copy_in("float32", load(name), work.built, work.data)
    return Outcome({"model": model}, measure(model, work.data), seconds=0.0)


def train_alone(model: keras.Model, training: Training, work: Work) -> dict[str, Any]:
    """Trains a model on the labels in place and returns its history."""
    accelerate(model)
    return _train(model, training, work, _batches(training, work))


def distill(model: keras.Model, stage: Distill, work: Work) -> dict[str, Any]:
    """Trains a student in place by its teacher and returns its history."""
    training, teacher = stage.training, None
    if not (is_predicted_once(stage) or stage.views):
        teacher = work.source("teacher", stage.teacher_precision)
    student = distiller(teacher, model, stage, _labels(stage, work.data))
    callbacks = []
    if stage.teacher_weight is not None:
        name = student.distillation_losses[0].name
        schedule = linear(*stage.teacher_weight, epochs=training.epochs)
        callbacks = [Anneal("distillation_loss_weight", schedule, name)]
    student.compile(optimizer(training, work.data), _cross_entropy(), metrics=["accuracy"])
    return _fit(student, training, work, _taught_batches(stage, work), callbacks)


def train_by_hints(model: keras.Model, stage: HintTraining, work: Work) -> dict[str, Any]:
    """Trains a student in place in FitNets' two stages and returns its history."""
    hint_layer, guided_layer, hint_epochs = stage.hints
    _, history = hint_training(
        work.source("teacher", stage.teacher_precision),
        model,
        hint_layer,
        guided_layer,
        _batches(stage.training, work),
        work.directory,
        hint_epochs=hint_epochs,
        epochs=stage.training.epochs,
        loss=_cross_entropy(),
        soft_targets=make_losses(stage)[0][0],
        student_loss_weight=stage.student_loss_weight,
        teacher_weight=stage.teacher_weight or (stage.losses[0][2],) * 2,
        hint_optimizer=optimizer(stage.training, work.data, hint_epochs),
        optimizer=optimizer(stage.training, work.data),
        metrics=["accuracy"],
        **_options(work),
    )
    return history


def is_predicted_once(stage: Distill) -> bool:
    """Whether the teacher predicts once for all epochs: where the images stay as they are."""
    return stage.training.augmentation is None


def optimizer(
    training: Training, data: Dataset, epochs: int | None = None
) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer, whose learning rate falls over the epochs.

    Args:
        training: The configuration.
        data: The data set.
        epochs: How many; those of the configuration when None.
    """
    epochs = training.epochs if epochs is None else epochs
    steps = -(-len(data.train) // training.batch_size) * epochs
    cosine, highest = keras.optimizers.schedules.CosineDecay, training.learning_rate
    if training.optimizer == "sgd":
        rise = max(1, steps // 10)
        rate = cosine(0.0, max(1, steps - rise), warmup_target=highest, warmup_steps=rise)
        decay = training.weight_decay
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    rate = cosine(highest, steps)
    if not training.weight_decay:  # The same numbers in fewer operations.
        return keras.optimizers.Adam(rate)
    return keras.optimizers.AdamW(rate, weight_decay=training.weight_decay)


def distiller(
    teacher: keras.Model | None, student: keras.Model, stage: Distill, labels: Any = None
) -> Distiller:
    """Returns the `Distiller` of a stage, not compiled.

    Args:
        teacher: The teacher; None where the data carry its outputs.
        student: The student.
        stage: The stage.
        labels: Those of the training images, for the loss that wants them.
    """
    losses, weights = make_losses(stage, labels)
    return Distiller(teacher, student, losses, weights, stage.student_loss_weight)


def make_losses(stage: Distill, labels: Any = None) -> tuple[list[Any], list[float]]:
    """Returns the loss objects of a stage and their weights.

    Args:
        stage: The stage.
        labels: Those of the training images, for the loss that wants them.

    Raises:
        ValueError: If a name is unknown or an argument is out of range.
    """
    made = []
    for name, arguments, _ in stage.losses:
        check_choice("loss", name, loss_types.__all__)
        check_dictionaries({f"arguments of {name}": arguments})
        if name == "ContrastiveRepresentation":
            arguments = {"examples": 2 if labels is None else labels, **arguments}
        try:
            made.append(getattr(loss_types, name)(**arguments))
        except TypeError as error:
            raise ValueError(
                f"Expected arguments that {name} takes. Received: {arguments!r}: "
                f"{first_line(error)}"
            ) from error
    return made, [weight for _, _, weight in stage.losses]


def check_teaching(stage: Distill) -> None:
    """Raises `ValueError` unless losses and weights of a stage are right."""
    make_losses(stage)
    argument_checks.share(stage.student_loss_weight)
    if stage.teacher_weight is not None:
        argument_checks.teacher_weight(stage.teacher_weight)


def check_hints(teacher: keras.Model, student: keras.Model, stage: HintTraining) -> None:
    """Raises `ValueError` if a student cannot learn a hint; nothing is trained."""
    hint_layer, guided_layer, _ = stage.hints
    parts = taps.cut(teacher, hint_layer), taps.cut(student, guided_layer)
    Distiller(*parts, loss_types.Hint(), student_loss_weight=0.0)


def _train(
    model: keras.Model, training: Training, work: Work, batches: Callable[[int], Any]
) -> dict[str, Any]:
    model.compile(optimizer(training, work.data), _cross_entropy(), metrics=["accuracy"])
    return _fit(model, training, work, batches)


def _fit(
    model: keras.Model,
    training: Training,
    work: Work,
    batches: Callable[[int], Any],
    callbacks: list[keras.callbacks.Callback] | None = None,
) -> dict[str, Any]:
    """Fits a compiled model, going on where a killed process stopped; returns its history."""
    options = _options(work)
    options["callbacks"] = [*(callbacks or []), *options["callbacks"]]
    return train(model, batches, training.epochs, work.directory, **options)


def _options(work: Work) -> dict[str, Any]:
    validation = work.data.validation and work.data.validation.batches(500)
    return {**work.options, "validation_data": validation}


def _batches(training: Training, work: Work, **more: Any) -> Callable[[int], Any]:
    """Returns a function from the first epoch to the batches from there on."""
    augmentation = training.augmentation_for(work.data.name)
    options = {"seed": work.seed, "augmentation": augmentation, **more}
    return lambda epoch: work.data.train.batches(
        training.batch_size, shuffle=True, initial_epoch=epoch, **options
    )


def _taught_batches(stage: Distill, work: Work) -> Callable[[int], Any]:
    """As `_batches`, with the teacher's outputs where it does not predict at every step."""
    indices, layers = _needs_indices(stage), _teacher_layers(stage)
    if stage.views:
        recorded = recorded_split(
            work.source("teacher", stage.teacher_precision),
            work.data.train,
            work.record_directory("teacher"),
            stage.views,
            stage.training.augmentation_for(work.data.name),
            layers,
        )
        return lambda epoch: recorded.batches(
            stage.training.batch_size,
            shuffle=True,
            initial_epoch=epoch,
            seed=work.seed,
            indices=indices,
        )
    more: dict[str, Any] = {"indices": True} if indices else {}
    if is_predicted_once(stage):
        images = work.data.train.arrays()[0]
        more["teacher_outputs"] = predict(work.source("teacher"), images, layers)
    return _batches(stage.training, work, **more)


def _teacher_layers(stage: Distill) -> list[str]:
    """The layers of the teacher that a loss looks at, each once."""
    losses, _ = make_losses(stage)
    return list(dict.fromkeys(path for loss in losses for path in loss.teacher_layers))


def _needs_indices(stage: Distill) -> bool:
    """Whether a loss keeps something for each example."""
    return any(name == "ContrastiveRepresentation" for name, _, _ in stage.losses)


def _labels(stage: Distill, data: Dataset) -> Any:
    """The labels of the training images, if a loss wants them."""
    if not _needs_indices(stage):
        return None
    train_split = data.train
    return (
        train_split.labels
        if train_split.indices is None
        else train_split.labels[train_split.indices]
    )


def _cross_entropy() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
