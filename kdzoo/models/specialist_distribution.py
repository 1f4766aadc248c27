"""What a generalist and specialists agree on: equation 5 of Hinton et al. 2015."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.utils import check_numeric_array, check_positive_integer, is_integer, shown
from kdzoo.utils.types import Tensor

_STEPS = 25
_TINY = 1e-30
_LEAST_AIM = 1e-9
"""What the products of Newton's method aim at beyond their own values, at the least."""


def specialist_distribution(
    generalist_probs: Tensor,
    specialist_probs: Sequence[Tensor],
    classes: Sequence[Sequence[int]],
    most_probable: int = 1,
) -> Tensor:
    """Returns the distribution over all classes that generalist and specialists agree on best.

    For each sample it is the q that minimizes KL(p_g, q) + Σ KL(p_m, q), where the sum goes over
    the specialists m that have one of the generalist's most probable classes among theirs, and
    where q is compared with a specialist's p_m by the classes of that specialist and by the sum
    over all others, its dustbin. The problem is convex. It is solved for all samples at once by 25
    steps of a primal-dual interior point method, whose linear systems have as many unknowns as
    there are specialists. What is minimized is then within 1e-6 of its least value, also where
    predictions are certain and contradict each other. Where several q are equally good, or nearly
    so, it is one of them.

    Args:
        generalist_probs: Probabilities of all classes, (batch, classes), each row with the sum 1.
        specialist_probs: For each specialist the probabilities of its own classes and, in the last
            place, of the dustbin: (batch, its classes + 1), each row with the sum 1.
        classes: The classes of each specialist in the order of its outputs: lists of different
            integers from 0 to classes - 1, none of them of all classes.
        most_probable: By how many of the generalist's most probable classes specialists are chosen,
            from 1 to classes.

    Returns:
        Probabilities (batch, classes) in float32. Where no specialist has one of these classes,
        they are the generalist's.

    Raises:
        ValueError: If shapes, classes and numbers are not as described, or values are not
            probabilities. Within a traced function, where there are no values, these are not
            looked at.

    Example:

    >>> probs = specialist_distribution(
    ...     np.array([[0.7, 0.2, 0.1]]), [np.array([[0.2, 0.3, 0.5]])], [[0, 1]]
    ... )
    >>> [round(float(value), 4) for value in probs[0]]
    [0.45, 0.25, 0.3]

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, equation 5, which the paper solves
    by gradient descent on the logits of q.
    """
    generalist_probs = _checked("generalist_probs", generalist_probs)
    rows, count = generalist_probs.shape
    check_classes(classes, count)
    if not isinstance(specialist_probs, list | tuple) or len(specialist_probs) != len(classes):
        what = len(specialist_probs) if isinstance(specialist_probs, list | tuple) else "no list"
        raise ValueError(
            "Expected a list of probabilities for each specialist. Received: specialist_probs of "
            f"{what}, classes of {len(classes)}"
        )
    most_probable = check_positive_integer("most_probable", most_probable, count)
    specialist_probs = [
        _checked(f"specialist_probs[{number}]", probs, (rows, len(its_classes) + 1))
        for number, (probs, its_classes) in enumerate(zip(specialist_probs, classes, strict=True))
    ]
    return agreed_on(generalist_probs, specialist_probs, classes, most_probable)


def check_classes(classes: Any, count: int) -> None:
    """Raises `ValueError` unless these are lists of classes, each of one or more and not of all.

    Args:
        classes: What was given.
        count: Number of all classes.
    """
    is_list = isinstance(classes, list | tuple) and bool(classes)
    if not is_list or not all(isinstance(part, list | tuple) and part for part in classes):
        raise ValueError(
            f"Expected a list of classes for each specialist. Received: classes={shown(classes)}"
        )
    for part in classes:
        are_classes = all(is_integer(label, 0, count - 1) for label in part)
        if not are_classes or len({int(label) for label in part}) != len(part):
            raise ValueError(
                f"Expected different classes from 0 to {count - 1} for a specialist. Received: "
                f"{shown(part)}"
            )
        if len(part) == count:
            raise ValueError(
                "Expected specialists for some of the classes. Received: one for all "
                f"{count} classes"
            )


