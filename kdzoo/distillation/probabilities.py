"""Outputs that are probabilities where a loss reads logits: seen in the first step, and refused."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation.batch_targets import Targets
from kdzoo.graph.outputs import type_of_loss
from kdzoo.losses.base import DistillationLoss
from kdzoo.training.callbacks import StopAtNonFiniteLoss
from kdzoo.utils.types import Tensor

# Where a step puts what it saw beside its logs; whoever calls the step takes it out again.
_FLAGS = "outputs_are_probabilities"
# Rows of outputs that are looked at: enough to tell, few enough to cost nothing.
_LOOKED_AT = 256
# How far the sums of a softmax may lie from 1: bfloat16 keeps three digits.
_TOLERANCE = 1e-2
# Values of yes or no answers that are enough to tell their probabilities from their logits.
_FEWEST = 32
_SWITCH = "pass `Distiller(..., check_values=False)`"


class ProbabilitiesRefused(keras.Model):
    """A model whose training refuses outputs that are no logits, once it has seen some.

    A softmax may be anywhere: in a `Lambda`, in a layer or model of the user's, in a SavedModel, in
    recorded outputs. So the outputs of the first step of a `fit` are looked at. Nothing is run for
    it that the step does not run anyway.
    """

    distillation_losses: list[DistillationLoss]
    train_function: Any
    check_values: bool  # Whether outputs are looked at.
    _flags: Any = None  # What the first step saw, a tensor; False where nothing is to be seen.

    def make_train_function(self, force: bool = False) -> Any:
        before = self.train_function
        super().make_train_function(force)
        if self.train_function is not before:
            self.train_function = self._keeping_flags(self.train_function)
        self._flags = None
        return self.train_function

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch, as `keras.Model.train_on_batch` does.

        Args:
            *args: Arguments of `keras.Model.train_on_batch`.
            **kwargs: Arguments of `keras.Model.train_on_batch`.

        Raises:
            ValueError: If a loss reads logits, and outputs are probabilities.

        Warns:
            UserWarning: If yes or no answers that a loss reads as logits all lie in [0, 1].
        """
        logs = super().train_on_batch(*args, **kwargs)
        self.refuse_probabilities()
        return logs

    def refuse_probabilities(self) -> None:
        """Raises, or warns, if the first step saw probabilities where a loss reads logits."""
        if self._flags is None or self._flags is False:
            return
        flags, self._flags = ops.convert_to_numpy(self._flags), False
        for loss, pair in zip(self._on_logits(), flags.reshape(-1, 2), strict=True):
            for side, is_seen in zip(("teacher", "student"), pair, strict=True):
                if is_seen and self._is_binary(loss):
                    warnings.warn(
                        f"The {side}'s outputs, which {loss.name!r} reads as logits, all lie in "
                        f"[0, 1]. If they are probabilities, take the {side} without its sigmoid "
                        f"(`kdzoo.as_logits`). If they are logits, {_SWITCH}.",
                        stacklevel=3,
                    )
                elif is_seen:
                    raise ValueError(
                        f"Expected the {side}'s logits, which {loss.name!r} reads. Received: "
                        f"probabilities, which sum to 1; take the {side} without its softmax "
                        "(`kdzoo.as_logits`), or the logarithm of its outputs. If they are "
                        f"logits, {_SWITCH}."
                    )

    def _is_binary(self, loss: DistillationLoss) -> bool:
        """Whether a loss is said to read yes or no answers, a sigmoid each."""
        said = getattr(loss, "output_type", None) or type_of_loss(getattr(self, "loss", None))
        return said == "binary"

    def _on_logits(self) -> Sequence[DistillationLoss]:
        """The losses that read logits."""
        return [loss for loss in self.distillation_losses if loss.expects_logits]

    def _flags_of_probabilities(
        self, targets: Targets, outputs: Any, tapped: dict[str, Any]
    ) -> dict[str, Tensor]:
        """What a step adds to its logs: a flag for teacher and student of each loss on logits."""
        losses = self._on_logits()
        if not losses or not self.check_values or targets.teacher_outputs is None:
            return {}
        pairs = [self._inputs_of_loss(loss, targets, outputs, tapped) for loss in losses]
        flags = [
            _are_probabilities(part, self._is_binary(loss))
            for loss, pair in zip(losses, pairs, strict=True)
            for part in pair
        ]
        return {_FLAGS: ops.stack(flags)}

    def _inputs_of_loss(
        self, loss: DistillationLoss, targets: Targets, outputs: Any, tapped: dict[str, Any]
    ) -> tuple[Any, Any]:
        """What a loss takes of the teacher's outputs and of the student's."""
        raise NotImplementedError

    def _keeping_flags(self, function: Callable) -> Callable:
        """The function that runs steps, with the flags taken out of what it returns."""

        @functools.wraps(function)
        def running(*args: Any) -> Any:
            returned = function(*args)
            logs = returned[0] if isinstance(returned, tuple) else returned  # On JAX with a state.
            flags = logs.pop(_FLAGS, None)
            if self._flags is None:
                self._flags = flags
            return returned

        return running


class StopAtWrongOutputs(StopAtNonFiniteLoss):
    """Ends a `Distiller`'s training with an error at probabilities for logits, and as its base."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.refuse_probabilities()
        super().on_train_batch_end(batch, logs)


def _are_probabilities(outputs: Any, is_binary: bool) -> Tensor:
    """1.0 if one of some outputs is probabilities, of classes or of yes and no, else 0.0."""
    look = _are_in_0_to_1 if is_binary else _are_rows_of_1
    return functools.reduce(ops.maximum, map(look, keras.tree.flatten(outputs)))


def _are_rows_of_1(values):
    """1.0 if no value is negative and all rows sum to 1, else 0.0."""
    if len(values.shape) < 2 or values.shape[-1] in (None, 1):
        return ops.zeros(())
    rows = ops.reshape(values, (-1, values.shape[-1]))[:_LOOKED_AT]
    rows = ops.cast(rows, "float32")
    sums_to_1 = ops.abs(ops.sum(rows, axis=-1) - 1) < _TOLERANCE
    is_right = ops.logical_and(sums_to_1, ops.min(rows, axis=-1) >= 0)
    return ops.cast(ops.all(is_right), "float32")


def _are_in_0_to_1(values):
    """1.0 if many values lie in [0, 1] and none outside, on both sides of the half, else 0.0."""
    values = ops.cast(ops.reshape(values, (-1,))[:_LOOKED_AT], "float32")
    low, high = ops.min(values), ops.max(values)
    is_within = ops.logical_and(low >= 0, high <= 1)
    has_both = ops.logical_and(low < 0.5, high > 0.5)
    is_many = ops.shape(values)[0] >= _FEWEST
    return ops.cast(ops.logical_and(is_many, ops.logical_and(is_within, has_both)), "float32")
