"""Training of a slimmable network: some of its widths in each step, the last teaches."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.dynamic.joint_learner import JointLearner
from kdzoo.dynamic.slimmable import Slimmable
from kdzoo.losses import DistillationLoss, SoftTargets
from kdzoo.utils import check_integer, shown
from kdzoo.utils.types import Tensor


class WidthLearner(JointLearner):
    """Trains the widths of a slimmable network: `compile`, `fit`, take `student`.

    The loss of the last width is its loss on the labels. Of the others it is

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    whose teacher is the last width in the same step, not differentiated ("in-place distillation"),
    or the given teacher, which then teaches the last width too. Each step trains all widths, or
    with `middle_widths` the first, the last and so many others by chance ("sandwich rule"). In the
    logs `width_0.5_loss` is the loss of a width on the labels; widths by chance are `middle_1`, ...

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
        ValueError: If the student is no slimmable network, or a number is out of range.
    """

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
        names = [f"width_{width:g}" for width in student.widths]
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
        seed = None if seed is None else check_integer("seed", seed, 0, (1 << 32) - 1)
        self._random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> list[Tensor]:
        """Returns the outputs of the widths, from the first to the last.

        Args:
            inputs: What the student takes.
            training: Whether the student runs as in training. If not, the widths between the first
                and the last are not taken by chance, but evenly.
        """
        widths = list(self.student.widths)
        if not self._is_by_chance:
            return [self.student(inputs, width=width, training=training) for width in widths]
        middle = widths[1:-1]
        if training:
            between = [self._one_of(middle, inputs) for _ in range(self._middle_count)]
        else:
            between = [
                self.student(inputs, width=width) for width in _spread(middle, self._middle_count)
            ]
        first, last = (
            self.student(inputs, width=width, training=training)
            for width in (widths[0], widths[-1])
        )
        return [first, *between, last]

    def _one_of(self, widths: Sequence[float], inputs: Any) -> Tensor:
        """The outputs of one of some widths by chance, in training."""
        variables = [variable for width in widths for variable in self.student.own_variables(width)]

        def branch_of(width: float) -> Any:
            def branch(x: Any) -> list[Tensor]:
                outputs, updates = self.student.run(x, width, training=True)
                changed = {id(variable): value for variable, value in updates}
                after = [changed.get(id(variable), variable.value) for variable in variables]
                return [outputs, *map(ops.convert_to_tensor, after)]

            return branch

        index = keras.random.randint((), 0, len(widths), seed=self._random)
        outputs, *after = ops.switch(index, [branch_of(width) for width in widths], inputs)
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return outputs


def _spread(widths: Sequence[float], count: int) -> list[float]:
    """So many of some widths, evenly."""
    places = [(number + 0.5) * len(widths) / count for number in range(count)]
    return [widths[int(place)] for place in places]
