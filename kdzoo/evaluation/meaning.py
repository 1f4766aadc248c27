"""What outputs that are measured mean: classes, or binary labels, and on which scale."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.graph.exportable import student_of
from kdzoo.graph.outputs import (
    OUTPUT_TYPES,
    OutputType,
    is_one_column,
    told_output_types,
    type_of_loss,
)
from kdzoo.graph.predictions import (
    ENOUGH_VALUES,
    is_one_hot,
    may_be_probabilities,
    told_from_logits,
)
from kdzoo.utils import check_choice, check_flag, check_numeric_array

# How near to 0 and to 1 some of many values must lie, so that one column of them is surely one of
# probabilities.
_LOW, _HIGH = 0.25, 0.75


def known_output_type(model: Any, given: OutputType | None = None) -> OutputType | None:
    """Returns what is known of the one output of a model before it is seen, or None.

    Args:
        model: A Keras model, or any object with `predict(x)`, of which nothing is known.
        given: What the caller says, or None.

    Raises:
        ValueError: If `given` is no `OutputType`.
    """
    if given is not None:
        check_choice("output_type", given, OUTPUT_TYPES)
    elif isinstance(model, keras.Model):
        loss = getattr(model, "loss", None)
        return told_output_types(student_of(model) or model, loss=loss)[0]
    return given


def type_by_labels(
    known: OutputType | None, shape: tuple[int, ...], labels: ArrayLike
) -> OutputType:
    """Returns what outputs mean, by what is known of the model, and by labels of classes.

    Args:
        known: What is known of the model.
        shape: The shape of its outputs.
        labels: The labels of a batch; such as only classes can have count more.
    """
    if is_one_column(shape):
        return known or "binary"
    labels = check_numeric_array("labels", labels)
    is_index = labels.shape in (shape[:-1], (*shape[:-1], 1))
    is_row = known == "numbers" and labels.shape == shape and is_one_hot(labels)
    return "classes" if is_index or is_row else known or "classes"


def check_measurable(output_type: OutputType, shape: tuple[int, ...], remedy: str) -> None:
    """Raises unless a measure of classes and of binary labels has a meaning for outputs.

    Args:
        output_type: What the outputs mean.
        shape: Their shape.
        remedy: What serves for plain numbers.
    """
    if output_type == "numbers":
        raise ValueError(
            "Expected classes or binary labels. Received: a model whose outputs are plain "
            f"numbers: use {remedy}, or pass output_type='classes' or 'binary' if they are not."
        )
    if output_type == "classes" and is_one_column(shape):
        raise ValueError(
            "Expected several columns for output_type='classes'. Received: outputs of shape "
            f"{shape}: one column is binary, output_type='binary'."
        )


class Scale:
    """Whether outputs are logits or probabilities: told, or found out from all of their values.

    Args:
        model: The model that gives the outputs.
        from_logits: What the caller says, or None.

    Attributes:
        choices: What `from_logits` may still be; one where it is known.
    """

    def __init__(self, model: Any, from_logits: bool | None = None) -> None:
        told = told_from_logits(model)[0]
        self.choices: tuple[bool, ...] = (True, False)
        # Keras's binary losses take probabilities, unless told otherwise.
        self._is_likely = type_of_loss(getattr(model, "loss", None)) == "binary"
        if from_logits is not None:
            self.choices = (check_flag("from_logits", from_logits),)
        elif told is not None:
            self.choices = (told,)
        self._count, self._least, self._most = 0, np.inf, -np.inf

    def look(self, outputs: np.ndarray, output_type: OutputType) -> None:
        """Rules out what a batch of outputs cannot be.

        Raises:
            ValueError: If probabilities were expected and these are none.
        """
        if self.choices == (False,) and not may_be_probabilities(outputs, "binary"):
            raise ValueError(
                "Expected probabilities, in [0, 1]. Received: outputs from "
                f"{outputs.min():g} to {outputs.max():g}: pass from_logits=True."
            )
        if len(self.choices) > 1 and not may_be_probabilities(outputs, output_type):
            self.choices = (True,)
        self._count += outputs.size
        self._least = min(self._least, outputs.min())
        self._most = max(self._most, outputs.max())

    def decide(self, output_type: OutputType) -> bool:
        """Returns whether the outputs that were looked at are logits.

        Raises:
            ValueError: If that is in doubt.
        """
        is_spread = self._least < _LOW and self._most > _HIGH and self._count >= ENOUGH_VALUES
        if len(self.choices) == 1:
            return self.choices[0]
        if output_type == "classes" or is_spread or self._is_likely:
            return False
        raise ValueError(
            "Expected from_logits, as logits and probabilities give different results. Received: "
            f"from_logits=None and outputs from {self._least:g} to {self._most:g}, which may be "
            "either: pass from_logits=False if a sigmoid made them, else from_logits=True."
        )
