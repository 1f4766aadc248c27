"""What the schemes share: checks of their arguments, and stages that go on after a kill."""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.copies import check_metrics, new_metrics, new_optimizer
from kdzoo.distillation.distiller import Distiller
from kdzoo.graph.acceleration import accelerate
from kdzoo.graph.calls import graph_of
from kdzoo.graph.surgery import rebuild
from kdzoo.losses import SoftTargets
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model
from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.training.checkpoints import begin_as_before, is_unfinished
from kdzoo.training.stages import train
from kdzoo.utils import shown
from kdzoo.utils.types import PathLike


class SchemeStage(NamedTuple):
    """One training of a scheme.

    Attributes:
        name: Name of its directory.
        make: Function that returns the compiled and built model; it is called when the stages
            before it are done.
        epochs: How many.
        validation_data: What it is validated on after each epoch, or None.
        callbacks: Callbacks of its own, before those of all stages.
        batches: Function from an epoch of this stage to what `fit` takes from there on; None for
            that of all stages.
    """

    name: str
    make: Callable[[], keras.Model]
    epochs: int
    validation_data: Any = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    batches: Callable[[int], Any] | None = None


class Compiling(NamedTuple):
    """Compiles the models of a scheme, each with an optimizer and metrics of its own.

    Attributes:
        optimizer: The name of an optimizer of Keras, or an optimizer, whose settings are taken.
        loss: The loss on the labels, or None.
        metrics: Metrics of Keras, functions or names.
    """

    optimizer: Any
    loss: Any
    metrics: Sequence[Any]

    def check(self, student_loss_weight: float) -> None:
        """Raises `ValueError` unless Keras knows them, and there is a loss if labels count.

        Args:
            student_loss_weight: The weight of the loss on the labels.
        """
        new_optimizer(self.optimizer)
        argument_checks.check_student_loss(self.loss)
        argument_checks.check_loss_is_given(student_loss_weight, self.loss)
        check_metrics(self.metrics)

    def compiled(self, model: keras.Model) -> keras.Model:
        """Returns a model, compiled.

        Args:
            model: The model, such as a `Distiller`.
        """
        metrics = new_metrics(self.metrics)
        model.compile(new_optimizer(self.optimizer), self.loss, metrics=metrics)
        return model

    def described(self) -> dict[str, Any]:
        """Returns what of them identifies a run: optimizer and loss, JSON-able."""
        loss = keras.losses.get(self.loss) if isinstance(self.loss, str) else self.loss
        return {"optimizer": describe(new_optimizer(self.optimizer)), "loss": describe(loss)}


class Teaching:
    """Who teaches all networks of a scheme, and how.

    Args:
        teacher: The teacher; `"recorded"` where the data carry its outputs; None where the networks
            learn from the labels alone.
        distillation_loss: What is learnt of it, one distillation loss; None for `SoftTargets(4.0)`.
        student_loss_weight: Weight of the loss on the labels beside it.

    Attributes:
        student_loss_weight: The same; 1.0 without a teacher.
    """

    def __init__(self, teacher: Any, distillation_loss: Any, student_loss_weight: Any) -> None:
        given = SoftTargets(4.0) if distillation_loss is None else distillation_loss
        self._teacher, self._loss = teacher, argument_checks.as_one_loss(given)
        weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self.student_loss_weight = 1.0 if teacher is None else float(weight)

    def check(self, model: keras.Model) -> None:
        """Raises `ValueError` if a model cannot learn from the teacher.

        Args:
            model: The model; it is not changed.
        """
        if self._teacher is not None:
            self.trainee(rebuild(model))

    def trainee(self, student: keras.Model) -> keras.Model:
        """Returns the model whose training is that of a student, which itself is not compiled.

        Args:
            student: The student.
        """
        if self._teacher is None:
            graph = graph_of(student)
            trainee = keras.Model(graph.input, graph.output)
            accelerate(trainee)  # A `Distiller` does it for itself.
            return trainee
        own = type(self._loss).from_config(self._loss.get_config())
        teacher = None if isinstance(self._teacher, str) else self._teacher
        return Distiller(teacher, student, own, student_loss_weight=self.student_loss_weight)

    def described(self) -> Any:
        """Returns what of it identifies a run, the teacher's weights among it, JSON-able."""
        if self._teacher is None:
            return None
        is_recorded = isinstance(self._teacher, str)
        teacher = self._teacher if is_recorded else fingerprint_of_model(self._teacher)
        return [teacher, describe(self._loss), self.student_loss_weight]


