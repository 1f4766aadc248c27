"""Specialists for classes that a generalist confuses: Hinton et al. 2015, section 5."""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data import Dataset
from kdzoo.evaluation.confusable_classes import confusable_classes
from kdzoo.graph.logits_layer import logits_layer
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.models.specialist_distribution import check_classes
from kdzoo.models.specialist_ensemble import SpecialistEnsemble
from kdzoo.schemes.scheme_settings import Compiling, describe, optimizer_for
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.schemes.specialist_samples import (
    Samples,
    check_samples,
    mix_for,
    training_batches,
    validation_batches,
)
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model
from kdzoo.training.stages import check_run
from kdzoo.utils import check_integer, check_name, check_positive_integer, shown
from kdzoo.utils.types import PathLike


def specialists(
    generalist: keras.Model,
    data: Any,
    directory: PathLike,
    *,
    clusters: int | None = None,
    classes: Sequence[Sequence[int]] | None = None,
    epochs: int,
    optimizer: str
    | keras.optimizers.Optimizer
    | Callable[[int], keras.optimizers.Optimizer] = "adam",
    batch_size: int = 128,
    augmentation: Any = None,
    most_probable: int = 1,
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    seed: int = 0,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[SpecialistEnsemble, dict[str, list[Any]]]:
    """Trains a specialist for each cluster of classes that a generalist confuses.

    A specialist starts as a copy of the generalist whose last layer has an output for each of its
    classes and one, the dustbin, for all others; the dustbin starts as the mean of theirs. It is
    trained on the labels. Half of its samples are of its classes and half are of others: of these
    two parts an epoch has every sample of the larger one once, and repeats those of the smaller
    one. Afterwards the dustbin's logit is raised by the logarithm of (other samples / samples of
    its classes), so that its probabilities are those of all samples.

    Args:
        generalist: A trained functional or sequential `keras.Model` that ends in a `Dense` layer
            and gives logits, (batch, classes). It is not changed. It may be frozen, as
            `specialist_of` says.
        data: What is trained on: a `kdzoo.data.Split`, a `kdzoo.data.Dataset` for its training
            samples, or arrays (x, y) with inputs of any shape and integer labels (n,). No batches
            and no `tf.data.Dataset`: which samples a specialist has, and how often, follows from
            all labels, and the samples are looked up. Join the batches of a stream that is not
            augmented to arrays: `x, y = map(np.concatenate, zip(*batches))`.
        directory: Where the checkpoints go, a directory for each specialist.
        clusters: Number of clusters, which `kdzoo.evaluation.confusable_classes` finds from the
            generalist's predictions for the data; None where `classes` are given.
        classes: The classes of each specialist, lists of integers; they may overlap.
        epochs: Epochs of each specialist.
        optimizer: A Keras optimizer or a name; each specialist has a new one of its configuration.
            Or a function from the number of steps that a specialist is trained for to its
            optimizer, for a learning rate that follows a schedule.
        batch_size: Samples a step.
        augmentation: What images of a split are augmented by, as in `kdzoo.data.Split.batches`.
        most_probable: By how many of the generalist's most probable classes the specialists of a
            sample are chosen.
        metrics: Keras metrics or names of such, on a specialist's classes and the dustbin.
        validation_data: What each specialist is validated on after each epoch, a split or arrays
            with labels of all classes, of which each specialist has its own and the dustbin. As in
            training, half of the samples are of its classes, so that the losses can be compared;
            those of the smaller part are repeated. None for no validation.
        seed: Integer of at least 0 that decides clusters and the order of samples.
        settings: JSON-able value that identifies the run, for example the data. The generalist's
            weights, the labels in their order, the classes of the specialists, `epochs`,
            `batch_size`, `augmentation`, `seed` and the configurations of the optimizers are
            always part of it; checkpoints written with other settings are refused.
        callbacks: Further callbacks, for every specialist.
        verbose: As in `keras.Model.fit`.

    Returns:
        A `kdzoo.schemes.SpecialistEnsemble`, which can teach a student, and the history of all
        trainings: a dictionary of lists; `"stage"` is the number of the specialist, from 1. Losses
        and metrics are those of halves, before the dustbin's logit is raised.

    Raises:
        ValueError: If the generalist does not end in logits of a `Dense` layer, the data are not as
            described, a specialist has none or all of the classes or no sample, there are more
            clusters than classes, or the directory holds a run with other settings.

    Example:

    ```python
    teacher, history = kdzoo.schemes.specialists(
        generalist, kdzoo.data.load("cifar100").train, "runs/specialists", clusters=10, epochs=2
    )
    ```

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 5.
    """
    layer = logits_layer(generalist, least=3)
    check_run(directory, callbacks)
    epochs = check_positive_integer("epochs", epochs)
    batch_size = check_positive_integer("batch_size", batch_size)
    most_probable = check_positive_integer("most_probable", most_probable, layer.units)
    seed = check_integer("seed", seed, least=0)
    given = data.train if isinstance(data, Dataset) else data
    samples = check_samples("data", given, layer.units, augmentation)
    classes = _found_classes(generalist, samples, clusters, classes, seed)
    check_classes(classes, layer.units)
    mixes = [mix_for("data", samples, its_classes) for its_classes in classes]
    validation = _validation(validation_data, samples, layer.units, classes, batch_size)
    compilings = [
        _compiling(optimizer, -(-len(mix.indices) // batch_size) * epochs, metrics) for mix in mixes
    ]
    models = [
        specialist_of(generalist, its_classes, f"specialist_{number}")
        for number, its_classes in enumerate(classes)
    ]
    stages = [
        SchemeStage(
            f"specialist-{number}",
            functools.partial(compiling.compiled, model),
            epochs,
            its_validation,
            batches=training_batches(samples, mix, batch_size, augmentation, seed),
        )
        for number, (model, compiling, mix, its_validation) in enumerate(
            zip(models, compilings, mixes, validation, strict=True)
        )
    ]
    settings = {
        "run": settings,
        "generalist": fingerprint_of_model(generalist),
        "labels": hashlib.sha256(samples.labels.astype("int32").tobytes()).hexdigest(),
        "epochs": epochs,
        "classes": [list(map(int, part)) for part in classes],
        "batch_size": batch_size,
        "augmentation": describe(augmentation),
        "seed": seed,
        "compiling": [compiling.described() for compiling in compilings],
    }
    history = train_stages(stages, None, directory, settings, callbacks, verbose)
    for model, mix in zip(models, mixes, strict=True):
        _raise_dustbin(model, math.log(mix.ratio))
    return SpecialistEnsemble(generalist, models, classes, most_probable), history


def _found_classes(
    generalist: keras.Model, samples: Samples, clusters: Any, classes: Any, seed: int
) -> Sequence[Sequence[int]]:
    """The classes of each specialist, as they are given or found."""
    if (clusters is None) == (classes is None):
        raise ValueError(
            "Expected a number of clusters or the classes of each specialist. Received: "
            f"clusters={shown(clusters)}, classes={shown(classes)}"
        )
    if classes is None:
        logits = generalist.predict(samples.inputs, batch_size=500, verbose=0)
        classes = confusable_classes(logits, int(clusters or 0), seed=seed)
    return classes


def _validation(
    data: Any, samples: Samples, count: int, classes: Sequence[Sequence[int]], batch_size: int
) -> list[Any]:
    """What each specialist is validated on."""
    if data is None:
        return [None] * len(classes)
    given = check_samples("validation_data", data, count)
    if given.input_shape != samples.input_shape:
        raise ValueError(
            f"Expected validation_data with inputs of shape {samples.input_shape}, as those of "
            f"data. Received: inputs of shape {given.input_shape}"
        )
    mixes = [mix_for("validation_data", given, its_classes) for its_classes in classes]
    return [validation_batches(given, mix, batch_size) for mix in mixes]


def _compiling(optimizer: Any, steps: int, metrics: Sequence[Any]) -> Compiling:
    """Compiles a specialist that is trained for so many steps."""
    compiling = Compiling(
        optimizer_for(optimizer, steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics,
    )
    compiling.check(1.0)
    return compiling


def specialist_of(
    generalist: keras.Model, classes: Sequence[int], name: str | None = None
) -> keras.Model:
    """Returns a copy of a generalist that tells some classes apart, and from all others.

    The copy can be trained: of a generalist of which nothing can be trained, as a teacher often
    is, all layers are copied as trainable ones. Where only some layers are frozen, their copies are
    frozen too, but for the last layer, whose outputs are new.

    Args:
        generalist: A functional or sequential `keras.Model` that ends in a `Dense` layer.
        classes: The classes, integers; the outputs have their order.
        name: Name of the new model; that of the generalist when None.

    Returns:
        A new model that gives logits (batch, len(classes) + 1), the dustbin in the last place.

    Raises:
        ValueError: If the generalist does not end in such a layer, or the classes are none.
    """
    layer = logits_layer(generalist, least=3)
    check_classes([classes], layer.units)
    own = [int(label) for label in classes]
    others = np.setdiff1d(np.arange(layer.units), own)
    weights = []
    given = [keras.ops.convert_to_numpy(weight) for weight in layer.get_weights()]
    if not layer.use_bias:
        given.append(np.zeros(layer.units, given[0].dtype))
    for weight in given:
        # At first the dustbin is as likely as any one of its classes; training raises it.
        dustbin = weight[..., others].mean(-1, keepdims=True)
        weights.append(np.concatenate([weight[..., own], dustbin], axis=-1))

    def replace(operation: keras.Operation, path: str) -> Any:
        if operation is not layer:
            return None
        return copy_of(layer, units=len(own) + 1, use_bias=True, trainable=True), weights

    made = rebuild(generalist, replace, name=check_name(name))
    if not generalist.trainable_variables:
        made.trainable = True
    return made


def _raise_dustbin(model: keras.Model, offset: float) -> None:
    """Adds to the bias of the last output."""
    layer = logits_layer(model)
    kernel, bias = layer.get_weights()
    bias[-1] += offset
    layer.set_weights([kernel, bias])
