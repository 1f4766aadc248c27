"""Specialists for classes that a generalist confuses: Hinton et al. 2015, section 5."""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data import Dataset, Split
from kdzoo.data.array_batches import array_batches
from kdzoo.data.catalog import resolve_augmentation
from kdzoo.evaluation.confusable_classes import confusable_classes
from kdzoo.graph.logits_layer import logits_layer
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.models.specialist_distribution import check_classes
from kdzoo.models.specialist_ensemble import SpecialistEnsemble
from kdzoo.schemes.scheme_settings import Compiling, describe, optimizer_for
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
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
            samples, or arrays (x, y) with inputs of any shape and integer labels (n,).
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
        seed: Integer of at least 0 that decides clusters and the order of samples.
        settings: JSON-able value that identifies the run, for example the data. The generalist's
            weights, the labels in their order, the classes of the specialists, `epochs`,
            `batch_size`, `augmentation`, `seed` and the configurations of the optimizers are
            always part of it; checkpoints written with other settings are refused.
        callbacks: Further callbacks, for every specialist.
        verbose: As in `keras.Model.fit`.

    Returns:
        A `kdzoo.schemes.SpecialistEnsemble`, which can teach a student, and the history of all
        trainings: a dictionary of lists; `"stage"` is the number of the specialist, from 1.

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
    check_positive_integer("epochs", epochs)
    batch_size = check_positive_integer("batch_size", batch_size)
    most_probable = check_positive_integer("most_probable", most_probable, layer.units)
    seed = check_integer("seed", seed, least=0)
    split, labels = _samples(data, layer.units, augmentation)
    if (clusters is None) == (classes is None):
        raise ValueError(
            "Expected a number of clusters or the classes of each specialist. Received: "
            f"clusters={shown(clusters)}, classes={shown(classes)}"
        )
    if classes is None:
        inputs = split.arrays()[0] if isinstance(split, Split) else split
        logits = generalist.predict(inputs, batch_size=500, verbose=0)
        classes = confusable_classes(logits, int(clusters or 0), seed=seed)
    check_classes(classes, layer.units)
    samples = [_specialist_samples(labels, its_classes) for its_classes in classes]
    compilings = [
        _compiling(optimizer, -(-len(indices) // batch_size) * epochs, metrics)
        for indices, _, _ in samples
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
            batches=_batches(split, *part[:2], batch_size, augmentation, seed),
        )
        for number, (model, compiling, part) in enumerate(
            zip(models, compilings, samples, strict=True)
        )
    ]
    settings = {
        "run": settings,
        "generalist": fingerprint_of_model(generalist),
        "labels": hashlib.sha256(labels.astype("int32").tobytes()).hexdigest(),
        "epochs": epochs,
        "classes": [list(map(int, part)) for part in classes],
        "batch_size": batch_size,
        "augmentation": describe(augmentation),
        "seed": seed,
        "compiling": [compiling.described() for compiling in compilings],
    }
    history = train_stages(stages, None, directory, settings, callbacks, verbose)
    for model, (_, _, times) in zip(models, samples, strict=True):
        _raise_dustbin(model, math.log(times))
    return SpecialistEnsemble(generalist, models, classes, most_probable), history


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


def _samples(data: Any, classes: int, augmentation: Any) -> tuple[Any, np.ndarray]:
    """A split, or the inputs of arrays, and the labels of all samples."""
    data = data.train if isinstance(data, Dataset) else data
    source: Any
    if isinstance(data, Split):
        source, labels = data, data.labels if data.indices is None else data.labels[data.indices]
        resolve_augmentation(augmentation, data.name)
    elif isinstance(data, tuple | list) and len(data) == 2:
        source, labels = np.asarray(data[0]), np.asarray(data[1])
        if augmentation is not None:
            raise ValueError(
                "Expected augmentation only for the images of a split. Received: "
                f"augmentation={shown(augmentation)} beside arrays"
            )
        if labels.shape != (len(source),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"Expected an integer label for each of {len(source)} inputs. Received: labels of "
                f"type {labels.dtype} and shape {labels.shape}"
            )
    else:
        raise ValueError(
            "Expected data as a kdzoo.data.Split or as arrays (x, y). Received: data of type "
            f"{type(data).__name__}"
        )
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Expected samples with labels from 0 to {classes - 1}. Received: {len(labels)} labels"
            + (f" from {labels.min()} to {labels.max()}" if len(labels) else "")
        )
    return source, labels


def _specialist_samples(
    labels: np.ndarray, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """The positions of a specialist's samples, their labels, and how often its own are repeated."""
    place = np.full(labels.max() + 1 + max(classes), len(classes))
    place[list(classes)] = np.arange(len(classes))
    own_labels = place[labels]
    own, others = (
        np.flatnonzero((own_labels < len(classes)) == is_own) for is_own in (True, False)
    )
    if not own.size or not others.size:
        which = "of its classes" if not own.size else "of other classes"
        raise ValueError(
            f"Expected samples {which} for the specialist of {shown(list(classes))}. Received: none"
        )
    # Whichever are fewer are repeated until there are as many as of the others.
    size = max(own.size, others.size)
    indices = np.concatenate([np.resize(own, size), np.resize(others, size)])
    return indices, own_labels[indices].astype("int32"), others.size / own.size


def _batches(
    split: Any,
    indices: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    augmentation: Any,
    seed: int,
) -> Any:
    """Function from an epoch to a specialist's batches."""
    if not isinstance(split, Split):
        return lambda epoch: array_batches(split, indices, labels, batch_size, seed, epoch)
    stored = np.arange(len(split.labels)) if split.indices is None else split.indices
    # The labels belong to the positions in the mix, so the images are looked up by them.
    mixed = _Relabelled(split.images, labels, split.scale, stored[indices], split.name)
    return lambda epoch: mixed.batches(
        batch_size, shuffle=True, augmentation=augmentation, seed=seed, initial_epoch=epoch
    )


class _Relabelled(Split):
    """A split whose labels are those of its positions, as a sample may come several times."""

    def examples(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        return super().examples(indices)[0], self.labels[indices]

    def __len__(self) -> int:
        return len(self.labels)


def _raise_dustbin(model: keras.Model, offset: float) -> None:
    """Adds to the bias of the last output."""
    layer = logits_layer(model)
    kernel, bias = layer.get_weights()
    bias[-1] += offset
    layer.set_weights([kernel, bias])