def _checked(name: str, probs: Any, shape: tuple[Any, Any] | None = None) -> Any:
    """Probabilities as a tensor or an array of two axes, or an error."""
    if isinstance(probs, keras.KerasTensor):
        raise ValueError(
            f"Expected {name} to be a tensor or an array. Received: a symbolic input of Keras; "
            "call this in a layer, or make a `kdzoo.schemes.SpecialistEnsemble` of models."
        )
    if not ops.is_tensor(probs):
        probs = check_numeric_array(name, probs)
    found, expected = tuple(probs.shape), shape or (None, None)
    is_right = len(found) == 2 and found[-1] is not None
    pairs = zip(expected, found, strict=True) if is_right else ()
    if not is_right or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"Expected {name} of shape {shape or '(batch, classes)'}. Received: shape {found}"
        )
    try:
        values = ops.convert_to_numpy(probs).astype("float64")
    except Exception:  # Every backend has an error of its own for what has no values yet.
        return probs
    # Sums of probabilities in half precision are up to 0.4 % off.
    if not (values >= 0).all() or not (np.abs(values.sum(-1) - 1) < 0.01).all():
        raise ValueError(
            f"Expected {name} to be probabilities, each row with the sum 1. Received: values from "
            f"{values.min(initial=np.inf):.4g} to {values.max(initial=-np.inf):.4g}; take the "
            "softmax of logits."
        )
    return probs


def agreed_on(
    generalist_probs: Tensor,
    specialist_probs: Sequence[Tensor],
    classes: Sequence[Sequence[int]],
    most_probable: int,
) -> Tensor:
    """Returns what `specialist_distribution` does, of arguments that are right.

    Args:
        generalist_probs: Probabilities, (batch, classes).
        specialist_probs: For each specialist probabilities, (batch, its classes + 1).
        classes: The classes of each specialist.
        most_probable: By how many of the generalist's most probable classes they are chosen.
    """
    probs = ops.cast(generalist_probs, "float32")
    count = probs.shape[-1]
    members = np.zeros((len(classes), count), "float32")
    for row, its_classes in zip(members, classes, strict=True):
        row[list(its_classes)] = 1
    top = ops.top_k(probs, most_probable)[1]
    is_top = ops.max(ops.one_hot(top, count), axis=1)
    active = ops.cast(ops.matmul(is_top, members.T) > 0, "float32")
    own, dustbins = probs, []
    for number, (part, its_classes) in enumerate(zip(specialist_probs, classes, strict=True)):
        part = ops.cast(part, "float32")
        places = np.eye(count, dtype="float32")[list(its_classes)]
        own = own + active[:, number : number + 1] * ops.matmul(part[:, :-1], places)
        dustbins.append(active[:, number] * part[:, -1])
    return _Problem(own, ops.stack(dustbins, axis=-1), active, 1 - members).solved()


