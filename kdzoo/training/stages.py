"""`fit` that survives a kill."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import keras

from kdzoo.graph import acceleration
from kdzoo.graph.exportable import TrainsStudent
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.training.callbacks import StopAtNonFiniteLoss
from kdzoo.training.checkpoints import RunCheckpoint
from kdzoo.utils import check_directory, check_integer, one_process, onednn, shown
from kdzoo.utils.keras_errors import plain_errors
from kdzoo.utils.types import PathLike


def train(
    model: keras.Model,
    data: Callable[[int], Any] | None,
    epochs: int,
    directory: PathLike,
    validation_data: Any = None,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> dict[str, list[Any]]:
    """Fits a model, with a checkpoint after every epoch, going on from the newest one found.

    A run that is killed at any moment and started again with the same arguments ends with the
    result of an undisturbed run, provided that `data` depend on the epoch alone. Averages of an
    optimizer with `use_ema` and the weights that `EarlyStopping` restored are kept with the end of
    the run. What a callback itself remembers is not: after a kill within the run, `EarlyStopping`
    counts and compares the epochs anew, and a kill between the last epoch and the end of the run
    loses what callbacks do there, such as restoring the best weights.

    While it trains, the model's layers are quicker, as by `kdzoo.accelerate`.

    Args:
        model: A compiled and built `keras.Model`, such as a `Distiller`.
        data: Function from the number of the first epoch to what `fit` takes, for example
            `lambda epoch: split.batches(128, shuffle=True, seed=0, initial_epoch=epoch)`. None
            serves where nothing is left to train.
        epochs: Number of epochs in all, those before a kill included. A finished run that is
            given more goes on as it was after its last epoch, before averages were written.
        directory: Where the checkpoints go.
        validation_data: As in `keras.Model.fit`.
        settings: JSON-able value that identifies the run; a checkpoint that was written with
            other settings is refused.
        callbacks: Further callbacks.
        verbose: As in `keras.Model.fit`.

    Returns:
        The history of all epochs: a dictionary of lists.

    Raises:
        ValueError: If an argument is of the wrong type, the model is not built or not compiled,
            the checkpoint is of another run, another process trains in the directory, or the loss
            becomes NaN or infinite.
    """
    check_run(directory, callbacks)
    epochs = check_integer("epochs", epochs, least=0)
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a keras.Model. Received: model={shown(model)} of type {type(model).__name__}"
        )
    if not model.built or not model.compiled:
        raise ValueError(
            f"Expected a compiled and built model. Received: {model.name!r} with "
            f"built={model.built}, compiled={model.compiled}; call `compile`, and the model on a "
            "batch."
        )
    checkpoint = RunCheckpoint(pathlib.Path(directory), settings)
    with one_process(directory):
        if checkpoint.exists() and callable(data) and isinstance(model, TrainsStudent):
            model.prepare(data(0))
        if not checkpoint.restore_finished(model, epochs):
            done = checkpoint.restore(model)
            if done < epochs:
                _fit(model, data, done, epochs, validation_data, [*callbacks], checkpoint, verbose)
            elif done:
                # Killed between its last epoch and its end, or of a version that kept no end.
                model.optimizer.finalize_variable_values(model.trainable_weights)
    return checkpoint.history


def _fit(model, data, done, epochs, validation_data, callbacks, checkpoint, verbose):
    """Trains a model from an epoch on to the end of its run."""
    check_data_function(data)
    onednn.warn_if_off()
    build_optimizer(model)
    # What trains a student accelerates it itself.
    layers = [] if isinstance(model, TrainsStudent) else acceleration.quicker_layers(model)
    with plain_errors(), untuned_passes(), acceleration.accelerated(layers):
        model.fit(
            cast(Callable[[int], Any], data)(done),
            epochs=epochs,
            initial_epoch=done,
            validation_data=validation_data,
            # The checkpoint comes last: an epoch that another callback rejects is not kept.
            callbacks=[*callbacks, StopAtNonFiniteLoss(), checkpoint],
            verbose=verbose,
            # The data have an order of their own; Keras warns if it is to shuffle them.
            shuffle=False,
        )
    checkpoint.finish(model, epochs)


def build_optimizer(model: keras.Model) -> None:
    """Makes the variables of a compiled model's optimizer, if all layers have theirs.

    A step that has to make them is traced twice.
    """
    if not model.optimizer.built and all(layer.built for layer in flatten_layers(model)):
        model.optimizer.build(model.trainable_variables)


def check_data_function(data: Any) -> None:
    """Raises `ValueError` unless `data` is a function from an epoch to what `fit` takes."""
    if not callable(data):
        raise ValueError(
            "Expected `data` to be a function from the number of an epoch to what `fit` takes. "
            f"Received: data={shown(data)}"
        )


def check_run(directory: Any, callbacks: Any) -> None:
    """Raises unless a run can be kept in this directory, and be watched by these callbacks.

    Args:
        directory: Where the checkpoints go.
        callbacks: Callbacks of Keras, a list or tuple.

    Raises:
        ValueError: If one of them is something else.
    """
    check_directory(directory)
    are_callbacks = isinstance(callbacks, list | tuple) and all(
        isinstance(callback, keras.callbacks.Callback) for callback in callbacks
    )
    if not are_callbacks:
        raise ValueError(
            "Expected callbacks to be a list of keras.callbacks.Callback. Received: "
            f"callbacks={shown(callbacks)}"
        )
