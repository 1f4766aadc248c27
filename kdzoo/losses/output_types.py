"""What a loss on logits takes them for: exclusive classes, or independent binary labels."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from kdzoo.graph.outputs import OUTPUT_TYPES, OutputType, is_one_column
from kdzoo.losses.base import LayerPaths, Softened
from kdzoo.utils import check_choice
from kdzoo.utils.types import Tensor

# Packages between a loss and the code of the user that trains with it.
_BETWEEN = ("kdzoo", "keras", "tensorflow", "jax", "contextlib", "functools", "threading")
EXCLUSIVE: tuple[OutputType, ...] = ("classes",)  # What some losses can be on.
_REMEDY = "take `kdzoo.losses.OutputRegression()` for numbers"


def check_output_type(loss: str, given: Any, accepted: Sequence[OutputType]) -> OutputType | None:
    """Returns what a caller says that logits are, or raises unless the loss can be on them.

    Args:
        loss: The name of the loss, for the error.
        given: What the caller said; None for nothing.
        accepted: What the loss can be on.
    """
    if given is None:
        return None
    check_choice("output_type", given, OUTPUT_TYPES)
    if given not in accepted:
        remedy = _REMEDY if given == "numbers" else "take `kdzoo.losses.SoftTargets`"
        raise ValueError(
            f"Expected outputs that `{loss}` can be on: {' or '.join(map(repr, accepted))}. "
            f"Received: output_type={given!r}; {remedy}."
        )
    return given


def type_of_logits(
    loss: str,
    shape: Sequence[int | None],
    given: OutputType | None,
    told: OutputType | None = None,
    accepted: Sequence[OutputType] = ("classes", "binary"),
) -> OutputType:
    """Returns what the logits that a loss is on are.

    Several columns of which nothing is known are exclusive classes.

    Args:
        loss: The name of the loss, for errors.
        shape: That of the logits, `(batch, ..., columns)`, or `(batch,)`.
        given: What the caller of the loss says, one of `accepted`, or None.
        told: What the models or the loss on the labels say, or None.
        accepted: What the loss can be on.

    Raises:
        ValueError: If nothing tells what one column is, or the loss cannot be on such outputs.

    Warns:
        UserWarning: If several columns are taken for classes and `told` is "numbers".
    """
    is_one = is_one_column(shape)
    output_type = given or told
    received = f"Received: outputs of shape {tuple(shape)}"
    if output_type == "binary" and "binary" not in accepted:
        raise ValueError(
            f"Expected exclusive classes for `{loss}`. {received} that are independent binary "
            "labels, by the loss on the labels or the final activation; take "
            '`kdzoo.losses.SoftTargets`, or say `output_type="classes"`.'
        )
    if output_type == "binary" or (output_type == "classes" and not is_one):
        return output_type
    if not is_one:
        if output_type == "numbers":
            warnings.warn(
                f"`{loss}` takes {shape[-1]} columns for exclusive classes, though the loss that "
                'they were compiled with is one on numbers. Say `output_type="classes"` if they '
                f"are; {_REMEDY}.",
                stacklevel=_levels_to_user(),
            )
        return "classes"
    if "binary" not in accepted:
        raise ValueError(
            f"Expected several exclusive classes for `{loss}`. {received}, one value each; take "
            f'`kdzoo.losses.SoftTargets(output_type="binary")` for binary labels, or {_REMEDY}.'
        )
    is_what = {None: "of unknown meaning", "classes": "of one class", "numbers": "plain numbers"}
    raise ValueError(
        f"Expected several classes, or binary labels, for `{loss}`. {received}, "
        f'{is_what[output_type]}; say `output_type="binary"` if each value is the logit of a '
        f"binary label, or {_REMEDY}."
    )


def _levels_to_user():
    """The `stacklevel` of a warning of the function that calls this, at the user's own code."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _BETWEEN and "__autograph_generated" not in frame.f_code.co_filename:
            break
        frame, level = frame.f_back, level + 1
    return level


def config_of_type(output_type: OutputType | None) -> dict[str, OutputType]:
    """Returns what a configuration says of it: nothing where the caller said nothing.

    Args:
        output_type: What the caller said, or None.
    """
    return {} if output_type is None else {"output_type": output_type}


class OfClasses(Softened):
    """A loss on logits of exclusive classes, softened by a temperature.

    Args:
        temperature: Divisor of the logits, above 0.
        teacher_layer: Layer that gives the teacher's logits; `None` for its output.
        student_layer: Layer that gives the student's logits; `None` for its output.
        name: Name of the loss.
        output_type: `"classes"` where the loss that a `Distiller` compiles says that outputs are
            independent binary labels, and exclusive classes are meant; otherwise `None`.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        teacher_layer: LayerPaths = None,
        student_layer: LayerPaths = None,
        name: str | None = None,
        *,
        output_type: OutputType | None = None,
    ):
        super().__init__(temperature, teacher_layer, student_layer, name)
        self.output_type = check_output_type(type(self).__name__, output_type, EXCLUSIVE)

    def check_type(self, teacher: Tensor, told: OutputType | None) -> None:
        """Raises `ValueError` unless the logits are those of exclusive classes.

        Args:
            teacher: The teacher's logits.
            told: What the models or the loss on the labels say that they are, or None.
        """
        type_of_logits(type(self).__name__, teacher.shape, self.output_type, told, EXCLUSIVE)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **config_of_type(self.output_type)}
