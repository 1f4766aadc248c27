"""Training of a network of several exits: jointly, by its own last exit, or by a teacher."""

import types
from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.settings import Untracked
from kdzoo.dynamic.exit_graph import exit_graph
from kdzoo.dynamic.joint_learner import JointLearner
from kdzoo.dynamic.scaled_gradients import with_equal_gradients
from kdzoo.graph import acceleration
from kdzoo.losses import DistillationLoss
from kdzoo.utils import check_flag
from kdzoo.utils.field_checks import is_boolean
from kdzoo.utils.types import Tensor


@keras.saving.register_keras_serializable("kdzoo")
class ExitLearner(JointLearner):
    """Trains all exits of a network at once: `compile`, `fit`, take `student`.

    The loss is the sum over the exits of the exit's weight times

        student_loss_weight * loss on the labels + (1 - student_loss_weight) * distillation loss

    plus the network's regularizers. Without a teacher the last exit teaches the others by its
    outputs, which are not differentiated, and learns from the labels alone. `sample_weight` weights
    all of it. In the logs, `exit1_loss` is the loss of the first exit on the labels,
    `exit1_distillation_loss` what it learns from its teacher, before the weights, and `loss` the
    whole. In validation only the losses on the labels count, and no teacher runs.

    `teacher`, `student_loss_weight`, `exit_weights`, `equal_gradients` and the temperature of
    `distillation_loss` may be set between trainings. A learner that is loaded from a `.keras` file
    has no teacher: to go on training, set `teacher` if there was one.

    Args:
        student: A functional `keras.Model` of two or more exits, its outputs, from the first to the
            last, which give logits; such as `add_exits` returns.
        teacher: A built `keras.Model` of one output, which teaches all exits; it is not trained.
            None: the last exit teaches.
        student_loss_weight: Weight of the loss on the labels, from 0 to 1, in exits that have a
            teacher. 1: nothing is distilled.
        distillation_loss: A `kdzoo.losses.DistillationLoss` of logits; soft targets at a
            temperature of 3 when None.
        exit_weights: A number of at least 0 for each exit; 1 for all when None.
        equal_gradients: Whether gradients are scaled so that each of the exits behind a layer has
            the same part in it, and early exits do not disturb the last one. The plain sum of
            losses, without, was as good or better for the last exit in what was measured
            (docs/dynamic.md): try both.

    Raises:
        ValueError: If the student has one output or no graph, an exit ends in a softmax, the
            teacher's classes or inputs are others, the student would train its layers, the
            distillation loss taps layers, or a number is out of range.

    Example:

    ```python
    exits = kdzoo.dynamic.add_exits(model, at=["stage1", "stage2"])
    learner = kdzoo.dynamic.ExitLearner(exits, teacher)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    learner.fit(images, labels, epochs=10)
    learner.student.save("exits.keras")
    ```

    References: Teerapittayanon et al., "BranchyNet", 2016, arXiv:1709.01686; Li et al., "Improved
    techniques for training adaptive deep networks", 2019, arXiv:1908.06294.
    """

    _fields = types.MappingProxyType({"equal_gradients": is_boolean})

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        student_loss_weight: float = 0.5,
        distillation_loss: DistillationLoss | None = None,
        exit_weights: Sequence[float] | None = None,
        equal_gradients: bool = True,
    ):
        argument_checks.check_model("student", student)
        count = len(exit_graph(student).outputs)
        super().__init__(
            student,
            student,
            [f"exit{number}" for number in range(1, count + 1)],
            teacher,
            student_loss_weight,
            distillation_loss,
            exit_weights,
            name="exit_learner",
        )
        self.equal_gradients = equal_gradients

    @property
    def equal_gradients(self) -> bool:
        """Whether gradients are scaled at the exits. Set it to train otherwise."""
        return self._equal_gradients

    @equal_gradients.setter
    def equal_gradients(self, equal_gradients: bool) -> None:
        self._equal_gradients = check_flag("equal_gradients", equal_gradients)
        student = self.student
        # Of the student's own layers.
        self._trained = Untracked(with_equal_gradients(student) if equal_gradients else student)
        self._compile_anew()

    @property
    def exit_weights(self) -> list[float]:
        """A weight of at least 0 for each exit. Set it to train with others."""
        return self.output_weights

    @exit_weights.setter
    def exit_weights(self, given: Sequence[float] | None) -> None:
        self.output_weights = given

    def call(self, inputs: Any, training: bool | None = None) -> list[Tensor]:
        """Returns the outputs of the exits, from the first to the last.

        Args:
            inputs: What the student takes.
            training: Whether the student runs as in training.
        """
        model = self._trained.model if training else self.student
        with acceleration.accelerated(acceleration.quicker_layers(self.student)):
            return keras.tree.flatten(model(inputs, training=training))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "equal_gradients": self.equal_gradients}
