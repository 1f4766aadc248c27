"""Training of a slimmable network: some of its widths in each step, the last teaches."""

import types
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.dynamic.joint_learner import JointLearner, only_output
from kdzoo.dynamic.slimmable import Slimmable
from kdzoo.losses import DistillationLoss, SoftTargets
from kdzoo.utils import check_integer, is_integer, shown
from kdzoo.utils.types import Tensor


@keras.saving.register_keras_serializable("kdzoo")
class WidthLearner(JointLearner):
    """Trains the widths of a slimmable network: `compile`, `fit`, take `student`.

    The loss of the last width is its loss on the labels. Of the others it is

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    whose teacher is the last width in the same step, not differentiated ("in-place distillation"),
    or the given teacher, which then teaches the last width too. Each step trains all widths, or
    with `middle_widths` the first, the last and so many others by chance ("sandwich rule"). In the
    logs `width_0.5_loss` is the loss of a width on the labels; widths by chance are `middle_1`, ...
    What regularizers add for weights counts once; what they add for activations, at each width.

    `teacher`, `student_loss_weight`, `output_weights` (one for each width that a step trains) and
    the temperature of `distillation_loss` may be set between trainings. A learner that is loaded
    from a `.keras` file has no teacher: to go on training, set `teacher` if there was one.

    Args:
        student: The slimmable network.
        teacher: A built `keras.Model` of one output, which teaches all widths. None: the last width
            teaches.
        student_loss_weight: From 0 to 1. None: 1 for a switchable network, so that all widths learn
            from labels as in Yu et al. 2019; 0 for a universal one, as in Yu & Huang 2019.
        distillation_loss: A `kdzoo.losses.DistillationLoss` of logits; soft targets at a
            temperature of 1 when None.
        middle_widths: How many widths between the first and the last a step trains; None for all.
        seed: Of the choice of widths.

    Raises:
        ValueError: If the student is no slimmable network of one output, which gives logits, the
            teacher's classes or inputs are others, the distillation loss taps layers, or a number
            is out of range.
    """

    _fields = types.MappingProxyType(
        {
            "middle_widths": lambda value: value is None or is_integer(value, 0, 1 << 16),
            "seed": lambda value: value is None or is_integer(value, 0, (1 << 32) - 1),
        }
    )

    def __init__(
        self,
        student: Slimmable,
        teacher: keras.Model | None = None,
        student_loss_weight: float | None = None,
        distillation_loss: DistillationLoss | None = None,
        middle_widths: int | None = None,
        seed: int | None = None,
    ):
        if not isinstance(student, Slimmable):
            raise ValueError(
                "Expected a `kdzoo.dynamic.Slimmable` as student. Received: "
                f"{shown(getattr(student, 'name', student))}"
            )
        only_output(student.outputs)
        if student_loss_weight is None:
            student_loss_weight = 0.0 if student.universal else 1.0
        if distillation_loss is None:
            distillation_loss = SoftTargets(1.0)
        middle = student.widths[1:-1]
        self._middle_count = (
            len(middle)
            if middle_widths is None
            else check_integer("middle_widths", middle_widths, 0, len(middle))
        )
        names = _names_of(student.widths)
        if middle_widths is not None:
            between = [f"middle_{number}" for number in range(1, self._middle_count + 1)]
            names = [names[0], *between, names[-1]]
        super().__init__(
            student,
            student.whole,
            names,
            teacher,
            student_loss_weight,
            distillation_loss,
            None,
            name="width_learner",
        )
        self._is_by_chance = middle_widths is not None
        self._seed = None if seed is None else check_integer("seed", seed, 0, (1 << 32) - 1)
        self._random = keras.random.SeedGenerator(self._seed)

    def call(self, inputs: Any, training: bool | None = None) -> list[Tensor]:
        """Returns the outputs of the widths, from the first to the last.

        Args:
            inputs: What the student takes.
            training: Whether the student runs as in training. If not, the widths between the first
                and the last are not taken by chance, but evenly.
        """
        widths = self.student.widths
        if self._is_by_chance and training:
            between = [self._one_of(widths[1:-1], inputs) for _ in range(self._middle_count)]
        else:
            middle = widths[1:-1]
            taken = _spread(middle, self._middle_count) if self._is_by_chance else middle
            between = [self._at(width, inputs, training) for width in taken]
        first, last = (self._at(width, inputs, training) for width in (widths[0], widths[-1]))
        # Not by the student, whose next call would clear what the one before it added.
        losses = [loss for _, loss in (first, *between, last) if loss is not None]
        if losses:
            self.add_loss(ops.sum(ops.stack(losses)))
        return [output for output, _ in (first, *between, last)]

    def _at(self, width: float, inputs: Any, training: bool | None) -> tuple[Tensor, Tensor | None]:
        """The output of a width, and what its layers add to the loss."""
        found = self.student.run(inputs, width, training)
        for variable, value in found.updates:
            variable.assign(value)
        return only_output(found.outputs), found.loss

    def _one_of(self, widths: Sequence[float], inputs: Any) -> tuple[Tensor, Tensor | None]:
        """What `_at` returns for one of some widths by chance, in training."""
        variables = [variable for width in widths for variable in self.student.own_variables(width)]
        adds_loss = []

        def branch_of(width: float) -> Any:
            def branch(x: Any) -> list[Tensor]:
                found = self.student.run(x, width, training=True)
                changed = {id(variable): value for variable, value in found.updates}
                after = [changed.get(id(variable), variable.value) for variable in variables]
                adds_loss.append(found.loss is not None)
                loss = 0.0 if found.loss is None else found.loss
                loss = ops.cast(ops.convert_to_tensor(loss), "float32")
                return [only_output(found.outputs), loss, *map(ops.convert_to_tensor, after)]

            return branch

        index = keras.random.randint((), 0, len(widths), seed=self._random)
        output, loss, *after = ops.switch(index, [branch_of(width) for width in widths], inputs)
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return output, loss if any(adds_loss) else None

    def get_config(self) -> dict[str, Any]:
        middle = self._middle_count if self._is_by_chance else None
        return {**super().get_config(), "middle_widths": middle, "seed": self._seed}


def _names_of(widths: Sequence[float]) -> list[str]:
    """A name for each width, by all of its digits where few do not tell them apart."""
    names = [f"width_{width:g}" for width in widths]
    if len(set(names)) < len(names):
        names = [f"width_{width!r}".removesuffix(".0") for width in widths]
    return names


def _spread(widths: Sequence[float], count: int) -> list[float]:
    """So many of some widths, evenly."""
    places = [(number + 0.5) * len(widths) / count for number in range(count)]
    return [widths[int(place)] for place in places]
