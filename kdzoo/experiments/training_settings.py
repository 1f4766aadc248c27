"""How a model is trained, whoever it is: one configuration for teachers and students."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.catalog import usual_augmentation
from kdzoo.utils import check_choice, check_integer, is_number, shown, unknown_name

FLOAT32, HALF, AUTO = "float32", "mixed_bfloat16", "auto"
PRECISIONS = (FLOAT32, HALF, AUTO)
# What identifies a stage is the same on every machine: there, "auto" is bfloat16.
SAID_OF_PRECISION = {"said_as": {AUTO: HALF}}
OPTIMIZERS = ("adamw", "sgd")


@dataclasses.dataclass(frozen=True)
class Training:
    """The configuration of one training.

    Attributes:
        epochs: How many, at least 1.
        learning_rate: The highest; it falls to zero by a cosine. With SGD it first rises from zero
            over a tenth of the steps.
        weight_decay: Decoupled. With SGD of momentum m it stands for a decay of 1 - m times this
            one in the gradients, as papers give it: 0.005 for their 5e-4.
        optimizer: `"adamw"`, or `"sgd"` with Nesterov momentum of 0.9.
        batch_size: Images a step.
        precision: The dtype policy of the training: `"float32"`, `"mixed_bfloat16"`, or `"auto"`,
            which is bfloat16 where the machine gains from it (processors with AMX, others than
            Intel's with AVX512_BF16, GPUs from Ampere on) and float32 elsewhere. A recipe that says
            `"auto"` is identified and described as one that says `"mixed_bfloat16"`, so that its
            results are of the same recipe on every machine; each row says under `"precisions"` what
            it was computed in. What is measured and saved is in float32.
        augmentation: What images are augmented by: `"default"`, what is usual for the data set, if
            something is; arguments of a `kdzoo.data.Augmentation`; None for nothing.
    """

    epochs: int
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    optimizer: str = "adamw"
    batch_size: int = 128
    precision: str = dataclasses.field(default=FLOAT32, metadata=SAID_OF_PRECISION)
    augmentation: Literal["default"] | dict[str, Any] | None = "default"

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        for field in ("epochs", "batch_size"):
            check_integer(field, getattr(self, field), least=1)
        check_rates({name: getattr(self, name) for name in ("learning_rate", "weight_decay")})
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("precision", self.precision, PRECISIONS)
        _check_augmentation(self.augmentation)

    def smoke(self) -> "Training":
        """Returns the same training for one epoch, of images that nothing special is done to."""
        usual = dataclasses.replace(self, epochs=1)
        is_own = isinstance(self.augmentation, dict)
        return dataclasses.replace(usual, augmentation="default") if is_own else usual

    def augmentation_for(self, name: str) -> Literal["default"] | Augmentation | None:
        """Returns what `Split.batches` takes.

        Args:
            name: Name of the data set.
        """
        if isinstance(self.augmentation, dict):
            return Augmentation(**self.augmentation)
        return "default" if self.augmentation and usual_augmentation(name) else None


def check_rates(fields: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless learning rates and weight decays are in range.

    Args:
        fields: Name -> value; the name of a learning rate ends in that.
    """
    for field, value in fields.items():
        is_rate = field.endswith("learning_rate")
        if not is_number(value) or not 0 <= value < float("inf") or (is_rate and not value):
            least = "above 0" if is_rate else "of at least 0"
            raise ValueError(f"Expected {field} {least}. Received: {field}={shown(value)}")


def check_dictionaries(fields: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless all of these are dictionaries.

    Args:
        fields: Name -> value.
    """
    for field, value in fields.items():
        if not isinstance(value, dict):
            raise ValueError(f"Expected {field} as a dictionary. Received: {field}={shown(value)}")


def _check_augmentation(given: Any) -> None:
    if given is None or isinstance(given, str):
        if given not in (None, "default"):
            raise ValueError(
                "Expected augmentation to be 'default', arguments of Augmentation, or None. "
                f"Received: augmentation={shown(given)}"
            )
        return
    if not isinstance(given, dict):
        raise ValueError(
            "Expected augmentation as a dictionary, arguments of Augmentation. Received: "
            f"augmentation={shown(given)}"
        )
    known = [field.name for field in dataclasses.fields(Augmentation)]
    for name in given:
        if name not in known:
            raise unknown_name("argument of Augmentation", name, known)
    Augmentation(**given)
