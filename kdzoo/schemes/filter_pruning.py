"""Iterative filter pruning: a little goes, what is left is trained, and again."""

import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup
from kdzoo.compression.filter_pruning.prune_arguments import check_target
from kdzoo.losses import DistillationLoss
from kdzoo.schemes.pruning_steps import Procedure, PruningSteps
from kdzoo.schemes.scheme_checks import check_batches
from kdzoo.schemes.scheme_settings import Compiling, Teaching
from kdzoo.schemes.scheme_stages import train_stages
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model
from kdzoo.training.stages import check_run
from kdzoo.utils import check_integer, check_positive_integer, is_number, shown
from kdzoo.utils.types import PathLike

_MOST_STEPS = 1000


def filter_pruning(
    model: keras.Model,
    data: Any,
    directory: PathLike,
    *,
    epochs: int,
    loss: Any,
    steps: int = 3,
    ratio: float | None = None,
    target_macs: float | None = None,
    target_parameters: float | None = None,
    target_latency: float | None = None,
    target_latency_ms: float | None = None,
    importance: str | Callable[[ChannelGroup], np.ndarray | None] = "group_l2",
    scope: Literal["global", "local"] = "global",
    round_to: int = 8,
    ignored_layers: Collection[str] = (),
    importance_data: Any = None,
    sparsity_epochs: int = 0,
    sparsity: float = 1e-4,
    teacher: keras.Model | Literal["unpruned", "recorded"] | None = "unpruned",
    distillation_loss: DistillationLoss | None = None,
    student_loss_weight: float = 0.5,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    seed: int = 0,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[keras.Model, dict[str, list[Any]]]:
    """Makes a trained network smaller by filter pruning in steps; survives a kill.

    Each step takes channels by `kdzoo.compression.prune_filters`, so that what the target is about
    falls by equal parts from step to step until it is reached, and trains what is left. The teacher
    is the unpruned network. Before the first step, `sparsity_epochs` of training may prepare the
    network with the loss of `kdzoo.compression.regularize_groups`.

    Exactly one of `ratio` and the targets is given.

    Args:
        model: The trained functional or built sequential `keras.Model`; it is not changed.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. The steps go on
            counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints go, and which channels each step took.
        epochs: Epochs of training after each step.
        loss: The loss on the labels: a Keras loss, a function, or a name.
        steps: In how many steps channels go, from 1 to 1000.
        ratio: The fraction of channels that goes in all steps, in (0, 1), before counts are
            rounded.
        target_macs: The largest fraction of the multiply-accumulates that may be left, in (0, 1).
        target_parameters: The largest fraction of the weights that may be left, in (0, 1).
        target_latency: The largest fraction of the latency in LiteRT that may be left, in (0, 1);
            it is measured on this machine at every step, and needs Keras's TensorFlow backend.
        target_latency_ms: The largest latency of one example, in milliseconds, measured likewise.
        importance: The criterion, as `prune_filters` takes it.
        scope: As `prune_filters` takes it.
        round_to: As `prune_filters` takes it.
        ignored_layers: Paths of layers of which nothing may change.
        importance_data: For the criteria `"apoz"` and `"taylor"`: `(x, y)`, or batches of them, a
            few hundred samples.
        sparsity_epochs: Epochs of group sparsity training before the first step; 0 for none.
        sparsity: Its strength, as `regularize_groups` takes it.
        teacher: Who teaches in all trainings: `"unpruned"`, the model itself; another `keras.Model`
            or ensemble; `"recorded"` if the data carry a teacher's outputs; or None for the labels
            alone.
        distillation_loss: What is learnt of the teacher, a `DistillationLoss`; None for
            `SoftTargets(4.0)`.
        student_loss_weight: Weight of the loss on the labels beside that, between 0 and 1; without
            a teacher it counts 1.
        optimizer: An optimizer of Keras, whose settings that of each training has, or a name.
        metrics: Metrics of each training, Keras metrics or names, on labels and outputs.
        validation_data: What each training is validated on after each epoch: `(x, y)` or batches;
            None for no validation.
        seed: Integer of at least 0, for `importance="random"`, and for dropout.
        settings: JSON-able value that identifies the run, for example the data. The
            weights of model and teacher, steps, epochs, target, criterion, and the configurations
            of optimizer and losses are always part of it; checkpoints written with other settings
            are refused.
        callbacks: Further callbacks, for all trainings.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        The smaller `keras.Model`, a plain one; and the history of all trainings: a dictionary of
        lists with one entry for each epoch. `"stage"` counts the trainings from 1. What of the
        model is left untouched and why, a dry run of `kdzoo.compression.prune_filters` says.

    Raises:
        ValueError: If the model has no graph, an argument is out of range, the target cannot be
            reached, teacher and model do not fit each other, or the directory holds a run with
            other settings. Nothing is trained then, but a target of latency is known to be out of
            reach only at its step.
        RuntimeError: If latency is to be measured, and the backend is not TensorFlow.

    Example:

    ```python
    smaller, history = kdzoo.schemes.filter_pruning(
        model,
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/pruned",
        target_macs=0.5,
        steps=3,
        epochs=10,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    ```

    Reference: Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, arXiv:2301.12900;
    Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019, arXiv:1906.10771,
    for pruning in steps.
    """
    batches = check_batches(data)
    check_run(directory, callbacks)
    epochs = check_positive_integer("epochs", epochs)
    sparsity_epochs = check_integer("sparsity_epochs", sparsity_epochs, least=0)
    if sparsity_epochs and (not is_number(sparsity) or not 0 < sparsity < float("inf")):
        raise ValueError(f"Expected sparsity to be above 0. Received: sparsity={shown(sparsity)}")
    targets = {
        "ratio": ratio,
        "target_macs": target_macs,
        "target_parameters": target_parameters,
        "target_latency": target_latency,
        "target_latency_ms": target_latency_ms,
    }
    pruning = PruningSteps(
        model,
        *check_target(targets),
        check_positive_integer("steps", steps, _MOST_STEPS),
        *(importance, scope, round_to, _checked_paths(ignored_layers), importance_data, loss),
        check_integer("seed", seed, least=0, most=(1 << 32) - 1),
    )
    teacher = _checked_teacher(teacher, model)
    teaching = Teaching(teacher, distillation_loss, student_loss_weight)
    compiling = Compiling(optimizer, loss, metrics)
    compiling.check(1.0 if teacher is None else student_loss_weight)
    teaching.check(model)  # What does not fit is refused before anything is trained.
    pruning.check()
    described = {
        "run": settings,
        "model": fingerprint_of_model(model),
        "epochs": [epochs, sparsity_epochs, float(sparsity) if sparsity_epochs else None],
        **pruning.described(),
        "teaching": teaching.described(),
        **compiling.described(),
    }
    procedure = Procedure(pruning, teaching, compiling, pathlib.Path(directory), described)
    stages = procedure.stages(epochs, sparsity_epochs, sparsity, validation_data)
    history = train_stages(stages, batches, directory, described, callbacks, verbose)
    return procedure.model, history


def _checked_paths(ignored_layers: Any) -> tuple[str, ...]:
    """The paths of layers, which every smaller model has too, or an error."""
    is_list = isinstance(ignored_layers, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(path, str) for path in ignored_layers):
        raise ValueError(
            "Expected ignored_layers to be a list of paths of layers. Received: "
            f"ignored_layers={shown(ignored_layers)}"
        )
    return tuple(ignored_layers)


def _checked_teacher(teacher: Any, model: keras.Model) -> Any:
    """The teacher, or "recorded", or None."""
    if isinstance(teacher, str) and teacher not in ("unpruned", "recorded"):
        raise ValueError(
            "Expected teacher to be 'unpruned', 'recorded', a keras.Model or None. Received: "
            f"teacher={teacher!r}"
        )
    return model if isinstance(teacher, str) and teacher == "unpruned" else teacher
