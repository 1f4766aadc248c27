"""What the stage types share that train a network."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from kdzoo.data import Dataset
from kdzoo.data.transfer_set import UNLABELLED
from kdzoo.experiments.optimizer_and_schedule import optimizer
from kdzoo.experiments.stage import Built
from kdzoo.experiments.training_settings import Training
from kdzoo.training.checkpoints.state import restore_state, shapes_of, state_of
from kdzoo.training.stages import train
from kdzoo.utils import first_line
from kdzoo.zoo import create as create_by_name

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


def create(built: Built, data: Dataset, precision: str = "float32") -> keras.Model:
    """Returns a fresh model for the images and classes of a data set.

    Raises:
        ValueError: If the builder takes no such argument.
    """
    return create_for(built, data.classes, data.input_shape, precision)


def create_for(
    built: Built, classes: int, input_shape: tuple[int, ...], precision: str = "float32"
) -> keras.Model:
    """Returns a fresh model for images of a shape (height, width, channels).

    Raises:
        ValueError: If the builder takes no such argument.
    """
    name, arguments = built
    height, width, channels = input_shape
    try:
        with computing_in(precision):
            return create_by_name(name, classes, (height, width, channels), **arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {name!r} takes. Received: {arguments!r}: {first_line(error)}"
        ) from error


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Context in which new layers compute in a precision."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


def create_seeded(context: "StageContext", precision: str) -> keras.Model:
    """Returns the fresh model of a stage, whose weights follow from its seed."""
    keras.utils.set_random_seed(context.seed)
    return create(context.built, context.data, precision)


def copy_in(precision: str, model: keras.Model, built: Built, data: Dataset) -> keras.Model:
    """Returns a copy of a model that computes in a precision."""
    copy = create(built, data, precision)
    copy.set_weights(model.get_weights())
    return copy


def finished(model: keras.Model, context: "StageContext") -> keras.Model:
    """Returns a trained model as it is measured and saved: not compiled, and in float32.

    Whoever loads it needs nothing but Keras. The next seed of the stage is measured in the same
    object.
    """
    if "finished" not in context.kept:
        context.kept["finished"] = create(context.built, context.data)
    context.kept["finished"].set_weights(model.get_weights())
    return context.kept["finished"]


def fit(
    model: keras.Model,
    training: Training,
    context: "StageContext",
    batches_from: Callable[[int], Any],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    reuse: bool = False,
    loss: keras.losses.Loss | None = None,
) -> dict[str, Any]:
    """Fits a model, going on where a killed process stopped; returns its history.

    Args:
        model: The model.
        training: How it is trained.
        context: What the stage works with.
        batches_from: Function from the first epoch to the batches from there on.
        callbacks: Further callbacks.
        reuse: Whether the models of all seeds differ in their weights alone, so that the step that
            was compiled for one serves the next, if both have one teacher.
        loss: The loss on labels; `cross_entropy()` when None.
    """
    loss = cross_entropy() if loss is None else loss
    # An object has its variables at once; by a name, the step would be traced twice to make them.
    accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
    model.compile(optimizer(training, context.data), loss, metrics=[accuracy])
    given = options(context)
    given["callbacks"] = [*callbacks, *given["callbacks"]]
    trained = _compiled_before(model, context) if reuse else model
    history = train(trained, batches_from, training.epochs, context.directory, **given)
    if trained is not model:
        model.set_weights(trained.get_weights())
    return history


def _compiled_before(model: keras.Model, context: "StageContext") -> keras.Model:
    """The model that an earlier seed was trained in, in the state of this one; or else this one."""
    kept = context.kept.setdefault("trained", model)
    if kept is model:
        return model
    if _how_compiled(kept) != _how_compiled(model):
        context.kept["trained"] = model
        return model
    model.optimizer.build(model.trainable_variables)
    restore_state(kept, state_of(model).arrays)
    return kept


def _how_compiled(model: keras.Model) -> Any:
    """What the compiled step of a model depends on, of models of one stage."""
    teacher = id(getattr(model, "teacher", None))
    settings = {**model.optimizer.get_config(), "name": None}  # Each has another name.
    return model.dtype_policy.name, shapes_of(model), settings, teacher


def options(context: "StageContext") -> dict[str, Any]:
    """Returns further arguments of `kdzoo.schemes.train` for what a stage works with."""
    validation = context.data.validation and context.data.validation.batches(500)
    return {**context.options, "validation_data": validation}


def batches(training: Training, context: "StageContext", **more: Any) -> Callable[[int], Any]:
    """Returns a function from the first epoch to the batches from there on."""
    augmentation = training.augmentation_for(context.data.name)
    options = {"seed": context.seed, "augmentation": augmentation, **more}
    return lambda epoch: context.data.train.batches(
        training.batch_size, shuffle=True, initial_epoch=epoch, **options
    )


def cross_entropy(has_unlabelled: bool = False) -> keras.losses.Loss:
    """Returns the loss on labels.

    Args:
        has_unlabelled: Whether there are samples of the label -1, which do not count.
    """
    ignored = {"ignore_class": UNLABELLED} if has_unlabelled else {}
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **ignored)
