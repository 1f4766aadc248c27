"""Checks of what schemes are given."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.utils import shown


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
    if isinstance(data, Iterator):
        raise ValueError(
            "Expected `data` to be a function from an epoch to batches, or a data set of batches. "
            f"Received: a {type(data).__name__}, which can be read only once; pass a function that "
            "returns such batches anew."
        )
    return data if callable(data) else SameEachTime(data)


class SameEachTime:
    """A function from an epoch to a data set, which is the same for all."""

    def __init__(self, data: Any):
        self._data = data

    def __call__(self, epoch: int) -> Any:
        return self._data


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