class _Problem:
    """Equation 5 for a batch: maximize Σ_c own_c log q_c + Σ_m dustbin_m log r_m.

    Here r_m is the sum of q over the classes in the dustbin of specialist m. At the solution there
    are prices y_m of the dustbins with r_m y_m = dustbin_m, and what is left of the total T for a
    class, z_c = T - Σ y_m over the dustbins that it is in, has q_c z_c = own_c. A step of Newton's
    method on these equations aims at products that are a little larger, and ever less so; q, r, y
    and z stay above zero.

    Args:
        own: What generalist and specialists give each class, summed, (batch, classes).
        dustbins: What each specialist that takes part gives its dustbin, (batch, specialists).
        active: 1 where a specialist takes part, otherwise 0, (batch, specialists).
        others: 1 where a class is in the dustbin of a specialist, (specialists, classes).
    """

    def __init__(self, own: Tensor, dustbins: Tensor, active: Tensor, others: np.ndarray):
        self.own, self.dustbins, self.active = own, dustbins, active
        self.others = ops.convert_to_tensor(others)
        self.number, self.count = others.shape
        self.total = _sum(own) + _sum(dustbins)

    def solved(self) -> Tensor:
        """Returns the distributions, (batch, classes)."""
        ones = ops.ones_like
        prices = self.total * ones(self.dustbins) / (2 * self.number)
        start = ones(self.own) / self.count, self.total - self.of_classes(prices), prices
        q, _, _ = ops.fori_loop(0, _STEPS, lambda _, found: self.step(*found), start)
        # A turn of expectation maximization, which leads nowhere worse: what a specialist gives its
        # dustbin is dealt to the classes in it as q has them, and q becomes the mean of all.
        dealt = self.of_classes(self.dustbins / ops.maximum(self.in_dustbins(q), _TINY))
        q = self.own + q * dealt
        return q / _sum(q)

    def in_dustbins(self, of_classes: Tensor) -> Tensor:
        """Sums over the classes in the dustbin of each specialist, (batch, specialists)."""
        return self.active * ops.matmul(of_classes, ops.transpose(self.others))

    def of_classes(self, of_dustbins: Tensor) -> Tensor:
        """Sums over the dustbins that each class is in, (batch, classes)."""
        return ops.matmul(self.active * of_dustbins, self.others)

    def step(self, q: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Returns what is nearer to the solution.

        Args:
            q: What becomes the distributions, (batch, classes).
            z: What is left of the total for each class, (batch, classes).
            y: Prices of the dustbins, (batch, specialists).
        """
        # One that takes no part stays at its price.
        r = self.in_dustbins(q) + (1 - self.active)
        excess = _sum(q * z - self.own) + _sum(self.active * (r * y - self.dustbins))
        aim = ops.maximum(0.2 * excess / (self.count + self.number), _LEAST_AIM)
        wanted, ratio = self.own + aim, q / z
        matrix = ops.matmul(ratio[:, None, :] * self.others, ops.transpose(self.others))
        matrix = matrix * self.active[:, None, :] * self.active[:, :, None]
        matrix = matrix + (r / y)[:, :, None] * np.eye(self.number, dtype="float32")
        right = self.active * ((self.dustbins + aim) / y) - self.in_dustbins(wanted / z)
        y_step = _solution(matrix, right, self.number)
        z_step = -self.of_classes(y_step)
        q_step = wanted / z - q - ratio * z_step
        pairs = (q, q_step), (z, z_step), (y, y_step), (r, self.in_dustbins(q_step))
        # How often each step has to fit into what is there: it keeps a tenth at least.
        times = [ops.max(-step / value, axis=-1, keepdims=True) for value, step in pairs]
        length = 0.9 / ops.maximum(functools.reduce(ops.maximum, times), 0.9)
        return tuple(ops.maximum(value + length * step, _TINY) for value, step in pairs[:3])


def _sum(values: Tensor) -> Tensor:
    return ops.sum(values, axis=-1, keepdims=True)


def _solution(matrix: Tensor, right: Tensor, size: int) -> Tensor:
    """The solutions of symmetric, positive definite systems, by elimination.

    Args:
        matrix: (batch, size, size).
        right: (batch, size).
        size: Number of unknowns.
    """
    left, found = ops.concatenate([matrix, right[:, :, None]], axis=-1), []
    for number in range(size):
        # What rounding leaves of a pivot is kept above zero.
        least = ops.maximum(1e-6 * matrix[:, number, number], _TINY)
        found.append(left[:, 0, 1:] / ops.maximum(left[:, 0, 0], least)[:, None])
        left = left[:, 1:, 1:] - left[:, 1:, :1] * found[-1][:, None, :]
    solution = found.pop()
    while found:
        row = found.pop()
        value = row[:, -1:] - _sum(row[:, :-1] * solution)
        solution = ops.concatenate([value, solution], axis=-1)
    return solution