def describe(given: Any) -> Any:
    """Returns a JSON-able description of an object that is equal in every process.

    Args:
        given: A loss, optimizer, activation or other setting, or several. Of an object that has a
            configuration, it counts without names; of a function its name alone.

    Example:

    >>> describe(keras.activations.relu), describe(keras.regularizers.L1(0.5))
    ('relu', ['L1', {'l1': 0.5}])
    """
    if isinstance(given, list | tuple):
        return [describe(part) for part in given]
    if isinstance(given, dict):
        return {str(name): describe(part) for name, part in given.items()}
    if given is None or isinstance(given, str | int | float):
        return given
    if dataclasses.is_dataclass(given):
        config = dataclasses.asdict(cast(Any, given))
    elif hasattr(given, "get_config"):
        try:
            config = given.get_config()
        except Exception:  # An object of the user's own may fail in any way.
            config = None
    elif hasattr(given, "tolist"):
        return given.tolist()
    elif callable(given):
        return getattr(given, "__qualname__", type(given).__name__)
    else:
        return type(given).__name__
    return [type(given).__name__, _without_names(json.loads(json.dumps(config, default=describe)))]


def _without_names(config: Any) -> Any:
    """A configuration without the names of objects and modules, and without code."""
    if isinstance(config, list):
        return [_without_names(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "__lambda__":  # Its code holds the path of its file.
        return "<lambda>"
    return {
        name: _without_names(part)
        for name, part in config.items()
        if name not in ("name", "module", "registered_name", "build_config")
    }


def train_stages(
    stages: Sequence[SchemeStage],
    batches: Callable[[int], Any] | None,
    directory: PathLike,
    settings: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: str | int,
    models: Sequence[keras.Model] = (),
) -> dict[str, list[Any]]:
    """Trains stages one after the other, going on where a killed run stopped.

    Args:
        stages: The trainings.
        batches: Function from an epoch to what `fit` takes from there on, for stages that have none
            of their own; the epochs of all stages are counted through.
        directory: Where each stage has a directory for its checkpoints.
        settings: JSON-able value that identifies the run.
        callbacks: Callbacks for all stages.
        verbose: As `fit` takes it; unless it is 0, the stages are numbered.
        models: The models that are trained, as the caller made them. Their weights are kept when
            the run begins; when it goes on, they get these, so that it matters not how they were
            made again.

    Returns:
        The history of all stages, as `joined` makes it.
    """
    directory = pathlib.Path(directory)
    begun = [EpochCheckpoint(directory / stage.name, settings).exists() for stage in stages]
    begin_as_before(models, directory, settings, any(begun))
    histories, before = [], 0
    for number, stage in enumerate(stages, 1):
        if verbose and len(stages) > 1:
            print(f"Stage {number} of {len(stages)}: {stage.name}", flush=True)
        is_same = stage.batches is None and isinstance(batches, _SameEachTime)
        if verbose and is_same and is_unfinished(directory / stage.name):
            print(
                "Going on after a checkpoint. The batches come as the data set gives them; with a "
                "function from an epoch to batches, the run would end as an undisturbed one.",
                flush=True,
            )
        history = train(
            stage.make(),
            stage.batches or functools.partial(_counted_from, batches, before),
            # Earlier versions kept no end of a stage that ended early: a later one has begun.
            0 if any(begun[number:]) else stage.epochs,
            directory / stage.name,
            stage.validation_data,
            settings=settings,
            callbacks=[*stage.callbacks, *callbacks],
            verbose=verbose,
        )
        histories.append(history)
        before += stage.epochs
    return joined(histories)


def _counted_from(batches: Callable[[int], Any] | None, before: int, epoch: int) -> Any:
    """The batches from an epoch of a stage on, before which there were some in other stages."""
    return cast(Callable[[int], Any], batches)(before + epoch)


def joined(histories: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Returns one history of several stages.

    Args:
        histories: A dictionary of lists for each stage.

    Returns:
        A dictionary of lists with one entry for each epoch; `"stage"` counts from 1, and what a
        stage does not measure is None.

    Example:

    >>> joined([{"loss": [2.0, 1.5]}, {"loss": [1.0], "accuracy": [0.5]}])
    {'stage': [1, 1, 2], 'loss': [2.0, 1.5, 1.0], 'accuracy': [None, None, 0.5]}
    """
    counts = [max(map(len, history.values()), default=0) for history in histories]
    whole: dict[str, list[Any]] = {
        "stage": [number for number, count in enumerate(counts, 1) for _ in range(count)]
    }
    for name in dict.fromkeys(name for history in histories for name in history):
        whole[name] = [
            value
            for history, count in zip(histories, counts, strict=True)
            for value in history.get(name, [None] * count)
        ]
    return whole


def check_batches(data: Any) -> Callable[[int], Any]:
    """Returns a function from an epoch to what `fit` takes from there on.

    Args:
        data: Such a function, or a data set of batches, the same each time.

    Raises:
        ValueError: If it is something else.
    """
    is_array = isinstance(data, str | bytes | tuple | list | dict) or hasattr(data, "__array__")
    if not callable(data) and (is_array or not hasattr(data, "__iter__")):
        raise ValueError(
            "Expected `data` to be a function from an epoch to batches, or a data set of batches. "
            f"Received: a {type(data).__name__}; `kdzoo.data.from_arrays(x, y).train.batches` "
            "makes batches of arrays."
        )
    return data if callable(data) else _SameEachTime(data)


class _SameEachTime:
    """A function from an epoch to a data set, which is the same for all."""

    def __init__(self, data: Any):
        self._data = data

    def __call__(self, epoch: int) -> Any:
        return self._data


def optimizer_for(given: Any, length: int) -> Any:
    """Returns the optimizer of a training.

    Args:
        given: A name or an optimizer, or a function from the length of a training to one.
        length: The epochs or steps of the training.
    """
    is_optimizer = isinstance(given, keras.optimizers.Optimizer | type)
    return given(length) if callable(given) and not is_optimizer else given


def check_optimizers(*optimizers: Any) -> None:
    """Raises unless there is an optimizer for each stage, none of them twice.

    Args:
        *optimizers: Optimizers of Keras, or names.

    Raises:
        ValueError: If one is missing, or the same object twice.
    """
    if any(optimizer is None for optimizer in optimizers):
        raise ValueError("Expected an optimizer for each stage. Received: None; take 'adam'.")
    objects = [part for part in optimizers if isinstance(part, keras.optimizers.Optimizer)]
    if len(set(map(id, objects))) < len(objects):
        raise ValueError(
            "Expected an optimizer for each stage, as they train other weights. Received: the same "
            "object twice; make two."
        )


def check_trainable(name: str, model: keras.Model) -> None:
    """Raises unless training changes something in a model.

    Args:
        name: What the caller calls it.
        model: A built model.

    Raises:
        ValueError: If none of its weights is trainable.
    """
    if not model.trainable_variables:
        raise ValueError(
            f"Expected `{name}` to have weights to train. Received: {model.name!r}, of which "
            "nothing is trainable; set `trainable = True` on it, or on some of its layers."
        )


def check_chain(teacher: Any, models: Any) -> list[keras.Model]:
    """Returns the teacher and the models that follow it.

    Args:
        teacher: The teacher.
        models: The assistants and, at the end, the student.

    Raises:
        ValueError: If they are no built models, one that is taught has nothing to train, or one has
            more parameters than its teacher.
    """
    if not isinstance(models, list | tuple) or not models:
        raise ValueError(
            "Expected `models` as a list of assistants with the student at its end. Received: "
            f"models={shown(models)}"
        )
    chain = [teacher, *models]
    for number, model in enumerate(chain):
        argument_checks.check_model("teacher" if not number else f"models[{number - 1}]", model)
        if not model.built:
            raise ValueError(
                f"Expected built models. Received: {model.name!r}, which has no weights yet; call "
                "it on a batch."
            )
        if number:
            check_trainable(f"models[{number - 1}]", model)
    for larger, smaller in itertools.pairwise(chain):
        sizes = larger.count_params(), smaller.count_params()
        if sizes[1] > sizes[0]:
            raise ValueError(
                "Expected each model of the chain to be no larger than the one that teaches it. "
                f"Received: {smaller.name!r} with {sizes[1]:,} parameters, after {larger.name!r} "
                f"with {sizes[0]:,}"
            )
    return chain
