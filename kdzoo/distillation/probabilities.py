"""Outputs that are probabilities where a loss reads logits: seen in the first step, and refused."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kdzoo.distillation.batch_targets import Targets
from kdzoo.distillation.told_types import type_read
from kdzoo.graph.outputs import OutputType
from kdzoo.graph.predictions import look_like_probabilities
from kdzoo.losses.base import DistillationLoss
from kdzoo.training.callbacks import StopAtNonFiniteLoss
from kdzoo.utils.types import Tensor

# Where a step puts what it saw beside its logs; whoever calls the step takes it out again.
_FLAGS = "outputs_are_probabilities"
# Rows of outputs that are looked at: enough to tell, few enough to cost nothing.
_LOOKED_AT = 256
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
    _types: tuple[tuple[OutputType | None, ...], ...] = ()  # What each loss's outputs mean.
    _flags: Any = None  # What the first step saw, a tensor; False where nothing is to be seen.
    _flagged: tuple[tuple[str, str, bool], ...] = ()  # Loss, side and whether binary, of each flag.

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
            UserWarning: If binary outputs that a loss reads as logits all lie in [0, 1].
        """
        logs = super().train_on_batch(*args, **kwargs)
        self.refuse_probabilities()
        return logs

    def refuse_probabilities(self) -> None:
        """Raises, or warns, if the first step saw probabilities where a loss reads logits."""
        if self._flags is None or self._flags is False:
            return
        flags, self._flags = ops.convert_to_numpy(self._flags), False
        for (name, side, is_binary), is_seen in zip(self._flagged, flags, strict=True):
            if is_seen and is_binary:
                warnings.warn(
                    f"The {side}'s outputs, which {name!r} reads as logits, all lie in [0, 1]. If "
                    f"they are probabilities, take the {side} without its sigmoid "
                    f"(`kdzoo.as_logits`). If they are logits, {_SWITCH}.",
                    stacklevel=3,
                )
            elif is_seen:
                raise ValueError(
                    f"Expected the {side}'s logits, which {name!r} reads. Received: "
                    f"probabilities, which sum to 1; take the {side} without its softmax "
                    "(`kdzoo.as_logits`), or the logarithm of its outputs. If they are "
                    f"logits, {_SWITCH}."
                )

    def _flags_of_probabilities(
        self, targets: Targets, outputs: Any, tapped: dict[str, Any]
    ) -> dict[str, Tensor]:
        """What a step adds to its logs: flags of the outputs that losses read as logits."""
        if not self.check_values or targets.teacher_outputs is None:
            return {}
        flags: dict[tuple[str, str, bool], list[Tensor]] = {}
        losses = self.distillation_losses
        for loss, types in zip(losses, self._types or ((),) * len(losses), strict=True):
            pair = self._inputs_of_loss(loss, targets, outputs, tapped)
            for side, part in zip(("teacher", "student"), pair, strict=True):
                leaves = keras.tree.flatten(part)
                told = types if len(types) == len(leaves) else [None] * len(leaves)
                for leaf, known in zip(leaves, told, strict=True):
                    read = type_read(loss, known)
                    if read is not None:
                        key = (loss.name, side, read == "binary")
                        flags.setdefault(key, []).append(_are_probabilities(leaf, read))
        self._flagged = tuple(flags)
        seen = [functools.reduce(ops.maximum, parts) for parts in flags.values()]
        return {_FLAGS: ops.stack(seen)} if seen else {}

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
    """Ends a `Distiller`'s training at probabilities for logits, or a loss that is not finite."""

    def __init__(self, distiller: ProbabilitiesRefused):
        super().__init__()
        # Not `self.model`: on JAX, Keras puts all values back into the variables for who asks it.
        self._distiller = distiller

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._distiller.refuse_probabilities()
        super().on_train_batch_end(batch, logs)


def _are_probabilities(outputs: Any, output_type: OutputType) -> Tensor:
    """1.0 if the first of some outputs are probabilities, else 0.0."""
    is_row = output_type == "classes" and len(outputs.shape) > 1
    if is_row and outputs.shape[-1] is None:
        return ops.zeros(())
    rows = ops.reshape(outputs, (-1, outputs.shape[-1]) if is_row else (-1,))
    rows = ops.cast(rows[:_LOOKED_AT], "float32")
    are = look_like_probabilities(rows, output_type, ops)
    return ops.cast(ops.convert_to_tensor(are), "float32")
