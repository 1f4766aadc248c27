"""What the stage types share that train a network."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from kdzoo.data import Dataset
from kdzoo.experiments.stage import Built
from kdzoo.experiments.training import Training
from kdzoo.training.stages import train
from kdzoo.utils import first_line
from kdzoo.zoo import create as create_by_name

if TYPE_CHECKING:
    from kdzoo.experiments.work import Work


def create(built: Built, data: Dataset, precision: str = "float32") -> keras.Model:
    """Returns a fresh model for the images and classes of a data set.

    Raises:
        ValueError: If the builder takes no such argument.
    """
    name, arguments = built
    height, width, channels = data.input_shape
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return create_by_name(name, data.classes, (height, width, channels), **arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {name!r} takes. Received: {arguments!r}: {first_line(error)}"
        ) from error
    finally:
        keras.config.set_dtype_policy(usual)


def create_seeded(work: "Work", precision: str) -> keras.Model:
    """Returns the fresh model of a stage, whose weights follow from its seed."""
    keras.utils.set_random_seed(work.seed)
    return create(work.built, work.data, precision)


def copy_in(precision: str, model: keras.Model, built: Built, data: Dataset) -> keras.Model:
    """Returns a copy of a model that computes in a precision."""
    copy = create(built, data, precision)
    copy.set_weights(model.get_weights())
    return copy


def optimizer(
    training: Training, data: Dataset, epochs: int | None = None
) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer, whose learning rate falls over the epochs."""
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


def fit(
    model: keras.Model,
    training: Training,
    work: "Work",
    batches_from: Callable[[int], Any],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Fits a model, going on where a killed process stopped; returns its history."""
    model.compile(optimizer(training, work.data), cross_entropy(), metrics=["accuracy"])
    given = options(work)
    given["callbacks"] = [*callbacks, *given["callbacks"]]
    return train(model, batches_from, training.epochs, work.directory, **given)


def options(work: "Work") -> dict[str, Any]:
    """Returns further arguments of `kdzoo.schemes.train` for what a stage works with."""
    validation = work.data.validation and work.data.validation.batches(500)
    return {**work.options, "validation_data": validation}


def batches(training: Training, work: "Work", **more: Any) -> Callable[[int], Any]:
    """Returns a function from the first epoch to the batches from there on."""
    augmentation = training.augmentation_for(work.data.name)
    options = {"seed": work.seed, "augmentation": augmentation, **more}
    return lambda epoch: work.data.train.batches(
        training.batch_size, shuffle=True, initial_epoch=epoch, **options
    )


def cross_entropy() -> keras.losses.Loss:
    """Returns the loss on labels."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
