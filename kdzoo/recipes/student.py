"""One kind of student in a comparison: what it learns from."""

import dataclasses
import numbers

from kdzoo.utils import check_choice, check_positive_integer, check_text, first_line, shown

PRECISIONS = ("float32", "mixed_bfloat16")
OPTIMIZERS = ("adamw", "sgd")
# Fields of a student that are the recipe's when None.
OF_RECIPE = ("architecture", "epochs", "precision", "optimizer", "learning_rate", "weight_decay")


def distilled_and_alone(networks, **settings):
    """Returns kind -> `Student`: each network by soft targets at T = 4, and alone.

    Args:
        networks: Name of an architecture -> further arguments of its builder.
        **settings: Further fields of each `Student`, e.g. `epochs=20`.
    """
    soft_targets = (("SoftTargets", {"temperature": 4.0}, 1.0),)
    return {
        f"{name}{ending}": Student(losses, architecture=name, arguments=arguments, **settings)
        for name, arguments in networks.items()
        for ending, losses in ((", distilled", soft_targets), (", alone", ()))
    }


@dataclasses.dataclass(frozen=True)
class Student:
    """How a kind of student is taught.

    Attributes:
        losses: The distillation losses, each as (name of a class in `kdzoo.losses`, its arguments,
            its weight). Empty for the student alone. `ContrastiveRepresentation` is given the
            labels of the training images by the recipe.
        student_loss_weight: Share of the loss on labels; the recipe's when None.
        arguments: Arguments of the student's builder, on top of the recipe's.
        architecture: Name of the student's architecture; the recipe's when None.
        hints: (hint layer, guided layer, epochs) of a first stage that learns the teacher's hint
            layer, see `kdzoo.schemes.hint_training`; None for none. The epochs are on top.
        epochs: Of this kind; the recipe's when None.
        precision: The policy that it is trained in, as that of the recipe, which it is when None.
        optimizer: Its optimizer, `"adamw"` or `"sgd"`; the recipe's when None, like the next two.
            Another one needs a learning rate of its own.
        learning_rate: Its highest learning rate.
        weight_decay: Its decoupled weight decay.
        seed_count: For how many of the recipe's seeds, from the first, it is trained; all when
            None.
        teacher_weight: (first, last) weight of the first loss, annealed evenly over the epochs;
            None for the weight in `losses`.
    """

    losses: tuple = ()
    student_loss_weight: float | None = None
    arguments: dict = dataclasses.field(default_factory=dict)
    hints: tuple | None = None
    teacher_weight: tuple | None = None
    architecture: str | None = None
    epochs: int | None = None
    precision: str | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    seed_count: int | None = None

    @property
    def teacher_layers(self):
        """The layers of the teacher that a loss looks at, each once."""
        losses, _ = self.make_losses()
        return list(dict.fromkeys(path for loss in losses for path in loss.teacher_layers))

    @property
    def needs_indices(self):
        """Whether a loss keeps something for each example."""
        return any(name == "ContrastiveRepresentation" for name, _, _ in self.losses)

    def check(self):
        """Raises `ValueError` unless names and numbers are right."""
        if not isinstance(self.losses, tuple | list):
            raise ValueError(f"Expected losses as a tuple. Received: losses={shown(self.losses)}")
        for each in self.losses:
            if not isinstance(each, tuple | list) or len(each) != 3:
                raise ValueError(
                    "Expected losses as (name, arguments, weight). Received: "
                    f"{shown(each)} among losses={shown(self.losses)}"
                )
        self.make_losses()
        check_dictionaries({"arguments": self.arguments})
        if self.student_loss_weight is not None:
            from kdzoo.distillation import argument_checks

            argument_checks.check_student_loss_weight(self.student_loss_weight)
        if self.architecture is not None:
            check_text("architecture", self.architecture)
        for field in ("epochs", "seed_count"):
            if getattr(self, field) is not None:
                check_positive_integer(field, getattr(self, field))
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)
        if self.optimizer is not None:
            check_choice("optimizer", self.optimizer, OPTIMIZERS)
        own = {name: getattr(self, name) for name in ("learning_rate", "weight_decay")}
        check_rates({name: value for name, value in own.items() if value is not None})
        if self.optimizer is not None and self.learning_rate is None:
            raise ValueError(
                "Expected a learning_rate beside an optimizer. Received: "
                f"optimizer={self.optimizer!r}, learning_rate=None"
            )
        if self.teacher_weight is not None:
            from kdzoo.distillation import argument_checks

            argument_checks.check_teacher_weight(self.teacher_weight)
        if self.hints is None:
            return
        if len(self.losses) != 1:
            raise ValueError(
                "Expected one loss for a student that is taught by hints: the soft targets of the "
                f"second stage. Received: losses={shown(self.losses)}"
            )
        if not isinstance(self.hints, tuple | list) or len(self.hints) != 3:
            raise ValueError(
                "Expected hints as (hint layer, guided layer, epochs). Received: "
                f"hints={shown(self.hints)}"
            )
        check_positive_integer("hints[2], epochs,", self.hints[2])

    def make_losses(self, labels=None):
        """Returns the loss objects and their weights.

        Args:
            labels: Those of the training images, for the loss that wants them.

        Raises:
            ValueError: If a name is unknown or an argument is out of range.
        """
        from kdzoo import losses

        made = []
        for name, arguments, _ in self.losses:
            check_choice("loss", name, losses.__all__)
            check_dictionaries({f"arguments of {name}": arguments})
            if name == "ContrastiveRepresentation":
                arguments = {"examples": 2 if labels is None else labels, **arguments}
            try:
                made.append(getattr(losses, name)(**arguments))
            except TypeError as error:
                raise ValueError(
                    f"Expected arguments that {name} takes. Received: {arguments!r}: "
                    f"{first_line(error)}"
                ) from error
        return made, [weight for _, _, weight in self.losses]


def check_dictionaries(fields):
    """Raises `ValueError` unless all of these are dictionaries.

    Args:
        fields: Name -> value.
    """
    for field, value in fields.items():
        if not isinstance(value, dict):
            raise ValueError(f"Expected {field} as a dictionary. Received: {field}={shown(value)}")


def check_rates(fields):
    """Raises `ValueError` unless learning rates and weight decays are in range.

    Args:
        fields: Name -> value; the name of a learning rate ends in that.
    """
    for field, value in fields.items():
        is_rate = field.endswith("learning_rate")
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not 0 <= value < float("inf") or (is_rate and not value):
            least = "above 0" if is_rate else "of at least 0"
            raise ValueError(f"Expected {field} {least}. Received: {field}={shown(value)}")
